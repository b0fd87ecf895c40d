"""Boundary reads: what the registers showed when a span began and when it ended."""

from datetime import timedelta
from typing import Final, NamedTuple

import numpy as np
import polars as pl

from billing_export.pieces import ExportInputs
from billing_export.spans import FINDINGS
from billing_export.standing import DOUBTFUL, LEFT_OUT, REGISTER_CHANNELS, STREAM, UNUSABLE_READ, judge_reads
from schemas.codes import QualityClass, Uom
from schemas.frames import QUALITY_CLASS, UOM, UTC_US
from schemas.quantity import primary_milli

READ_TOLERANCE_S: Final = 900
"""A read belongs to a boundary that it misses by no more than a capture period; further away it says nothing of it."""
_NEAR: Final = timedelta(hours=26)
"""A daily read has its neighbours within it: what they and the intervals between say of the read at a boundary."""

_FEW: Final = 8
"""Stretches up to which comparing all instants with each costs less than seeking each instant."""
_JUDGED: Final = ("meter_id", "channel", "interval_start", "interval_s", "value_milli", "quality", "version")
"""What `judge_reads` looks at."""

_COUNTS: Final = (
    "n_intervals", "n_actual", "n_estimated", "n_edited", "n_suspect", "n_outage", "n_missing",
)  # fmt: skip


class Registers(NamedTuple):
    """Boundary reads to print, and those that are not."""

    lines: pl.DataFrame
    """Lines `register_start` and `register_end` without batch."""
    findings: pl.DataFrame
    """FINDINGS, held: the boundary has a read, but only one that does not stand (`standing`'s reasons)."""


def register_lines(part: ExportInputs, spans: pl.DataFrame) -> Registers:
    """Lines `register_start` and `register_end`: what each register showed at the bounds of each span.

    They rest on no interval and no revision; `occurred_at` is the instant of the read. A read that does not stand
    (`judge_reads`) is not printed, nor one that repeats the read before it while the intervals between say that energy
    flowed: then the boundary has another read within the tolerance, or a finding.
    """
    bounds = pl.concat([spans["span_from"], spans["span_to"]]).unique().sort()
    around = part.reads.filter(_near(part.reads["read_at"], bounds, _NEAR))
    doubted = _doubted(part, around, bounds)
    # Of a month of reads a join should see only the few that may be printed.
    tolerance = timedelta(seconds=READ_TOLERANCE_S)
    found = _boundary_reads(around.filter(_near(around["read_at"], bounds, tolerance)), spans)
    own = pl.col("channel").cast(pl.String)
    named = found.with_columns(channel_name=own).join(
        doubted.select("meter_id", "read_at", "reason", channel_name="channel"),
        on=["meter_id", "channel_name", "read_at"], how="left", maintain_order="left",
    )  # fmt: skip
    keys = ["meter_id", "service_point_id", "span_from", "channel", "determinant"]
    stands = pl.col("reason").is_null()
    lines = named.filter(stands).unique(keys, keep="first", maintain_order=True).sort(keys)
    lost = named.filter(~stands).unique(keys, keep="first", maintain_order=True)
    held = lost.join(lines, on=keys, how="anti", nulls_equal=True).select(
        "account_id", "service_point_id", "meter_id", "determinant", "reason", channel="channel_name",
        n=pl.lit(1, pl.Int32), held=pl.lit(value=True),
    )  # fmt: skip
    return Registers(_as_lines(lines.drop("channel_name", "reason", "read_at")), held.select(FINDINGS.names()))


def _as_lines(reads: pl.DataFrame) -> pl.DataFrame:
    nothing = pl.lit(0, dtype=pl.Int32)
    reactive = pl.col("channel").cast(pl.String).str.starts_with("reactive_")
    unit = pl.when(reactive).then(pl.lit(Uom.KVARH.value)).otherwise(pl.lit(Uom.KWH.value))
    return reads.with_columns(
        ratio=pl.lit(None, dtype=pl.Decimal(18, 6)),
        uom=unit.cast(UOM),
        source_revision=pl.lit(None, dtype=pl.Int64),
        quality_class=pl.lit(QualityClass.ACTUAL.value, dtype=QUALITY_CLASS),
        **dict.fromkeys(_COUNTS, nothing),
    )


