"""Workers killed at every step of their life: at the end every frame is there exactly once, by identity."""

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import polars as pl
import pytest
from conftest import Found, fresh_database, migrated
from fleet import LANES, PARTITIONS, Fleet, fresh_topics, in_one_pass, on_topics, patiently, push, simulate
from kafka import KafkaConsumer, TopicPartition
from polars.testing import assert_frame_equal

from app.messages import from_messages
from ingest.kafka.settings import KafkaSettings
from ingest.lanes import LAST_GASP_TOPIC, lane_of
from schemas.frames import EVENTS
from storage.queries import select_all
from storage.store import SqlStore
from storage.tables import table_of

HERE = Path(__file__).parent
PLACE = ["topic", "partition", "offset", "frame"]
CALLS = (
    "poll", "prepare", "append frames", "append intervals", "append reads", "append replay_windows", "append rejects",
    "publish ami.heard.v1", "publish ami.dirty-days.v1", "flush", "commit",
)  # fmt: skip
FULL = os.environ.get("AMI_FULL") == "1"
"""All steps and 50,000 frames: ten minutes. Otherwise every call once, and both sides of the commit."""
STEPS = [
    f"{call}:{when}" for call in CALLS for when in ("before", "after") if FULL or when == "after" or call == "commit"
]
METERS, DAYS, BATCH_MESSAGES = (700, 3, 80) if FULL else (90, 2, 6)
"""A batch is so many Kafka messages of some ten frames: every kill leaves work for the next."""
LIMIT_S = 240
TOPICS = {"ingest": LANES, "events": (LAST_GASP_TOPIC,), "store": ("ami.events.v1", "ami.rejects.v1")}


class Workers(NamedTuple):
    """How workers of one group are started."""

    config: Path
    env: dict[str, str]
    settings: KafkaSettings
    group: str
    started: list[subprocess.Popen[bytes]]

    def start(self, role: str, step: str = "none", nth: int = 1) -> subprocess.Popen[bytes]:
        command = [sys.executable, str(HERE / "crashing_worker.py"), step, str(nth), role, "--config", str(self.config)]
        with self.log.open("ab") as log:
            worker = subprocess.Popen(command, env=os.environ | self.env, stdout=log, stderr=log)
        self.started.append(worker)
        return worker

    @property
    def log(self) -> Path:
        return self.config.with_suffix(".log")

    def tail(self) -> str:
        """The end of what the workers said."""
        return self.log.read_text()[-3000:]

    def as_instance(self, name: str) -> "Workers":
        """Another static member of the same groups."""
        config = self.config.with_name(f"{name}.toml")
        config.write_text(self.config.read_text().replace('instance = "one"', f'instance = "{name}"'))
        return self._replace(config=config)

    def wait_begun(self, role: str, worker: subprocess.Popen[bytes]) -> None:
        """The first batch is committed."""
        total = self.lag(role)  # nothing left when a quick worker was first
        patiently(lambda: total == 0 or self.lag_under(role, worker) < total, LIMIT_S)

    def wait_idle(self, role: str, worker: subprocess.Popen[bytes]) -> None:
        """Nothing waits; the worker still runs."""
        patiently(lambda: self.lag_under(role, worker) == 0, LIMIT_S)

    def lag_under(self, role: str, worker: subprocess.Popen[bytes]) -> int:
        """The lag, while the worker runs."""
        assert worker.poll() is None, self.tail()
        return self.lag(role)

    def end(self, worker: subprocess.Popen[bytes]) -> None:
        """Asked to end, it does, and well."""
        worker.terminate()
        assert worker.wait(LIMIT_S) == 0, self.tail()

    def lag(self, role: str) -> int:
        """Messages of its topics that the role has not committed."""
        consumer = KafkaConsumer(
            **self.settings.client_options(), group_id=f"{self.group}.{role}", enable_auto_commit=False
        )
        places = [TopicPartition(topic, i) for topic in TOPICS[role] for i in range(PARTITIONS)]
        ends = consumer.end_offsets(places)
        waiting = sum(ends[place] - (consumer.committed(place) or 0) for place in places)
        consumer.close(autocommit=False)
        return waiting

    def run_out(self, role: str) -> None:
        """A worker that nothing happens to, until nothing waits."""
        if not self.lag(role):
            return
        worker = self.start(role)
        self.wait_idle(role, worker)
        self.end(worker)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    return simulate(tmp_path_factory.mktemp("fleet"), METERS, DAYS)


