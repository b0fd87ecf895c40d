"""Door: the journal that the outage worker remembers by, who of several workers holds it, and the topics it reads.

One worker of a group is at work, the others stand by: an incident may span the feeders of a substation, so all of them
meet in one process. What it knows is a journal of one partition. A batch is said only after its record stands in the
journal and no claim of another worker stands before it; whoever takes over reads the journal, repeats what the last
record was to say, and goes on at the positions it names. No transaction, no lock, no database.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from kafka import ConsumerRebalanceListener, KafkaConsumer, KafkaProducer, TopicPartition, errors
from kafka.structs import MemberState

from outage.stream_inputs import CLIENT_OPTIONS, opened, told, typed
from outage.stream_record import Folding, Kind, Part, Record, cut_record, read_part
from schemas.errors import TerminalError, TransientError

PARTITION: Final = 0
"""A journal has one partition; more would have no order."""
_LEAVING_MS: Final = 2_000
_SILENT_S: Final = 30
"""Seconds without a message that must be there, after which the brokers count as away."""


class Journal:
    """Reads and writes a journal. Not to be shared between threads at one time.

    Args:
        options: Of every Kafka client: brokers, security.
        topic: The journal.
    """

    def __init__(self, options: Mapping[str, Any], topic: str) -> None:
        self._place = TopicPartition(topic, PARTITION)
        self._producer: Any = opened(
            lambda: KafkaProducer(
                **options, acks="all", enable_idempotence=True, linger_ms=0, compression_type=None,
                allow_auto_create_topics=False, max_request_size=1_000_000,
            )
        )  # fmt: skip
        self._consumer: Any = opened(
            lambda: KafkaConsumer(**options, **CLIENT_OPTIONS, group_id=None, auto_offset_reset="none")
        )
        self._consumer.assign([self._place])
        self._folding = Folding()
        self._next = 0
        self.epoch = 0

    def claim(self) -> list[Record]:
        """The journal is ours from now on; its records since the newest snapshot (the first then).

        Raises:
            TransientError: The brokers are away.
            TerminalError: Parts of the journal are lost.
        """
        base, epoch = self._newest()
        while True:
            epoch += 1
            at = self._write([Part(Kind.CLAIM, epoch, 0, 0, 1, base, b"")])
            self._folding = Folding(base)
            self._next = base
            records = self._read(at)
            if self._folding.claimed_at == at:
                self.epoch = epoch
                return _since_snapshot(records)
            # Another worker claimed at the same moment: the next claim decides.
            epoch = self._folding.epoch

    def append(self, record: Record) -> bool:
        """The record stands in the journal for good; false where another worker has taken over before it.

        Raises:
            TransientError: The brokers are away. Whether the record stands is unknown; it may be appended again.
        """
        at = self._write(cut_record(record._replace(epoch=self.epoch), self._folding.base))
        self._read(at)
        return self._folding.epoch == self.epoch

    def close(self) -> None:
        """Connections are given back."""
        self._producer.close(timeout=5)
        self._consumer.close(autocommit=False)

    def _newest(self) -> tuple[int, int]:
        """Where to begin reading, and the newest epoch, as the last message tells them."""
        first = told(lambda: self._consumer.beginning_offsets([self._place]))[self._place]
        end = told(lambda: self._consumer.end_offsets([self._place]))[self._place]
        if end == first:
            return end, 0
        for message in self._messages(end - 1, end - 1):
            last = read_part(message.key, message.value)
            if first > last.base:
                raise TerminalError(f"{self._place.topic}: the snapshot at {last.base} is no longer kept")
            return last.base, last.epoch
        raise TransientError(f"{self._place.topic}: the last message did not come")

    def _write(self, parts: list[Part]) -> int:
        """The offset of the last part."""
        try:
            sent = [
                self._producer.send(self._place.topic, value=part.value, key=part.key(), partition=PARTITION)
                for part in parts
            ]
            self._producer.flush(timeout=60)
            return int(sent[-1].get(timeout=60).offset)
        except errors.KafkaError as error:
            raise typed(error) from error

    def _read(self, until: int) -> list[Record]:
        """Records completed by the messages up to that offset."""
        records = []
        for message in self._messages(self._next, until):
            record = self._folding.take(message.offset, read_part(message.key, message.value))
            self._next = message.offset + 1
            if record is not None:
                records.append(record)
        return records

    def _messages(self, at: int, until: int) -> Iterable[Any]:
        self._consumer.seek(self._place, at)
        silent = 0
        while at <= until:
            polled = told(lambda: self._consumer.poll(1000, max_records=100)).get(self._place, [])
            silent = 0 if polled else silent + 1
            if silent > _SILENT_S:
                raise TransientError(f"{self._place.topic} fell silent at {at} of {until}")
            for message in polled:
                if message.offset <= until:
                    yield message
                at = message.offset + 1


class Leadership:
    """Membership of the group of outage workers: the owner of the journal's partition is at work.

    Args:
        options: Of every Kafka client.
        topic: The journal.
        group: The group's name.
        instance: Of a static member: one that comes back soon is at work again without a vote.
        session_ms: A worker that is silent for so long is taken for dead.
    """

    def __init__(
        self, options: Mapping[str, Any], topic: str, group: str, instance: str | None = None, session_ms: int = 10_000
    ) -> None:
        self._place = TopicPartition(topic, PARTITION)
        self._consumer: Any = opened(
            lambda: KafkaConsumer(
                **options, **CLIENT_OPTIONS, group_id=group, group_instance_id=instance, session_timeout_ms=session_ms,
                heartbeat_interval_ms=session_ms // 4, auto_offset_reset="latest",
            )
        )  # fmt: skip
        self._terms = _Terms(self._consumer)
        self._consumer.subscribe([topic], listener=self._terms)

    def term(self, limit_s: float = 0.0) -> int | None:
        """Number of the term in which we are at work; none while standing by. To be called again and again.

        Args:
            limit_s: How long it may take; worth more than nothing while standing by.

        Raises:
            TransientError: The brokers are away.
        """
        told(lambda: self._consumer.poll(int(limit_s * 1000), max_records=1))
        if self._consumer.group_metadata().state is MemberState.REBALANCING:
            # kafka-python 3.0.12 forgets a rebalance for which a poll was too short: the next one takes it up again.
            self._consumer._coordinator.request_rejoin()
        return self._terms.held.get(self._place)

    def close(self) -> None:
        """The group is left; the next worker takes over at once, where the brokers hang once the session has ended."""
        # Without a limit the client waits as long as for any request, beside the bound of who is told to stop.
        self._consumer.close(autocommit=False, timeout_ms=_LEAVING_MS)


class _Terms(ConsumerRebalanceListener):  # type: ignore[misc]
    """Called from inside the client: takes notes, and keeps the journal from being fetched by a mere member."""

    def __init__(self, consumer: Any) -> None:
        self._consumer = consumer
        self._count = 0
        self.held: dict[Any, int] = {}

    def on_partitions_assigned(self, assigned: Iterable[Any]) -> None:
        """A new term in each."""
        for place in assigned:
            self._count += 1
            self.held[place] = self._count
            self._consumer.seek_to_end(place)
            self._consumer.pause(place)

    def on_partitions_revoked(self, revoked: Iterable[Any]) -> None:
        """No term any more."""
        for place in revoked:
            self.held.pop(place, None)

    on_partitions_lost = on_partitions_revoked


def _since_snapshot(records: list[Record]) -> list[Record]:
    snapshots = [i for i, record in enumerate(records) if record.kind is Kind.SNAPSHOT]
    return records[snapshots[-1] :] if snapshots else records
