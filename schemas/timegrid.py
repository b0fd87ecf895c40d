"""The time grid: half-open intervals on the UTC axis, local days of 23, 24 or 25 hours, day types and holidays.

Intervals are counted in UTC; only labels (local day, time of use, day type) are local. A repeated local hour is two
different UTC hours; a skipped one does not exist. Zones come from the IANA database.
"""

from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from typing import Final
from zoneinfo import ZoneInfo

import polars as pl

from schemas.errors import ContractError
from schemas.frames import UTC_US

NEM_TIMEZONE: Final = "Etc/GMT-10"
"""NEM time, UTC+10 without daylight saving (AEMO MDFF). The sign of `Etc` zones is inverted by POSIX."""

INTERVAL_LENGTHS_S: Final = (60, 300, 600, 900, 1800, 3600, 86400)
"""Capture periods in use (dlms.md section 11)."""


class DayType(StrEnum):
    """Kind of a local day. A holiday is of the kind holiday, whatever weekday it falls on."""

    WORKDAY = "workday"
    SATURDAY = "saturday"
    SUNDAY = "sunday"
    HOLIDAY = "holiday"


DAY_TYPE: Final = pl.Enum([kind.value for kind in DayType])


def zone(name: str) -> ZoneInfo:
    """The IANA zone of that name.

    Raises:
        ContractError: There is no such zone.
    """
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise ContractError(f"timezone {name!r}: no such IANA zone") from error


def day_bounds(day: date, timezone: str) -> tuple[datetime, datetime]:
    """First instant of a local day and of the next one, in UTC.

    Where local midnight does not exist the day starts at the first instant that does; where it exists twice, at the
    first of the two.
    """
    return _midnight(day, timezone), _midnight(day + timedelta(days=1), timezone)


def expected_count(day: date, timezone: str, interval_s: int) -> int:
    """Number of intervals that a local day holds: 92, 96 or 100 quarters, 46, 48 or 50 halves, 23, 24 or 25 hours.

    Australia/Lord_Howe moves its clock by half an hour: 47, 48 or 49 halves.

    Raises:
        ContractError: The day is not a whole number of intervals (an hourly grid on a day of 23.5 hours).
    """
    start, end = day_bounds(day, timezone)
    count, rest = divmod(int((end - start).total_seconds()), interval_s)
    if rest:
        raise ContractError(f"{day} in {timezone} is not a whole number of intervals of {interval_s} s")
    return count


def expected_intervals(spans: pl.DataFrame) -> pl.DataFrame:
    """One row for every interval of every span.

    Args:
        spans: `grid_from`, `grid_to` (UTC, half open), `interval_s` (> 0), and any columns that name the span. An
            interval belongs to a span if it starts in it and ends in it; intervals lie on multiples of
            `interval_s` since 1970-01-01T00:00Z.

    Returns:
        The naming columns and `interval_s` as they were, and `interval_start`, ascending within a span; spans in
        their order. A span shorter than an interval has no row.
    """
    us = pl.col("interval_s").cast(pl.Int64) * 1_000_000
    first = -(-pl.col("grid_from").cast(UTC_US).to_physical() // us)  # ceiling
    after = pl.col("grid_to").cast(UTC_US).to_physical() // us
    return (
        spans.with_columns(_slot=pl.int_ranges(first, pl.max_horizontal(first, after)))
        .filter(pl.col("_slot").list.len() > 0)
        .explode("_slot")
        .with_columns(interval_start=(pl.col("_slot") * us).cast(UTC_US))
        .drop("_slot", "grid_from", "grid_to")
    )


def with_local_time(rows: pl.DataFrame, instant: str = "interval_start", timezone: str = "timezone") -> pl.DataFrame:
    """The same rows in the same order with `local_day` (Date) and `local_second` (Int32, seconds of the wall clock).

    Args:
        rows: Frame with the UTC column `instant` and the String column `timezone` (an IANA name in every row).
        instant: Name of the UTC column.
        timezone: Name of the zone column.

    `local_second` is what the wall clock shows (0 to 86 399): the repeated hour of a 25-hour day shows twice.
    """
    zones = rows[timezone].unique().drop_nulls().to_list()
    day = pl.lit(None, dtype=pl.Date)
    second = pl.lit(None, dtype=pl.Int32)
    for name in zones:
        zone(name)
        local = pl.col(instant).dt.convert_time_zone(name)
        here = pl.col(timezone) == name if len(zones) > 1 else pl.lit(value=True)
        day = pl.when(here).then(local.dt.date()).otherwise(day)
        seconds = local.dt.hour().cast(pl.Int32) * 3600 + local.dt.minute().cast(pl.Int32) * 60 + local.dt.second()
        second = pl.when(here).then(seconds.cast(pl.Int32)).otherwise(second)
    return rows.with_columns(local_day=day, local_second=second)


def day_type(day: pl.Expr, holidays: Iterable[date] = ()) -> pl.Expr:
    """Kind of each local day of a Date expression, as `DAY_TYPE`."""
    kind = (
        pl.when(day.is_in(list(holidays)))
        .then(pl.lit(DayType.HOLIDAY.value))
        .when(day.dt.weekday() == 6)
        .then(pl.lit(DayType.SATURDAY.value))
        .when(day.dt.weekday() == 7)
        .then(pl.lit(DayType.SUNDAY.value))
        .otherwise(pl.lit(DayType.WORKDAY.value))
    )
    return kind.cast(DAY_TYPE)


def _midnight(day: date, timezone: str) -> datetime:
    here = zone(timezone)
    instant = datetime(day.year, day.month, day.day, tzinfo=here).astimezone(UTC)
    if instant.astimezone(here).time() == time(0):
        return instant
    # The clock was put forward over midnight: the day starts where the gap ends, within a few hours of it.
    before, after = instant - timedelta(hours=4), instant + timedelta(hours=4)
    while after - before > timedelta(seconds=1):
        middle = (before + (after - before) / 2).replace(microsecond=0)
        if middle.astimezone(here).date() < day:
            before = middle
        else:
            after = middle
    return after
