"""The house in one process: messages from a frame in memory, topics as lists, the store in a folder."""

import time
from collections import defaultdict
from collections.abc import Iterable
from typing import Final, NamedTuple

import polars as pl

from app import workers
from app.fuse import Fuse
from app.lane import Lane, LaneParams, Work
from app.messages import from_messages
from app.telemetry import Health
from ingest.decode import Decoded
from ingest.kafka.source import Place, Position, Span
from schemas.frames import EVENTS, INTERVALS, READS, REJECTS, REPLAY_WINDOWS, Frame
from storage.store import ReadingStore

LAST_GASP_TOPIC: Final = "ami.lastgasp.v1"
BATCH_MESSAGES: Final = 50_000


class MemoryPolled(NamedTuple):
    """See `ingest.kafka.source.Polled`."""

    revoked: frozenset[Place]
    assigned: tuple[Position, ...]
    spans: tuple[Span, ...]
    rows: pl.DataFrame

    def frames(self) -> pl.DataFrame:
        """RAW_FRAMES."""
        return self.rows


class MemorySource:
    """`lane.Source` over rows in memory (`topic`, `partition`, `offset` and more), read once, in their order.

    Args:
        rows: The log. Rows of one offset lie side by side.
        committed: Next offset of each place, as an earlier source left it; rows before it are not read again.
    """

    def __init__(self, rows: pl.DataFrame, committed: dict[Place, int] | None = None) -> None:
        self.committed: dict[Place, int] = dict(committed or {})
        done = pl.lit(value=False)
        for (topic, partition), offset in self.committed.items():
            done |= (pl.col("topic") == topic) & (pl.col("partition") == partition) & (pl.col("offset") < offset)
        self._places = rows.select("topic", "partition").unique().sort("topic", "partition")
        self._rows = rows.filter(~done)
        self._message = self._rows.select(pl.struct("topic", "partition", "offset").rle_id()).to_series()
        self._read = 0
        self._fresh = True

    def is_empty(self) -> bool:
        """True when every row has been polled."""
        return self._read >= self._rows.height

    def poll(self, limit_s: float, max_messages: int) -> MemoryPolled:  # noqa: ARG002  nothing is waited for
        """See `Source.poll`."""
        if self.is_empty():
            return MemoryPolled(frozenset(), self._positions(), (), self._rows.clear())
        # Whole messages: one that is cut would be committed with half of its frames.
        after = int(self._message.search_sorted(self._message[self._read] + max_messages))
        part = self._rows.slice(self._read, after - self._read)
        self._read = after
        return MemoryPolled(frozenset(), self._positions(), _spans(part), part)

    def keep_alive(self) -> MemoryPolled:
        """See `Source.keep_alive`."""
        return MemoryPolled(frozenset(), (), (), self._rows.clear())

    def pause(self) -> None:
        """See `Source.pause`. Nothing is fetched unasked."""

    def resume(self) -> None:
        """See `Source.resume`."""

    def commit(self, spans: Iterable[Span]) -> frozenset[Place]:
        """See `Source.commit`."""
        done = {(span.topic, span.partition): span.next for span in spans}
        self.committed |= done
        return frozenset(done)

    def lag(self) -> dict[Place, int]:
        """See `Source.lag`: messages that are not committed, polled or not."""
        offset = pl.col("offset")
        logs = self._rows.group_by("topic", "partition").agg(offset.min().alias("first"), offset.max().alias("last"))
        return {
            (topic, partition): last + 1 - max(first, self.committed.get((topic, partition), 0))
            for topic, partition, first, last in logs.rows()
        }

    def _positions(self) -> tuple[Position, ...]:
        if not self._fresh:
            return ()
        self._fresh = False
        places = zip(self._places["topic"], self._places["partition"], strict=True)
        return tuple(Position(*place, self.committed.get(place, 0)) for place in places)