@pytest.fixture
def database(clickhouse: Found) -> Iterator[str]:
    """A database that no other test wrote to.

    Servers of before 22.12 bring the merged-away parts of a truncated table back when they are started again: what
    was in it before would stand beside what this test puts there.
    """
    with fresh_database(clickhouse) as name:
        yield name


@pytest.fixture
def store(clickhouse: Found, database: str) -> Iterator[SqlStore]:
    """Its tables, empty."""
    engine = migrated(clickhouse, database)
    yield SqlStore(engine)
    engine.close()


@pytest.fixture
def workers(
    kafka_settings: KafkaSettings, clickhouse: Found, database: str, store: SqlStore, fleet: Fleet, tmp_path: Path
) -> Iterator[Workers]:
    """Empty topics, empty tables, a group of its own, and where its configuration lies."""
    fresh_topics(kafka_settings)
    group = f"crash-{uuid.uuid4().hex[:8]}"
    config = tmp_path / "ami.toml"
    config.write_text(
        f"""
[kafka]
brokers = ["{kafka_settings.brokers[0]}"]
[group]
prefix = "{group}"
instance = "one"
first_start = "earliest"
session_timeout_ms = 10000
[clickhouse]
host = "{clickhouse.host}"
port = {clickhouse.port}
database = "{database}"
[ingest]
batch_messages = {BATCH_MESSAGES}
batch_seconds = 0.1
[keys]
file = "{fleet.keys}"
[meters]
file = "{fleet.meters}"
[telemetry]
port = 0
"""
    )
    old = "1" if store.engine.version() < (20, 0) else "0"
    all_of_them = Workers(config, {"AMI_OLD_SERVER": old}, kafka_settings, group, [])
    yield all_of_them
    for worker in all_of_them.started:
        worker.kill()
        worker.wait()


def test_whatever_step_kills_the_ingest_worker_no_frame_is_lost_or_there_twice(
    workers: Workers, store: SqlStore, fleet: Fleet
) -> None:
    push(workers.settings, fleet.payloads)
    killed = []
    for step in STEPS:
        worker = workers.start("ingest", step, 2)
        assert worker.wait(LIMIT_S) == -9, (step, workers.tail())
        killed.append(step)
        if not workers.lag("ingest"):
            break
    assert killed == STEPS, "the frames ran out before the steps did"
    workers.run_out("ingest")
    workers.run_out("events")
    workers.run_out("store")
    same_as_in_one_pass(store, workers.settings, fleet)


