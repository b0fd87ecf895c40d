"""Finals as columns of numbers, cut into segments of one stream and one span.

Determinants are sums over runs of a sorted column. Prepared once here, each is a `reduceat` over the bounds of the
segments: exact in Int64, without a hash table over millions of rows.
"""

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from billing_export.located import I64, Streams, locate, minute, take
from schemas.codes import RULE_BIT, Quality, Rule

QUALITIES: Final = tuple(quality.value for quality in Quality)
VALID: Final = QUALITIES.index(Quality.VALID.value)
MISSING: Final = QUALITIES.index(Quality.MISSING.value)
_USED: Final = ("interval_start", "interval_s", "value_milli", "quality", "failed", "version")
_PARTIAL: Final = 1 << RULE_BIT[Rule.PARTIAL_INTERVAL]


class Rows(NamedTuple):
    """Intervals of all segments, segment by segment, ascending in time; all arrays of one length."""

    segment: npt.NDArray[np.int32]
    minute: I64
    """Start, in minutes since 1970-01-01T00:00Z."""
    seconds: npt.NDArray[np.int32]
    """Length."""
    value: I64
    """Thousandths; 0 where the value is missing, and then `quality` says so."""
    quality: npt.NDArray[np.uint8]
    """Index into `QUALITIES`."""
    partial: npt.NDArray[np.bool_]
    """The interval failed the check for partial, long or merged intervals."""
    version: I64
    starts: I64
    """Index of the first row of every segment; no segment is empty."""


class Segments(NamedTuple):
    """What is to be billed and the intervals it rests on."""

    segments: pl.DataFrame
    """One row per (installation, channel) that has intervals: the columns of the spans, `channel`, `segment` (row
    number), `source_revision`, `interval_s` (shortest)."""
    rows: Rows


def cut(finals: pl.DataFrame, streams: Streams, spans: pl.DataFrame) -> Segments:
    """Segments of every stream and span, with the intervals that lie wholly inside.

    Args:
        finals: FINALS as `newest` leaves them.
        streams: Of the finals.
        spans: As `billing_spans` leaves them.
    """
    located = locate(streams, spans)
    lengths = (located["hi"] - located["lo"]).to_numpy()
    starts = np.concatenate([[0], np.cumsum(lengths)])[:-1].astype(np.int64)
    owner, picked = take(finals.select(_USED), located)
    rows = _rows(owner.astype(np.int32), picked, starts)
    return Segments(_described(located.drop("length_s"), rows), rows)


def runs(rows: Rows, key: npt.NDArray[np.int32]) -> I64:
    """Index of the first row of every run of rows of one segment and one key."""
    new = np.empty(len(key), dtype=bool)
    np.not_equal(key[1:], key[:-1], out=new[1:])
    new[rows.starts] = True
    return np.flatnonzero(new)


def _rows(owner: npt.NDArray[np.int32], picked: pl.DataFrame, starts: I64) -> Rows:
    known = picked["value_milli"].null_count() == 0
    quality = pl.col("quality").to_physical().cast(pl.UInt8)
    missing = pl.lit(MISSING, dtype=pl.UInt8)
    columns = picked.select(
        minute=minute("interval_start"),
        value=pl.col("value_milli").fill_null(0),  # its quality becomes `missing` with it: nothing is taken for zero
        quality=quality if known else pl.when(pl.col("value_milli").is_null()).then(missing).otherwise(quality),
        partial=(pl.col("failed") & pl.lit(_PARTIAL, dtype=pl.UInt64)) != 0,
    )
    return Rows(
        segment=owner,
        minute=columns["minute"].to_numpy(),
        seconds=picked["interval_s"].to_numpy(),
        value=columns["value"].to_numpy(),
        quality=columns["quality"].to_numpy(),
        partial=columns["partial"].to_numpy(),
        version=picked["version"].to_numpy(),
        starts=starts,
    )


def _described(located: pl.DataFrame, rows: Rows) -> pl.DataFrame:
    starts = rows.starts
    none = np.zeros(0, np.int64)
    version = np.maximum.reduceat(rows.version, starts) if len(starts) else none
    shortest = np.minimum.reduceat(rows.seconds, starts).astype(np.int64) if len(starts) else none
    described = located.drop("lo", "hi").with_row_index("segment")
    return described.with_columns(source_revision=pl.Series(version), interval_s=pl.Series(shortest))