class MemoryPublisher:
    """`workers.Publisher` that keeps the messages of each topic."""

    def __init__(self) -> None:
        self._waiting: list[tuple[str, pl.DataFrame]] = []
        self._topics: dict[str, list[pl.DataFrame]] = defaultdict(list)

    def publish(self, topic: str, rows: pl.DataFrame) -> int:
        """See `Publisher.publish`."""
        self._waiting.append((topic, rows))
        return rows.height

    def flush(self) -> None:
        """See `Publisher.flush`."""
        for topic, rows in self._waiting:
            self._topics[topic].append(rows)
        self._waiting.clear()

    def rows(self, topic: str, frame: Frame) -> pl.DataFrame:
        """Everything that was acknowledged on a topic, in order."""
        return from_messages([value for part in self._topics[topic] for value in part["value"]], frame)


def _spans(rows: pl.DataFrame) -> tuple[Span, ...]:
    if rows.is_empty():
        return ()
    ends = rows.group_by("topic", "partition").agg(first=pl.col("offset").min(), last=pl.col("offset").max())
    columns = zip(ends["topic"], ends["partition"], ends["first"], ends["last"], strict=True)
    return tuple(Span(topic, partition, first, last + 1, 0) for topic, partition, first, last in columns)


class Gathered(NamedTuple):
    """The rows of all batches, and their sums."""

    intervals: pl.DataFrame
    reads: pl.DataFrame
    rejects: pl.DataFrame
    conservation: dict[str, int]

    @classmethod
    def of(cls, parts: list[Decoded]) -> "Gathered":
        """All batches together, in order."""
        names = ("frames", "decoded", "rejected", "duplicates")
        return cls(
            pl.concat([INTERVALS.empty(), *(part.intervals for part in parts)]),
            pl.concat([READS.empty(), *(part.reads for part in parts)]),
            pl.concat([REJECTS.empty(), *(part.rejects for part in parts)]),
            {name: sum(int(getattr(part.counts, name)) for part in parts) for name in names},
        )


class Keeping:
    """A work that also keeps what each batch decoded to."""

    def __init__(self, work: Work[Decoded]) -> None:
        self._work = work
        self.kept: list[Decoded] = []

    def adopt(self, positions: tuple[Position, ...]) -> None:
        """See `Work.adopt`."""
        self._work.adopt(positions)

    def prepare(self, frames: pl.DataFrame) -> Decoded:
        """See `Work.prepare`."""
        decoded = self._work.prepare(frames)
        self.kept.append(decoded)
        return decoded

    def deliver(self, prepared: Decoded, token: str) -> None:
        """See `Work.deliver`."""
        self._work.deliver(prepared, token)


def carry_both_lanes(
    frames: pl.DataFrame, store: ReadingStore, publisher: MemoryPublisher, registry: workers.Registry
) -> list[Decoded]:
    """What both lanes give, carried by the workers: gasps first, without the store, then the usual pushes."""
    gasps = pl.col("topic") == LAST_GASP_TOPIC
    urgent = Keeping(
        workers.EventsWork(publisher, registry, lambda _: (), lambda _: REPLAY_WINDOWS.empty())
    )
    _carry(frames.filter(gasps), urgent)
    for part in urgent.kept:
        store.append("frames", part.messages, "frames of the last-gasp lane")
    fuse = workers.fuse_of(Fuse(share=1.0, messages=BATCH_MESSAGES), time.monotonic)
    usual = Keeping(workers.IngestWork(store, publisher, registry, fuse))
    _carry(frames.filter(~gasps), usual)
    store.append("events", publisher.rows(workers.EVENTS_TOPIC, EVENTS), "events")
    return urgent.kept + usual.kept


def _carry(frames: pl.DataFrame, work: Keeping) -> None:
    source = MemorySource(frames)
    params = LaneParams(batch_messages=BATCH_MESSAGES, batch_seconds=0, shutdown_seconds=600, poll_seconds=1)
    Lane(source, work, params, Health(heartbeat_limit_s=600)).run(source.is_empty)
