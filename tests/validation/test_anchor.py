"""Estimates meet the register, exactly; each row of the E10 table by hand."""

import itertools
from datetime import timedelta

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st
from vee_made import DELIVERED, MONDAY, failed, found, intervals, meters, reads, unjudged, vee

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


def test_a_gap_is_scaled_to_the_register_by_the_running_sum() -> None:
    # Ends 100 and 100: the line gives 100, 100; the register leaves 301 for both: 301 × 100 // 200 = 150, then 151.
    result = vee(
        intervals=intervals([100] * 24, skip=[5, 6]),
        reads=reads({MONDAY: 0, MONDAY + DAY: 22 * 100 + 301}),
    )
    assert result.finals["value_milli"].to_list()[4:8] == [100, 150, 151, 100]
    assert result.finals["method"].to_list()[5:7] == ["linear", "linear"]
    assert unjudged(result, "sum_check") == []
    assert failed(result, "sum_check") == []


def test_each_stretch_between_consecutive_reads_is_anchored_by_itself() -> None:
    noon = MONDAY + 12 * HOUR
    result = vee(
        intervals=intervals([100] * 24, skip=[5, 15]),
        reads=reads({MONDAY: 0, noon: 11 * 100 + 40, MONDAY + DAY: 11 * 100 + 40 + 11 * 100 + 160}),
    )
    values = result.finals["value_milli"].to_list()
    assert (values[5], values[15]) == (40, 160)


def test_a_profile_of_zeros_shares_equally_and_is_a_finding() -> None:
    result = vee(
        intervals=intervals([0] * 10, skip=[4, 5, 6]),
        reads=reads({MONDAY: 0, MONDAY + 10 * HOUR: 100}),
    )
    assert result.finals["value_milli"].to_list()[4:7] == [33, 33, 34]
    assert found(result, "anchor_zero_profile")["intervals"].to_list() == [10]


def test_a_negative_remainder_leaves_the_estimates_unscaled_and_goes_to_a_person() -> None:
    result = vee(
        intervals=intervals([100] * 10, skip=[4]),
        reads=reads({MONDAY: 0, MONDAY + 10 * HOUR: 850}),
    )
    assert result.finals["value_milli"].to_list() == [100] * 10
    assert result.finals["quality"].to_list()[4] == "estimated"
    finding = found(result, "anchor_negative_remainder")
    assert finding.select("severity", "measured_milli", "limit_milli").rows() == [("blocking", 900, 850)]
    assert failed(result, "sum_check") == list(range(10))


def test_a_coarse_register_moves_estimates_no_further_than_into_its_resolution() -> None:
    master = meters({"register_resolution_milli": 1000})
    near = vee(
        intervals=intervals([5_000] * 10, skip=[4]), reads=reads({MONDAY: 0, MONDAY + 10 * HOUR: 49_500}), meters=master
    )
    assert near.finals["value_milli"].to_list()[4] == 5_000
    far = vee(
        intervals=intervals([5_000] * 10, skip=[4]), reads=reads({MONDAY: 0, MONDAY + 10 * HOUR: 53_000}), meters=master
    )
    assert far.finals["value_milli"].to_list()[4] == 7_000
    under = vee(
        intervals=intervals([5_000] * 10, skip=[4]), reads=reads({MONDAY: 0, MONDAY + 10 * HOUR: 44_500}), meters=master
    )
    assert under.finals["value_milli"].to_list()[4] == 500
    assert found(under, "anchor_negative_remainder").height == 0


def test_a_fine_register_behind_a_transformer_ratio_is_met_exactly() -> None:
    result = vee(
        intervals=intervals([100_001] * 10, skip=[4, 5, 6]),
        reads=reads({MONDAY: 0, MONDAY + 10 * HOUR: 1_000_333}),
        meters=meters({"multiplier": 40_000}),
    )
    assert result.finals["value_milli"].sum() == 40 * 1_000_333


