"""A meter at which judging fails is left out and named; all others have the finals that they would have without it."""

import json
import logging
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest

from app import vee_judge, vee_lane, workers
from app.embedded import MemoryPublisher, carry_both_lanes
from app.messages import to_messages
from app.telemetry import REGISTRY, JsonLines
from schemas.errors import TerminalError
from schemas.frames import DIRTY_DAYS
from simulator.fleet import Simulated
from storage.embedded import open_embedded
from storage.store import Scope, SqlStore
from storage.tables import TABLES
from validation.params import VeeParams
from validation.vee import Vee, VeeInputs, run_vee

MIDNIGHT = datetime(2026, 3, 2, tzinfo=UTC)
NOW = datetime(2026, 4, 1, tzinfo=UTC)


@pytest.fixture
def filled(simulated: Simulated, registry: workers.Registry) -> Iterator[tuple[SqlStore, pl.DataFrame]]:
    """A store with a day of the fleet, and the messages that make it dirty."""
    store, publisher = open_embedded(), MemoryPublisher()
    for table in TABLES:
        store.engine.execute(f"TRUNCATE TABLE {table}")
    store.append("meters", simulated.meters, "meters")
    list(carry_both_lanes(simulated.frames, store, publisher, registry))
    dirty = publisher.rows(workers.DIRTY_DAYS_TOPIC, DIRTY_DAYS).filter(pl.col("day") == date(2026, 3, 2))
    yield store, to_messages(dirty, dirty["bucket"])
    store.close()


def zoned(simulated: Simulated, meters: list[str]) -> pl.DataFrame:
    """Registry changes of today: those meters live in a zone that nobody knows."""
    changed = simulated.meters.filter(pl.col("meter_id").is_in(meters))
    return changed.with_columns(timezone=pl.lit("Nowhere/Land"), recorded_at=pl.lit(NOW).cast(pl.Datetime("us", "UTC")))


def judge(store: SqlStore, simulated: Simulated, messages: pl.DataFrame, run_id: str) -> pl.DataFrame:
    params = VeeParams(judged_at=NOW, run_id=run_id, context_days=30)
    work = vee_lane.VeeWork(store, simulated.meters, params, lambda: NOW)
    work.deliver(work.prepare(messages), run_id)
    meters = tuple(simulated.meters["meter_id"].unique())
    return store.load_current("finals", Scope(meters, MIDNIGHT, MIDNIGHT + timedelta(days=1))).drop("run_id")


def left_out() -> float:
    return REGISTRY.get_sample_value("ami_vee_left_out_meters_total") or 0.0


def test_meters_that_cannot_be_judged_are_named_with_their_days_and_the_finals_of_others_are_as_without_them(
    filled: tuple[SqlStore, pl.DataFrame], simulated: Simulated, caplog: pytest.LogCaptureFixture
) -> None:
    store, messages = filled
    whole = judge(store, simulated, messages, "whole")
    store.engine.execute("TRUNCATE TABLE finals")
    names = simulated.meters["meter_id"].unique().sort()
    bad = [names[0], names[7], names[8]]
    store.append("meters", zoned(simulated, bad), "changed")
    before = left_out()
    with caplog.at_level(logging.ERROR):
        finals = judge(store, simulated, messages, "apart")
    assert set(finals["meter_id"]) == set(names) - set(bad)
    assert finals.equals(whole.filter(~pl.col("meter_id").is_in(bad)))
    lines = [json.loads(JsonLines().format(record)) for record in caplog.records if record.name == "ami.vee"]
    assert {line["meter_id"] for line in lines} == set(bad)
    for line in lines:
        assert line["first"] <= MIDNIGHT.isoformat() < line["after"]
        assert "Nowhere/Land" in line["error"]
        assert line["where"].startswith("timegrid.py:")
    assert left_out() - before == len(lines)


def test_a_fault_of_the_code_at_one_meter_is_no_other_meters(
    filled: tuple[SqlStore, pl.DataFrame], simulated: Simulated, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, messages = filled
    names = simulated.meters["meter_id"].unique().sort()

    def faulty(inputs: VeeInputs, params: VeeParams) -> Vee:
        if names[3] in inputs.meters["meter_id"]:
            raise IndexError("index -1 is out of bounds for axis 0 with size 0")
        return run_vee(inputs, params)

    monkeypatch.setattr(vee_judge, "run_vee", faulty)
    assert set(judge(store, simulated, messages, "apart")["meter_id"]) == set(names) - {names[3]}


def test_where_most_meters_of_a_batch_cannot_be_judged_the_worker_stops(
    filled: tuple[SqlStore, pl.DataFrame], simulated: Simulated
) -> None:
    store, messages = filled
    names = simulated.meters["meter_id"].unique().sort().to_list()
    store.append("meters", zoned(simulated, names[:22]), "changed")
    with pytest.raises(TerminalError, match="22 of 25 meters"):
        judge(store, simulated, messages, "apart")
