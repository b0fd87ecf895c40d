"""The Kafka doors against a real broker."""

import os
import signal
import threading
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime

import msgspec
import polars as pl
import pytest
from fleet import fresh_topics
from found import Found, fresh_topic
from kafka import KafkaAdminClient

from app.beside import beside
from app.messages import from_messages, to_messages
from app.workers import REJECTS_TOPIC
from ingest.kafka.publisher import KafkaPublisher
from ingest.kafka.ranges import read_range
from ingest.kafka.settings import KafkaSettings
from ingest.kafka.source import FirstStart, KafkaSource, Polled, Span, Subscription
from ingest.kafka.topics import Difference, TopicContract, apply_topics, packaged_topics
from schemas.errors import ContractError, TerminalError, TransientError
from schemas.frames import REJECTS, conform

PATIENCE = 150
"""Polls of 0.2 s that a test waits for what must come."""


@pytest.fixture
def publisher(kafka_settings: KafkaSettings) -> Iterator[KafkaPublisher]:
    door = KafkaPublisher(kafka_settings)
    yield door
    door.close()


@pytest.fixture
def subscription(topic: str) -> Subscription:
    return Subscription((topic,), uuid.uuid4().hex, first_start=FirstStart.EARLIEST, session_timeout_ms=6_000)


def wpdu(number: int) -> bytes:
    return bytes([0, 1, 0, 1, 0, 16, 0, 4]) + number.to_bytes(4, "big")


def rows(count: int, frames: int = 1) -> pl.DataFrame:
    values = [b"".join(wpdu(i * frames + k) for k in range(frames)) for i in range(count)]
    stamps = pl.Series([1_743_292_800_000 + i for i in range(count)], dtype=pl.Int64)
    return pl.DataFrame({"key": [f"m{i % 50}" for i in range(count)], "value": values, "timestamp_ms": stamps})


def until(source: KafkaSource, wanted: int, *, commit: bool = True) -> list[Polled]:
    """Polls until that many frames came, or fails."""
    polls, got = [], 0
    for _ in range(PATIENCE):
        polled = source.poll(0.2, 500)
        polls.append(polled)
        got += polled.frames().height
        if commit:
            source.commit(polled.spans)
        if got >= wanted:
            return polls
    raise AssertionError(f"{got} of {wanted} frames came")


def payloads(polls: list[Polled]) -> list[bytes]:
    return sorted(payload for polled in polls for payload in polled.frames()["payload"])


def test_every_message_comes_once_with_its_place_its_time_and_its_frames(
    kafka_settings, publisher, subscription, topic: str
) -> None:
    publisher.publish(topic, rows(1000, frames=3))
    publisher.flush()
    source = KafkaSource(kafka_settings, subscription)
    frames = pl.concat([polled.frames() for polled in until(source, 3000)])
    source.close()
    assert sorted(frames["payload"]) == [wpdu(i) for i in range(3000)]
    assert frames.select("topic", "partition", "offset", "frame").is_unique().all()
    assert frames["frame"].value_counts().sort("frame")["count"].to_list() == [1000] * 3
    first = frames.filter(pl.col("payload") == wpdu(0))
    assert first["received_at"].item().timestamp() == 1_743_292_800


def test_a_member_leaves_brokers_that_hang_within_seconds_though_a_commit_is_on_its_way(our_kafka: Found) -> None:
    """A worker that gives its commit up closes its source, beside the bound that it has."""
    assert our_kafka.process is not None
    pid = our_kafka.process.pid()
    assert pid is not None
    settings = KafkaSettings(brokers=(f"{our_kafka.host}:{our_kafka.port}",))
    topic = fresh_topic(settings)
    publisher = KafkaPublisher(settings)
    publisher.publish(topic, rows(10))
    publisher.flush()
    publisher.close()
    source = KafkaSource(settings, Subscription((topic,), uuid.uuid4().hex, first_start=FirstStart.EARLIEST))
    polls = until(source, 10, commit=False)
    os.kill(pid, signal.SIGSTOP)
    try:
        spans = [span for polled in polls for span in polled.spans]
        committing = beside(lambda: source.commit(spans), "commit")
        time.sleep(0.5)
        begun = time.monotonic()
        source.close()
        assert time.monotonic() - begun < 15
    finally:
        os.kill(pid, signal.SIGCONT)
    assert committing.exception(60) is not None


