"""What no register can have shown, and a leap that does not last, fill no gap."""

from datetime import timedelta
from typing import Any

import pytest
from vee_made import JUDGED_AT, MONDAY, found, intervals, meters, params, reads, vee

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
