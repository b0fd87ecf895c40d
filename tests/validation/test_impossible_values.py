"""One value that nothing can have measured is one value's matter: the run goes on, and tells it as it was sent."""

from datetime import timedelta

import polars as pl
import pytest
from vee_made import MONDAY, found, intervals, meters, reads, vee

DAY = timedelta(days=1)
HOURLY = [1000] * 24
BEHIND_40 = {"multiplier": 40_000}


@pytest.mark.parametrize("sent", [2**62, -(2**62), 3 * 10**17, 25 * 10**12 + 1])
def test_a_value_beyond_all_measure_is_a_hole_and_told_as_sent(sent: int) -> None:
    other = intervals(HOURLY, meter="MTR2")
    register = reads({MONDAY: 0, MONDAY + DAY: 24_000})
    master = meters(BEHIND_40, {"meter_id": "MTR2"})
    result = vee(intervals=pl.concat([intervals([sent, *HOURLY[1:]]), other]), reads=register, meters=master)
    first = result.finals.filter(pl.col("meter_id") == "MTR1")
    assert first["value_milli"].to_list() == [40_000] * 24
    assert first["quality"].to_list() == ["estimated"] + ["valid"] * 23
    told = found(result, "absolute_limit").select("meter_id", "first_interval", "intervals", "measured_milli")
    assert told.rows() == [("MTR1", MONDAY, 1, sent)]
    # 10^15 thousandths are the most of an interval, behind a multiplier of 40 that is 25 x 10^12 as sent.
    assert found(result, "absolute_limit")["limit_milli"].to_list() == [25 * 10**12]
    assert result.finals.filter(pl.col("meter_id") == "MTR2")["value_milli"].to_list() == HOURLY


def test_the_most_of_an_interval_is_a_value() -> None:
    result = vee(intervals=intervals([25 * 10**12, *HOURLY[1:]]), meters=meters(BEHIND_40))
    assert result.finals["value_milli"][0] == 10**15


def test_a_read_beyond_all_measure_anchors_nothing() -> None:
    told = reads({MONDAY: 0, MONDAY + DAY / 2: 2**62, MONDAY + DAY: 24_000})
    result = vee(intervals=intervals(HOURLY, skip=[5, 6]), reads=told, meters=meters(BEHIND_40))
    assert result.finals["value_milli"].to_list() == [40_000] * 24