def test_a_restarted_member_goes_on_after_the_last_commit(kafka_settings, publisher, subscription, topic: str) -> None:
    publisher.publish(topic, rows(100))
    publisher.flush()
    source = KafkaSource(kafka_settings, subscription)
    until(source, 100)
    source.close()
    publisher.publish(topic, rows(7))
    publisher.flush()
    source = KafkaSource(kafka_settings, subscription._replace(first_start=None))
    polls = until(source, 7)
    source.close()
    assert payloads(polls) == [wpdu(i) for i in range(7)]
    assert sum(position.offset for polled in polls for position in polled.assigned) == 100


@pytest.mark.parametrize("limit_s", [0.003, 0.005, 0.008])
def test_a_member_whose_polls_are_shorter_than_joining_takes_comes_to_its_partitions_all_the_same(
    kafka_settings, publisher, topic: str, limit_s: float
) -> None:
    publisher.publish(topic, rows(20))
    publisher.flush()
    for _ in range(6):  # without what `_keep_joining` does, every third to tenth group waits for ever
        one = Subscription((topic,), uuid.uuid4().hex, first_start=FirstStart.EARLIEST, session_timeout_ms=6_000)
        source = KafkaSource(kafka_settings, one)
        got = 0
        for _ in range(2_000):
            got += source.poll(limit_s, 500).frames().height
            if got == 20:
                break
        assert got == 20
        source.close()


def test_what_was_not_committed_comes_again(kafka_settings, publisher, subscription, topic: str) -> None:
    publisher.publish(topic, rows(50))
    publisher.flush()
    for _ in range(2):
        source = KafkaSource(kafka_settings, subscription)
        assert len(payloads(until(source, 50, commit=False))) == 50
        source.close()


def test_a_missing_position_stops_the_worker_unless_a_first_start_was_asked_for(kafka_settings, subscription) -> None:
    source = KafkaSource(kafka_settings, subscription._replace(first_start=None))
    with pytest.raises(TerminalError, match="no committed position"):
        until(source, 1)
    source.close()


def test_while_paused_nothing_comes_and_afterwards_all_of_it(
    kafka_settings, publisher, subscription, topic: str
) -> None:
    source = KafkaSource(kafka_settings, subscription)
    while not source.poll(0.2, 1).assigned:
        pass
    source.pause()
    publisher.publish(topic, rows(20))
    publisher.flush()
    assert all(source.keep_alive().records == () for _ in range(20))
    source.resume()
    assert len(payloads(until(source, 20))) == 20
    assert sum(source.lag().values()) == 0
    source.pause()  # a database is away for hours: what waits meanwhile is seen
    publisher.publish(topic, rows(30))
    publisher.flush()
    assert sum(source.lag().values()) == 30
    source.resume()
    assert len(payloads(until(source, 30))) == 30
    assert sum(source.lag().values()) == 0
    source.close()


def test_partitions_move_to_a_second_member_and_no_commit_of_a_lost_one_is_made(
    kafka_settings, publisher, subscription, topic: str
) -> None:
    publisher.publish(topic, rows(400))
    publisher.flush()
    first = KafkaSource(kafka_settings, subscription)
    held = [span for polled in until(first, 400, commit=False) for span in polled.spans]
    second = KafkaSource(kafka_settings, subscription)
    taken: list[Polled] = []
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            polled = second.poll(0.2, 500)
            taken.append(polled)
            second.commit(polled.spans)

    reader = threading.Thread(target=read)
    reader.start()
    lost: set[tuple[str, int]] = set()
    for _ in range(PATIENCE):
        lost |= first.poll(0.2, 500).revoked
        if lost and any(polled.records for polled in taken):
            break
    committed = first.commit(held)
    stop.set()
    reader.join()
    moved = {(record.topic, record.partition) for polled in taken for record in polled.records}
    assert moved
    assert moved <= lost
    assert not committed & moved
    first.close()
    second.close()


