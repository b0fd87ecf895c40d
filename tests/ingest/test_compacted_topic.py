"""A compacted topic, on a client whose brokers fall silent in the middle."""

from types import SimpleNamespace
from typing import Any

import pytest
from kafka import TopicPartition, errors

from ingest.kafka import compacted
from ingest.kafka.compacted import CompactedTopic
from ingest.kafka.settings import KafkaSettings
from schemas.errors import TransientError


class Client:
    """What `CompactedTopic` uses of a consumer, on one partition."""

    def __init__(self, **options: Any) -> None:
        self.log: list[bytes] = []
        self.at, self.says, self.limits = 0, 10**6, []

    def partitions_for_topic(self, topic: str) -> set[int]:
        return {0}

    def assign(self, places: list[Any]) -> None: ...
    def seek_to_beginning(self, *places: Any) -> None: ...
    def end_offsets(self, places: list[Any], timeout_ms: int | None = None) -> dict[Any, int]:
        self.limits.append(timeout_ms)
        if not self.says:
            raise errors.KafkaTimeoutError
        return dict.fromkeys(places, len(self.log))

    def position(self, place: Any, timeout_ms: int | None = None) -> int | None:
        self.limits.append(timeout_ms)
        return self.at

    def poll(self, timeout_ms: int) -> dict[Any, list[Any]]:
        if not self.says or self.at == len(self.log):
            return {}
        self.says -= 1
        record = SimpleNamespace(key=self.log[self.at], value=b"v", timestamp=0, offset=self.at)
        self.at += 1
        return {TopicPartition("t", 0): [record]}


@pytest.fixture
def opened(monkeypatch) -> tuple[CompactedTopic, Client]:
    client = Client()
    monkeypatch.setattr(compacted, "KafkaConsumer", lambda **_: client)
    monkeypatch.setattr(compacted, "_SILENT_S", 0.05, raising=False)
    monkeypatch.setattr(compacted, "_SILENT_POLLS", 2, raising=False)
    return CompactedTopic(KafkaSettings(brokers=("127.0.0.1:1",)), "t"), client


def test_what_was_read_before_the_brokers_fell_silent_is_handed_out_by_the_next_call(opened):
    topic, client = opened
    client.log, client.says = [b"a", b"b", b"c"], 2
    with pytest.raises(TransientError, match="silent"):
        topic.changes()
    client.says = 10
    changed = topic.changes()
    assert {key: newest.place for key, newest in changed.items()} == {b"a": "t/0@0", b"b": "t/0@1", b"c": "t/0@2"}
    assert topic.version() == 3
    assert topic.changes() == {}


def test_nothing_is_asked_of_silent_brokers_without_a_limit(opened):
    topic, client = opened
    client.says = 0
    with pytest.raises(TransientError):
        topic.changes()
    client.says = 1
    client.log = [b"a"]
    assert list(topic.changes()) == [b"a"]
    assert all(client.limits)
