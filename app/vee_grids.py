"""How far the meters of a bucket are judged: the days that are dirty, and what their new data reach into.

A day ends at midnight, what is judged does not: a gap goes on over midnight, and a register says only later what a gap
of yesterday took. So the grid of a meter reaches back to

* where its finals ended, though it is still there: what was awaited then has become due;
* the beginning of a gap that ends in the dirty days: it is no longer open at its end;
* the register read before them, where the next one lies in them or behind: what the stretch between the two took is
  told anew by every value in it, to its estimates and to the sum check of its measured values;

and forward likewise, where data come late. Each meter by itself: one that was silent for a week costs a week of its
own, not of its bucket. Nor does it begin on a day before the first of which anything is known: a meter's first read at
midnight, or what another meter of the bucket sends late, is no reason to estimate what nobody has measured yet.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl

from schemas.frames import UTC_US
from schemas.timegrid import day_bounds
from storage.store import Context, Scope
from validation.reads import UNUSABLE
from validation.rules.definition import ACCUMULATED

_SERIES = ["meter_id", "channel"]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_STEP_US = pl.col("interval_s").mode().min().cast(pl.Int64) * 1_000_000


def begun(context: Context, ends: pl.DataFrame, asked: Scope, zones: Sequence[str]) -> tuple[Scope, ...]:
    """The meters of a bucket with the part of its span in which they have begun; those that have not are left out.

    A meter of which nothing at all is known has the whole span: it is there by METERS, and silent.

    Args:
        context: What was loaded around the bucket; finals are not looked at.
        ends: FINAL_ENDS of the meters, as far back as the context reaches.
        asked: Meters and the span [start, end) of their dirty days.
        zones: Of the meters.
    """
    mine = pl.DataFrame({"meter_id": asked.meters}, schema={"meter_id": pl.String})
    known = pl.concat(
        [
            context.intervals.select("meter_id", at="interval_start"),
            context.reads.select("meter_id", at="read_at"),
            ends.select("meter_id", at="ends_at"),
        ]
    )
    first = mine.join(
        known.group_by("meter_id").agg(pl.col("at").min()), on="meter_id", how="left", maintain_order="left"
    )
    midnights = _midnights(asked, zones)
    at = first["at"].fill_null(asked.start).to_physical().to_numpy()
    day = np.searchsorted([_micros(each) for each in midnights], at, "right") - 1
    place = np.where(at >= _micros(asked.end), len(midnights), np.maximum(day, 0))
    parts = first.with_columns(place=pl.Series(place)).filter(pl.col("place") < len(midnights))
    return tuple(
        Scope(tuple(part["meter_id"].to_list()), midnights[int(part["place"][0])], asked.end)
        for part in parts.partition_by("place", maintain_order=True)
    )


def _midnights(asked: Scope, zones: Sequence[str]) -> list[datetime]:
    """Where the days of a span begin: with the meter that is farthest to the east."""
    days = [asked.start.date() + timedelta(days=step) for step in range(-1, (asked.end - asked.start).days + 3)]
    begin = [_first_midnight(day, zones) for day in days]
    return [asked.start, *(each for each in begin if asked.start < each < asked.end)]


def _first_midnight(day: date, zones: Sequence[str]) -> datetime:
    return min(day_bounds(day, name)[0] for name in zones)


def _micros(instant: datetime) -> int:
    return (instant - _EPOCH) // timedelta(microseconds=1)


def grids_of(context: Context, ends: pl.DataFrame, bucket: Scope) -> tuple[Scope, ...]:
    """The meters of a bucket with the spans that are judged: most with the bucket's own, the others with a wider one.

    Args:
        context: What was loaded around the bucket; finals are not looked at.
        ends: FINAL_ENDS of the meters, as far back as the context reaches.
        bucket: Meters and the span [start, end) of their dirty days.
    """
    spans = pl.concat([_unfinished(ends, context.meters, bucket.start), _reached(context, bucket)])
    mine = pl.DataFrame({"meter_id": bucket.meters}, schema={"meter_id": pl.String})
    wider = (
        spans.join(mine, on="meter_id", how="semi")
        .filter((pl.col("since") < bucket.start) | (pl.col("until") > bucket.end))
        .group_by("meter_id")
        .agg(pl.col("since").min(), pl.col("until").max())
        .sort("meter_id")
    )
    if not wider.height:
        return (bucket,)
    since, until = _bounds(wider, bucket)
    rest = mine.join(wider, on="meter_id", how="anti", maintain_order="left")["meter_id"].to_list()
    grids = (Scope(tuple(wider["meter_id"].to_list()), since, until), bucket._replace(meters=tuple(rest)))
    return tuple(grid for grid in grids if grid.meters)


def _bounds(wider: pl.DataFrame, bucket: Scope) -> tuple[datetime, datetime]:
    ((since, until),) = wider.select(pl.col("since").min(), pl.col("until").max()).rows()
    return min(since, bucket.start), max(until, bucket.end)


def _spans(rows: pl.DataFrame, since: pl.Expr, until: pl.Expr) -> pl.DataFrame:
    return rows.select("meter_id", since=since, until=until)


def _unfinished(ends: pl.DataFrame, meters: pl.DataFrame, start: datetime) -> pl.DataFrame:
    """Where the series go on whose finals end before `start`, though their meter is there."""
    there = pl.col("removed_at").is_null() | (pl.col("removed_at") >= start)
    # A meter that was removed here and installed elsewhere has a row of each: one that stands makes it go on.
    gone = meters.group_by("meter_id").agg(there.any().alias("there")).filter(~pl.col("there"))
    going_on = ends.filter(pl.col("ends_at") < start).join(gone, on="meter_id", how="anti")
    return _spans(going_on, pl.col("ends_at"), pl.lit(start))


def _reached(context: Context, bucket: Scope) -> pl.DataFrame:
    """Gaps and stretches of registers that new data of the bucket's span reach into, on either side of it."""
    start, end = bucket.start, bucket.end
    begins, stops = pl.col("interval_start"), pl.col("interval_start") + pl.duration(seconds="interval_s")
    values = context.intervals.filter(pl.col("value_milli").is_not_null())
    series = values.group_by(_SERIES).agg(
        left=stops.filter(begins < start).max(),
        right=begins.filter(begins >= end).min(),
        inside=((begins >= start) & (begins < end)).any(),
        step_us=_STEP_US,
        # Two where they keep to the wall clock and it is changed (`validation.wall_clock`).
        phases_us=(begins.to_physical() % _STEP_US).unique(),
    )
    gaps = series.filter("inside")
    at = pl.col("read_at")
    reads = (
        context.reads.filter(
            pl.col("channel").cast(pl.String).is_in([one.value for one in ACCUMULATED]),
            pl.col("value_milli").is_not_null(),
            (pl.col("status") & UNUSABLE) == 0,
        )
        .join(series.select(*_SERIES, "step_us", "phases_us"), on=_SERIES, how="left")
        .join(context.meters.select("meter_id", "installed_at", "removed_at"), on="meter_id", how="left")
        .with_columns(read_at=_at_exchange())
        # A read off the grid bounds no stretch (`validation.reads`).
        .filter(pl.col("step_us").is_null() | (at.to_physical() % pl.col("step_us")).is_in(pl.col("phases_us")))
    )
    stretches = reads.group_by(_SERIES).agg(
        before=at.filter(at < start).max(),
        first=at.filter(at >= start).min(),
        last=at.filter(at <= end).max(),
        after=at.filter(at > end).min(),
    )
    back = stretches.filter(pl.col("before").is_not_null(), pl.col("first") > start)
    on = stretches.filter(pl.col("after").is_not_null(), pl.col("last") < end)
    return pl.concat(
        [
            _spans(gaps.filter(pl.col("left") < start), pl.col("left"), pl.lit(end)),
            _spans(gaps.filter(pl.col("right") > end), pl.lit(start), pl.col("right")),
            _spans(back, pl.col("before"), pl.lit(end)),
            _spans(on, pl.lit(start), pl.col("after")),
        ]
    )


def _since_phase(instant: pl.Expr) -> pl.Expr:
    return instant.to_physical() - pl.col("phases_us").list.min().fill_null(0)


def _at_exchange() -> pl.Expr:
    """`read_at`; in the interval in which the meter was installed its beginning, in that of its removal its end."""
    at, installed, removed = (pl.col(name) for name in ("read_at", "installed_at", "removed_at"))
    step = pl.col("step_us").fill_null(1)
    slot, begins, ends = (_since_phase(one) // step for one in (at, installed, removed))
    within = _since_phase(at) % step
    return (
        pl.when((slot == begins) & (at >= installed))
        .then((at.to_physical() - within).cast(UTC_US))
        .when((slot == ends) & (at <= removed) & (within > 0))
        .then((at.to_physical() - within + step).cast(UTC_US))
        .otherwise(at)
    )
