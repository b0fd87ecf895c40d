"""Workers killed at every step of their life: at the end every frame is there exactly once, by identity."""

import os
import subprocess
import sys
import uuid
from pathlib import Path
from typing import NamedTuple

import polars as pl
import pytest
from fleet import Fleet, fresh_topics, in_one_pass, on_topic, push, simulate
from kafka import KafkaConsumer, TopicPartition
from polars.testing import assert_frame_equal

from ingest.kafka.settings import KafkaSettings
from ingest.lanes import FRAMES_TOPIC
from storage.queries import select_all
from storage.store import SqlStore
from storage.tables import table_of

HERE = Path(__file__).parent
PLACE = ["topic", "partition", "offset", "frame"]
METERS, DAYS = (700, 3) if os.environ.get("AMI_TEST_FULL") == "1" else (120, 2)
BATCH_MESSAGES = 80 if METERS == 700 else 6
"""Kafka messages of some ten frames: every kill leaves work for the next."""
CALLS = (
    "poll", "prepare", "append frames", "append intervals", "append reads", "append replay_windows", "append rejects",
    "publish ami.events.v1", "publish ami.dirty-days.v1", "flush", "commit",
)  # fmt: skip
STEPS = [f"{call}:{when}" for call in CALLS for when in ("before", "after")]
LIMIT_S = 120


class Workers(NamedTuple):
    """How workers of one group are started."""

    config: Path
    env: dict[str, str]
    settings: KafkaSettings
    group: str

    def start(self, role: str, step: str = "none", nth: int = 1) -> subprocess.Popen[bytes]:
        command = [sys.executable, str(HERE / "crashing_worker.py"), step, str(nth), role, "--config", str(self.config)]
        log = self.config.with_suffix(".log").open("ab")
        return subprocess.Popen(command, env=os.environ | self.env, stdout=log, stderr=log)

    def lag(self, role: str, topic: str) -> int:
        """Messages of the topic that the role has not committed."""
        consumer = KafkaConsumer(
            **self.settings.client_options(), group_id=f"{self.group}.{role}", enable_auto_commit=False
        )
        places = [TopicPartition(topic, partition) for partition in consumer.partitions_for_topic(topic)]
        ends = consumer.end_offsets(places)
        waiting = sum(ends[place] - (consumer.committed(place) or 0) for place in places)
        consumer.close(autocommit=False)
        return waiting

    def run_out(self, role: str, topic: str) -> None:
        """A worker that nothing happens to, until nothing waits."""
        if not self.lag(role, topic):
            return
        worker = self.start(role)
        try:
            while self.lag(role, topic):
                assert worker.poll() is None, self.config.with_suffix(".log").read_text()[-2000:]
        finally:
            worker.terminate()
            assert worker.wait(LIMIT_S) == 0, self.config.with_suffix(".log").read_text()[-2000:]


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    return simulate(tmp_path_factory.mktemp("fleet"), METERS, DAYS)


@pytest.fixture
def workers(
    kafka_settings: KafkaSettings, clickhouse, database: str, store: SqlStore, fleet: Fleet, tmp_path: Path
) -> Workers:
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
    return Workers(config, {"AMI_OLD_SERVER": old}, kafka_settings, group)


def test_whatever_step_kills_the_ingest_worker_no_frame_is_lost_or_there_twice(
    workers: Workers, store: SqlStore, fleet: Fleet
) -> None:
    push(workers.settings, FRAMES_TOPIC, fleet.payloads)
    killed = []
    for step in STEPS:
        worker = workers.start("ingest", step, 2)
        assert worker.wait(LIMIT_S) == -9, (step, workers.config.with_suffix(".log").read_text()[-2000:])
        killed.append(step)
        if not workers.lag("ingest", FRAMES_TOPIC):
            break
    assert killed == STEPS, "the frames ran out before the steps did"
    workers.run_out("ingest", FRAMES_TOPIC)
    workers.run_out("store", "ami.events.v1")
    workers.run_out("store", "ami.rejects.v1")
    same_as_in_one_pass(store, workers.settings, fleet, FRAMES_TOPIC)


def same_as_in_one_pass(store: SqlStore, settings: KafkaSettings, fleet: Fleet, topic: str) -> None:
    """Every table holds what one pass over the topic gives, history included, and every frame is accounted for."""
    frames = on_topic(settings, topic)
    assert sorted(frames["payload"]) == sorted(fleet.payloads)
    reference = in_one_pass(frames, fleet.registry())
    for name, rows in (
        ("frames", reference.messages),
        ("intervals", reference.intervals),
        ("reads", reference.reads),
        ("events", reference.events),
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
