"""The outage worker on a real broker: killed, doubled, overtaken; at the end every incident is there, by identity."""

import signal
import uuid
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from doomed_outage import LIFE, STEPS
from fleet import fresh_topics
from outage_bench import (
    CHUNKS,
    LIMIT_S,
    Bench,
    Night,
    assert_all_is_said,
    living,
    night_of_storms,
    read_said,
    write_meters,
)

from app.outage_source import JOURNAL_TOPIC
from ingest.kafka.settings import KafkaSettings
from outage.stream import Journal
from outage.stream_record import Kind, Memory, Record


@pytest.fixture(scope="module")
def night() -> Night:
    return night_of_storms()


@pytest.fixture
def bench(kafka_settings: KafkaSettings, night: Night, tmp_path: Path) -> Iterator[Bench]:
    fresh_topics(kafka_settings)
    write_meters(night.meters, tmp_path)
    bench = Bench(kafka_settings, tmp_path, f"outage-{uuid.uuid4().hex[:8]}", [])
    yield bench
    for worker in bench.started:
        worker.send_signal(signal.SIGCONT)
        worker.kill()
        worker.wait()


def test_whatever_step_kills_the_worker_no_incident_is_lost_doubled_or_renumbered(bench: Bench) -> None:
    """Each time it is told a little more of the night, until it dies."""
    parts = 3 * len(STEPS)
    night, chunks = night_of_storms(parts), iter(range(parts))
    for step in STEPS:
        bench.die(night, chunks, step)
    for chunk in chunks:
        bench.push(night, chunk)
    worker = bench.start("one")
    bench.run_out()
    assert_all_is_said(bench, night)
    worker.terminate()
    assert worker.wait(LIMIT_S) == 0


def test_every_call_that_the_worker_makes_is_a_step_of_its_life(bench: Bench) -> None:
    """At a call that nobody named nobody would die, and a step that no worker comes to would kill nobody."""
    worker, parts = bench.start("one"), 3 * CHUNKS
    night = night_of_storms(parts)
    for chunk in range(parts):
        bench.push(night, chunk)
        bench.stray()
        bench.run_out()
    assert_all_is_said(bench, night)
    worker.terminate()
    assert worker.wait(LIMIT_S) == 0
    assert set(bench.life.read_text().splitlines()) == set(LIFE)


def test_three_workers_of_which_the_one_at_work_is_killed_again_and_again(bench: Bench, night: Night) -> None:
    """More workers than the journal has partitions: the others stand by, one of them takes over, and the dead return.

    No recovery hangs (each run ends within the bench's limit), no offset is skipped when the group is shared anew, and
    no transaction is there to crash: the incidents are those of one pass over the log, by identity.
    """
    workers = {name: bench.start(name) for name in ("one", "two", "three")}
    away: list[str] = []
    for chunk in range(CHUNKS):
        bench.push(night, chunk)
        if chunk in (1, 4):
            bench.run_out()
            at_work = max(workers, key=bench.epoch)
            workers[at_work].kill()
            workers[at_work].wait()
            away.append(at_work)
        if chunk in (3, 4):
            # The first comes back while another is at work, the second while nobody is.
            workers[away[-1]] = bench.start(away[-1])
    bench.run_out()
    assert len(away) == 2
    assert_all_is_said(bench, night)


def test_the_registry_changes_under_open_incidents_and_the_worker_dies_before_its_snapshot(
    bench: Bench, night: Night
) -> None:
    """Substations whose names come first renumber every tree and meter, and a dark meter is taken out of the registry.

    Its own incident ends; the others are those of one pass over the log by the registry before.
    """
    worker = bench.start("one", "append enrolled:after")
    for chunk in range(2):
        bench.push(night, chunk)
    bench.run_out()
    (lone,) = individuals(bench, "SP200-001")
    assert lone["state"] != "cancelled"
    levels = ("meter", "service_point", "transformer", "lateral", "feeder", "substation")
    earlier = night.meters.with_columns(pl.col(*(f"{level}_id" for level in levels)).str.replace("^", "A"))
    bench.publish_meters(earlier)
    bench.publish_meters(night.meters.filter(pl.col("meter_id") == "M200-001"), gone=True)
    for chunk in range(2, CHUNKS):
        if chunk == 3:
            assert worker.wait(LIMIT_S) == -9, bench.last_words()
            assert [row["state"] for row in individuals(bench, "SP200-001")] == [lone["state"]], "unsaid when it died"
            worker = bench.start("one")
        bench.push(night, chunk)
    bench.run_out()
    wanted = living(night.said()).filter(pl.col("node_id") != "SP200-001")
    bench.wait(lambda: living(read_said(bench.settings)).equals(wanted), "the incidents differ")
    (ended,) = individuals(bench, "SP200-001")
    assert (ended["state"], ended["incident_id"]) == ("cancelled", lone["incident_id"])


def individuals(bench: Bench, point: str) -> list[dict[str, object]]:
    """The last step of every incident of that service point, or of its meter once nothing else is known of it."""
    said = read_said(bench.settings).filter(pl.col("node_id").is_in([point, point.replace("SP", "M")]))
    return said.sort("step").unique("incident_id", keep="last").to_dicts()


def test_a_worker_that_was_overtaken_says_nothing_more(kafka_settings: KafkaSettings) -> None:
    fresh_topics(kafka_settings)
    first, second = (Journal(kafka_settings.client_options(), JOURNAL_TOPIC) for _ in range(2))
    step = Record(Kind.STEP, 0, 1, 5, {"t": {0: 1}}, Memory.nothing())
    assert first.claim() == []
    assert first.append(step)
    assert first.append(step), "written again after a lost answer"
    assert [record.number for record in second.claim()] == [1]
    assert second.append(step._replace(number=2))
    assert not first.append(step._replace(number=2))
    assert not first.append(step._replace(number=3))
    assert second.append(step._replace(number=2, kind=Kind.SNAPSHOT))
    assert second.append(step._replace(number=3))
    third = Journal(kafka_settings.client_options(), JOURNAL_TOPIC)
    assert [(record.kind, record.number) for record in third.claim()] == [(Kind.SNAPSHOT, 2), (Kind.STEP, 3)]
    assert not second.append(step._replace(number=4))
    for journal in (first, second, third):
        journal.close()
