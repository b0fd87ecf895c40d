"""What no register can have shown, and a leap that does not last, fill no gap."""

from datetime import timedelta
from typing import Any

import pytest
from vee_made import JUDGED_AT, MONDAY, failed, found, intervals, meters, params, reads, unjudged, vee

from validation.block import ABSENT
from validation.master import facts_of

DAY = timedelta(days=1)
NOON = MONDAY + DAY / 2
HOURLY = [1000] * 24
FUSE = {"fuse_a": 100, "voltage_v": 230, "phase": "A"}


def between(value: int, **known: Any) -> Any:
    told = reads({MONDAY: 5000, NOON: value, MONDAY + DAY: 29_000})
    return vee(intervals=intervals(HOURLY, skip=[5, 6]), reads=told, meters=meters(known))


@pytest.mark.parametrize("known", [FUSE, {}])
@pytest.mark.parametrize(("value", "limit"), [(10**11, 10**11 - 1), (10**15, 10**11 - 1), (2**62, 10**11 - 1), (-1, 0)])
def test_a_register_shows_no_more_than_its_digits_and_nothing_below_zero(
    value: int, limit: int, known: dict[str, Any]
) -> None:
    """8 digits: 10^11 thousandths are one more than the register can show."""
    result = between(value, register_digits=8, **known)
    assert result.finals["value_milli"].to_list() == HOURLY
    told = found(result, "rollover_or_reset").select("first_interval", "intervals", "measured_milli", "limit_milli")
    assert told.rows() == [(NOON - DAY / 24, 1, value, limit)]


def test_the_most_that_a_register_shows_is_a_read() -> None:
    """From 99,999.999 of 5 digits on by 12,000 and over the end: 11,999 afterwards."""
    told = reads({MONDAY: 10**8 - 1, MONDAY + DAY: 23_999})
    result = vee(intervals=intervals(HOURLY, skip=[5, 6]), reads=told, meters=meters({"register_digits": 5}))
    assert result.finals["value_milli"].to_list() == HOURLY
    assert found(result, "rollover_or_reset").height == 0


@pytest.mark.parametrize("digits", [8, None])
@pytest.mark.parametrize("value", [5 * 10**10, 95 * 10**9])
def test_a_leap_is_a_fault_also_where_only_one_read_follows(value: int, digits: int | None) -> None:
    result = between(value, register_digits=digits)
    assert result.finals["value_milli"].to_list() == HOURLY
    assert found(result, "rollover_or_reset").height == 1


def test_a_read_out_of_range_is_told_of_in_the_run_that_judges_its_interval() -> None:
    told = reads({MONDAY: 5000, NOON: -1, MONDAY + DAY: 29_000})
    later = params(grid_from=NOON, grid_to=MONDAY + DAY, judged_at=JUDGED_AT)
    result = vee(later, intervals=intervals(HOURLY, skip=[15]), reads=told)
    assert result.finals["value_milli"].to_list() == HOURLY[12:]
    assert found(result, "rollover_or_reset").height == 0


def at_the_end(shown: int, days: int = 8, **known: Any) -> Any:
    """Days of 1000 an hour; 5 and 6 o'clock of the last one were lost, and at its end the register shows `shown`."""
    start = MONDAY - (days - 1) * DAY
    told = reads({MONDAY: 0, MONDAY + DAY: shown})
    values = intervals(HOURLY * days, start=start, skip=[24 * days - 19, 24 * days - 18])
    return vee(params(grid_from=MONDAY), intervals=values, reads=told, meters=meters(known))


def test_a_gap_is_not_filled_with_what_its_series_can_never_have_used() -> None:
    """22 hours of 1000: up to 100,000 each the two lost ones take what the register says, beyond it nothing of it."""
    most = at_the_end(222_000)
    assert most.finals["value_milli"].to_list() == [*HOURLY[:5], 100_000, 100_000, *HOURLY[7:]]
    assert found(most, "register_delta").height == 0
    for shown in (222_002, 10**12):
        beyond = at_the_end(shown)
        assert beyond.finals["value_milli"].to_list() == HOURLY
        assert found(beyond, "register_delta").select("first_interval", "intervals").rows() == [(MONDAY, 24)]
        assert set(failed(beyond, "register_delta")) == set(range(24))
        assert not unjudged(beyond, "register_delta")


@pytest.mark.parametrize(("days", "known"), [(8, FUSE), (3, {})])
def test_a_fuse_says_what_a_gap_can_hold_and_less_than_a_week_nothing(days: int, known: dict[str, Any]) -> None:
    """100 A at 230 V let 28.75 kWh through in an hour, with the margin: the register is believed."""
    result = at_the_end(22_000 + 2 * 200_000, days, **known)
    assert result.finals["value_milli"].to_list() == [*HOURLY[:5], 200_000, 200_000, *HOURLY[7:]]


def test_a_series_of_zeros_says_nothing_about_its_register() -> None:
    told = reads({MONDAY: 0, MONDAY + DAY: 10**6})
    result = vee(intervals=intervals([0] * 24, skip=[5, 6]), reads=told)
    assert result.finals["value_milli"].sum() == 10**6


def test_a_register_whose_end_fits_no_64_bits_has_none() -> None:
    """12 digits behind a ratio of 10^6: it starts again at 10^21 thousandths."""
    master = meters(*({"register_digits": 12, "multiplier": 10**ratio} for ratio in (9, 5)))
    assert facts_of(master).wrap.tolist() == [ABSENT, 10**17]