def test_the_broker_and_the_server_may_die_under_a_running_worker(
    workers: Workers, store: SqlStore, fleet: Fleet, kafka: Found, clickhouse: Found
) -> None:
    if kafka.process is None or clickhouse.process is None:
        pytest.skip("the services are not ours to kill")
    quarter = -(-len(fleet.payloads) // 4)
    first, *parts = (fleet.payloads[i * quarter : (i + 1) * quarter] for i in range(4))
    push(workers.settings, first)
    worker = workers.start("ingest")
    workers.wait_begun("ingest", worker)
    for at, victims in enumerate([[clickhouse.process], [kafka.process], [kafka.process, clickhouse.process]]):
        push(workers.settings, parts[at])
        for victim in victims:
            victim.stop(kill=True)
        for victim in victims:
            victim.run()
    workers.wait_idle("ingest", worker)
    workers.end(worker)
    workers.run_out("events")
    workers.run_out("store")
    same_as_in_one_pass(store, workers.settings, fleet)


def test_partitions_may_move_between_workers_in_mid_batch(workers: Workers, store: SqlStore, fleet: Fleet) -> None:
    push(workers.settings, fleet.payloads)
    one = workers.start("ingest")
    workers.wait_begun("ingest", one)
    two = workers.as_instance("two").start("ingest")
    workers.end(one)
    one = workers.start("ingest")
    two.kill()
    two.wait(LIMIT_S)
    workers.wait_idle("ingest", one)
    workers.end(one)
    workers.run_out("events")
    workers.run_out("store")
    same_as_in_one_pass(store, workers.settings, fleet)


def test_a_full_disk_holds_the_worker_up_and_loses_nothing(workers: Workers, store: SqlStore, fleet: Fleet) -> None:
    push(workers.settings, fleet.payloads[:600])
    worker = workers.start("ingest", "disk full", 7)
    workers.wait_idle("ingest", worker)
    workers.end(worker)
    assert b"NOT_ENOUGH_SPACE" in workers.log.read_bytes()
    same_as_in_one_pass(store, workers.settings, fleet._replace(payloads=fleet.payloads[:600]), published=False)


def test_events_flow_while_the_database_is_down_and_are_stored_when_it_is_back(
    workers: Workers, store: SqlStore, fleet: Fleet, clickhouse: Found
) -> None:
    if clickhouse.process is None:
        pytest.skip("the server is not ours to stop")
    small = [payload for payload in fleet.payloads if lane_of(payload, over_udp=False) == LAST_GASP_TOPIC]
    clickhouse.process.stop()
    try:
        push(workers.settings, small)
        for step in ("publish ami.events.v1:after", "flush:after", "commit:before"):
            assert workers.start("events", step).wait(LIMIT_S) == -9, workers.tail()
        workers.run_out("events")
    finally:
        clickhouse.process.run()
    wanted = in_one_pass(on_topics(workers.settings, LAST_GASP_TOPIC), fleet.registry()).events
    assert wanted.height > 0
    published = from_messages(on_topics(workers.settings, "ami.events.v1")["payload"].to_list(), EVENTS)
    assert_frame_equal(published.unique().sort(published.columns), wanted.unique().sort(wanted.columns))
    workers.run_out("store")
    stored = all_rows(store, "events")
    assert_frame_equal(stored.sort(stored.columns), wanted.unique().sort(stored.columns))


def same_as_in_one_pass(store: SqlStore, settings: KafkaSettings, fleet: Fleet, *, published: bool = True) -> None:
    """Every table holds what one pass over the topic gives, history included, and every frame is accounted for."""
    frames = on_topics(settings, *LANES)
    assert sorted(frames["payload"]) == sorted(fleet.payloads)
    reference = in_one_pass(frames, fleet.registry())
    for name, rows in (
        ("frames", reference.messages),
        ("intervals", reference.intervals),
        ("reads", reference.reads),
        ("events", reference.events if published else reference.events.clear()),
        ("rejects", reference.rejects),
        ("replay_windows", reference.seen),
    ):
        stored = all_rows(store, name)
        wanted = rows.select(stored.columns).unique()
        assert stored.height == wanted.height, name
        assert_frame_equal(stored.sort(stored.columns), wanted.sort(stored.columns))
    counts = reference.counts
    assert counts.frames == counts.decoded + counts.rejected + counts.duplicates == len(fleet.payloads)


def all_rows(store: SqlStore, name: str) -> pl.DataFrame:
    """History of a table, copies of redeliveries taken away, in the types of its frame."""
    table = table_of(name)
    rows = store.engine.select(select_all(table, "1", {}))
    return rows.select(pl.col(column).cast(dtype) for column, dtype in table.frame.schema.items())