def test_a_rollover_inside_a_stretch_is_counted_on() -> None:
    result = vee(
        intervals=intervals([1_000] * 10, skip=[4]),
        reads=reads({MONDAY: 9_995_000, MONDAY + 10 * HOUR: 6_500}),
        meters=meters({"register_digits": 4}),
    )
    assert result.finals["value_milli"].to_list()[4] == 11_500 - 9_000


def test_a_stretch_with_one_usable_end_is_not_anchored() -> None:
    clock_invalid = 1
    result = vee(
        intervals=intervals([100] * 10, skip=[4]),
        reads=pl.concat([reads({MONDAY: 0}), reads({MONDAY + 10 * HOUR: 5_000}, status=clock_invalid)]),
    )
    assert result.finals["value_milli"].to_list()[4] == 100
    assert unjudged(result, "sum_check") == list(range(10))


def test_a_read_off_the_grid_is_no_end_of_a_stretch() -> None:
    result = vee(
        intervals=intervals([100] * 10, skip=[4]),
        reads=reads({MONDAY: 0, MONDAY + 9 * HOUR + timedelta(minutes=1): 5_000}),
    )
    assert result.finals["value_milli"].to_list()[4] == 100


def test_a_gap_longer_than_any_knowledge_is_spread_evenly_over_the_register() -> None:
    result = vee(intervals=intervals([None] * 7), reads=reads({MONDAY: 0, MONDAY + 7 * HOUR: 100}))
    assert result.finals["value_milli"].to_list() == [14, 14, 14, 15, 14, 14, 15]
    assert result.finals["method"].to_list() == ["flat"] * 7


@settings(max_examples=60, deadline=None)
@given(
    values=st.lists(st.integers(0, 2 * 10**8), min_size=26, max_size=60),
    skip=st.sets(st.integers(0, 59), max_size=20),
    ends=st.lists(st.integers(0, 60), min_size=2, max_size=6, unique=True),
    order=st.randoms(use_true_random=False),
)
def test_the_energy_of_every_anchored_stretch_is_conserved_and_no_value_is_negative(
    values: list[int], skip: set[int], ends: list[int], order: object
) -> None:
    register = [0]
    for value in values:
        register.append(register[-1] + value)
    at = sorted({min(end, len(values)) for end in ends})
    rows = intervals(values, skip=sorted(k for k in skip if k < len(values)))
    if not rows.height:
        return
    # A shop behind a transformer ratio: the values may be anything that its fuse allows.
    shop = meters({"fuse_a": 1000, "voltage_v": 400, "phase": "A"})
    boundary = reads({MONDAY + k * HOUR: register[k] for k in at})
    result = vee(intervals=rows.sample(fraction=1, shuffle=True, seed=3), reads=boundary, meters=shop)
    finals = dict(zip(result.finals["interval_start"], result.finals["value_milli"], strict=True))
    for first, after in itertools.pairwise(at):
        inside = [MONDAY + k * HOUR for k in range(first, after)]
        if all(instant in finals for instant in inside):
            assert sum(finals[instant] for instant in inside) == register[after] - register[first]
    assert min(finals.values()) >= 0


def test_time_of_use_registers_are_unjudged_where_one_of_them_was_not_read_together_with_the_total() -> None:
    # T1 was not read at the end of the first day: in neither day is its advance known, and no value is to blame.
    told = {
        DELIVERED: {MONDAY: 0, MONDAY + DAY: 24_000, MONDAY + 2 * DAY: 48_000},
        "energy_delivered_t1": {MONDAY: 0, MONDAY + 2 * DAY: 24_000},
        "energy_delivered_t2": {MONDAY: 0, MONDAY + DAY: 12_000, MONDAY + 2 * DAY: 24_000},
    }
    result = vee(
        intervals=intervals([1_000] * 48), reads=pl.concat([reads(at, channel=name) for name, at in told.items()])
    )
    assert set(result.finals["quality"]) == {"valid"}
    assert failed(result, "tou_sum") == []
    assert unjudged(result, "tou_sum") == list(range(48))
