"""Finals as columns of numbers: the newest version of every interval, cut into segments of one stream and span.

Determinants are sums over runs of a sorted column. Prepared once here, each is a `reduceat` over the bounds of the
segments: exact in Int64, without a hash table over millions of rows.
"""

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from schemas.codes import RULE_BIT, Quality, Rule

QUALITIES: Final = tuple(quality.value for quality in Quality)
MISSING: Final = QUALITIES.index(Quality.MISSING.value)
_PARTIAL: Final = 1 << RULE_BIT[Rule.PARTIAL_INTERVAL]
_MINUTE_US: Final = 60_000_000
_STREAM_BITS: Final = 34
"""Minutes since 1970 take 25 bits today; 34 last for 32,000 years and leave 2^29 streams."""

I64 = npt.NDArray[np.int64]


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


class Segments(NamedTuple):
    """What is to be billed and the intervals it rests on."""

    segments: pl.DataFrame
    """One row per (installation, channel) that has intervals: the columns of the spans, `channel`, `segment` (row
    number), `source_revision`, `interval_s` (shortest), `n_absent` (intervals of the span that have no final)."""
    rows: Rows


def newest(finals: pl.DataFrame) -> pl.DataFrame:
    """The newest version of every interval, sorted by meter, channel and time.

    Finals that are already so, as the store hands them out, are passed on untouched: sorting them again would cost
    more than all the rest.
    """
    columns = ("meter_id", "channel", "interval_start")
    same = pl.lit(value=True)
    ascending = pl.lit(value=False)
    for name in columns:
        column = pl.col(name).to_physical() if name == "channel" else pl.col(name)
        ascending = ascending | (same & (column > column.shift(1)))
        same = same & (column == column.shift(1))
    if finals.height < 2 or finals.select(ascending.slice(1).all()).item():
        return finals
    ordered = finals.sort(*columns, "version", maintain_order=True)
    last = pl.any_horizontal([pl.col(name) != pl.col(name).shift(-1) for name in columns]).fill_null(value=True)
    return ordered.filter(last)


def cut(finals: pl.DataFrame, spans: pl.DataFrame) -> Segments:
    """Segments of every stream and span, with the intervals that lie wholly inside.

    Args:
        finals: FINALS as `newest` leaves them.
        spans: As `billing_spans` leaves them.
    """
    streams, key = _streams(finals)
    bounds = streams.join(spans, on="meter_id", how="inner", maintain_order="left").with_columns(
        lower=pl.col("stream") * (1 << _STREAM_BITS) - (-_physical("span_from") // _MINUTE_US),
        # The last interval of a span is the one that ends in it.
        upper=pl.col("stream") * (1 << _STREAM_BITS) + _minute("span_to") - pl.col("length_s") // 60 + 1,
    )
    lo = np.searchsorted(key, bounds["lower"].to_numpy())
    hi = np.searchsorted(key, bounds["upper"].to_numpy())
    bounds = bounds.with_columns(lo=pl.Series(lo), hi=pl.Series(hi)).filter(pl.col("lo") < pl.col("hi"))
    bounds = bounds.drop("stream", "length_s", "lower", "upper").with_row_index("segment")
    rows = _rows(finals, bounds)
    return Segments(_described(bounds, rows), rows)


def segment_starts(rows: Rows) -> I64:
    """Index of the first row of every segment; no segment is empty."""
    return np.flatnonzero(np.diff(rows.segment, prepend=-1)).astype(np.int64)


def _streams(finals: pl.DataFrame) -> tuple[pl.DataFrame, I64]:
    new = (pl.col("meter_id") != pl.col("meter_id").shift(1)) | (pl.col("channel") != pl.col("channel").shift(1))
    numbered = finals.select(
        stream=new.fill_null(value=True).cast(pl.Int64).cum_sum() - 1, minute=_minute("interval_start")
    )
    stream = numbered["stream"].to_numpy()
    first = np.flatnonzero(np.diff(stream, prepend=-1))
    streams = finals[first].select("meter_id", "channel", length_s="interval_s")
    streams = streams.with_columns(pl.col("length_s").cast(pl.Int64), stream=pl.Series(stream[first]))
    return streams, (stream << _STREAM_BITS) + numbered["minute"].to_numpy()


def _physical(column: str) -> pl.Expr:
    return pl.col(column).to_physical()


def _minute(column: str) -> pl.Expr:
    return _physical(column) // _MINUTE_US


def _rows(finals: pl.DataFrame, bounds: pl.DataFrame) -> Rows:
    lo, hi = bounds["lo"].to_numpy(), bounds["hi"].to_numpy()
    segment = np.repeat(np.arange(len(lo), dtype=np.int32), hi - lo)
    if len(lo) == 1 or (len(lo) and np.array_equal(lo[1:], hi[:-1])):
        picked = finals.slice(int(lo[0]), int(hi[-1] - lo[0]))
    else:
        before = np.concatenate([[0], np.cumsum(hi - lo)[:-1]]) if len(lo) else np.zeros(0, np.int64)
        picked = finals[np.repeat(lo - before, hi - lo) + np.arange(len(segment))]
    columns = picked.select(
        minute=_minute("interval_start"),
        seconds=pl.col("interval_s").cast(pl.Int64),
        value=pl.col("value_milli").fill_null(0),  # its quality becomes `missing` with it: nothing is taken for zero
        quality=pl.when(pl.col("value_milli").is_null()).then(MISSING).otherwise(pl.col("quality").to_physical()),
        partial=(pl.col("failed") & pl.lit(_PARTIAL, dtype=pl.UInt64)) != 0,
        version=pl.col("version"),
    )
    return Rows(
        segment=segment,
        minute=columns["minute"].to_numpy(),
        seconds=columns["seconds"].to_numpy(),
        value=columns["value"].to_numpy(),
        quality=columns["quality"].cast(pl.Int64).to_numpy(),
        partial=columns["partial"].to_numpy(),
        version=columns["version"].to_numpy(),
    )


def _described(bounds: pl.DataFrame, rows: Rows) -> pl.DataFrame:
    starts = segment_starts(rows)
    none = np.zeros(0, np.int64)
    version = np.maximum.reduceat(rows.version, starts) if len(starts) else none
    shortest = np.minimum.reduceat(rows.seconds, starts) if len(starts) else none
    covered = np.add.reduceat(rows.seconds, starts) if len(starts) else none
    s = pl.col("interval_s")
    grid = pl.col("span_to").dt.epoch("s") // s - -(-pl.col("span_from").dt.epoch("s") // s)
    return (
        bounds.with_columns(source_revision=pl.Series(version), interval_s=pl.Series(shortest))
        .with_columns(n_absent=(grid - pl.Series(covered) // s).clip(lower_bound=0))
        .drop("lo", "hi")
    )
