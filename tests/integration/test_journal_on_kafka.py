"""The journal in Kafka keeps what every journal promises: the suite that the journal in memory passes too."""

import os
import signal
import time
import uuid

import pytest
from fleet import patiently
from found import Found, fresh_topic
from journal_promises import *  # noqa: F403
from journal_promises import Journals

from ingest.kafka.settings import KafkaSettings
from ingest.kafka.topics import TopicContract, apply_topics
from outage.stream import Journal, Leadership


@pytest.fixture
def journals(kafka_settings: KafkaSettings) -> Journals:
    name = f"test.{uuid.uuid4().hex}"
    contract = TopicContract(name=name, key="", value="", partitions=1, cleanup="delete", retention_ms=-1,
                             max_message_bytes=1_048_576)  # fmt: skip
    apply_topics(kafka_settings, (contract,), replication=1)
    return lambda: Journal(kafka_settings.client_options(), name)


def test_a_leader_leaves_brokers_that_hang_within_seconds(our_kafka: Found) -> None:
    """A worker that is told to stop then would be killed before it has ended."""
    assert our_kafka.process is not None
    pid = our_kafka.process.pid()
    assert pid is not None
    settings = KafkaSettings(brokers=(f"{our_kafka.host}:{our_kafka.port}",))
    leadership = Leadership(settings.client_options(), fresh_topic(settings), uuid.uuid4().hex)
    patiently(lambda: leadership.term(0.5) is not None)
    os.kill(pid, signal.SIGSTOP)
    try:
        begun = time.monotonic()
        leadership.close()
        assert time.monotonic() - begun < 15
    finally:
        os.kill(pid, signal.SIGCONT)
