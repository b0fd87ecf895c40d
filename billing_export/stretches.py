"""Between any two reads of a register: what the intervals sum to, what the register advanced, and why they differ."""

from typing import Final, NamedTuple

import polars as pl

from billing_export.standing import STREAM, WHY, judge_reads
from schemas.frames import FINALS, METERS, READS, UTC_US, conform

RESOLUTION: Final = "register_resolution"
"""The register cannot tell: both its reads are cut to its last place, so that an advance is known to one of them."""
STRETCHES: Final = pl.Schema(
    {
        "meter_id": pl.String(),
        "channel": pl.String(),
        "stretch_start": UTC_US,  # instant of a read
        "stretch_end": UTC_US,  # of the next one
        "expected_milli": pl.Int64(),  # advance of the register, primary, a wrap taken back
        "found_milli": pl.Int64(),  # Σ of the intervals between
        "difference_milli": pl.Int64(),
        "reason": pl.String(),  # null where they agree
    }
)


class Stretches(NamedTuple):
    """What the reads of a period prove."""

    stretches: pl.DataFrame
    """STRETCHES."""
    left_out: pl.DataFrame
    """`standing.LEFT_OUT`: reads that do not stand, each with its reason."""


def stretches_of(finals: pl.DataFrame, reads: pl.DataFrame, meters: pl.DataFrame) -> Stretches:
    """Every stretch between consecutive reads that stand (`judge_reads`) on a boundary of intervals.

    A stretch whose intervals are not all there, or of which one has no value, cannot be summed: its reason is
    `missing`, and `found_milli` is what is there. Other reasons: `register_wrap` (it went back, and METERS does not
    give its digits), `register_resolution` (by no more than the register can show), `suspect`, `edited`, `estimated`,
    `outage` (the gravest quality in it), and `sum_check`: measured intervals that do not sum to their register.

    Args:
        finals: FINALS of the period, any order, any versions.
        reads: READS as sent.
        meters: METERS: multipliers, digits and resolution of registers.
    """
    standing = judge_reads(conform(finals, FINALS), conform(reads, READS), conform(meters, METERS))
    stream = list(STREAM)
    carried = [pl.col(name) - pl.col(name).shift(1).over(stream) for name in ("so_far", "seconds", *WHY)]
    advance = pl.col("value_milli") - pl.col("value_milli").shift(1).over(stream)
    between = standing.shown.with_columns(
        *carried, advance=advance, stretch_start=pl.col("read_at").shift(1).over(stream)
    ).filter(pl.col("stretch_start").is_not_null())
    expected = pl.when(pl.col("advance") < 0).then(pl.col("advance") + pl.col("wrap_milli")).otherwise("advance")
    whole = pl.col("seconds") == (pl.col("read_at") - pl.col("stretch_start")).dt.total_seconds()
    summed = between.with_columns(expected_milli=expected, whole=whole).with_columns(
        difference_milli=pl.col("so_far") - pl.col("expected_milli")
    )
    stretches = summed.select(
        *stream, "stretch_start", stretch_end="read_at", expected_milli="expected_milli", found_milli="so_far",
        difference_milli="difference_milli", reason=_reason(),
    ).cast(STRETCHES)  # fmt: skip
    return Stretches(stretches, standing.left_out)


def _reason() -> pl.Expr:
    difference = pl.col("difference_milli")
    why = (
        pl.when(difference == 0)
        .then(None)
        .when(~pl.col("whole") | (pl.col("missing") > 0))
        .then(pl.lit("missing"))
        .when(difference.is_null())
        .then(pl.lit("register_wrap"))
        .when(_untold(difference.abs(), pl.col("resolution_milli")))
        .then(pl.lit(RESOLUTION))
    )
    for name in WHY:
        why = why.when(pl.col(name) > 0).then(pl.lit(name))
    return why.otherwise(pl.lit("sum_check"))


def _untold(size: pl.Expr, resolution: pl.Expr) -> pl.Expr:
    """Whether a register cannot tell: below its last place, which an anchored estimate may reach. A register of 1 mWh
    tells everything."""
    treated = pl.sum_horizontal(WHY) > 0
    return (size < resolution) | (treated & (resolution > 1) & (size == resolution))
