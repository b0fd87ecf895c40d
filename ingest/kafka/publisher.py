"""Publishing: rows out, acknowledged by all in-sync replicas or failed. Nothing fails in silence."""

from collections.abc import Iterable
from typing import Any, Final

import polars as pl
from kafka import KafkaProducer, errors
from kafka.partitioner.default import murmur2

from ingest.kafka.opening import opening, told_once
from ingest.kafka.settings import KafkaSettings, typed_error
from schemas.errors import TransientError

MAX_MESSAGE_OCTETS: Final = 4 * 1024 * 1024
"""What the largest topic takes: the reject of a whole message of 1 MiB, in hex, with its reason."""

_UNKNOWN_S: Final = 10.0
"""How long a topic that was made a moment ago may take to be known."""


class KafkaPublisher:
    """An idempotent producer. `publish` takes rows over, `flush` says that the brokers have them.

    After a failure it begins anew with another producer: one whose batch expired unsent keeps its partition waiting for
    an order of sequence numbers that never comes.
    """

    def __init__(self, settings: KafkaSettings, *, linger_ms: int = 10, compression: str | None = "lz4") -> None:
        self._settings = settings
        self._options = settings.client_options() | {
            "acks": "all",
            "enable_idempotence": True,
            "linger_ms": linger_ms,
            "batch_size": 256 * 1024,
            "max_request_size": MAX_MESSAGE_OCTETS,
            "compression_type": compression,
            "allow_auto_create_topics": False,
            "delivery_timeout_ms": max(60_000, settings.request_timeout_ms + linger_ms),
        }
        self._failures: list[Exception] = []
        self._partitions: dict[str, list[int]] = {}
        self._producer: Any = None
        self._open()

    def publish(self, topic: str, rows: pl.DataFrame) -> int:
        """The rows are handed over, not yet acknowledged; their number is returned.

        Args:
            topic: Where to.
            rows: `value` (Binary); optionally `key` (Binary or String: rows of one key keep their order),
                `partition` (Int32, else by key), `timestamp_ms` (Int64, else now).

        Raises:
            TransientError: The buffer stays full or the topic is unknown for too long. Rows before may be on their way.
            TerminalError: A row is refused for good (too large).
        """
        producer = self._open()
        values = rows["value"].to_list()
        keys = _or_none(rows, "key", pl.Binary)
        partitions = _or_none(rows, "partition", pl.Int32)
        stamps = _or_none(rows, "timestamp_ms", pl.Int64)
        for value, key, partition, stamp in zip(values, keys, partitions, stamps, strict=True):
            try:
                future = producer.send(topic, value=value, key=key, partition=partition, timestamp_ms=stamp)
            except errors.KafkaError as error:
                self._begin_anew()
                raise typed_error(error, retriable=_may_pass(error)) from error
            future.add_errback(self._failures.append)
        return len(values)

    def partition_for(self, topic: str, key: bytes) -> int:
        """The partition that a key belongs to, by the hash that every Kafka producer uses.

        Raises:
            TransientError: No broker tells of the topic within ten seconds: it is missing, or its brokers are away.
            TerminalError: We may not know of it.
        """
        partitions = self._partitions.get(topic)
        if partitions is None:
            partitions = self._partitions[topic] = sorted(self._found(topic))
        place: int = (murmur2(key) & 0x7FFFFFFF) % len(partitions)
        return partitions[place]

    def _found(self, topic: str) -> set[int]:
        """The library's own wait is that of a full buffer, a minute, and it logs the same ten times a second."""
        producer = self._open()
        try:
            with told_once("kafka.cluster"):
                found: set[int] = producer._wait_on_metadata(topic, round(1000 * _UNKNOWN_S))
        except errors.KafkaTimeoutError as error:
            raise TransientError(
                f"kafka: no broker told of topic {topic} within {_UNKNOWN_S:.0f} s: if it is missing, run ami topics"
            ) from error
        except errors.KafkaError as error:
            raise typed_error(error, retriable=_may_pass(error)) from error
        return found

    def flush(self, limit_s: float = 60.0) -> None:
        """All that was published is acknowledged by every in-sync replica.

        Raises:
            TransientError: Something was not, or not in time. All since the last flush is to be published again;
                consumers of ours take a row twice without harm.
            TerminalError: Something was refused for good.
        """
        try:
            self._open().flush(timeout=limit_s)
        except errors.KafkaError as error:
            self._begin_anew()
            raise TransientError(f"kafka: flush: {type(error).__name__}") from error
        if self._failures:
            failure = self._failures[0]
            self._begin_anew()
            raise typed_error(failure, retriable=_may_pass(failure)) from failure

    def close(self, limit_s: float = 5) -> None:
        """What was published is sent if it can be within the limit; the connection is given back."""
        if self._producer is not None:
            _shut(self._producer, limit_s)
            self._producer = None

    def _open(self) -> Any:
        if self._producer is None:
            with opening(self._settings):
                self._producer = KafkaProducer(**self._options)
            # What is owed is flushed before; at the end of the process the library would wait once more, and print a
            # traceback where the brokers are away.
            self._producer._unregister_cleanup()
        return self._producer

    def _begin_anew(self) -> None:
        """The producer is given up with all that it holds: its rows are published again."""
        # A list of its own: what the old producer says while it is closed is not said of the new one's rows.
        given_up, self._producer, self._failures = self._producer, None, []
        if given_up is not None:
            _shut(given_up, 0)


def _shut(producer: Any, limit_s: float) -> None:
    try:
        producer.close(timeout=limit_s)
    except errors.KafkaError:
        # `close` flushes first and leaves when that takes too long: its sender would go on trying for ever.
        producer._sender.force_close()
        producer._closed = True  # else it tries again when it is collected


def _or_none(rows: pl.DataFrame, name: str, dtype: Any) -> Iterable[Any]:
    return rows[name].cast(dtype).to_list() if name in rows.columns else [None] * rows.height


def _may_pass(error: Exception) -> bool:
    # What the producer could not deliver in its own time it gives up with a timeout or a cancellation.
    too_large = (errors.MessageSizeTooLargeError, errors.RecordListTooLargeError, errors.InvalidTopicError)
    return not isinstance(error, (*too_large, errors.AuthorizationError, errors.UnsupportedCodecError))
