"""Dirty days far from now: judged where something is stored of them, and nowhere else.

A meter's clock names any day up to 9999, and an edit that was entered without an end makes every day dirty that a table
reaches: each year of them would cost a context for every eight meters of its bucket.
"""

import logging
from datetime import UTC, date, datetime, timedelta
from typing import Final

import polars as pl

from app.edits import FARTHEST_AHEAD, FARTHEST_BACK
from schemas.frames import DIRTY_DAYS
from storage.store import ReadingStore, Scope

LOG = logging.getLogger("ami.vee")

FIRST_DAY: Final = date(1905, 1, 1)
LAST_DAY: Final = date(2294, 12, 31)
"""DateTime64 reaches from 1900 to 2299, and a day is judged beside others."""
METERS_A_LOOK: Final = 10_000
"""Meters whose days are asked for at once: their names stand in the text of the query."""
_DAY: Final = timedelta(days=1)


def within_tables(dirty: pl.DataFrame) -> pl.DataFrame:
    """The days that a table's instants reach, with their context. Others are told: a clock named them, nobody lives."""
    within = dirty.filter(pl.col("day").is_between(FIRST_DAY, LAST_DAY))
    if within.height < dirty.height:
        left_out = {"days": dirty.height - within.height}
        LOG.warning("days are not judged that no table reaches", extra={"fields": left_out})
    return within


def near(now: datetime) -> pl.Expr:
    """Whether `day` lies as near to now as a span of an edit may reach: `app.edits`."""
    return pl.col("day").is_between((now - FARTHEST_BACK).date() - _DAY, (now + FARTHEST_AHEAD).date() + _DAY)


def stored_days(store: ReadingStore, far: pl.DataFrame, meters: pl.DataFrame, now: datetime) -> pl.DataFrame:
    """Those of the days of which an interval, a read or a final of a meter of their bucket is stored: DIRTY_DAYS.

    All of one side of now are asked for in one query for every `METERS_A_LOOK` meters, however many days they are.

    Args:
        store: Answers `load_days`.
        far: DIRTY_DAYS that are not near.
        meters: `meter_id` and `bucket` of those judged; a meter may stand in several buckets.
        now: Parts the sides.
    """
    today = now.date()
    sides = (far.filter(pl.col("day") < today), far.filter(pl.col("day") >= today))
    kept = [_stored(store, side, meters) for side in sides if side.height]
    told = pl.concat([DIRTY_DAYS.empty(), *kept])
    if told.height < far.height:
        lacking = {"days": far.height - told.height}
        LOG.warning("days are not judged of which nothing is stored", extra={"fields": lacking})
    return told


def _stored(store: ReadingStore, side: pl.DataFrame, meters: pl.DataFrame) -> pl.DataFrame:
    ((first, last),) = side.select(first=pl.col("day").min(), last=pl.col("day").max()).rows()
    # A local day of any zone lies within the day of UTC, the one before and the one after.
    start, end = _midnight(first) - _DAY, _midnight(last) + 2 * _DAY
    mine = meters.join(side.select("bucket").unique(), on="bucket", how="semi")
    names = mine["meter_id"].unique().sort()
    found = [
        store.load_days(Scope(tuple(part), start, end))
        for part in (names.slice(at, METERS_A_LOOK) for at in range(0, len(names), METERS_A_LOOK))
    ]
    if not found:
        return side.clear()
    days = mine.join(pl.concat(found), on="meter_id").select("bucket", "day")
    around = pl.concat([days.with_columns(pl.col("day").dt.offset_by(by)) for by in ("-1d", "0d", "1d")])
    return side.join(around.unique(), on=["bucket", "day"], how="semi", maintain_order="left")


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
