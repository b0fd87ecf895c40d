"""Lines of a bill from sums, counts and peaks: quality classes, and what is held back."""

from typing import Final, NamedTuple

import polars as pl

from billing_export.located import I64
from billing_export.segments import QUALITIES
from billing_export.spans import FINDINGS, DeterminantParams
from schemas.codes import Channel, Quality, QualityClass, Uom
from schemas.frames import DETERMINANTS, QUALITY_CLASS, UOM

_COUNT_OF: Final = {
    Quality.VALID: "n_actual",
    Quality.ESTIMATED: "n_estimated",
    Quality.EDITED: "n_edited",
    Quality.SUSPECT: "n_suspect",
    Quality.OUTAGE: "n_outage",
    Quality.MISSING: "n_missing",
}
COUNT_COLUMNS: Final = tuple(_COUNT_OF[Quality(name)] for name in QUALITIES)
"""Columns of DETERMINANTS that count intervals, in the order of `QUALITIES`."""

LINE_KEYS: Final = (
    "account_id", "service_point_id", "meter_id", "channel", "tariff", "timezone", "span_from", "span_to",
    "source_revision",
)  # fmt: skip
"""What a line takes over from its segment."""

UOM_OF_CHANNEL: Final = {
    Channel.ENERGY_DELIVERED: Uom.KWH,
    Channel.ENERGY_RECEIVED: Uom.KWH,
    Channel.REACTIVE_DELIVERED: Uom.KVARH,
    Channel.REACTIVE_RECEIVED: Uom.KVARH,
    Channel.REACTIVE_Q1: Uom.KVARH,
    Channel.REACTIVE_Q2: Uom.KVARH,
    Channel.REACTIVE_Q3: Uom.KVARH,
    Channel.REACTIVE_Q4: Uom.KVARH,
    Channel.APPARENT_DELIVERED: Uom.KVA,
}
"""Channels whose intervals are billed, with the unit of their lines (apparent energy is billed as demand only)."""
BILLED_CHANNELS: Final = tuple(channel.value for channel in UOM_OF_CHANNEL)


class Judged(NamedTuple):
    """Lines that may be billed, and findings."""

    lines: pl.DataFrame
    findings: pl.DataFrame


def lines_of(segments: pl.DataFrame, determinant: str | list[str], value: I64, counts: I64) -> pl.DataFrame:
    """One line per segment.

    Args:
        segments: Rows of `Segments.segments`.
        determinant: Name, for all or for each.
        value: Thousandths, per segment.
        counts: Shape (segments, 6), by quality in the order of `QUALITIES`.

    The unit is that of the channel; `occurred_at` and `ratio` are null.
    """
    tallies = {name: pl.Series(counts[:, place]).cast(pl.Int32) for place, name in enumerate(COUNT_COLUMNS)}
    named = pl.lit(determinant) if isinstance(determinant, str) else pl.Series(determinant, dtype=pl.String)
    units = {channel.value: uom.value for channel, uom in UOM_OF_CHANNEL.items()}
    uom = pl.col("channel").cast(pl.String).replace_strict(units, default=Uom.KWH.value)
    return segments.select(LINE_KEYS).with_columns(
        determinant=named,
        value_milli=pl.Series(value, dtype=pl.Int64),
        ratio=pl.lit(None, dtype=pl.Decimal(18, 6)),
        uom=uom.cast(UOM),
        occurred_at=pl.lit(None, dtype=DETERMINANTS.schema["occurred_at"]),
        **tallies,
    )


def quality_class() -> pl.Expr:
    """What a line rests on: `actual` (measured, or a true zero under a known outage), `estimated` (nothing measured),
    `mixed`; `unbillable` where an interval is missing."""
    measured = pl.col("n_actual") + pl.col("n_outage")
    return (
        pl.when(pl.col("n_missing") > 0)
        .then(pl.lit(QualityClass.UNBILLABLE.value))
        .when(measured == pl.col("n_intervals"))
        .then(pl.lit(QualityClass.ACTUAL.value))
        .when(measured == 0)
        .then(pl.lit(QualityClass.ESTIMATED.value))
        .otherwise(pl.lit(QualityClass.MIXED.value))
        .cast(QUALITY_CLASS)
    )


def judge(lines: pl.DataFrame, params: DeterminantParams) -> Judged:
    """Hold what may not be billed: too much missing, too much substituted, for all lines of the stream alike.

    A stream with a held line has no other either: a time-of-use line without its total cannot be checked by anyone.
    """
    counted = lines.with_columns(n_intervals=pl.sum_horizontal(COUNT_COLUMNS).cast(pl.Int32))
    share = (pl.col("n_estimated") + pl.col("n_suspect")).cast(pl.Int64) * 1000
    too_many = share > pl.col("n_intervals").cast(pl.Int64) * params.estimated_limit_permille
    judged = counted.with_columns(
        quality_class=quality_class(),
        reason=pl.when(pl.col("n_missing") > params.missing_limit)
        .then(pl.lit("missing"))
        .when(too_many)
        .then(pl.lit("estimated_share")),
    )
    whole = ["meter_id", "service_point_id", "span_from"]
    # Net energy is the difference of two streams: it is held with either of them.
    held = pl.col("reason").is_not_null()
    streams = judged.filter(held & pl.col("channel").is_not_null()).select(*whole, "channel").unique()
    keep = judged.join(streams, on=[*whole, "channel"], how="anti", nulls_equal=True)
    keep = keep.filter(pl.col("reason").is_null())
    lost = judged.join(keep, on=[*whole, "channel", "determinant"], how="anti", nulls_equal=True)
    return Judged(keep.drop("reason"), _findings(lost))


def findings(rows: pl.DataFrame, reason: str, n: pl.Expr, *, held: bool) -> pl.DataFrame:
    """FINDINGS of rows that have the columns of a line."""
    return rows.select(
        "account_id",
        "service_point_id",
        "meter_id",
        pl.col("channel").cast(pl.String),
        "determinant",
        reason=pl.lit(reason),
        n=n.cast(pl.Int32),
        held=pl.lit(value=held),
    )


def _findings(lost: pl.DataFrame) -> pl.DataFrame:
    n = pl.when(pl.col("n_missing") > 0).then("n_missing").otherwise(pl.col("n_estimated") + pl.col("n_suspect"))
    return lost.select(
        "account_id",
        "service_point_id",
        "meter_id",
        pl.col("channel").cast(pl.String),
        "determinant",
        reason=pl.col("reason").fill_null("stream_held"),
        n=n,
        held=pl.lit(value=True),
    ).cast(FINDINGS)
