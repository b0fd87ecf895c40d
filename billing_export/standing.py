"""Which reads of a register stand; wild, stale and doubtful ones are told apart and named."""

from typing import Final, NamedTuple

import polars as pl

from billing_export.located import newest
from schemas.codes import Channel, Status
from schemas.frames import UTC_US
from schemas.quantity import primary_milli

REGISTER_CHANNELS: Final = tuple(
    channel.value
    for channel in Channel
    if channel.value.startswith(("energy_", "reactive_")) and "power" not in channel.value
)
UNUSABLE_READ: Final = int(Status.CLOCK_INVALID | Status.DATA_NOT_VALID | Status.TEST_MODE | Status.OVERFLOW)
"""Reads with one of these status bits say nothing."""
WILD, STALE, DOUBTFUL = "read_wild", "read_stale", "read_doubtful"
LEFT_OUT: Final = pl.Schema(
    {
        "meter_id": pl.String(),
        "channel": pl.String(),
        "read_at": UTC_US,
        "expected_milli": pl.Int64(),  # the read before it and the intervals since; null where they do not tell
        "value_milli": pl.Int64(),  # as the register showed it, primary
        "reason": pl.String(),
    }
)
WHY: Final = ("missing", "suspect", "edited", "estimated", "outage")
"""Qualities of intervals that explain a difference, the gravest first; each is a reason by its own name."""
STREAM: Final = ("meter_id", "channel")
_MADE: Final = ("missing", "edited", "estimated")
"""Qualities of values that nobody measured: they prove nothing against a register."""
_SUMMED: Final = {"so_far": "value", "seconds": "seconds", **{name: name for name in WHY}}
_THROUGH_PERCENT: Final = 125
"""What supply and fuse let through at most: the margin of V9, by which validation believes a register too."""
_SQRT3_MILLI: Final = 1732
"""Square root of three, in thousandths: METERS give the line voltage of three phases."""
_THREE_PHASES: Final = 3


class Standing(NamedTuple):
    """Reads of registers, judged."""

    shown: pl.DataFrame
    """Reads that stand on a boundary of intervals, by stream and time: `meter_id`, `channel`, `read_at`, `value_milli`
    (primary), `wrap_milli`?, `resolution_milli`, and what the intervals had summed to by then (`so_far`, `seconds`, a
    count for each of `WHY`)."""
    left_out: pl.DataFrame
    """LEFT_OUT."""


def judge_reads(finals: pl.DataFrame, reads: pl.DataFrame, meters: pl.DataFrame) -> Standing:
    """The reads that stand, and those that do not, each with its reason.

    `read_wild`: above the next one, which is itself not below the one before (or the other way round): a register that
    wraps does not come back.

    `read_stale`: equal reads followed by an advance that supply and fuse do not let through since the last of them, but
    do since the first, are one read and its copies. An advance too big for the whole run is no proof of that; without
    fuse and voltage in METERS nothing is stale.

    `read_doubtful`: measured intervals contradict this read and agree, within the register's last place, with the reads
    on both sides of it: the stretches before and after it differ, and their differences cancel. Of equal reads the
    first stands for itself and the others are judged together. A difference that stays is energy, and no read's
    fault; where two such reads contradict each other, or values were estimated or edited, nothing is doubted.

    Args:
        finals: FINALS, any order, any versions.
        reads: READS as sent.
        meters: METERS: multipliers, digits and resolution of registers, fuse and voltage.
    """
    every = usable_reads(reads, meters)
    ordered = every.sort(*STREAM, "read_at").with_columns(stream=_numbered(*STREAM))
    shown, wild = _parted(ordered.with_columns(guilty=_wild()))
    shown, stale = _parted(_repeated(shown).with_columns(guilty=_stale()))
    sums = running_sums(finals)
    placed = shown.join(sums, on=[*STREAM, "read_at"], how="inner").sort(*STREAM, "read_at")
    placed, doubtful = _parted(_doubted(placed))
    named = [
        one.select(*STREAM, "read_at", "value_milli", reason=pl.lit(reason))
        for one, reason in ((wild, WILD), (stale, STALE), (doubtful, DOUBTFUL))
    ]
    return Standing(placed.drop("stream"), _with_expected(pl.concat(named), sums, placed))


def usable_reads(reads: pl.DataFrame, meters: pl.DataFrame) -> pl.DataFrame:
    """Register reads in primary quantities, of several at one instant the one that came last, with `wrap_milli`?,
    `resolution_milli` and `power_mw`? (what fuse and voltage let through) of their meter."""
    place = ["received_at", "topic", "partition", "offset", "frame"]
    good = reads.filter(
        pl.col("channel").cast(pl.String).is_in(REGISTER_CHANNELS)
        & pl.col("value_milli").is_not_null()
        & ((pl.col("status") & pl.lit(UNUSABLE_READ, dtype=pl.UInt32)) == 0)
    ).select("meter_id", pl.col("channel").cast(pl.String), "read_at", "value_milli", *place)
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
    primary = good.join(known, on="meter_id", how="left").with_columns(
        value_milli=primary_milli(pl.col("value_milli"), factor),
        resolution_milli=pl.col("resolution_milli").fill_null(1),
    )
    # A product that does not fit 64 bits was never a register, and hides none that came before it.
    possible = primary.filter(pl.col("value_milli").is_not_null())
    return possible.sort(*place, nulls_last=True).unique([*STREAM, "read_at"], keep="last").drop(place)