def _doubted(part: ExportInputs, reads: pl.DataFrame, bounds: pl.Series) -> pl.DataFrame:
    """LEFT_OUT of the reads around the bounds, copies that the intervals contradict among them."""
    if reads.is_empty():
        return pl.DataFrame(schema=LEFT_OUT)
    finals = part.finals.select(_JUDGED).filter(_near(part.finals["interval_start"], bounds, _NEAR))
    standing = judge_reads(finals, reads, part.meters)
    same = pl.col("value_milli") == pl.col("value_milli").shift(1).over(STREAM)
    flowed = pl.col("so_far") - pl.col("so_far").shift(1).over(STREAM)
    copies = standing.shown.filter((same & (flowed >= pl.col("resolution_milli"))).fill_null(value=False))
    expected = pl.lit(None, dtype=pl.Int64)
    named = copies.with_columns(reason=pl.lit(DOUBTFUL), expected_milli=expected).select(LEFT_OUT.names())
    return pl.concat([standing.left_out, named])


def _near(instants: pl.Series, bounds: pl.Series, within: timedelta) -> pl.Series:
    """Whether each instant lies so near to one of the bounds."""
    if bounds.is_empty():
        return pl.repeat(value=False, n=len(instants), dtype=pl.Boolean, eager=True)
    at, edges = instants.cast(UTC_US).to_physical().to_numpy(), bounds.cast(UTC_US).to_physical().to_numpy()
    reach = within // timedelta(microseconds=1)
    # Stretches around the bounds, of which a period has two: those that touch are one.
    first, last = np.unique(edges - reach), np.unique(edges + reach)
    apart = first[1:] > last[:-1]
    first, last = first[np.append([True], apart)], last[np.append(apart, [True])]
    near = np.zeros(len(at), dtype=bool)
    if len(first) > _FEW:
        place = np.searchsorted(first, at, side="right") - 1
        near = (place >= 0) & (at <= last[np.maximum(place, 0)])
    else:
        for start, end in zip(first.tolist(), last.tolist(), strict=True):
            near |= (at >= start) & (at <= end)
    return pl.Series(near)


def _boundary_reads(reads: pl.DataFrame, spans: pl.DataFrame) -> pl.DataFrame:
    """The usable reads of each register around the start and the end of each span, the best of each boundary first.

    Args:
        reads: READS, as sent by the meters.
        spans: As `billing_spans` leaves them.

    Returns:
        A row per (span, channel, boundary) and usable read within `READ_TOLERANCE_S`: the columns of the span,
        `channel`, `determinant` ("register_start" or "register_end"), `read_at`, `occurred_at` (the same) and
        `value_milli` (primary, by the function that `run_vee` uses). Nearest first; of two equally near the later one;
        of several at one instant only the one that came last.
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
    # A product that does not fit 64 bits was never a register.
    primary = primary_milli(pl.col("value_milli"), pl.col("multiplier"))
    found = found.with_columns(value_milli=primary).filter(pl.col("value_milli").is_not_null())
    ordered = found.with_columns(away=(pl.col("read_at") - pl.col("boundary")).abs()).sort(
        pl.col("away"), pl.col("read_at"), "received_at", "topic", "partition", "offset", "frame",
        descending=[False, True, True, True, True, True, True], nulls_last=True,
    )  # fmt: skip
    instant = ["meter_id", "service_point_id", "span_from", "channel", "determinant", "read_at"]
    return (
        ordered.unique(instant, keep="first", maintain_order=True)
        .with_columns(occurred_at=pl.col("read_at"))
        .drop("received_at", "topic", "partition", "offset", "frame", "away", "boundary")
    )
