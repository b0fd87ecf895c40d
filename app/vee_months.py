"""Months that are over: what changes in one has all of it judged, so that its shares are told of all of it (V36)."""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Final

import polars as pl

from schemas.timegrid import day_bounds, zone
from storage.store import Scope

LONGEST_MONTH: Final = timedelta(days=32)
"""31 days and the hour that a clock may be set back; a whole day, for spans are counted in days."""
_INSTANT: Final = timedelta(microseconds=1)


def with_whole_months(bucket: Scope, ends: pl.DataFrame, zones: Sequence[str]) -> Scope:
    """The bucket with the whole of each local month that it touches, if the month is over for some meter of it.

    A month is over where finals reach its end, or the bucket does: judged until there, it is whole. The month that goes
    on is left as it is.

    Args:
        bucket: Meters and the span [start, end) of their dirty days.
        ends: FINAL_ENDS of the meters, as far as a month behind the span.
        zones: Of the meters.
    """
    judged: datetime = max([bucket.end, *ends["ends_at"].drop_nulls().to_list()])
    start, end = bucket.start, bucket.end
    for name in zones:
        for instant in (bucket.start, bucket.end - _INSTANT):
            first, after = _month_of(instant, name)
            if after <= judged:
                start, end = min(start, first), max(end, after)
    return bucket._replace(start=start, end=end)


def _month_of(instant: datetime, name: str) -> tuple[datetime, datetime]:
    """First instant of the local month, and of the next one."""
    day = instant.astimezone(zone(name)).date().replace(day=1)
    following = date(day.year + day.month // 12, day.month % 12 + 1, 1)
    return day_bounds(day, name)[0], day_bounds(following, name)[0]
