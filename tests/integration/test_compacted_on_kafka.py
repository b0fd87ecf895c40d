"""The compacted topic in Kafka keeps what every one promises: the suite that the one in memory passes too."""

import uuid

import polars as pl
import pytest
from compacted_promises import *  # noqa: F403
from compacted_promises import Compacted

from ingest.kafka.compacted import CompactedTopic
from ingest.kafka.publisher import KafkaPublisher
from ingest.kafka.settings import KafkaSettings
from ingest.kafka.topics import TopicContract, apply_topics


@pytest.fixture
def compacted(kafka_settings: KafkaSettings) -> Compacted:
    name = f"test.{uuid.uuid4().hex}"
    contract = TopicContract(name=name, key="", value="", partitions=2, cleanup="compact", retention_ms=-1,
                             max_message_bytes=1_048_576)  # fmt: skip
    apply_topics(kafka_settings, (contract,), replication=1)

    def write(messages: list[tuple[bytes, bytes | None]]) -> None:
        publisher = KafkaPublisher(kafka_settings)
        rows = pl.DataFrame(messages, schema={"key": pl.Binary, "value": pl.Binary}, orient="row")
        publisher.publish(name, rows)
        publisher.flush()
        publisher.close()

    return Compacted(lambda: CompactedTopic(kafka_settings, name), write)
