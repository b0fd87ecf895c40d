"""A compacted topic as a table: the newest message of every key, and what has changed since the last look."""

import time
from typing import Any, Final, NamedTuple

from kafka import KafkaConsumer, TopicPartition, errors

from ingest.kafka.opening import opening
from ingest.kafka.settings import KafkaSettings, typed_error
from schemas.errors import TransientError

_POLL_MS: Final = 500
_SILENT_S: Final = 10.0
"""Without a message, or an answer, after which the brokers count as away."""


class Newest(NamedTuple):
    """The newest message of a key: no value where the key was taken away. `place` says where it stands."""

    value: bytes | None
    timestamp_ms: int
    place: str


class CompactedTopic:
    """Reads one topic from its beginning, outside every group. Not to be shared between threads.

    Its partitions are those it had when it was opened.
    """

    def __init__(self, settings: KafkaSettings, topic: str) -> None:
        with opening(settings):
            self._consumer: Any = KafkaConsumer(
                **settings.client_options(),
                group_id=None,
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                allow_auto_create_topics=False,
            )
            partitions = self._consumer.partitions_for_topic(topic)
        if not partitions:
            raise TransientError(f"kafka: topic {topic} is unknown: run ami topics")
        self._places = [TopicPartition(topic, partition) for partition in sorted(partitions)]
        self._consumer.assign(self._places)
        self._consumer.seek_to_beginning(*self._places)
        self._changed: dict[bytes, Newest] = {}

    def changes(self) -> dict[bytes, Newest]:
        """Keys that were written since the last call (the first time: all), each with its newest message.

        Raises:
            TransientError: The brokers are away, or say nothing for ten seconds; the next call goes on where this one
                stopped, and has what was read until then.
        """
        try:
            ends = self._consumer.end_offsets(self._places, timeout_ms=round(1000 * _SILENT_S))
            heard_at = time.monotonic()
            while not all(self._position(place) >= ends[place] for place in self._places):
                for place, records in self._consumer.poll(_POLL_MS).items():
                    heard_at = time.monotonic()
                    for record in records:
                        at = f"{place.topic}/{place.partition}@{record.offset}"
                        self._changed[record.key or b""] = Newest(record.value, record.timestamp, at)
                if time.monotonic() - heard_at > _SILENT_S:
                    raise TransientError(f"kafka: {self._places[0].topic} fell silent before its end")
        except errors.KafkaError as error:
            raise typed_error(error, retriable=True) from error
        changed, self._changed = self._changed, {}
        return changed

    def version(self) -> int:
        """A number that rises with every message read, and is the same whoever has read so far."""
        return sum(self._position(place) for place in self._places)

    def _position(self, place: TopicPartition) -> int:
        """Where the partition is read next; before its begin as long as that is not known."""
        at = self._consumer.position(place, timeout_ms=_POLL_MS)
        return -1 if at is None else int(at)

    def close(self) -> None:
        """The connection is given back."""
        self._consumer.close(autocommit=False)
