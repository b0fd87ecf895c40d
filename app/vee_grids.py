"""How far the meters of a bucket are judged: the days that are dirty, and what their new data reach into.

A day ends at midnight, what is judged does not: a gap goes on over midnight, and a register says only later what a gap
of yesterday took. So the grid of a meter reaches back to

* where its finals ended, though it is still there: what was awaited then has become due;
* the beginning of a gap that ends in the dirty days: it is no longer open at its end;
* the register read before them, where the stretch from there into them has a hole: its estimates meet the register, or
  meet it with other values beside them; and where the read that ends it came after it was judged;

and forward likewise, where data come late. Each meter by itself: one that was silent for a week costs a week of its
own, not of its bucket.
"""

from datetime import datetime

import polars as pl

from storage.store import Context, Scope
from validation.reads import UNUSABLE
from validation.rules.definition import ACCUMULATED

_SERIES = ["meter_id", "channel"]


def grids_of(context: Context, ends: pl.DataFrame, bucket: Scope) -> tuple[Scope, ...]:
    """The meters of a bucket with the spans that are judged: most with the bucket's own, the others with a wider one.

    Args:
        context: What was loaded around the bucket; finals are not looked at.
        ends: FINAL_ENDS of the meters, as far back as the context reaches.
        bucket: Meters and the span [start, end) of their dirty days.
    """
    spans = pl.concat([_unfinished(ends, context.meters, bucket.start), _reached(context, ends, bucket)])
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


def _reached(context: Context, ends: pl.DataFrame, bucket: Scope) -> pl.DataFrame:
    """Gaps and stretches of registers that new data of the bucket's span reach into, on either side of it."""
    start, end = bucket.start, bucket.end
    begins, stops = pl.col("interval_start"), pl.col("interval_start") + pl.duration(seconds="interval_s")
    values = context.intervals.filter(pl.col("value_milli").is_not_null())
    series = values.group_by(_SERIES).agg(
        left=stops.filter(begins < start).max(),
        right=begins.filter(begins >= end).min(),
        inside=((begins >= start) & (begins < end)).any(),
        step=pl.duration(seconds=pl.col("interval_s").min()),
    )
    gaps = series.filter("inside")
    found = [
        _spans(gaps.filter(pl.col("left") < start), pl.col("left"), pl.lit(end)),
        _spans(gaps.filter(pl.col("right") > end), pl.lit(start), pl.col("right")),
    ]
    at = pl.col("read_at")
    reads = context.reads.filter(
        pl.col("channel").cast(pl.String).is_in([one.value for one in ACCUMULATED]),
        pl.col("value_milli").is_not_null(),
        (pl.col("status") & UNUSABLE) == 0,
    )
    stretches = (
        reads.group_by(_SERIES)
        .agg(
            before=at.filter(at < start).max(),
            first=at.filter(at >= start).min(),
            told_at=pl.col("received_at").filter(at == start).max(),
            last=at.filter(at <= end).max(),
            after=at.filter(at > end).min(),
        )
        .join(series.select(*_SERIES, "step"), on=_SERIES, how="left")
        .join(ends.select(*_SERIES, "judged_at"), on=_SERIES, how="left")
    )
    back = stretches.filter(pl.col("before").is_not_null() & pl.col("first").is_not_null())
    on = stretches.filter(pl.col("last").is_not_null() & pl.col("after").is_not_null())
    late = back.filter(pl.col("told_at") >= pl.col("judged_at"))
    holed = _holed(back, values, ("before", pl.lit(start)), pl.col("first") > start)
    found += [_spans(one, pl.col("before"), pl.lit(end)) for one in (late, holed)]
    onward = _holed(on, values, (pl.lit(end), "after"), pl.col("last") < end)
    return pl.concat([*found, _spans(onward, pl.lit(start), pl.col("after"))])


def _holed(
    stretches: pl.DataFrame, values: pl.DataFrame, part: tuple[str | pl.Expr, str | pl.Expr], crossing: pl.Expr
) -> pl.DataFrame:
    """Of the stretches those that have fewer values in that part than intervals; without values those that cross."""
    low, high = (pl.col(one) if isinstance(one, str) else one for one in part)
    cut = stretches.with_columns(low=low, high=high)
    here = (
        values.select(*_SERIES, "interval_start")
        .join(cut.select(*_SERIES, "low", "high"), on=_SERIES)
        .filter(pl.col("interval_start") >= pl.col("low"), pl.col("interval_start") < pl.col("high"))
        .group_by(_SERIES)
        .len("present")
    )
    told = cut.join(here, on=_SERIES, how="left").with_columns(pl.col("present").fill_null(0))
    expected = (pl.col("high") - pl.col("low")).dt.total_seconds() // pl.col("step").dt.total_seconds()
    holes = pl.when(pl.col("step").is_null()).then(crossing).otherwise(pl.col("present") < expected)
    return told.filter(holes)
