"""Between any two reads of a register: what the intervals sum to, what the register advanced, and why they differ."""

from typing import Final, NamedTuple

import polars as pl

from billing_export.located import newest
from billing_export.registers import REGISTER_CHANNELS, UNUSABLE_READ
from schemas.frames import FINALS, METERS, READS, UTC_US, conform
from schemas.quantity import primary_milli

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
_WHY: Final = ("missing", "suspect", "edited", "estimated", "outage")
"""Qualities of intervals that explain a difference, the gravest first; each is a reason by its own name."""
_THROUGH_PERCENT: Final = 125
"""What supply and fuse let through at most: the margin of V9, by which validation believes a register too."""
_SQRT3_MILLI: Final = 1732
"""Square root of three, in thousandths: METERS give the line voltage of three phases."""
_THREE_PHASES: Final = 3


class Stretches(NamedTuple):
    """What the reads of a period prove."""

    stretches: pl.DataFrame
    """STRETCHES."""
    wild: pl.DataFrame
    """`meter_id`, `channel`, `read_at`, `value_milli` (primary) of reads that no register can have shown."""
    stale: pl.DataFrame
    """The same columns: reads that repeat an older one, while the register moved on."""


def stretches_of(finals: pl.DataFrame, reads: pl.DataFrame, meters: pl.DataFrame) -> Stretches:
    """Every stretch between consecutive usable reads that stand on a boundary of intervals.

    A read above the next one, which is itself not below the one before (or the other way round), is wild: a register
    that wraps does not come back. It is left out, and named.

    Equal reads followed by an advance that supply and fuse do not let through since the last of them, but do since the
    first, are one read and its copies: the copies are stale, left out and named. An advance too big for the whole run
    is no proof of that, and stays a difference; without fuse and voltage in METERS nothing is stale.

    A stretch whose intervals are not all there, or of which one has no value, cannot be summed: its reason is
    `missing`, and `found_milli` is what is there. Other reasons: `register_wrap` (it went back, and METERS does not
    give its digits), `register_resolution` (by no more than the register can show), `suspect`, `edited`, `estimated`,
    `outage` (the gravest quality in it), and `sum_check`: measured intervals that do not sum to their register.

    Args:
        finals: FINALS of the period, any order, any versions.
        reads: READS as sent.
        meters: METERS: multipliers, digits and resolution of registers.
    """
    at_ends = _running(conform(finals, FINALS))
    shown = _usable(conform(reads, READS), conform(meters, METERS))
    shown, wild = _parted(shown.sort(*_STREAM, "read_at").with_columns(guilty=_wild()))
    shown, stale = _parted(_repeated(shown).with_columns(guilty=_stale()))
    on_bounds = shown.join(at_ends, on=["meter_id", "channel", "read_at"], how="inner").sort(
        "meter_id", "channel", "read_at"
    )
    stream = list(_STREAM)
    carried = [pl.col(name) - pl.col(name).shift(1).over(stream) for name in ("so_far", "seconds", *_WHY)]
    advance = pl.col("value_milli") - pl.col("value_milli").shift(1).over(stream)
    between = on_bounds.with_columns(
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
    left_out = [one.select(*stream, "read_at", "value_milli") for one in (wild, stale)]
    return Stretches(stretches, *left_out)


def _parted(judged: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The reads that stand and those that are `guilty`; null is not guilty."""
    guilty = pl.col("guilty").fill_null(value=False)
    return judged.filter(~guilty).drop("guilty"), judged.filter(guilty)


def _wild() -> pl.Expr:
    this = pl.col("value_milli")
    before, after = this.shift(1).over(_STREAM), this.shift(-1).over(_STREAM)
    return ((after < this) & (after >= before)) | ((this < before) & (after >= before))


def _repeated(shown: pl.DataFrame) -> pl.DataFrame:
    """The same reads with the bounds of the run of equal reads that each is in, and the read after that run."""
    this, at = pl.col("value_milli"), pl.col("read_at")
    numbered = shown.with_columns(
        run=this.rle_id().over(_STREAM), after=this.shift(-1).over(_STREAM), after_at=at.shift(-1).over(_STREAM)
    )
    run = [*_STREAM, "run"]
    return numbered.with_columns(
        at.first().over(run).alias("first_at"), at.last().over(run).alias("last_at"),
        pl.col("after", "after_at").last().over(run),
    )  # fmt: skip


def _stale() -> pl.Expr:
    """Whether a read repeats the first of its run before a leap that only the whole run explains."""
    moved = pl.col("after") - pl.col("value_milli")
    leap = pl.when(moved < 0).then(moved + pl.col("wrap_milli")).otherwise(moved)
    too_fast = leap > _let_through(pl.col("last_at"), pl.col("after_at"))
    fits = leap <= _let_through(pl.col("first_at"), pl.col("after_at"))
    return (pl.col("read_at") > pl.col("first_at")) & too_fast & fits


def _let_through(start: pl.Expr, end: pl.Expr) -> pl.Expr:
    """Most that a register can advance in a time; null without fuse or voltage."""
    return pl.col("power_mw") * (end - start).dt.total_seconds() // 3600 + pl.col("resolution_milli")


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
    for name in _WHY:
        why = why.when(pl.col(name) > 0).then(pl.lit(name))
    return why.otherwise(pl.lit("sum_check"))


def _untold(size: pl.Expr, resolution: pl.Expr) -> pl.Expr:
    """Whether a register cannot tell: below its last place, which an anchored estimate may reach. A register of 1 mWh
    tells everything."""
    treated = pl.sum_horizontal(_WHY) > 0
    return (size < resolution) | (treated & (resolution > 1) & (size == resolution))


def _running(finals: pl.DataFrame) -> pl.DataFrame:
    """What every stream has summed to by the end of each of its intervals, and how many of each quality were in it."""
    rows = newest(finals.filter(pl.col("channel").cast(pl.String).is_in(REGISTER_CHANNELS)))
    stream, quality = ["meter_id", "channel"], pl.col("quality").cast(pl.String)
    length = pl.col("interval_s").cast(pl.Int64)
    ends = rows.select(
        "meter_id",
        "channel",
        end=(pl.col("interval_start") + pl.duration(seconds=length)).cast(UTC_US),
        start="interval_start",
        value=pl.col("value_milli").fill_null(0),
        seconds=length,
        **{name: (quality == name).cast(pl.Int64) for name in _WHY},
    )
    # Before the first interval nothing has been summed: a read at its start opens the first stretch.
    zero = ends.group_by(stream, maintain_order=True).agg(pl.col("start").first())
    opened = zero.select(*stream, read_at="start", **{name: pl.lit(0, pl.Int64) for name in _SUMMED})
    sums = {name: pl.col(source).cum_sum().over(stream) for name, source in _SUMMED.items()}
    return pl.concat([opened, ends.select(*stream, read_at="end", **sums)]).with_columns(
        pl.col("channel").cast(pl.String)
    )


_STREAM: Final = ("meter_id", "channel")
_SUMMED: Final = {"so_far": "value", "seconds": "seconds", **{name: name for name in _WHY}}


def _usable(reads: pl.DataFrame, meters: pl.DataFrame) -> pl.DataFrame:
    place = ["received_at", "topic", "partition", "offset", "frame"]
    good = reads.filter(
        pl.col("channel").cast(pl.String).is_in(REGISTER_CHANNELS)
        & pl.col("value_milli").is_not_null()
        & ((pl.col("status") & pl.lit(UNUSABLE_READ, dtype=pl.UInt32)) == 0)
    ).select("meter_id", pl.col("channel").cast(pl.String), "read_at", "value_milli", *place)
    last = good.sort(*place, nulls_last=True).unique(["meter_id", "channel", "read_at"], keep="last")
    factor = pl.col("multiplier")
    wrap = 1000 * pl.lit(10, dtype=pl.Int64).pow(pl.col("register_digits").cast(pl.Int64))
    line = pl.when(pl.col("phase").str.len_chars() >= _THREE_PHASES).then(_SQRT3_MILLI).otherwise(1000)
    rated = pl.col("voltage_v").cast(pl.Int64) * pl.col("fuse_a") * line
    known = meters.unique("meter_id", keep="last").select(
        "meter_id",
        "multiplier",
        wrap_milli=primary_milli(wrap.cast(pl.Int64), factor),
        resolution_milli=primary_milli(pl.col("register_resolution_milli").fill_null(1), factor),
        power_mw=rated * _THROUGH_PERCENT // 100,
    )
    return (
        last.drop(place)
        .join(known, on="meter_id", how="left")
        .with_columns(
            value_milli=primary_milli(pl.col("value_milli"), factor),
            resolution_milli=pl.col("resolution_milli").fill_null(1),
        )
    )
