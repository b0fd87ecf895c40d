"""Workers whose brokers say nothing while they take over: the loop goes round, and no client is used by two at once."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from kafka import TopicPartition

from app import doors, outage_doors
from app.commands.worker import watched
from app.config import parse_config
from app.lane import Lane
from app.oms_doors import open_oms
from app.outage_doors import open_outage
from app.outage_source import Alone
from app.telemetry import Health
from outage import stream_inputs
from schemas.frames import METERS
from tests.failing_publisher import FailingPublisher
from tests.memory_journal import MemoryJournal

CONFIG = """
[kafka]
brokers = ["127.0.0.1:1"]
[group]
prefix = "slow"
instance = "one"
first_start = "earliest"
[oms]
folder = "{folder}"
[[oms.counterparty]]
name = "one"
format = "cim-json"
url = "http://127.0.0.1:1/"
"""
ROUNDS = 5
"""Of the loop: before the brokers answer, and after."""


class SlowConsumer:
    """A client whose brokers are asked for offsets and say nothing until they are let go on; used by one at a time."""

    def __init__(self, **_: object) -> None:
        self.answers, self.asked = ANSWERS, ASKED
        self._busy = threading.Lock()
        self._assigned: list[TopicPartition] = []

    def partitions_for_topic(self, topic: str) -> set[int]:
        with self._alone():
            return {0}

    def beginning_offsets(self, places: list[TopicPartition]) -> dict[TopicPartition, int]:
        with self._alone():
            self.asked.set()
            assert self.answers.wait(60)
            return dict.fromkeys(places, 0)

    end_offsets = beginning_offsets

    def assign(self, places: list[TopicPartition]) -> None:
        with self._alone():
            self._assigned = places

    def seek(self, place: TopicPartition, at: int) -> None: ...

    def assignment(self) -> list[TopicPartition]:
        with self._alone():
            return self._assigned

    def highwater(self, place: TopicPartition) -> int:
        return 7

    def position(self, place: TopicPartition) -> int:
        return 0

    def poll(self, limit_ms: int, max_records: int) -> dict[TopicPartition, list[object]]:
        with self._alone():
            return {}

    def close(self, *, autocommit: bool) -> None:
        with self._alone():
            return

    def _alone(self) -> "_Alone":
        return _Alone(self._busy)


class _Alone:
    def __init__(self, busy: threading.Lock) -> None:
        self._busy = busy

    def __enter__(self) -> None:
        assert self._busy.acquire(blocking=False), "used by two at once"

    def __exit__(self, *_: object) -> None:
        self._busy.release()


ANSWERS, ASKED = threading.Event(), threading.Event()


@pytest.fixture(autouse=True)
def brokers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    ANSWERS.clear()
    ASKED.clear()
    monkeypatch.setattr(stream_inputs, "KafkaConsumer", SlowConsumer)
    monkeypatch.setattr(outage_doors, "Journal", lambda *_: MemoryJournal())
    monkeypatch.setattr(outage_doors, "Leadership", lambda *_: Alone())
    monkeypatch.setattr(doors, "open_publisher", lambda _: FailingPublisher())
    monkeypatch.setattr("app.commands.worker.LAG_EVERY_S", 0.0)
    yield
    ANSWERS.set()


@pytest.mark.parametrize("opened", [open_outage, open_oms])
def test_brokers_that_say_nothing_while_a_worker_takes_over_leave_its_loop_going_round(opened, tmp_path: Path) -> None:
    settings = parse_config(CONFIG.format(folder=tmp_path / "outboxes"), "ami.toml")
    source, work, params = opened(settings, METERS.empty())
    health, told = Health(heartbeat_limit_s=60), threading.Event()
    waiting: list[bool] = []

    def beat(at: float) -> None:
        Health.beat(health, at)
        if not ASKED.is_set():
            return
        waiting.append(not ANSWERS.is_set())
        if waiting.count(True) == ROUNDS:
            ANSWERS.set()
        if waiting.count(False) == ROUNDS:
            told.set()

    health.beat = beat
    late = threading.Timer(20, ANSWERS.set)
    late.start()
    try:
        Lane(source, work, params, health).run(watched(told, source))
    finally:
        late.cancel()
        source.close()
    assert waiting.count(True) >= ROUNDS, "the loop stood still"
    assert health.assigned


def test_a_worker_told_to_stop_while_its_brokers_say_nothing_ends_within_its_bound(tmp_path: Path) -> None:
    settings = parse_config(CONFIG.format(folder=tmp_path / "outboxes"), "ami.toml")
    source, work, params = open_outage(settings, METERS.empty())
    with pytest.raises(Exception, match="is not loaded"):
        Lane(source, work, params._replace(shutdown_seconds=0.2), Health(heartbeat_limit_s=60)).run(ASKED.is_set)
    source.close()
    assert not ANSWERS.is_set()
