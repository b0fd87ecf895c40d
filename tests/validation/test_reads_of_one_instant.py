"""Several reads of one register at one instant: a usable one counts, and those that say otherwise are told."""

from datetime import timedelta
from typing import Any

import polars as pl
import pytest
from vee_made import JUDGED_AT, MONDAY, found, intervals, meters, reads, vee

from schemas.codes import Status

DAY, HOUR = timedelta(days=1), timedelta(hours=1)


def judged(*also: pl.DataFrame) -> Any:
    """24 hours of 1000, three of them lost, behind a multiplier of 2; the register says 24,000 of a day."""
    told = pl.concat([reads({MONDAY: 0, MONDAY + DAY: 24_000}), *also])
    master = meters({"multiplier": 2000, "register_digits": 6})
    return [
        vee(intervals=intervals([1000] * 24, skip=[5, 6, 7]), reads=rows, meters=master)
        for rows in (told, told.reverse())
    ]


def test_a_later_read_that_says_otherwise_counts_and_is_told_with_both() -> None:
    """30,000 for 24,000: the three lost hours are 9,000 as sent."""
    for result in judged(reads({MONDAY + DAY: 30_000}, received_at=JUDGED_AT + HOUR)):
        assert result.finals["value_milli"].sum() == 60_000
        told = found(result, "duplicate").select("severity", "first_interval", "measured_milli", "limit_milli")
        assert told.rows() == [("warning", MONDAY + 23 * HOUR, 60_000, 48_000)]


@pytest.mark.parametrize(("value", "status"), [(None, 0), (10**9, 0), (-1, 0), (2**62, 0), (30_000, Status.TEST_MODE)])
def test_a_later_read_that_cannot_be_used_dethrones_none(value: int | None, status: int) -> None:
    for result in judged(reads({MONDAY + DAY: value}, status=status, received_at=JUDGED_AT + HOUR)):
        assert result.finals["value_milli"].sum() == 48_000
        assert found(result, "duplicate").height == 0


def test_a_read_that_came_twice_alike_is_no_finding() -> None:
    for result in judged(reads({MONDAY + DAY: 24_000}, received_at=JUDGED_AT + HOUR)):
        assert result.finals["value_milli"].sum() == 48_000
        assert found(result, "duplicate").height == 0
