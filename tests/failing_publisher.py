"""The publisher in memory, to which a test adds a failure: it keeps what every publisher promises (door_promises)."""

import threading
from typing import Self

from app.embedded import MemoryPublisher
from schemas.errors import TerminalError, TransientError


class FailingPublisher(MemoryPublisher):
    """While `away` is set a flush fails for now, while `refused` for good; what was handed over is then given up."""

    PARTITIONS = 3

    def __init__(self) -> None:
        super().__init__()
        self.away = threading.Event()
        self.refused = False

    def beside(self) -> Self:
        """Another one to the same topics, which is away when this one is."""
        other = type(self)()
        other.away, other._topics = self.away, self._topics
        return other

    def partition_for(self, topic: str, key: bytes) -> int:
        """See `ingest.gateway_lane.Publisher.partition_for`."""
        return len(key) % self.PARTITIONS

    def flush(self) -> None:
        """See `Publisher.flush`."""
        if self.refused or self.away.is_set():
            self._waiting.clear()
            raise TerminalError("refused") if self.refused else TransientError("away")
        super().flush()

    def close(self) -> None:
        """Nothing is held open."""

    @property
    def sent(self) -> list[tuple[str, bytes, int]]:
        """Topic, value and partition of every row that was acknowledged, in the order of each topic."""
        return [
            (topic, value, partition)
            for topic, parts in list(self._topics.items())
            for part in list(parts)
            for value, partition in zip(part["value"], part["partition"], strict=True)
        ]

    def values(self, topic: str) -> list[bytes]:
        """The values that were acknowledged on a topic, in order."""
        return [value for part in self._topics[topic] for value in part["value"]]
