"""Billed days are locked: which finals they hold, and what waits for a person because of it.

The bill stands on the version that was current when it was made. What moves a billed value all the same (a person, a
measured value in place of a substitute, and the register that an estimate shares with one of them) is a version above
it and a delta for billing; nothing else does.
"""

from typing import Final

import polars as pl

from schemas.codes import Quality, Rule, Severity
from schemas.frames import CHANNEL, DELTAS, EXCEPTIONS, RULE, SEVERITY, conform

EDIT, LATE_READ, RESCALED = "edit", "late_read", "rescaled"
"""Reasons of DELTAS."""
_SERIES: Final = ["meter_id", "channel"]
_ORDER: Final = [*_SERIES, "interval_start"]


def locked(rows: pl.DataFrame, billed: pl.DataFrame) -> pl.Series:
    """Whether each row's interval begins in a billed span of its series, in the order of the rows.

    Args:
        rows: `meter_id`, `channel`, `interval_start`.
        billed: BILLED; spans may overlap.
    """
    first, last = rows["interval_start"].min(), rows["interval_start"].max()
    near = billed.filter(pl.col("billed_from") <= last, pl.col("billed_to") > first)
    if not near.height:
        return pl.repeat(False, rows.height, eager=True, dtype=pl.Boolean)
    numbered = rows.select(*_ORDER).with_row_index("row").sort("interval_start")
    of_channel = near.filter(pl.col("channel").is_not_null())
    of_meter = near.filter(pl.col("channel").is_null())
    inside = [
        numbered.join_asof(
            _merged(spans, by),
            left_on="interval_start",
            right_on="billed_from",
            by=by,
            check_sortedness=False,
        )
        .filter(pl.col("interval_start") < pl.col("billed_to"))
        .select("row")
        for spans, by in ((of_channel, _SERIES), (of_meter, ["meter_id"]))
        if spans.height
    ]
    return pl.int_range(rows.height, dtype=pl.UInt32, eager=True).is_in(pl.concat(inside)["row"].implode())


def deltas_of(changed: pl.DataFrame) -> pl.DataFrame:
    """DELTAS of new versions of billed intervals, by series and time.

    Args:
        changed: Columns of FINALS, and those of the version before with `_past`.
    """
    # An estimate that a person accepted is edited, and has an author as every edit.
    by_person = pl.col("author").is_not_null()
    told = changed.with_columns(
        delta_milli=pl.col("value_milli").fill_null(0) - pl.col("value_milli_past").fill_null(0),
        reason=pl.when(by_person)
        .then(pl.lit(EDIT))
        .when(pl.col("quality") == Quality.ESTIMATED.value)
        .then(pl.lit(RESCALED))
        .otherwise(pl.lit(LATE_READ)),
    )
    return conform(told, DELTAS).sort(_ORDER)


def held_corrections(held: pl.DataFrame) -> pl.DataFrame:
    """Findings, as EXCEPTIONS without `run_id`: values billed or final estimates that would be others now.

    One a run of intervals; `measured_milli` is what they would sum to now (null where one of them cannot be known),
    `limit_milli` what was billed. A person takes one over by an edit (`accept`), which makes it a delta.

    Args:
        held: `meter_id`, `channel`, `interval_start`, `interval_s`, `value_milli`, `value_milli_past`.
    """
    if not held.height:
        return EXCEPTIONS.empty().drop("run_id")
    ends = pl.col("interval_start") + pl.duration(seconds="interval_s")
    goes_on = (pl.col("interval_start") == ends.shift()).over(_SERIES).fill_null(value=False)
    total = pl.when(pl.col("value_milli").is_not_null().all()).then(pl.col("value_milli").sum())
    return (
        held.sort(_ORDER)
        .with_columns(run=(~goes_on).cum_sum())
        .group_by(*_SERIES, "run", maintain_order=True)
        .agg(
            first_interval=pl.col("interval_start").first(),
            intervals=pl.len().cast(pl.Int32),
            measured_milli=total,
            limit_milli=pl.col("value_milli_past").sum(),
        )
        .select(
            pl.col("meter_id"),
            pl.col("channel").cast(CHANNEL),
            pl.lit(Rule.HELD_CORRECTION.value).cast(RULE).alias("rule"),
            pl.lit(Severity.BLOCKING.value).cast(SEVERITY).alias("severity"),
            "first_interval",
            "intervals",
            "measured_milli",
            "limit_milli",
        )
    )


def _merged(billed: pl.DataFrame, by: list[str]) -> pl.DataFrame:
    """Spans of each key that do not overlap, by their beginning."""
    reached = pl.col("billed_to").cum_max().shift().over(by)
    return (
        billed.sort("billed_from", "billed_to")
        .with_columns(span=(pl.col("billed_from") > reached).fill_null(value=True).cum_sum().over(by))
        .group_by(*by, "span")
        .agg(pl.col("billed_from").min(), pl.col("billed_to").max())
        .drop("span")
        .sort("billed_from")
    )
