"""The house in one process: messages from a frame in memory, topics as lists, the store in a folder."""

from collections import defaultdict

import polars as pl

from app.workers import Batch
from schemas.frames import Frame, conform

BATCH_MESSAGES = 50_000


class MemorySource:
    """`workers.Source` over RAW_FRAMES in memory, in their order, `batch_messages` at a time."""

    def __init__(self, frames: pl.DataFrame, batch_messages: int = BATCH_MESSAGES) -> None:
        self._frames = frames
        self._size = batch_messages
        self._polled = 0
        self.committed = 0

    def poll(self) -> Batch | None:
        """See `Source.poll`."""
        if self._polled >= self._frames.height:
            return None
        part = self._frames.slice(self._polled, self._size)
        first, last = self._polled, self._polled + part.height - 1
        self._polled += part.height
        return Batch(part, f"{part['topic'][0]} {first}-{last}")

    def commit(self, batch: Batch) -> None:
        """See `Source.commit`."""
        self.committed += batch.frames.height


class MemoryPublisher:
    """`workers.Publisher` that keeps the rows of each topic."""

    def __init__(self) -> None:
        self._waiting: list[tuple[str, pl.DataFrame]] = []
        self._topics: dict[str, list[pl.DataFrame]] = defaultdict(list)

    def publish(self, topic: str, frame: Frame, rows: pl.DataFrame) -> None:
        """See `Publisher.publish`."""
        self._waiting.append((topic, conform(rows, frame)))

    def flush(self) -> None:
        """See `Publisher.flush`."""
        for topic, rows in self._waiting:
            self._topics[topic].append(rows)
        self._waiting.clear()

    def rows(self, topic: str, frame: Frame) -> pl.DataFrame:
        """Everything that was acknowledged on a topic, in order."""
        return pl.concat([frame.empty(), *self._topics[topic]])
