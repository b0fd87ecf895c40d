"""Reconciliation of intervals with registers: what the reads prove, and what no read proves."""

from typing import Final

import polars as pl

from billing_export.comparisons import (
    INSTALLATION_UNREAD,
    REGISTER_MISSING,
    REMOVAL_UNREAD,
    comparisons,
)
from billing_export.stretches import RESOLUTION
from schemas.frames import DETERMINANTS, METERS, conform
from schemas.quantity import primary_milli

_SPAN: Final = ["service_point_id", "meter_id", "period_start", "period_end"]
_SUMS: Final = ("energy_delivered", "energy_received", "reactive_energy")
"""Determinants that are the sum of one channel's intervals."""
_ALWAYS: Final = ("energy_delivered", "energy_received")
"""Channels of which a missing register is told; reactive registers are read where there are any."""
_GRAVEST: Final = ("sum_check", "register_wrap", "missing", "suspect", "edited", "estimated", "outage", RESOLUTION)
_WEIGHTS: Final = {why: place for place, why in enumerate(_GRAVEST)}
_STRETCH: Final = (
    "meter_id", "channel", "stretch_start", "stretch_end", "expected_milli", pl.col("found_milli").alias("found"),
    pl.col("reason").alias("why"),
)  # fmt: skip


def reconcile_registers(
    lines: pl.DataFrame, meters: pl.DataFrame, stretches: pl.DataFrame | None = None
) -> pl.DataFrame:
    """Σ of the intervals of every stream against the advance of its register.

    A register that went back is taken to have wrapped once where METERS gives its digits. Reasons of a difference:
    `register_missing` (no read at one end, and none between), `interval_missing` (registers without interval lines),
    `read_off_boundary` (a boundary read was not taken at the bound), else the gravest reason of the stretches it is
    made of, which stand below it as rows of the kind `stretch`. A difference that is not the sum of its stretches' is
    `unexplained`; without stretches one below the register's resolution is `register_resolution` and any other
    `sum_check`.

    Where one end has no read and others stand between, those prove their part: the row `register` is of that part, and
    a row `unread` says how much energy was billed that no read proves (`found_milli`), from when, and which read is
    owed: `removal_unread` or `installation_unread` where the installation ends or begins there, else
    `register_missing`.

    Args:
        lines: DETERMINANTS of one run, `register_start` and `register_end` among them.
        meters: METERS.
        stretches: STRETCHES of the same period, from which the reasons come.
    """
    rows = conform(lines, DETERMINANTS).filter(pl.col("sign") > 0)
    name = pl.col("determinant")
    sums = rows.filter(name.is_in(list(_SUMS))).select(*_SPAN, "channel", found_milli="value_milli")
    ends = (
        rows.filter(name.is_in(["register_start", "register_end"]))
        .group_by(*_SPAN, "channel")
        .agg(
            first=pl.col("value_milli").filter(name == "register_start").first(),
            last=pl.col("value_milli").filter(name == "register_end").first(),
            first_at=pl.col("occurred_at").filter(name == "register_start").first(),
            last_at=pl.col("occurred_at").filter(name == "register_end").first(),
        )
    )
    both = sums.join(ends, on=[*_SPAN, "channel"], how="full", coalesce=True, nulls_equal=True)
    always = pl.col("channel").cast(pl.String).is_in(_ALWAYS)
    complete = pl.all_horizontal(pl.col(name).is_not_null() for name in ("found_milli", "first", "last"))
    advance = pl.col("last") - pl.col("first")
    known = (
        both.filter(always | complete)
        .join(_registers(meters), on="meter_id", how="left")
        .with_columns(expected_milli=pl.when(advance < 0).then(advance + pl.col("wrap_milli")).otherwise(advance))
        .with_columns(difference_milli=pl.col("found_milli") - pl.col("expected_milli"))
    )
    subject = pl.concat_str("meter_id", pl.col("channel").cast(pl.String), separator=" ")
    if stretches is None:
        return comparisons(known, "register", subject, pl.col("difference_milli"), _plain_reason())
    differing = stretches.filter(pl.col("reason").is_not_null())
    named = known.with_columns(pl.col("channel").cast(pl.String))
    partly = _partly_proven(named, stretches, meters)
    explained = _explained(named.join(partly, on=[*_SPAN, "channel"], how="anti", nulls_equal=True), differing)
    proven = partly.with_columns(found_milli="proven_milli")
    unread = partly.with_columns(
        period_start="unread_from", expected_milli=pl.lit(None, pl.Int64), found_milli="unread_milli"
    )
    parts = [
        comparisons(explained, "register", subject, pl.col("difference_milli"), pl.col("reason")),
        comparisons(proven, "register", subject, pl.col("difference_milli"), pl.col("reason")),
        comparisons(unread, "unread", subject, pl.lit(None, pl.Int64), pl.col("unread")),
        comparisons(
            differing.with_columns(period_start="stretch_start"), "stretch", subject, pl.col("difference_milli"),
            pl.col("reason"),
        ),
    ]  # fmt: skip
    return pl.concat(parts)


