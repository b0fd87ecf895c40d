"""What was polled and is not prepared yet: cut into batches where Kafka messages end, so that commits stay exact."""

from collections import deque
from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np
import polars as pl

from ingest.kafka.source import Place, Span

_MESSAGE: Final = ("topic", "partition", "offset")


class Batch(NamedTuple):
    """Rows of whole Kafka messages in the order in which they came, and which messages these are."""

    frames: tuple[pl.DataFrame, ...]
    spans: tuple[Span, ...]
    octets: int
    since: float

    @property
    def messages(self) -> int:
        """By their offsets: those that a topic has no more count too."""
        return sum(span.next - span.first for span in self.spans)


class Pending:
    """Batches that wait: all are full but the last.

    Args:
        most_messages: From which number of messages on a batch is full.
        most_octets: From which size in memory on. A poll that brought more than that is several batches.
    """

    def __init__(self, most_messages: int, most_octets: int) -> None:
        self._most_messages, self._most_octets = most_messages, most_octets
        self._batches: deque[Batch] = deque()

    def __bool__(self) -> bool:
        return bool(self._batches)

    @property
    def first(self) -> Batch:
        """The next one to be prepared."""
        return self._batches[0]

    def is_full(self) -> bool:
        """Whether the first takes nothing more."""
        return bool(self._batches) and (len(self._batches) > 1 or self._full(self._batches[0]))

    def room(self) -> tuple[int, int]:
        """Messages and octets that the last batch still takes."""
        last = self._batches[-1] if self._batches else Batch((), (), 0, 0.0)
        return self._most_messages - last.messages, self._most_octets - last.octets

    def take(self, frames: pl.DataFrame, spans: tuple[Span, ...], now: float) -> None:
        """What one poll brought is added: `frames` with `topic`, `partition`, `offset`, ascending by partition."""
        for part, of_part in _with_spans(_cut(frames, self._most_octets), spans):
            octets = int(part.estimated_size())
            if not self._batches or self._full(self._batches[-1]):
                self._batches.append(Batch((part,), of_part, octets, now))
                continue
            last = self._batches.pop()
            self._batches.append(Batch((*last.frames, part), (*last.spans, *of_part), last.octets + octets, last.since))

    def pop(self) -> Batch:
        """The first, which waits no more."""
        return self._batches.popleft()

    def drop(self, places: frozenset[Place]) -> None:
        """What was polled of those partitions is forgotten."""
        if not places:
            return
        lost = pl.lit(value=False)
        for topic, partition in places:
            lost |= (pl.col("topic") == topic) & (pl.col("partition") == partition)
        kept: deque[Batch] = deque()
        for batch in self._batches:
            spans = tuple(span for span in batch.spans if (span.topic, span.partition) not in places)
            if len(spans) == len(batch.spans):
                kept.append(batch)
            elif spans:
                frames = tuple(part.filter(~lost) for part in batch.frames)
                octets = sum(int(part.estimated_size()) for part in frames)
                kept.append(batch._replace(frames=frames, spans=spans, octets=octets))
        self._batches = kept

    def _full(self, batch: Batch) -> bool:
        return batch.messages >= self._most_messages or batch.octets >= self._most_octets


def joined(spans: tuple[Span, ...]) -> tuple[Span, ...]:
    """One span a partition and term, in order."""
    whole: dict[tuple[str, int, int], Span] = {}
    for span in spans:
        known = whole.get((span.topic, span.partition, span.term))
        whole[span.topic, span.partition, span.term] = span if known is None else known._replace(next=span.next)
    return tuple(whole.values())


def _cut(frames: pl.DataFrame, most_octets: int) -> list[pl.DataFrame]:
    """Halves, and halves of these, until none takes more than that; one Kafka message is never cut."""
    if frames.estimated_size() <= most_octets:
        return [frames]
    others = pl.any_horizontal(pl.col(name).ne_missing(pl.col(name).shift()) for name in _MESSAGE)
    return list(_halves(frames, frames.select(others.arg_true()).to_series().to_numpy(), most_octets))


def _halves(frames: pl.DataFrame, begins: np.ndarray, most_octets: int) -> Iterator[pl.DataFrame]:
    """As `_cut`, by the rows with which Kafka messages begin."""
    if len(begins) == 1 or frames.estimated_size() <= most_octets:
        yield frames
        return
    middle = min(max(1, int(np.searchsorted(begins, frames.height // 2))), len(begins) - 1)
    row = int(begins[middle])
    yield from _halves(frames.slice(0, row), begins[:middle], most_octets)
    yield from _halves(frames.slice(row), begins[middle:] - row, most_octets)


def _with_spans(parts: list[pl.DataFrame], spans: tuple[Span, ...]) -> Iterator[tuple[pl.DataFrame, tuple[Span, ...]]]:
    """Each part with the offsets that it brings to their end; the last with all that is left, rows or none."""
    left = {(span.topic, span.partition): span for span in spans}
    for part in parts[:-1]:
        ends = part.group_by("topic", "partition", maintain_order=True).agg(pl.col("offset").max() + 1)
        brought = []
        for topic, partition, end in ends.rows():
            span = left[topic, partition]
            brought.append(span._replace(next=end))
            left[topic, partition] = span._replace(first=end)
        yield part, tuple(brought)
    yield parts[-1], tuple(span for span in left.values() if span.first < span.next)