def running_sums(finals: pl.DataFrame) -> pl.DataFrame:
    """What every stream has summed to by the end of each of its intervals (`read_at`), and how many of each quality
    were in it."""
    rows = newest(finals.filter(pl.col("channel").cast(pl.String).is_in(REGISTER_CHANNELS)))
    stream, quality = list(STREAM), pl.col("quality").cast(pl.String)
    length = pl.col("interval_s").cast(pl.Int64)
    ends = rows.select(
        *stream,
        end=(pl.col("interval_start") + pl.duration(seconds=length)).cast(UTC_US),
        start="interval_start",
        value=pl.col("value_milli").fill_null(0),
        seconds=length,
        **{name: (quality == name).cast(pl.Int64) for name in WHY},
    )
    # Before the first interval nothing has been summed: a read at its start opens the first stretch.
    zero = ends.group_by(stream, maintain_order=True).agg(pl.col("start").first())
    opened = zero.select(*stream, read_at="start", **{name: pl.lit(0, pl.Int64) for name in _SUMMED})
    sums = {name: pl.col(source).cum_sum().over(stream) for name, source in _SUMMED.items()}
    return pl.concat([opened, ends.select(*stream, read_at="end", **sums)]).with_columns(
        pl.col("channel").cast(pl.String)
    )


def _numbered(*names: str) -> pl.Expr:
    """Number of the run of rows that are equal in these columns: windows over a number cost a fraction of those over
    names."""
    new = pl.any_horizontal(pl.col(name) != pl.col(name).shift(1) for name in names)
    return new.fill_null(value=True).cum_sum()


def _parted(judged: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The reads that stand and those that are `guilty`; null is not guilty."""
    guilty = pl.col("guilty").fill_null(value=False)
    return judged.filter(~guilty).drop("guilty"), judged.filter(guilty)


def _wild() -> pl.Expr:
    this = pl.col("value_milli")
    before, after = this.shift(1).over("stream"), this.shift(-1).over("stream")
    return ((after < this) & (after >= before)) | ((this < before) & (after >= before))


def _repeated(shown: pl.DataFrame) -> pl.DataFrame:
    """The same reads with the bounds of the run of equal reads that each is in, and the read after that run."""
    this, at = pl.col("value_milli"), pl.col("read_at")
    numbered = shown.with_columns(
        run=_numbered("stream", "value_milli"),
        after=this.shift(-1).over("stream"),
        after_at=at.shift(-1).over("stream"),
    )
    return numbered.with_columns(
        at.first().over("run").alias("first_at"), at.last().over("run").alias("last_at"),
        pl.col("after", "after_at").last().over("run"),
    ).drop("run")  # fmt: skip


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


def _doubted(placed: pl.DataFrame) -> pl.DataFrame:
    """The same reads with `guilty`: beside the line on which intervals and the reads around this one agree."""
    this = pl.col("value_milli")
    advance = this - this.shift(1).over("stream")
    wraps = pl.when(advance < 0).then(pl.col("wrap_milli")).otherwise(0).fill_null(0).cum_sum().over("stream")
    made = pl.sum_horizontal(_MADE)
    rows = placed.with_columns(
        off=pl.col("so_far") - this - wraps, made=made, run=_numbered("stream", "value_milli"),
        absent=pl.col("seconds") - pl.col("read_at").dt.epoch("s"),
    )  # fmt: skip
    judged = _beside(rows.with_columns(equal=pl.len().over("run")), ("off", "made", "absent"))
    measured = (pl.col("made_after") == pl.col("made_before")) & (pl.col("absent_after") == pl.col("absent_before"))
    contradicted = (pl.col("off") - pl.col("off_before")).abs() >= pl.col("resolution_milli")
    agreed = (pl.col("off_after") - pl.col("off_before")).abs() < pl.col("resolution_milli")
    accused = judged.with_columns(guilty=(measured & contradicted & agreed).fill_null(value=False))
    contested = (pl.col("guilty_before") | pl.col("guilty_after")).fill_null(value=False)
    return _beside(accused, ("guilty",)).select(*placed.columns, guilty=pl.col("guilty") & ~contested)


def _beside(rows: pl.DataFrame, names: tuple[str, ...]) -> pl.DataFrame:
    """The same rows with `<name>_before`, of the read that each is held against (the first of its run, for a lone one
    the read before), and `<name>_after`, of the read after its run."""
    lone = pl.col("equal") == 1
    stepped = rows.with_columns(pl.col(name).shift(-1).over("stream").alias(f"{name}_after") for name in names)
    return stepped.with_columns(
        *(pl.col(f"{name}_after").last().over("run") for name in names),
        *(
            pl.when(lone).then(pl.col(name).shift(1).over("stream")).otherwise(pl.col(name).first().over("run"))
            .alias(f"{name}_before")
            for name in names
        ),
    )  # fmt: skip


def _with_expected(named: pl.DataFrame, sums: pl.DataFrame, placed: pl.DataFrame) -> pl.DataFrame:
    stood = placed.select(*STREAM, "read_at", stood="value_milli", stood_sum="so_far").sort("read_at")
    own = named.join(sums.select(*STREAM, "read_at", "so_far"), on=[*STREAM, "read_at"], how="left")
    told = own.sort("read_at").join_asof(stood, on="read_at", by=list(STREAM), check_sortedness=False)
    expected = pl.col("stood") + pl.col("so_far") - pl.col("stood_sum")
    return told.with_columns(expected_milli=expected).select(LEFT_OUT.names()).cast(LEFT_OUT).sort(*STREAM, "read_at")
