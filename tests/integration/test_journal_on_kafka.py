"""The journal in Kafka keeps what every journal promises: the suite that the journal in memory passes too."""

import uuid

import pytest
from journal_promises import *  # noqa: F403
from journal_promises import Journals

from ingest.kafka.settings import KafkaSettings
from ingest.kafka.topics import TopicContract, apply_topics
from outage.stream import Journal


@pytest.fixture
def journals(kafka_settings: KafkaSettings) -> Journals:
    name = f"test.{uuid.uuid4().hex}"
    contract = TopicContract(name=name, key="", value="", partitions=1, cleanup="delete", retention_ms=-1,
                             max_message_bytes=1_048_576)  # fmt: skip
    apply_topics(kafka_settings, (contract,), replication=1)
    return lambda: Journal(kafka_settings.client_options(), name)
