"""The inputs in Kafka keep what all inputs promise: the suite that those in memory pass too."""

from collections.abc import Iterator

import polars as pl
import pytest
from inputs_promises import *  # noqa: F403
from inputs_promises import MESSAGES, ONE, TWO

from ingest.kafka.publisher import KafkaPublisher
from ingest.kafka.settings import KafkaSettings
from ingest.kafka.topics import TopicContract, apply_topics
from outage.stream_inputs import Inputs


@pytest.fixture(scope="module")
def names(kafka_settings: KafkaSettings) -> tuple[str, str]:
    contracts = tuple(
        TopicContract(name=name, key="", value="", partitions=2, cleanup="delete", retention_ms=-1,
                      max_message_bytes=1_048_576)
        for name in (ONE, TWO)
    )  # fmt: skip
    apply_topics(kafka_settings, contracts, replication=1)
    publisher = KafkaPublisher(kafka_settings)
    rows = pl.DataFrame({"value": [b"v"] * 2 * MESSAGES, "partition": [0, 1] * MESSAGES})
    publisher.publish(ONE, rows.cast({"partition": pl.Int32}))
    publisher.flush()
    publisher.close()
    return ONE, TWO


@pytest.fixture
def inputs(kafka_settings: KafkaSettings, names: tuple[str, str]) -> Iterator[Inputs]:
    opened = Inputs(kafka_settings.client_options(), names)
    yield opened
    opened.close()
