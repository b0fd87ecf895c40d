import io
import json
import logging
import re
import threading

import polars as pl
import pytest
from prometheus_client import generate_latest

from app import telemetry
from app.commands import worker
from app.observe import Timed
from schemas.errors import TransientError


@pytest.fixture
def root_logger():
    root = logging.getLogger()
    before = (root.level, root.handlers[:])
    yield root
    root.handlers[:] = before[1]
    root.setLevel(before[0])


def test_metrics_are_named_for_what_they_count():
    names = {family.name for family in telemetry.REGISTRY.collect()}
    assert len(names) >= 14
    assert all(re.fullmatch(r"ami_[a-z_]+", name) for name in names)
    assert b"ami_messages_total" in generate_latest(telemetry.REGISTRY) or "ami_messages" in names


def test_a_log_line_is_one_json_object_with_its_fields(root_logger):
    stream = io.StringIO()
    telemetry.configure_logging("INFO", stream)
    logging.getLogger("ami.ingest").info("batch", extra={"fields": {"topic": "ami.frames.v1", "rows": 3}})
    line = json.loads(stream.getvalue())
    assert line["message"] == "batch"
    assert line["rows"] == 3
    assert line["level"] == "INFO"


def test_an_exception_is_told_in_one_line_without_its_traceback(root_logger):
    stream = io.StringIO()
    telemetry.configure_logging("INFO", stream)
    try:
        raise ValueError("no such table")
    except ValueError:
        logging.getLogger("ami").exception("insert failed")
    assert stream.getvalue().count("\n") == 1
    assert json.loads(stream.getvalue())["error"] == "ValueError: no such table"


def test_liveness_is_the_age_of_the_heartbeat_and_nothing_else():
    health = telemetry.Health(heartbeat_limit_s=10)
    assert not health.live(0)
    health.beat(100)
    health.last_insert_good = False
    assert health.live(110)
    assert not health.live(110.1)


def test_readiness_needs_partitions_and_a_good_insert():
    health = telemetry.Health(heartbeat_limit_s=10)
    health.beat(0)
    assert not health.ready(1)
    health.assigned = True
    assert health.ready(1)
    health.last_insert_good = False
    assert not health.ready(1)
    health.last_insert_good = True
    health.delivering_since = 2
    health.beat(2 + telemetry.DELIVERY_LIMIT_S)
    assert health.ready(2 + telemetry.DELIVERY_LIMIT_S)
    health.beat(60)
    assert not health.ready(60), "it hangs, and nobody knows whether it will be good"
    assert health.live(60), "a restart would not help"
    health.delivering_since = None
    assert health.ready(60)


class _Storing:
    """A work that fails once."""

    fails = 1

    def adopt(self, positions):
        self.adopted = positions

    def enrol(self, registry):
        self.registry = registry

    def prepare(self, frames):
        return {"events": frames}

    def deliver(self, prepared, token):
        self.fails -= 1
        if self.fails >= 0:
            raise TransientError("away")


def test_what_stores_without_decoding_is_timed_and_counted_too():
    def told(name, **labels):
        return telemetry.REGISTRY.get_sample_value(name, labels) or 0

    failed, done = ({"table": "of a test", "outcome": outcome} for outcome in ("failed", "done"))
    work = _Storing()
    timed = Timed(work, "of a test", lambda rows: {"rows of a test": rows["events"].height})
    timed.adopt(())
    timed.enrol("registry")
    prepared = timed.prepare(pl.DataFrame({"a": [1, 2, 3]}))
    with pytest.raises(TransientError):
        timed.deliver(prepared, "t")
    timed.deliver(prepared, "t")
    assert (work.adopted, work.registry) == ((), "registry")
    assert [told("ami_insert_duration_seconds_count", **labels) for labels in (failed, done)] == [1, 1]
    assert told("ami_batch_rows_sum", table="rows of a test") == 3


def test_of_a_topic_that_is_another_members_now_nothing_waits_here(monkeypatch):
    lags = [{("t.mine", 0): 3, ("t.mine", 1): 4}, {}]

    class Source:
        def lag(self):
            return lags.pop(0)

    monkeypatch.setattr(worker, "LAG_EVERY_S", 0.0)
    stop = worker.watched(threading.Event(), Source())
    for waiting in (7, 0):
        assert not stop()
        assert telemetry.REGISTRY.get_sample_value("ami_consumer_lag_records", {"topic": "t.mine"}) == waiting
