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
MISSING: Final = QUALITIES.index(Quality.MISSING.value)
_PARTIAL: Final = 1 << RULE_BIT[Rule.PARTIAL_INTERVAL]


class Rows(NamedTuple):
    """Intervals of all segments, segment by segment, ascending in time; all arrays of one length."""

    segment: npt.NDArray[np.int32]
    minute: I64
    """Start, in minutes since 1970-01-01T00:00Z."""
    seconds: I64
    """Length."""
    value: I64
    """Thousandths; 0 where the value is missing, and then `quality` says so."""
    quality: npt.NDArray[np.int64]
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
    rows = _rows(*take(finals, located), starts)
    return Segments(_described(located.drop("length_s"), rows), rows)


def _rows(owner: I64, picked: pl.DataFrame, starts: I64) -> Rows:
    columns = picked.select(
        minute=minute("interval_start"),
        seconds=pl.col("interval_s").cast(pl.Int64),
        value=pl.col("value_milli").fill_null(0),  # its quality becomes `missing` with it: nothing is taken for zero
        quality=pl.when(pl.col("value_milli").is_null()).then(MISSING).otherwise(pl.col("quality").to_physical()),
        partial=(pl.col("failed") & pl.lit(_PARTIAL, dtype=pl.UInt64)) != 0,
        version=pl.col("version"),
    )
    return Rows(
        segment=owner.astype(np.int32),
        minute=columns["minute"].to_numpy(),
        seconds=columns["seconds"].to_numpy(),
        value=columns["value"].to_numpy(),
        quality=columns["quality"].cast(pl.Int64).to_numpy(),
        partial=columns["partial"].to_numpy(),
        version=columns["version"].to_numpy(),
        starts=starts,
    )


def _described(located: pl.DataFrame, rows: Rows) -> pl.DataFrame:
    starts = rows.starts
    none = np.zeros(0, np.int64)
    version = np.maximum.reduceat(rows.version, starts) if len(starts) else none
    shortest = np.minimum.reduceat(rows.seconds, starts) if len(starts) else none
    described = located.drop("lo", "hi").with_row_index("segment")
    return described.with_columns(source_revision=pl.Series(version), interval_s=pl.Series(shortest))
