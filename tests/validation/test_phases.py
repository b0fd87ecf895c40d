"""Meters whose intervals begin beside whole steps since 1970: whole local hours of Kolkata, days of Berlin."""

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from vee_made import MONDAY, failed, found, intervals, meters, params, reads, vee

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
KOLKATA = datetime(2025, 3, 2, 18, 30, tzinfo=UTC)
BERLIN = datetime(2025, 3, 2, 23, tzinfo=UTC)


@pytest.mark.parametrize("known", [True, False])
def test_whole_local_hours_of_a_zone_with_a_half_hour_are_a_grid(known: bool) -> None:
    result = vee(
        params(grid_from=KOLKATA, grid_to=KOLKATA + 2 * DAY, timezone="Asia/Kolkata"),
        intervals=intervals([1_000] * 48, start=KOLKATA, skip=[30, 31, 32]),
        reads=reads({KOLKATA: 0, KOLKATA + DAY: 24_000, KOLKATA + 2 * DAY: 48_300}),
        **({"meters": meters({"timezone": "Asia/Kolkata"})} if known else {}),
    )
    assert result.finals["interval_start"].to_list() == [KOLKATA + k * HOUR for k in range(48)]
    assert result.finals["value_milli"].to_list() == [1_000] * 30 + [1_100] * 3 + [1_000] * 15
    assert failed(result, "missing_interval") == [30, 31, 32]
    assert found(result, "identity").is_empty()


def test_days_of_berlin_are_a_grid() -> None:
    result = vee(
        intervals=intervals([24_000] * 20, start=BERLIN, step_s=86_400),
        meters=meters({"timezone": "Europe/Berlin", "interval_s": 86_400}),
    )
    assert result.finals["interval_start"].to_list() == [BERLIN + k * DAY for k in range(20)]
    assert set(result.finals["quality"]) == {"valid"}


def test_reads_of_a_cumulative_profile_tell_its_phase() -> None:
    result = vee(
        params(grid_from=KOLKATA, grid_to=KOLKATA + DAY),
        reads=reads({KOLKATA + k * HOUR: 1_000 * k for k in range(25)}),
        meters=meters({"timezone": "Asia/Kolkata", "profile": "cumulative"}),
    )
    assert result.finals["interval_start"].to_list() == [KOLKATA + k * HOUR for k in range(24)]
    assert set(result.finals["value_milli"]) == {1_000}


def test_the_few_that_lie_beside_the_grid_and_a_clock_seconds_off_are_still_findings() -> None:
    few = pl.concat([intervals([1_000] * 24), intervals([9], start=MONDAY + timedelta(minutes=30))])
    result = vee(intervals=few)
    assert result.finals["value_milli"].to_list() == [1_000] * 24
    assert found(result, "identity")["intervals"].to_list() == [1]
    late = vee(intervals=intervals([1_000] * 24, start=MONDAY + timedelta(seconds=7)))
    assert found(late, "identity")["intervals"].to_list() == [24]


def test_a_check_meter_of_another_phase_lends_nothing() -> None:
    rows = [
        intervals([1_000] * 24, skip=[5]), intervals([9_000] * 24, meter="CHECK", start=MONDAY - timedelta(minutes=30)),
    ]  # fmt: skip
    result = vee(intervals=pl.concat(rows), meters=meters({}, {"meter_id": "CHECK", "check_of": "MTR1"}))
    assert result.finals.filter(pl.col("meter_id") == "MTR1")["method"].to_list()[5] == "linear"
