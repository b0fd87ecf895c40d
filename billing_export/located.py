"""Where in the finals each installation's intervals lie: newest versions in order, and ranges of rows."""

from datetime import UTC, datetime
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

_MINUTE_US: Final = 60_000_000
_STREAM_BITS: Final = 34
"""Minutes since 1970 take 25 bits today; 34 last for 32,000 years and leave 2^29 streams."""
NOTHING_JUDGED: Final = datetime(1970, 1, 1, tzinfo=UTC)

I64 = npt.NDArray[np.int64]


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


class Streams(NamedTuple):
    """Where each meter and channel begins in finals as `newest` left them; looked up once, used twice."""

    streams: pl.DataFrame
    """`stream`, `meter_id`, `channel`, `service_point_id`? (of its last row), `length_s` (of its first interval)."""
    key: I64
    """Stream and minute of every row in one ascending number."""
    length_s: npt.NDArray[np.int32]
    """Length of every row."""


def streams_in(finals: pl.DataFrame) -> Streams:
    """The streams of finals as `newest` left them."""
    new = (pl.col("meter_id") != pl.col("meter_id").shift(1)) | (pl.col("channel") != pl.col("channel").shift(1))
    numbered = finals.select(new=new.fill_null(value=True), minute=minute("interval_start"))
    starts = numbered["new"].arg_true()
    first = starts.to_numpy().astype(np.int64)
    last = pl.Series(np.append(first[1:], finals.height)[: len(first)] - 1)
    streams = finals[starts].select("meter_id", "channel", length_s=pl.col("interval_s").cast(pl.Int64))
    streams = streams.with_columns(
        stream=pl.int_range(pl.len(), dtype=pl.Int64), service_point_id=finals["service_point_id"].gather(last)
    )
    lengths = np.diff(np.append(first, finals.height))
    stream = np.repeat(np.arange(len(first), dtype=np.int64) << _STREAM_BITS, lengths)
    return Streams(streams, stream + numbered["minute"].to_numpy(), finals["interval_s"].to_numpy())


def metered(streams: Streams) -> pl.DataFrame:
    """`meter_id` and `service_point_id`? of every meter that has finals."""
    named = streams.streams.group_by("meter_id", maintain_order=True)
    return named.agg(pl.col("service_point_id").drop_nulls().last())


def locate(streams: Streams, spans: pl.DataFrame) -> pl.DataFrame:
    """The rows of every stream that lie wholly inside every span of its meter.

    Args:
        streams: Of finals as `newest` leaves them.
        spans: As `billing_spans` leaves them.

    Returns:
        One row per (span, channel) that has intervals: the columns of the span, `channel`, `length_s` (of its first
        interval), and `lo`, `hi`: the half-open range of rows of the finals. In the order of the finals.
    """
    known = streams.streams.drop("service_point_id")
    bounds = known.join(spans, on="meter_id", how="inner", maintain_order="left").with_columns(
        lower=pl.col("stream") * (1 << _STREAM_BITS) - (-_physical("span_from") // _MINUTE_US),
        # Starts before the end of the span; a start in the minute that the end cuts is none that ends in it.
        upper=pl.col("stream") * (1 << _STREAM_BITS) + minute("span_to"),
    )
    lo = np.searchsorted(streams.key, bounds["lower"].to_numpy())
    hi = np.searchsorted(streams.key, bounds["upper"].to_numpy())
    # The last interval of a span is the one that ends in it, however long those before it were.
    last = np.maximum(hi - 1, 0)
    if len(streams.key):
        ends = streams.key[last] + streams.length_s[last] // 60
        hi = np.where((hi > lo) & (ends > bounds["upper"].to_numpy()), hi - 1, hi)
    ranged = bounds.with_columns(lo=pl.Series(lo, dtype=pl.Int64), hi=pl.Series(hi, dtype=pl.Int64))
    return ranged.filter(pl.col("lo") < pl.col("hi")).drop("stream", "lower", "upper")


def take(finals: pl.DataFrame, located: pl.DataFrame) -> tuple[I64, pl.DataFrame]:
    """The rows of the located ranges end to end, and for each the row of `located` that it belongs to."""
    lo, hi = located["lo"].to_numpy(), located["hi"].to_numpy()
    owner = np.repeat(np.arange(len(lo), dtype=np.int64), hi - lo)
    if len(lo) and np.array_equal(lo[1:], hi[:-1]):
        return owner, finals.slice(int(lo[0]), int(hi[-1] - lo[0]))
    before = np.concatenate([[0], np.cumsum(hi - lo)])[:-1].astype(np.int64)
    return owner, finals[np.repeat(lo - before, hi - lo) + np.arange(len(owner))]


def newest_judged_at(finals: pl.DataFrame, located: pl.DataFrame) -> datetime:
    """The newest `judged_at` of the located rows; the epoch where there is none."""
    newest_at = take(finals, located)[1]["judged_at"].max()
    return newest_at if isinstance(newest_at, datetime) else NOTHING_JUDGED


def minute(column: str) -> pl.Expr:
    """Minutes since 1970-01-01T00:00Z."""
    return _physical(column) // _MINUTE_US


def _physical(column: str) -> pl.Expr:
    return pl.col(column).to_physical()
