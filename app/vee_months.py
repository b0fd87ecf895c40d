"""Months that are over: who has a new final in one has all of it judged, so that V36 can tell its shares of all of it.

The others' shares are what they were. A month is over for a meter where its finals reach the month's end; those of one
that was removed never do: it is told of its last month when another meter reaches its end.
"""

from datetime import date, datetime, timedelta
from typing import Final

import polars as pl

from schemas.frames import UTC_US
from schemas.timegrid import day_bounds, zone
from storage.store import Scope

LONGEST_MONTH: Final = timedelta(days=32)
"""31 days and the hour that a clock may be set back; a whole day, for spans are counted in days."""
_INSTANT: Final = timedelta(microseconds=1)


def months_to_judge(
    appended: pl.DataFrame, ends: pl.DataFrame, meters: pl.DataFrame, grid: Scope, timezone: str
) -> Scope | None:
    """The meters of a grid of which months are to be judged as a whole, and the grid with those months; None: nobody.

    Args:
        appended: FINALS that the grid's judgement would add.
        ends: FINAL_ENDS of the meters before it, as far as a month behind the grid.
        meters: METERS: zones, and who was removed.
        grid: Meters and the span [start, end) that was judged.
        timezone: Of meters whose master data name none.
    """
    if not appended.height:
        return None
    zones = _zones(meters, timezone)
    news = appended.select("meter_id", at="interval_start", until=pl.col("interval_start") + _length())
    before = ends.group_by("meter_id").agg(before=pl.col("ends_at").max())
    reached = news.group_by("meter_id").agg(pl.col("until").max()).join(before, on="meter_id", how="left")
    rows = reached.with_columns(pl.max_horizontal("until", "before")).select("meter_id", "until").rows()
    over = [month_of(until, zones.get(name, timezone))[0] for name, until in rows]
    late = news.join(reached.with_columns(pl.Series("over", over, dtype=UTC_US)), on="meter_id")
    late = late.filter(pl.col("at") < pl.col("over"))
    if not late.height:
        return None
    touched = [(name, at) for name, *both in _first_and_last(late).rows() for at in both]
    ended = late.filter(pl.col("before").is_null() | (pl.col("before") < pl.col("over")))
    if ended.height:
        touched += _removed_in(meters, grid, {(end - LONGEST_MONTH, end) for end in ended["over"].unique()})
    months = [month_of(at, zones.get(name, timezone)) for name, at in touched]
    return Scope(
        tuple(sorted({name for name, _ in touched})),
        min(grid.start, *(start for start, _ in months)),
        max(grid.end, *(end for _, end in months)),
    )


def month_of(instant: datetime, name: str) -> tuple[datetime, datetime]:
    """First instant of the local month, and of the next one."""
    day = instant.astimezone(zone(name)).date().replace(day=1)
    following = date(day.year + day.month // 12, day.month % 12 + 1, 1)
    return day_bounds(day, name)[0], day_bounds(following, name)[0]


def _zones(meters: pl.DataFrame, timezone: str) -> dict[str, str]:
    """Of each meter that of its last installation."""
    rows = meters.sort("installed_at", nulls_last=False).unique("meter_id", keep="last")
    return dict(rows.select("meter_id", pl.col("timezone").fill_null(timezone)).rows())


def _length() -> pl.Expr:
    return pl.duration(seconds="interval_s")


def _first_and_last(late: pl.DataFrame) -> pl.DataFrame:
    return late.group_by("meter_id").agg(first=pl.col("at").min(), last=pl.col("at").max())


def _removed_in(meters: pl.DataFrame, grid: Scope, spans: set[tuple[datetime, datetime]]) -> list[tuple[str, datetime]]:
    """Meters of the grid that stand nowhere any more, and their last instant, where it lies in one of the spans."""
    mine = meters.filter(pl.col("meter_id").is_in(grid.meters))
    last = mine.group_by("meter_id").agg(left=pl.col("removed_at").max(), stands=pl.col("removed_at").is_null().any())
    gone = last.filter(~pl.col("stands")).select("meter_id", "left").rows()
    return [(name, left - _INSTANT) for name, left in gone if any(start < left <= end for start, end in spans)]
