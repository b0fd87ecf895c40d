"""Local days of a grid: which intervals make a day, and which of another day are the same by the wall clock."""

from collections.abc import Iterable
from datetime import date
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from schemas.frames import UTC_US
from schemas.timegrid import day_bounds, day_type, with_local_time

Indices = npt.NDArray[np.int64]


class Days(NamedTuple):
    """The local days that a run of intervals touches; D days of at most S slots by the wall clock.

    On a 25-hour day two intervals share a slot: the first stands for it. On a 23-hour day a slot has none.
    """

    of: Indices
    """Day of each interval, 0 to D - 1, ascending."""
    slot: Indices
    """Slot of each interval by the wall clock, 0 to S - 1."""
    first: Indices
    """First interval of each day; the last element is the number of intervals: D + 1 elements."""
    at: Indices
    """(D, S): interval of a slot of a day, or -1."""
    kind: npt.NDArray[np.uint8]
    """Day type of each day (`schemas.timegrid.DayType`, in its order)."""
    weekday: npt.NDArray[np.int8]
    """1 Monday to 7 Sunday."""
    odd: npt.NDArray[np.bool_]
    """The day is no whole number of intervals (V27)."""
    date: npt.NDArray[np.int32]
    """Days since 1970-01-01."""


def local_days(start_s: int, intervals: int, step_s: int, timezone: str, holidays: Iterable[date]) -> Days:
    """The local days of intervals, the first of which begins `start_s` seconds after 1970-01-01T00:00Z."""
    starts = (np.arange(intervals, dtype=np.int64) * step_s + start_s) * 1_000_000
    local = with_local_time(
        pl.DataFrame({"interval_start": pl.Series(starts).cast(UTC_US)}).with_columns(timezone=pl.lit(timezone))
    )
    number = local["local_day"].to_physical().to_numpy().astype(np.int64)
    of = number - (number[0] if intervals else 0)
    count = int(of[-1]) + 1 if intervals else 0
    slot = local["local_second"].to_numpy().astype(np.int64) // step_s
    at = np.full((count, -(-86_400 // step_s)), -1, dtype=np.int64)
    backwards = np.arange(intervals - 1, -1, -1)
    at[of[backwards], slot[backwards]] = backwards  # written last to first: the first of a repeated hour stays
    dates = (np.arange(count, dtype=np.int64) + (number[0] if intervals else 0)).astype(np.int32)
    day = pl.Series("day", dates).cast(pl.Date).to_frame()
    first = np.searchsorted(of, np.arange(count + 1)).astype(np.int64)
    lengths = [_seconds(start, timezone) for start in day["day"]]
    odd = np.array([length % step_s != 0 for length in lengths], dtype=np.bool_)
    return Days(
        odd=odd,
        of=of,
        slot=slot,
        first=first,
        at=at,
        kind=day.select(day_type(pl.col("day"), holidays)).to_series().to_physical().to_numpy().astype(np.uint8),
        weekday=day["day"].dt.weekday().to_numpy().astype(np.int8),
        date=dates,
    )


def _seconds(day: date, timezone: str) -> int:
    start, after = day_bounds(day, timezone)
    return int((after - start).total_seconds())
