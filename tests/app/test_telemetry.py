import io
import json
import logging
import re

import pytest
from prometheus_client import generate_latest

from app import telemetry


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
