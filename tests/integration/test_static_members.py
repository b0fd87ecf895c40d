"""Static members of a group on a real broker: a name that comes back keeps its partitions, and only one may bear it."""

import threading
import time
import uuid
from collections.abc import Callable, Iterator

import polars as pl
import pytest

from ingest.kafka.publisher import KafkaPublisher
from ingest.kafka.settings import KafkaSettings
from ingest.kafka.source import FirstStart, KafkaSource, Place, Polled, Subscription
from schemas.errors import TerminalError

PATIENCE_S = 60.0


class Member(threading.Thread):
    """A member that polls in a thread of its own, and commits what it got."""

    def __init__(self, settings: KafkaSettings, subscription: Subscription) -> None:
        super().__init__(daemon=True)
        self._settings, self._subscription, self._stop_it = settings, subscription, threading.Event()
        self.mine: set[Place] = set()
        self.polls: list[Polled] = []
        self.start()

    def run(self) -> None:
        source = KafkaSource(self._settings, self._subscription)
        while not self._stop_it.is_set():
            polled = source.poll(0.2, 500)
            self.mine = self.mine - polled.revoked | {(won.topic, won.partition) for won in polled.assigned}
            if polled.revoked or polled.assigned:
                self.polls.append(polled)
            source.commit(polled.spans)
        source.close()

    def end(self) -> None:
        self._stop_it.set()
        self.join(PATIENCE_S)


@pytest.fixture
def member(kafka_settings: KafkaSettings, topic: str) -> Iterator[Callable[[str], Member]]:
    group, members = uuid.uuid4().hex, list[Member]()

    def begin(name: str) -> Member:
        asked = Subscription((topic,), group, name, FirstStart.EARLIEST, session_timeout_ms=30_000)
        members.append(Member(kafka_settings, asked))
        return members[-1]

    yield begin
    for each in members:
        each.end()


def wait_for(what: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not what():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.05)


def test_a_member_that_comes_back_under_its_name_keeps_its_partitions_and_no_other_one_moves(member) -> None:
    first, second = member("a"), member("b")
    wait_for(lambda: first.mine and second.mine and not first.mine & second.mine)
    theirs, moves = set(first.mine), len(second.polls)
    first.end()
    again = member("a")
    wait_for(lambda: again.mine)
    assert again.mine == theirs
    assert len(second.polls) == moves, "the other one was told of nothing"


def test_of_two_under_one_name_the_older_commits_nothing_and_ends(kafka_settings, topic: str) -> None:
    publisher = KafkaPublisher(kafka_settings)
    values = [bytes([0, 1, 0, 1, 0, 16, 0, 1, number]) for number in range(20)]
    publisher.publish(topic, pl.DataFrame({"key": [f"m{n}" for n in range(20)], "value": values}))
    publisher.flush()
    publisher.close()
    asked = Subscription((topic,), uuid.uuid4().hex, "a", FirstStart.EARLIEST, session_timeout_ms=30_000)
    older = KafkaSource(kafka_settings, asked)
    held = _until(older, 20)
    newer = KafkaSource(kafka_settings, asked)
    taken = _until(newer, 20)
    with pytest.raises(TerminalError):
        older.commit([span for polled in held for span in polled.spans])
    assert all(position.offset == 0 for polled in taken for position in polled.assigned)
    spans = [span for polled in taken for span in polled.spans]
    assert newer.commit(spans) == {(span.topic, span.partition) for span in spans}
    older.close()
    newer.close()


def _until(source: KafkaSource, wanted: int) -> list[Polled]:
    polls = list[Polled]()
    end = time.monotonic() + PATIENCE_S
    while sum(polled.frames().height for polled in polls) < wanted:
        assert time.monotonic() < end
        polls.append(source.poll(0.2, 500))
    return polls
