"""The profile of one quantile: by hand, and whatever stands beside it."""

import numpy as np
import pytest

from validation.quantile_profile import quantile_profile


def profile(value: list[list[list[float]]], weight: list[list[list[float]]], energy: list[float]) -> list[list[float]]:
    return quantile_profile(np.array(value), np.array(weight), np.array(energy)).tolist()


def test_every_interval_stands_at_the_same_quantile_of_its_like_days() -> None:
    # Three days of equal weight stand at 1/6, 1/2 and 5/6. The medians are 20 and 100, their sum is the energy.
    days = [[[10.0, 20.0, 30.0], [0.0, 100.0, 400.0]]]
    even = [[[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]]]
    assert profile(days, even, [120.0])[0] == pytest.approx([20.0, 100.0], abs=1e-3)
    # Half way from the median to the highest: 25 and 250.
    assert profile(days, even, [275.0])[0] == pytest.approx([25.0, 250.0], abs=1e-3)


def test_a_rare_peak_gets_less_than_in_the_mean_and_the_sum_stays() -> None:
    # Nine days of 10 and one of 1 000, beside an interval that is 100 every day but one: the means are 109 and 91.
    days = [[[10.0] * 9 + [1_000.0], [100.0] * 9 + [10.0]]]
    result = profile(days, [[[1.0] * 10] * 2], [200.0])
    assert sum(result[0]) == pytest.approx(200.0)
    assert result[0][0] == pytest.approx(100.0, abs=0.1)
    assert profile(days, [[[1.0] * 10] * 2], [120.0])[0][0] == pytest.approx(20.0, abs=0.1)


def test_more_than_the_highest_days_is_shared_in_proportion_and_days_without_weight_are_not_heard() -> None:
    days = [[[10.0, 20.0, 999.0], [30.0, 60.0, 999.0]]]
    weight = [[[1.0, 1.0, 0.0], [1.0, 1.0, 0.0]]]
    assert profile(days, weight, [160.0])[0] == pytest.approx([40.0, 120.0])


def test_a_piece_has_the_same_profile_whatever_stands_beside_it() -> None:
    rng = np.random.default_rng(5)
    value, weight = rng.lognormal(0, 1, (40, 9, 30)) * 1e5, rng.uniform(size=(40, 9, 30))
    energy = value.mean(axis=2).sum(axis=1)
    together = quantile_profile(value, weight, energy)
    for piece in range(40):
        cut = slice(piece, piece + 1)
        assert (quantile_profile(value[cut], weight[cut], energy[cut])[0] == together[piece]).all()
