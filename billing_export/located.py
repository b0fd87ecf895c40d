"""Where in the finals each installation's intervals lie: newest versions in order, and ranges of rows."""

from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

_MINUTE_US: Final = 60_000_000
_STREAM_BITS: Final = 34
"""Minutes since 1970 take 25 bits today; 34 last for 32,000 years and leave 2^29 streams."""
_NAMED: Final = ("meter_id", "channel", "interval_s")
NOTHING_JUDGED: Final = datetime(1970, 1, 1, tzinfo=UTC)

I64 = npt.NDArray[np.int64]


def newest(finals: pl.DataFrame) -> pl.DataFrame:
    """The newest version of every interval, of one version the later judgement, sorted by meter, channel and time.

    Finals that are already so, as the store hands them out, are passed on untouched: sorting them again would cost
    more than all the rest. Where two of a series overlap, a date of installation was corrected, and what it had left
    of an interval no longer counts: of two that end together the one judged last stands, else the longer one.
    """
    return _apart(_ordered(finals))


def _apart(ordered: pl.DataFrame) -> pl.DataFrame:
    """The same rows without those that another one of their series has taken the place of."""
    while (before := _overlapping(ordered)).size:
        # One pair at a time of those that hang together: what goes takes the place of nothing.
        before = before[np.diff(before, prepend=-2) > 1]
        starts, seconds, judged = (ordered[name][before] for name in ("interval_start", "interval_s", "judged_at"))
        others = ordered.select("interval_start", "interval_s", "judged_at")[before + 1]
        length, other = seconds.cast(pl.Int64) * 1_000_000, others["interval_s"].cast(pl.Int64) * 1_000_000
        together = starts.to_physical() + length == others["interval_start"].to_physical() + other
        later = judged.to_physical() - others["judged_at"].to_physical()
        stands = np.where((together & (later != 0)).to_numpy(), (later > 0).to_numpy(), (length >= other).to_numpy())
        kept = np.ones(ordered.height, dtype=bool)
        kept[np.where(stands, before + 1, before)] = False
        ordered = ordered.filter(pl.Series(kept))
    return ordered


def _overlapping(ordered: pl.DataFrame) -> I64:
    """Rows that end after the next one of their series begins."""
    starts = ordered["interval_start"].to_physical().to_numpy()
    over = starts[1:] - starts[:-1] < ordered["interval_s"].to_numpy()[:-1].astype(np.int64) * 1_000_000
    over[_first_rows(ordered)[1:] - 1] = False
    return np.flatnonzero(over)


def _ordered(finals: pl.DataFrame) -> pl.DataFrame:
    if _in_order(finals):
        return finals
    columns = ("meter_id", "channel", "interval_start")
    ordered = finals.sort(*columns, "version", "judged_at", maintain_order=True)
    last = pl.any_horizontal([pl.col(name) != pl.col(name).shift(-1) for name in columns]).fill_null(value=True)
    return ordered.filter(last)


def _in_order(finals: pl.DataFrame) -> bool:
    """Whether each row stands after the one before it, by meter, channel and time, and none twice."""
    first = _first_rows(finals)
    at = finals["interval_start"].to_physical().to_numpy()
    later = at[1:] > at[:-1]
    later[first[1:] - 1] = True
    heads = finals.select("meter_id", pl.col("channel").to_physical())[first]
    same, ascending = pl.lit(value=True), pl.lit(value=False)
    for name in heads.columns:
        column = pl.col(name)
        ascending = ascending | (same & (column > column.shift(1)))
        same = same & (column == column.shift(1))
    return bool(later.all()) and bool(heads.select(ascending.slice(1).all()).item())


def _first_rows(finals: pl.DataFrame) -> I64:
    """The first row of every stretch of one meter and channel."""
    rows = finals.height
    if not rows:
        return np.zeros(0, np.int64)
    meter, channel = finals["meter_id"], finals["channel"].to_physical().to_numpy()
    # Slices, not shifts: nothing is copied.
    changes = (meter.slice(1) != meter.slice(0, rows - 1)).to_numpy() | (channel[1:] != channel[:-1])
    return np.append(0, np.flatnonzero(changes) + 1)


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
    first = _first_rows(finals)
    last = pl.Series(np.append(first[1:], finals.height)[: len(first)] - 1)
    streams = finals.select(*_NAMED)[first].select("meter_id", "channel", length_s=pl.col("interval_s").cast(pl.Int64))
    streams = streams.with_columns(
        stream=pl.int_range(pl.len(), dtype=pl.Int64), service_point_id=finals["service_point_id"].gather(last)
    )
    lengths = np.diff(np.append(first, finals.height))
    stream = np.repeat(np.arange(len(first), dtype=np.int64) << _STREAM_BITS, lengths)
    key = stream + finals.select(minute("interval_start")).to_series().to_numpy()
    return Streams(streams, key, finals["interval_s"].to_numpy())


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
        interval, or the one after that where an installation left a part of it), and `lo`, `hi`: the half-open range
        of rows of the finals. In the order of the finals.
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
    located = ranged.filter(pl.col("lo") < pl.col("hi")).drop("stream", "lower", "upper")
    first = located["lo"].to_numpy()
    second = np.minimum(first + 1, located["hi"].to_numpy() - 1)
    length = np.maximum(streams.length_s[first], streams.length_s[second]).astype(np.int64)
    return located.with_columns(length_s=pl.Series(length, dtype=pl.Int64))


def parts_in(picked: pl.DataFrame, located: pl.DataFrame) -> npt.NDArray[np.bool_]:
    """Which of the rows that `take` picked are the part of an interval that an exchange left at an end of a span.

    Args:
        picked: FINALS columns `interval_start` and `interval_s`.
        located: As `locate` leaves it, in the same order.
    """
    after = np.cumsum((located["hi"] - located["lo"]).to_numpy())
    first = np.append(0, after)[: len(after)]
    part = np.zeros(picked.height, dtype=bool)
    for at, edge in ((first, "span_from"), (after - 1, "span_to")):
        rows = picked.select("interval_start", "interval_s")[at]
        reach = pl.duration(seconds="interval_s") if edge == "span_to" else pl.duration(seconds=0)
        beside = rows.select(pl.col("interval_start") + reach).to_series() - located[edge]
        near = (beside.dt.total_microseconds().abs() < _MINUTE_US).to_numpy()
        part[at] |= near & (rows["interval_s"].to_numpy() < located["length_s"].to_numpy())
    return part


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
    judged = take(finals.select(pl.col("judged_at").to_physical()), located)[1]["judged_at"].to_numpy()
    return NOTHING_JUDGED + timedelta(microseconds=int(judged.max())) if len(judged) else NOTHING_JUDGED


def minute(column: str) -> pl.Expr:
    """Minutes since 1970-01-01T00:00Z."""
    return _physical(column) // _MINUTE_US


def _physical(column: str) -> pl.Expr:
    return pl.col(column).to_physical()
