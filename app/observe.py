"""A work whose batches are counted, timed and told in one line each."""

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Generic, Protocol, TypeVar

import polars as pl

from app import telemetry
from app.following import Enrolled
from app.lane import Work
from app.workers import Registry
from ingest.decode import Decoded
from ingest.kafka.source import Position

LOG = logging.getLogger("ami.worker")

Prepared = TypeVar("Prepared")

class Decoding(Work[Decoded], Protocol):
    """A work on decoded frames, by a registry."""

    def enrol(self, registry: Registry) -> None: ...


class Observed:
    """A work on decoded frames, watched: `ami_messages_total`, rows, insert time, event age.

    Args:
        work: What is watched.
        lane: Its name among the labels.
        counts: Whether messages are counted here: not where another worker reads the same and stores it.
    """

    def __init__(self, work: Decoding, lane: str, *, counts: bool = True) -> None:
        self._work, self._lane, self._counts = work, lane, counts

    def enrol(self, registry: Registry) -> None:
        """From the next batch on this registry counts."""
        self._work.enrol(registry)

    def adopt(self, positions: tuple[Position, ...]) -> None:
        """See `Work.adopt`."""
        self._work.adopt(positions)
        LOG.info("partitions", extra={"fields": {"lane": self._lane, "owned": len(positions)}})

    def prepare(self, frames: pl.DataFrame) -> Decoded:
        """See `Work.prepare`."""
        start = time.perf_counter()
        decoded = self._work.prepare(frames)
        for table in ("intervals", "reads", "events", "rejects"):
            telemetry.BATCH_ROWS.labels(table=table).observe(getattr(decoded, table).height)
        fields = {
            "lane": self._lane,
            "frames": decoded.counts.frames,
            "rows": decoded.intervals.height + decoded.reads.height + decoded.events.height,
            "rejects": decoded.counts.rejected,
            "copies": decoded.counts.duplicates,
            "ms": round(1000 * (time.perf_counter() - start)),
        }
        LOG.info("decoded", extra={"fields": fields})
        return decoded

    def deliver(self, prepared: Decoded, token: str) -> None:
        """See `Work.deliver`."""
        with _delivering(self._lane, token):
            self._work.deliver(prepared, token)
        if self._counts:
            _count(prepared, self._lane)
        ages = prepared.events.select((pl.lit(time.time() * 1e6) - pl.col("occurred_at").dt.epoch("us")) / 1e6)
        for age in ages.to_series():
            telemetry.EVENT_AGE.labels(lane=self._lane).observe(max(0.0, age))


class Timed(Generic[Prepared]):
    """A work by a registry, watched: insert time, and the rows of each batch.

    Args:
        work: What is watched.
        lane: Its name among the labels.
        rows: How many rows of each table a batch was prepared to.
    """

    def __init__(
        self, work: Enrolled[Prepared], lane: str, rows: Callable[[Prepared], Mapping[str, int]] = lambda _: {}
    ) -> None:
        self._work, self._lane, self._rows = work, lane, rows
        self.adopt: Callable[[tuple[Position, ...]], None] = work.adopt
        self.enrol: Callable[[Registry], None] = work.enrol

    def prepare(self, frames: pl.DataFrame) -> Prepared:
        """See `Work.prepare`."""
        prepared = self._work.prepare(frames)
        for table, rows in self._rows(prepared).items():
            telemetry.BATCH_ROWS.labels(table=table).observe(rows)
        return prepared

    def deliver(self, prepared: Prepared, token: str) -> None:
        """See `Work.deliver`."""
        with _delivering(self._lane, token):
            self._work.deliver(prepared, token)


@contextmanager
def _delivering(lane: str, token: str) -> Iterator[None]:
    start = time.perf_counter()
    outcome = "failed"
    try:
        yield
        outcome = "done"
    finally:
        seconds = time.perf_counter() - start
        telemetry.INSERT_DURATION.labels(table=lane, outcome=outcome).observe(seconds)
        LOG.info("delivered", extra={"fields": {"batch": token, "outcome": outcome, "ms": round(1000 * seconds)}})


def _count(decoded: Decoded, lane: str) -> None:
    numbers = decoded.counts
    for outcome in ("decoded", "rejected", "duplicates"):
        telemetry.MESSAGES.labels(topic=lane, outcome=outcome).inc(getattr(numbers, outcome))
    telemetry.DEDUP_DROPPED.labels(layer="replay_window").inc(numbers.duplicates)
