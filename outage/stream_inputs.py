"""Door: the topics that outages are made of, read outside every group."""

from collections.abc import Mapping
from threading import Lock
from typing import Any, Final, NamedTuple

from kafka import KafkaConsumer, TopicPartition, errors

from outage.stream_record import Positions
from schemas.errors import AmiError, TerminalError, TransientError

CLIENT_OPTIONS: Final[Mapping[str, Any]] = {
    "enable_auto_commit": False,
    "allow_auto_create_topics": False,
    "fetch_max_wait_ms": 50,
    "max_partition_fetch_bytes": 8 * 1024 * 1024,
}


class Message(NamedTuple):
    """One message of an input topic."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    value: bytes | None


class Inputs:
    """The topics that outages are made of, read outside every group: their positions stand in the journal.

    One thread may seek while another asks for the lag, or closes: the client is used by one at a time, and neither of
    these waits for brokers that say nothing.

    Args:
        options: Of every Kafka client.
        topics: All of them exist.
    """

    def __init__(self, options: Mapping[str, Any], topics: tuple[str, ...]) -> None:
        self._consumer: Any = opened(
            lambda: KafkaConsumer(**options, **CLIENT_OPTIONS, group_id=None, auto_offset_reset="none")
        )
        self._topics = topics
        self._in_use = Lock()
        self._lag: dict[tuple[str, int], int] = {}

    def seek(self, positions: Positions, *, missing_from_start: bool | None) -> Positions:
        """Reading begins there, in every partition of the topics; the positions are returned.

        Args:
            positions: Of the journal.
            missing_from_start: Where partitions begin that have no position: at their start, at their end, or (None)
                nowhere: then a missing position is a lost one.

        Raises:
            TransientError: The brokers are away, or a topic is unknown.
            TerminalError: A partition has no position.
        """
        with self._in_use:
            return self._sought(positions, missing_from_start)

    def rest(self) -> None:
        """Nothing is read until the next `seek`."""
        with self._in_use:
            self._consumer.assign([])

    def poll(self, limit_s: float, most: int) -> list[Message]:
        """What came within the limit, ascending in each partition.

        Raises:
            TransientError: The brokers are away.
            TerminalError: A position is no longer kept by the broker: messages may have been lost.
        """
        try:
            with self._in_use:
                polled = told(lambda: self._consumer.poll(int(limit_s * 1000), max_records=most))
        except errors.OffsetOutOfRangeError as error:
            raise TerminalError(f"a position of the journal is no longer kept: {error}") from error
        return [
            Message(place.topic, place.partition, record.offset, record.timestamp, record.value)
            for place, records in polled.items()
            for record in records
        ]

    def lag(self) -> dict[tuple[str, int], int]:
        """Messages that wait in each partition, as of the last fetch; as last told, while another thread seeks."""
        if self._in_use.acquire(blocking=False):
            try:
                self._lag = self._waiting()
            finally:
                self._in_use.release()
        return self._lag

    def close(self) -> None:
        """The connection is given back; one on which another thread still waits ends with the process."""
        if self._in_use.acquire(blocking=False):
            self._consumer.close(autocommit=False)

    def _sought(self, positions: Positions, missing_from_start: bool | None) -> Positions:
        places = [place for topic in self._topics for place in self._partitions(topic)]
        missing = [place for place in places if place.partition not in positions.get(place.topic, {})]
        # A partition or topic that came later is read from its start: the journal has positions of others already.
        new, bare = (missing, []) if positions else ([], missing)
        if bare and missing_from_start is None:
            names = ", ".join(f"{place.topic}/{place.partition}" for place in bare)
            raise TerminalError(f"no position for {names}: lost, or a first start that was not asked for")
        ends = self._consumer.beginning_offsets if missing_from_start else self._consumer.end_offsets
        begin = {
            **told(lambda: self._consumer.beginning_offsets(new) if new else {}),
            **told(lambda: ends(bare) if bare else {}),
        }
        self._consumer.assign(places)
        known: Positions = {topic: {} for topic in self._topics}
        for place in places:
            at = begin[place] if place in begin else positions[place.topic][place.partition]
            self._consumer.seek(place, at)
            known[place.topic][place.partition] = at
        return known

    def _waiting(self) -> dict[tuple[str, int], int]:
        waiting = {}
        for place in self._consumer.assignment():
            newest = self._consumer.highwater(place)
            if newest is not None:
                waiting[place.topic, place.partition] = max(0, newest - self._consumer.position(place))
        return waiting

    def _partitions(self, topic: str) -> list[Any]:
        found = told(lambda: self._consumer.partitions_for_topic(topic))
        if not found:
            raise TransientError(f"kafka: topic {topic} is unknown")
        return [TopicPartition(topic, partition) for partition in sorted(found)]


def opened(make: Any) -> Any:
    """What `make` makes; a client that cannot reach the brokers is a transient error."""
    try:
        return make()
    except errors.KafkaError as error:
        raise typed(error) from error


def told(ask: Any) -> Any:
    """What the brokers answer; a position that they no longer keep is raised as the client raises it."""
    try:
        return ask()
    except errors.OffsetOutOfRangeError:
        raise
    except errors.KafkaError as error:
        raise typed(error) from error


def typed(error: Exception) -> AmiError:
    """The same error as one of ours."""
    refused = (errors.MessageSizeTooLargeError, errors.AuthorizationError, errors.InvalidTopicError)
    text = f"kafka: {type(error).__name__}: {str(error)[:200]}"
    return TerminalError(text) if isinstance(error, refused) else TransientError(text)
