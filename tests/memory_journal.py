"""A journal of outages in memory, which keeps what the one in Kafka keeps (journal_promises); a test can fail it."""

from outage.stream_record import Kind, Record
from schemas.errors import TransientError


class JournalLog:
    """What several journals write to: the newest claim's epoch and the records that count."""

    def __init__(self) -> None:
        self.epoch = 0
        self.records: list[Record] = []


class MemoryJournal:
    """`outage_lane.Log` over a log in memory. While `away` it fails, while `overtaken` another one has claimed it."""

    def __init__(self, log: JournalLog | None = None, story: list[object] | None = None) -> None:
        self._log = log or JournalLog()
        self.records = self._log.records
        self.epoch, self.overtaken, self.away = 0, False, False
        self._story: list[object] = [] if story is None else story

    def claim(self) -> list[Record]:
        """See `outage.stream.Journal.claim`."""
        self._log.epoch += 1
        self.epoch = self._log.epoch
        snapshots = [i for i, record in enumerate(self.records) if record.kind is Kind.SNAPSHOT]
        return self.records[snapshots[-1] :] if snapshots else list(self.records)

    def append(self, record: Record) -> bool:
        """See `outage.stream.Journal.append`."""
        if self.away:
            raise TransientError("away")
        if self.overtaken or self._log.epoch != self.epoch:
            return False
        again = self.records and record.kind is Kind.STEP and record.number == self.records[-1].number
        if not again:
            self.records.append(record._replace(epoch=self.epoch))
            self._story.append(record.kind)
        return True

    def close(self) -> None:
        """Nothing is held open."""