def _partly_proven(known: pl.DataFrame, stretches: pl.DataFrame, meters: pl.DataFrame) -> pl.DataFrame:
    """Streams of which one end has no read: `expected_milli` and `proven_milli` of the stretches between the reads that
    stand, `difference_milli` and `reason` of those, `unread_from`, `unread_milli` and `unread` (which read is owed)."""
    half = known.filter(pl.col("found_milli").is_not_null() & (pl.col("first").is_null() | pl.col("last").is_null()))
    half = half.drop("expected_milli", "difference_milli")
    within = half.join(stretches.select(*_STRETCH), on=["meter_id", "channel"]).filter(
        (pl.col("stretch_start") >= pl.col("period_start")) & (pl.col("stretch_end") <= pl.col("period_end"))
    )
    told = pl.col("expected_milli").null_count() == 0
    sums = within.group_by(*_SPAN, "channel").agg(
        expected_milli=pl.when(told).then(pl.col("expected_milli").sum()),
        proven_milli=pl.col("found").sum(),
        until=pl.col("stretch_end").max(),
        why=pl.col("why").sort_by(_weight()).first(),
    )
    installed = conform(meters, METERS).select("meter_id", "installed_at", "removed_at")
    whole = half.join(sums.filter(pl.col("expected_milli").is_not_null()), on=[*_SPAN, "channel"], nulls_equal=True)
    edges = whole.join(installed, on="meter_id", how="left").group_by(*_SPAN, "channel")
    of = edges.agg(
        removed=(pl.col("removed_at") == pl.col("period_end")).any() & pl.col("last").first().is_null(),
        put_up=(pl.col("installed_at") == pl.col("period_start")).any() & pl.col("first").first().is_null(),
    )
    owed = (
        pl.when("removed").then(pl.lit(REMOVAL_UNREAD)).when("put_up").then(pl.lit(INSTALLATION_UNREAD))
        .otherwise(pl.lit(REGISTER_MISSING))
    )  # fmt: skip
    difference = pl.col("proven_milli") - pl.col("expected_milli")
    return whole.join(of, on=[*_SPAN, "channel"], nulls_equal=True).with_columns(
        difference_milli=difference,
        reason=pl.when(difference != 0).then(pl.coalesce("why", pl.lit("unexplained"))),
        unread=owed,
        unread_from=pl.when(pl.col("last").is_null()).then("until").otherwise("period_start"),
        unread_milli=pl.col("found_milli") - pl.col("proven_milli"),
    )


def _weight() -> pl.Expr:
    return pl.col("why").replace_strict(_WEIGHTS, default=len(_GRAVEST), return_dtype=pl.Int32)


def reconcile_reads(left_out: pl.DataFrame) -> pl.DataFrame:
    """Reads that were left out, by name: `period_start` is the instant, expected what the read before and the intervals
    since say, found what was shown.

    Args:
        left_out: `standing.LEFT_OUT`.
    """
    subject = pl.concat_str("meter_id", "channel", separator=" ")
    difference = pl.col("value_milli") - pl.col("expected_milli")
    named = left_out.with_columns(period_start="read_at", found_milli="value_milli")
    return comparisons(named, "read", subject, difference, pl.col("reason"))


def _one_end() -> pl.Expr:
    return (
        pl.when(pl.col("found_milli").is_null())
        .then(pl.lit("interval_missing"))
        .when(pl.col("expected_milli").is_null())
        .then(pl.lit(REGISTER_MISSING))
        .otherwise(None)
    )


def _plain_reason() -> pl.Expr:
    size = pl.col("difference_milli").abs()
    beyond = size >= pl.col("resolution_milli").fill_null(1)
    differs = pl.when(beyond).then(pl.lit("sum_check")).when(size > 0).then(pl.lit(RESOLUTION))
    return pl.coalesce(_one_end(), differs)


def _explained(known: pl.DataFrame, differing: pl.DataFrame) -> pl.DataFrame:
    """The same rows with `reason`: from the stretches between the two boundary reads of each."""
    numbered = known.with_row_index("stream")
    own = differing.select("meter_id", "channel", "stretch_start", "stretch_end", of="difference_milli", why="reason")
    within = numbered.join(own, on=["meter_id", "channel"]).filter(
        (pl.col("stretch_start") >= pl.col("first_at")) & (pl.col("stretch_end") <= pl.col("last_at"))
    )
    made = within.group_by("stream").agg(of=pl.col("of").sum(), why=pl.col("why").sort_by(_weight()).first())
    off = (pl.col("first_at") != pl.col("period_start")) | (pl.col("last_at") != pl.col("period_end"))
    told = (
        pl.when(pl.col("difference_milli") == 0)
        .then(None)
        .when(pl.col("difference_milli") == pl.col("of"))
        .then("why")
        .when(off)
        .then(pl.lit("read_off_boundary"))
        .otherwise(pl.lit("unexplained"))
    )
    joined = numbered.join(made, on="stream", how="left", maintain_order="left")
    return joined.with_columns(reason=pl.coalesce(_one_end(), told))


def _registers(meters: pl.DataFrame) -> pl.DataFrame:
    wrap = 1000 * pl.lit(10, dtype=pl.Int64).pow(pl.col("register_digits").cast(pl.Int64))
    factor = pl.col("multiplier")
    return meters.unique("meter_id", keep="first", maintain_order=True).select(
        "meter_id",
        wrap_milli=primary_milli(wrap.cast(pl.Int64), factor),
        resolution_milli=primary_milli(pl.col("register_resolution_milli"), factor),
    )
