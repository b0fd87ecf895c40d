"""A compacted topic in memory, which keeps what that in Kafka keeps (compacted_promises); a test can take it away."""

from ingest.kafka.compacted import Newest
from schemas.errors import TransientError


class MemoryTopic:
    """One reader of a log in memory, `following.Changes`. While `away` it cannot be read."""

    def __init__(self, log: list[tuple[bytes, Newest]] | None = None) -> None:
        self._log: list[tuple[bytes, Newest]] = [] if log is None else log
        self._read = 0
        self.away = False

    def write(self, changes: dict[bytes, Newest]) -> None:
        """Messages come to the log."""
        self._log += changes.items()

    def changes(self) -> dict[bytes, Newest]:
        """See `ingest.kafka.compacted.CompactedTopic.changes`."""
        if self.away:
            raise TransientError("away")
        changed = dict(self._log[self._read :])
        self._read = len(self._log)
        return changed

    def version(self) -> int:
        """See `ingest.kafka.compacted.CompactedTopic.version`."""
        return self._read

    def close(self) -> None:
        """Nothing is held open."""
