"""The doors to Kafka keep what every source and publisher promises: the suite that the doors in memory pass too."""

import uuid

import polars as pl
import pytest
from door_promises import *  # noqa: F403
from door_promises import FRAMES, PARTITIONS, Doors, log_of_messages

from ingest.kafka.publisher import KafkaPublisher
from ingest.kafka.ranges import read_range
from ingest.kafka.settings import KafkaSettings
from ingest.kafka.source import FirstStart, KafkaSource, Span, Subscription
from ingest.kafka.topics import TopicContract, apply_topics


class Publisher(KafkaPublisher):
    """One that writes to a topic of its own, whatever the name."""

    def __init__(self, settings: KafkaSettings, topic: str) -> None:
        super().__init__(settings)
        self._topic = topic

    def publish(self, topic: str, rows: pl.DataFrame) -> int:
        return super().publish(self._topic, rows)

    def partition_for(self, topic: str, key: bytes) -> int:
        return super().partition_for(self._topic, key)


@pytest.fixture(scope="module")
def topics(kafka_settings: KafkaSettings) -> tuple[str, str]:
    """One with the log of messages, and one to write to."""
    names = (f"test.{uuid.uuid4().hex}", f"test.{uuid.uuid4().hex}")
    contracts = tuple(
        TopicContract(name=name, key="", value="", partitions=count, cleanup="delete", retention_ms=-1,
                      max_message_bytes=1_048_576)
        for name, count in zip(names, (PARTITIONS, 1), strict=True)
    )  # fmt: skip
    apply_topics(kafka_settings, contracts, replication=1)
    publisher = KafkaPublisher(kafka_settings)
    frames = log_of_messages()
    values = [b"".join(part["payload"]) for part in frames.iter_slices(FRAMES)]
    partitions = frames.gather_every(FRAMES)["partition"]
    publisher.publish(names[0], pl.DataFrame({"value": values, "partition": partitions}))
    publisher.flush()
    publisher.close()
    return names


@pytest.fixture
def doors(kafka_settings: KafkaSettings, topics: tuple[str, str]) -> Doors:
    group = uuid.uuid4().hex
    subscription = Subscription((topics[0],), group, first_start=FirstStart.EARLIEST, session_timeout_ms=6_000)

    def published() -> list[bytes]:
        return [value for part in read_range(kafka_settings, Span(topics[1], 0, 0, 99, 0)) for value in part["payload"]]

    return Doors(
        lambda: KafkaSource(kafka_settings, subscription), lambda: Publisher(kafka_settings, topics[1]), published
    )
