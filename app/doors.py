"""The Kafka side of a worker: its source, its publisher, and what stood on a topic before."""

from collections.abc import Callable, Iterator
from typing import Final

import polars as pl

from app.config import Config
from app.lane import Source
from ingest.kafka.publisher import KafkaPublisher
from ingest.kafka.ranges import read_range
from ingest.kafka.source import FirstStart, KafkaSource, Place, Polled, Position, Span, Subscription
from schemas.frames import UTC_US

FRAMES_TOPIC: Final = "ami.frames.v1"
LAST_GASP_TOPIC: Final = "ami.lastgasp.v1"


def open_source(config: Config, role: str, topics: tuple[str, ...]) -> KafkaSource:
    """A member of the role's consumer group. Each role has a group of its own: they fail apart."""
    group = config.group
    return KafkaSource(
        config.kafka,
        Subscription(
            topics=topics,
            group=f"{group.prefix}.{role}",
            instance=None if group.instance is None else f"{group.instance}.{role}",
            first_start=None if group.first_start is None else FirstStart(group.first_start),
            session_timeout_ms=group.session_timeout_ms,
            max_poll_interval_ms=group.max_poll_interval_ms,
        ),
    )


def open_publisher(config: Config) -> KafkaPublisher:
    """An idempotent producer, acknowledged by all in-sync replicas."""
    return KafkaPublisher(config.kafka)


class ValueSource:
    """A source of messages that hold rows, not frames: `topic`, `partition`, `offset`, `at`, `value` (Binary)."""

    def __init__(self, source: KafkaSource) -> None:
        self._source = source
        self.keep_alive: Callable[[], Polled] = source.keep_alive
        self.pause = source.pause
        self.resume = source.resume
        self.commit = source.commit
        self.lag = source.lag
        self.close = source.close

    def poll(self, limit_s: float, max_messages: int) -> "PolledValues":
        """See `KafkaSource.poll`."""
        return PolledValues(self._source.poll(limit_s, max_messages))


class PolledValues:
    """`Polled` whose `frames` are the values of the messages."""

    def __init__(self, polled: Polled) -> None:
        self.revoked: frozenset[Place] = polled.revoked
        self.assigned: tuple[Position, ...] = polled.assigned
        self.spans: tuple[Span, ...] = polled.spans
        self._records = polled.records

    def frames(self) -> pl.DataFrame:
        """One row a message; a message without a value (a tombstone) has no row."""
        parts = [
            pl.DataFrame(
                {"topic": records.topic, "partition": records.partition, "offset": list(records.offsets),
                 "at": pl.Series(records.timestamps_ms, dtype=pl.Int64) * 1000, "value": list(records.values)},
                schema_overrides=_VALUES,
            )
            for records in self._records
        ]  # fmt: skip
        return pl.concat([pl.DataFrame(schema=_VALUES), *parts]).filter(pl.col("value").is_not_null())


_VALUES: Final = {
    "topic": pl.String(), "partition": pl.Int32(), "offset": pl.Int64(), "at": UTC_US, "value": pl.Binary(),
}  # fmt: skip


def look_back(config: Config, messages: int) -> Callable[[tuple[Position, ...]], Iterator[pl.DataFrame]]:
    """Reads the last messages that stand before positions, in parts: of them an events worker rebuilds its windows.

    Args:
        config: Names the brokers.
        messages: How many messages of each partition to go back.
    """

    def read(positions: tuple[Position, ...]) -> Iterator[pl.DataFrame]:
        for topic, partition, offset in positions:
            if offset:
                yield from read_range(config.kafka, Span(topic, partition, max(0, offset - messages), offset, 0))

    return read


def as_lane_source(source: KafkaSource) -> Source:
    """The same source; the type checker's proof that the door keeps the lane's promise."""
    return source
