"""Boundary reads: what the registers showed when a span began and when it ended."""

from typing import Final

import polars as pl

from schemas.codes import Channel, QualityClass, Status, Uom
from schemas.frames import QUALITY_CLASS, UOM
from schemas.quantity import primary_milli

READ_TOLERANCE_S: Final = 900
"""A read belongs to a boundary that it misses by no more than a capture period; further away it says nothing of it."""

REGISTER_CHANNELS: Final = tuple(
    channel.value
    for channel in Channel
    if channel.value.startswith(("energy_", "reactive_")) and "power" not in channel.value
)
_COUNTS: Final = (
    "n_intervals", "n_actual", "n_estimated", "n_edited", "n_suspect", "n_outage", "n_missing",
)  # fmt: skip
UNUSABLE_READ: Final = int(Status.CLOCK_INVALID | Status.DATA_NOT_VALID | Status.TEST_MODE | Status.OVERFLOW)
"""Reads with one of these status bits say nothing of a boundary."""


def register_lines(reads: pl.DataFrame, spans: pl.DataFrame) -> pl.DataFrame:
    """Lines `register_start` and `register_end`: what each register showed at the bounds of each span.

    They rest on no interval and no revision; `occurred_at` is the instant of the read.
    """
    nothing = pl.lit(0, dtype=pl.Int32)
    reactive = pl.col("channel").cast(pl.String).str.starts_with("reactive_")
    unit = pl.when(reactive).then(pl.lit(Uom.KVARH.value)).otherwise(pl.lit(Uom.KWH.value))
    return _boundary_reads(reads, spans).with_columns(
        ratio=pl.lit(None, dtype=pl.Decimal(18, 6)),
        uom=unit.cast(UOM),
        source_revision=pl.lit(None, dtype=pl.Int64),
        quality_class=pl.lit(QualityClass.ACTUAL.value, dtype=QUALITY_CLASS),
        **dict.fromkeys(_COUNTS, nothing),
    )


def _boundary_reads(reads: pl.DataFrame, spans: pl.DataFrame) -> pl.DataFrame:
    """The read of each register nearest to the start and to the end of each span.

    Args:
        reads: READS, as sent by the meters.
        spans: As `billing_spans` leaves them.

    Returns:
        One row per (span, channel, boundary) for which a usable read lies within `READ_TOLERANCE_S`: the columns of
        the span, `channel`, `determinant` ("register_start" or "register_end"), `occurred_at` (of the read) and
        `value_milli` (primary, by the function that `run_vee` uses). Of two equally near the later one; of several
        at one instant the one that came last.
    """
    usable = reads.filter(
        pl.col("channel").cast(pl.String).is_in(REGISTER_CHANNELS)
        & pl.col("value_milli").is_not_null()
        & ((pl.col("status") & pl.lit(UNUSABLE_READ, dtype=pl.UInt32)) == 0)
    ).select("meter_id", "channel", "read_at", "value_milli", "received_at", "topic", "partition", "offset", "frame")
    ends = pl.concat(
        [
            spans.with_columns(boundary="span_from", determinant=pl.lit("register_start")),
            spans.with_columns(boundary="span_to", determinant=pl.lit("register_end")),
        ]
    )
    near = pl.duration(seconds=READ_TOLERANCE_S)
    found = usable.join(ends, on="meter_id", how="inner").filter((pl.col("read_at") - pl.col("boundary")).abs() <= near)
    ordered = found.with_columns(away=(pl.col("read_at") - pl.col("boundary")).abs()).sort(
        pl.col("away"), pl.col("read_at"), "received_at", "topic", "partition", "offset", "frame",
        descending=[False, True, True, True, True, True, True], nulls_last=True,
    )  # fmt: skip
    keys = ["meter_id", "service_point_id", "span_from", "channel", "determinant"]
    return (
        ordered.unique(keys, keep="first", maintain_order=True)
        .with_columns(
            value_milli=primary_milli(pl.col("value_milli"), pl.col("multiplier")), occurred_at=pl.col("read_at")
        )
        .drop("received_at", "topic", "partition", "offset", "frame", "away", "read_at", "boundary")
        .sort(keys)
    )