def test_a_span_of_another_term_is_not_committed(kafka_settings, publisher, subscription, topic: str) -> None:
    publisher.publish(topic, rows(50))
    publisher.flush()
    source = KafkaSource(kafka_settings, subscription)
    spans = [span for polled in until(source, 50, commit=False) for span in polled.spans]
    assert source.commit([span._replace(term=span.term - 100) for span in spans]) == frozenset()
    assert source.commit([Span("elsewhere", 0, 0, 1, 0)]) == frozenset()
    assert source.commit(spans) == frozenset((span.topic, span.partition) for span in spans)
    source.close()


@pytest.mark.parametrize("octets", [3_000_000, 5_000_000], ids=["for the topic", "for the publisher"])
def test_a_row_that_is_too_large_is_refused_for_good(kafka_settings, topic: str, octets: int) -> None:
    door = KafkaPublisher(kafka_settings)
    with pytest.raises(TerminalError):
        door.publish(topic, pl.DataFrame({"value": [os.urandom(octets)]}))
        door.flush()
    door.close()


def test_a_topic_that_is_missing_is_told_with_the_verb_that_makes_it(
    publisher, caplog: pytest.LogCaptureFixture
) -> None:
    """The gateway asks at its start: it waited a minute, logged the same 540 times and ended in a traceback."""
    missing = f"test.{uuid.uuid4().hex}"
    with pytest.raises(TransientError, match=rf"topic {missing} .* run ami topics"):
        publisher.partition_for(missing, b"")
    assert len([record for record in caplog.records if missing in record.getMessage()]) <= 1


def test_a_range_of_a_partition_is_read_whole_bounded_and_without_a_group(
    kafka_settings, publisher, topic: str
) -> None:
    values = rows(40).with_columns(partition=pl.lit(2, dtype=pl.Int32))
    publisher.publish(topic, values)
    publisher.flush()
    parts = list(read_range(kafka_settings, Span(topic, 2, 5, 25, 0), messages_a_part=7))
    assert pl.concat(parts)["offset"].to_list() == list(range(5, 25))
    assert pl.concat(parts)["payload"].to_list() == [wpdu(i) for i in range(5, 25)]
    assert pl.concat(read_range(kafka_settings, Span(topic, 2, 30, 10**9, 0))).height == 10
    assert list(read_range(kafka_settings, Span(topic, 1, 0, 10**9, 0))) == []


def test_topics_are_made_once_and_then_left_alone(kafka_settings) -> None:
    apply_topics(kafka_settings, packaged_topics(), replication=1)
    again = apply_topics(kafka_settings, packaged_topics(), replication=1)
    assert again.missing == ()
    # Other tests give the topics of this broker another retention.
    assert [each for each in again.differ if each.setting == "min.insync.replicas"] == []


def test_more_copies_than_brokers_are_refused_in_a_line_that_says_what_to_ask_for(kafka_settings) -> None:
    """As by `ami topics` without a word on one broker: it answered with nine kilobytes and not the option."""
    fresh = tuple(msgspec.structs.replace(topic, name=f"test.{uuid.uuid4().hex}") for topic in packaged_topics())
    with pytest.raises(ContractError, match=rf"{fresh[0].name}: .*99 copies were asked for: `--replication N`") as told:
        apply_topics(kafka_settings, fresh, replication=99)
    assert len(str(told.value)) < 500
    assert "\n" not in str(told.value)


def test_a_topic_that_is_there_and_that_we_are_not_shown_is_told(
    kafka_settings, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So it is for a user who may create and not describe. It was asked again without end, each time anew connected."""
    wanted = msgspec.structs.replace(packaged_topics()[0], name=topic)
    asked: list[None] = []

    def hidden(_: KafkaAdminClient) -> list[str]:
        asked.append(None)
        assert len(asked) < 20
        return []

    monkeypatch.setattr(KafkaAdminClient, "list_topics", hidden)
    with pytest.raises(ContractError, match=f"{topic}.*not listed: give this user the right to DESCRIBE it"):
        apply_topics(kafka_settings, (wanted,), replication=1)


def test_a_topic_that_is_kept_otherwise_than_its_contract_says_is_named_and_left_alone(kafka_settings) -> None:
    wanted = TopicContract(
        name=f"test.{uuid.uuid4().hex}", key="", value="", partitions=2, cleanup="compact", retention_ms=-1,
        max_message_bytes=1_048_576,
    )  # fmt: skip
    deleted = msgspec.structs.replace(wanted, cleanup="delete", retention_ms=604_800_000)
    assert [topic.name for topic in apply_topics(kafka_settings, (deleted,), replication=1).missing] == [wanted.name]
    assert apply_topics(kafka_settings, (deleted,), replication=1).differ == ()
    for _ in range(2):
        assert apply_topics(kafka_settings, (wanted,), replication=1).differ == (
            Difference(wanted.name, "cleanup.policy", "delete", "compact"),
            Difference(wanted.name, "retention.ms", "604800000", "-1"),
        )


def test_a_broker_that_is_not_there_is_a_transient_error() -> None:
    with pytest.raises(TransientError):
        apply_topics(KafkaSettings(brokers=("127.0.0.1:1",), request_timeout_ms=1_000), packaged_topics())


def test_reading_goes_on_after_the_broker_was_restarted(our_kafka: Found) -> None:
    assert our_kafka.process is not None
    kafka_settings = KafkaSettings(brokers=(f"{our_kafka.host}:{our_kafka.port}",), request_timeout_ms=10_000)
    topic = fresh_topic(kafka_settings)
    subscription = Subscription((topic,), uuid.uuid4().hex, first_start=FirstStart.EARLIEST, session_timeout_ms=6_000)
    publisher = KafkaPublisher(kafka_settings)
    publisher.publish(topic, rows(30))
    publisher.flush()
    source = KafkaSource(kafka_settings, subscription)
    until(source, 30)
    our_kafka.process.stop(kill=True)
    with pytest.raises(TransientError):
        publisher.publish(topic, rows(1))
        publisher.flush(limit_s=0.5)
    our_kafka.process.run()
    publisher.publish(topic, rows(31))
    publisher.flush()
    assert set(payloads(until(source, 31))) == {wpdu(i) for i in range(31)}
    source.close()
    publisher.close()


def test_rejects_of_rubbish_in_any_amount_are_published(kafka_settings, publisher) -> None:
    """Rows of one key of three times what a message may hold, and one message of all that the frames topic takes."""
    fresh_topics(kafka_settings)
    rubbish = [bytes([n]) * 65_543 for n in range(40)] + [b"\xff" * 1_048_000]
    refused = conform(
        pl.DataFrame(
            {
                "topic": "ami.frames.v1", "partition": 0, "offset": list(range(41)), "frame": 0,
                "received_at": datetime(2026, 3, 2, tzinfo=UTC), "payload": rubbish, "reason": "not_dlms",
                "detail": "no link layer", "at": 0, "system_title": None, "key_id": None, "code_version": "decode/1",
            }
        ),
        REJECTS,
    )  # fmt: skip
    messages = to_messages(refused, refused["topic"])
    publisher.publish(REJECTS_TOPIC, messages)
    publisher.flush()
    source = KafkaSource(kafka_settings, Subscription((REJECTS_TOPIC,), uuid.uuid4().hex, None, FirstStart.EARLIEST))
    values: list[bytes] = []
    for _ in range(PATIENCE):
        values += [value for records in source.poll(0.2, 500).records for value in records.values if value]
        if len(values) == messages.height:
            break
    source.close()
    assert from_messages(values, REJECTS).equals(refused)
