"""One row that the store refuses holds up no worker: its neighbours are stored, and it leaves a trace."""

import json
import logging
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest

from app import store_lane, vee_judge, vee_lane, workers
from app.embedded import Gathered, MemoryPublisher, carry_both_lanes
from app.messages import to_messages
from app.refused import rejects_of, store_all, store_rejects
from app.retry import MOST_INSERTS
from app.telemetry import REGISTRY, JsonLines
from outage.messages.cim_json import render_cim_json
from schemas.errors import ContractError, TerminalError
from schemas.frames import DIRTY_DAYS, EVENTS, OUTAGES, RAW_FRAMES, REJECTS, REPLAY_WINDOWS
from simulator.fleet import Simulated
from storage.embedded import open_embedded
from storage.store import Scope, SqlStore
from storage.tables import TABLES
from validation.params import VeeParams

NOW = datetime(2026, 4, 1, tzinfo=UTC)
DAY = date(2026, 3, 2)
PLACE = ["topic", "partition", "offset", "frame"]


@pytest.fixture
def store() -> Iterator[SqlStore]:
    opened = open_embedded()
    for table in TABLES:
        opened.engine.execute(f"TRUNCATE TABLE {table}")
    yield opened
    for table in ("events", "intervals", "finals", "exceptions", "outages", "rejects"):
        opened.engine.execute(f"ALTER TABLE {table} DROP CONSTRAINT IF EXISTS picky")
    opened.close()


@pytest.fixture
def filled(simulated: Simulated, registry: workers.Registry, store: SqlStore) -> tuple[MemoryPublisher, Gathered]:
    publisher = MemoryPublisher()
    store.append("meters", simulated.meters, "meters")
    return publisher, Gathered.of(carry_both_lanes(simulated.frames, store, publisher, registry))


def refuse(store: SqlStore, table: str, meter: str) -> None:
    store.engine.execute(f"ALTER TABLE {table} ADD CONSTRAINT picky CHECK meter_id != '{meter}'")


def said(caplog: pytest.LogCaptureFixture, table: str) -> list[dict[str, object]]:
    lines = [json.loads(JsonLines().format(record)) for record in caplog.records if record.name == "ami.refused"]
    return [line for line in lines if line["table"] == table]


def counted(table: str) -> float:
    return REGISTRY.get_sample_value("ami_refused_rows_total", {"table": table}) or 0.0


def on_topic(topic: str, rows: pl.DataFrame) -> pl.DataFrame:
    return to_messages(rows, rows["topic"]).with_columns(topic=pl.lit(topic))


def test_an_event_that_the_store_refuses_becomes_a_reject_and_its_neighbours_are_stored(
    filled: tuple[MemoryPublisher, Gathered], simulated: Simulated, store: SqlStore, caplog: pytest.LogCaptureFixture
) -> None:
    publisher, _ = filled
    store.engine.execute("TRUNCATE TABLE events")
    events = publisher.rows(workers.EVENTS_TOPIC, EVENTS)
    poison = events["meter_id"][0]
    refuse(store, "events", poison)
    before = counted("events")
    work = store_lane.StoreWork(store, MemoryPublisher(), simulated.meters)
    with caplog.at_level(logging.ERROR):
        work.deliver(work.prepare(on_topic(workers.EVENTS_TOPIC, events)), "batch")
    bad = events.filter(pl.col("meter_id") == poison)
    assert set(store.load_current("events")["meter_id"]) == set(events["meter_id"]) - {poison}
    rejects = store.load_current("rejects")
    assert set(rejects.select(PLACE).rows()) == set(bad.select(PLACE).rows())
    assert set(rejects["reason"].cast(pl.String)) == {"poison"}
    assert (rejects["payload"].bin.size() > 0).all()
    assert counted("events") - before == bad.height
    assert sum(int(str(line["rows"])) for line in said(caplog, "events")) == bad.height


def test_an_event_whose_frame_is_not_stored_yet_becomes_a_reject_without_bytes() -> None:
    event = {
        "topic": "ami.lastgasp.v1", "partition": 1, "offset": 7, "frame": 0, "received_at": NOW, "meter_id": "A",
        "event": "last_gasp", "origin": "nic", "occurred_at": NOW, "authenticated": False,
    }  # fmt: skip
    rejects = rejects_of(pl.DataFrame([event], schema=EVENTS.schema), pl.DataFrame(schema=RAW_FRAMES.schema))
    assert rejects.select(*PLACE, "payload", "received_at").rows() == [("ami.lastgasp.v1", 1, 7, 0, b"", NOW)]


def test_a_step_of_an_incident_that_the_store_refuses_is_told_and_its_neighbours_are_stored(
    simulated: Simulated, store: SqlStore, caplog: pytest.LogCaptureFixture
) -> None:
    row = {
        "step": 0, "state": "reported", "scope": "street", "node_kind": "transformer", "node_id": "T1",
        "started_at": NOW, "meters_out": 1, "customers_out": 1, "confidence": 0.9, "updated_at": NOW,
        "meters_eligible": 1, "meters_heard": 1, "meters_alive": 0, "meters_silent": 0, "authenticated_share": 1.0,
        "planned": False, "run_id": "",
    }  # fmt: skip
    steps = pl.DataFrame([row | {"incident_id": name} for name in ("one", "bad", "two")], schema=OUTAGES.schema)
    store.engine.execute("ALTER TABLE outages ADD CONSTRAINT picky CHECK incident_id != 'bad'")
    messages = pl.DataFrame({"topic": workers.OUTAGES_TOPIC, "value": list(render_cim_json(steps))})
    work = store_lane.StoreWork(store, MemoryPublisher(), simulated.meters)
    with caplog.at_level(logging.ERROR):
        work.deliver(work.prepare(messages), "batch")
    assert set(store.load_current("outages")["incident_id"]) == {"one", "two"}
    (line,) = said(caplog, "outages")
    assert line["incident_id"] == "bad"
    assert "picky" in str(line["why"])


def test_finals_that_the_store_refuses_are_told_by_meter_and_time_and_other_meters_have_theirs(
    filled: tuple[MemoryPublisher, Gathered], simulated: Simulated, store: SqlStore, caplog: pytest.LogCaptureFixture
) -> None:
    publisher, _ = filled
    poison = simulated.meters.filter(pl.col("meter_type") == "generic")["meter_id"][0]
    refuse(store, "finals", poison)
    refuse(store, "exceptions", poison)
    before = counted("finals")
    work = vee_lane.VeeWork(store, simulated.meters, VeeParams(judged_at=NOW, run_id="", context_days=30), lambda: NOW)
    dirty = publisher.rows(workers.DIRTY_DAYS_TOPIC, DIRTY_DAYS).filter(pl.col("day") == DAY)
    with caplog.at_level(logging.ERROR):
        work.deliver(work.prepare(to_messages(dirty, dirty["bucket"])), "batch")
    meters = simulated.meters["meter_id"].unique()
    midnight = datetime(2026, 3, 2, tzinfo=UTC)
    finals = store.load_current("finals", Scope(tuple(meters), midnight, midnight + timedelta(days=1)))
    assert set(finals["meter_id"]) == set(meters) - {poison}
    lines = said(caplog, "finals")
    assert {line["meter_id"] for line in lines} == {poison}
    assert all(str(line["first"]) <= str(line["last"]) and str(line["first"]) >= "2026-03-0" for line in lines)
    assert counted("finals") - before == sum(int(str(line["rows"])) for line in lines) > 0


class Picky:
    """Refuses rejects of any sender, and all of one topic."""

    def __init__(self) -> None:
        self.stored: list[pl.DataFrame] = []

    def append(self, table: str, rows: pl.DataFrame, token: str) -> int:
        if rows["system_title"].is_not_null().any() or "bad" in rows["topic"].to_list():
            raise ContractError("refused")
        self.stored.append(rows)
        return rows.height


def reject(topic: str, title: str | None) -> pl.DataFrame:
    row = {
        "topic": topic, "partition": 0, "offset": 1, "frame": 0, "received_at": NOW, "payload": b"x",
        "reason": "axdr_tag", "detail": "", "at": 3, "system_title": title, "key_id": None, "code_version": "1",
    }  # fmt: skip
    return pl.DataFrame([row], schema=REJECTS.schema)


def test_a_reject_that_the_store_refuses_is_stored_bare_and_one_that_it_refuses_even_so_stops_the_worker() -> None:
    picky = Picky()
    store_rejects(picky, pl.concat([reject("good", None), reject("good", "00")]), "t")
    stored = pl.concat(picky.stored)
    assert sorted(stored["reason"].cast(pl.String)) == ["axdr_tag", "poison"]
    assert stored["payload"].to_list() == [b"x", b"x"]
    with pytest.raises(ContractError):
        store_rejects(picky, reject("bad", None), "t")


def test_a_counter_that_the_store_refuses_rejects_its_message() -> None:
    """A counter names no frame."""
    counters = pl.DataFrame([{"topic": "t", "partition": 0, "offset": 5}], schema=REPLAY_WINDOWS.schema)
    messages = pl.DataFrame(
        [{"topic": "t", "partition": 0, "offset": n, "frame": 0, "received_at": NOW, "payload": b"p"} for n in (4, 5)],
        schema=RAW_FRAMES.schema,
    )
    assert rejects_of(counters, messages)["offset"].to_list() == [5]


def test_rows_of_a_shape_that_the_table_has_not_are_the_codes_fault_and_none_is_parted(store: SqlStore) -> None:
    rows = pl.concat([reject("good", None)] * 50).drop("payload")
    before = counted("rejects")
    with pytest.raises(ContractError, match="payload"):
        store_all(store, "rejects", rows, "t")
    assert counted("rejects") == before


def test_where_the_finals_of_most_meters_are_refused_the_worker_stops(
    filled: tuple[MemoryPublisher, Gathered], simulated: Simulated, store: SqlStore
) -> None:
    """Of one interval of each meter: every row that is refused is tried alone."""
    start = datetime(2026, 3, 2, 12, tzinfo=UTC)
    meters = simulated.meters["meter_id"].unique().sort()
    store.engine.execute(f"ALTER TABLE finals ADD CONSTRAINT picky CHECK meter_id = '{meters[0]}'")
    params = VeeParams(judged_at=NOW, run_id="r", context_days=1)
    with pytest.raises(TerminalError, match="of 25 meters"):
        list(vee_judge.judge(store, [Scope(tuple(meters), start, start + timedelta(hours=1))], params))
    assert set(store.load_current("finals")["meter_id"]) == {meters[0]}


class OneMeter:
    """Refuses finals of one meter, or of all."""

    def __init__(self, bad: str | None) -> None:
        self.bad, self.stored, self.inserts = bad, [], 0

    def append(self, table: str, rows: pl.DataFrame, token: str) -> int:
        self.inserts += 1
        if rows.height and (self.bad is None or self.bad in set(rows["meter_id"])):
            raise ContractError("constraint")
        self.stored.append(rows)
        return rows.height


def finals_of(meters: int, each: int) -> pl.DataFrame:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    at = pl.datetime_range(start, start + timedelta(hours=each - 1), "1h", time_unit="us", time_zone="UTC", eager=True)
    names = pl.DataFrame({"meter_id": [f"M{number:04d}" for number in range(meters)], "channel": "energy_delivered"})
    return names.join(pl.DataFrame({"interval_start": at}), how="cross")


def test_a_meter_all_of_whose_finals_are_refused_takes_those_of_no_other_with_it() -> None:
    """More poison than is looked for row by row."""
    store, rows = OneMeter("M0003"), finals_of(7, 3_000)
    refused = store_all(store, "finals", rows, "t")
    assert set(refused["meter_id"]) == {"M0003"}
    assert refused.height == 3_000
    assert pl.concat(store.stored).sort("meter_id", "interval_start").equals(rows.filter(pl.col("meter_id") != "M0003"))
    assert store.inserts <= MOST_INSERTS + 7 + 2


def test_rows_without_a_frame_that_are_refused_of_more_owners_than_can_be_tried_stop_the_worker() -> None:
    store, rows = OneMeter(None), finals_of(1_500, 2)
    with pytest.raises(TerminalError, match=r"finals of more than 1000 \(meter_id\): constraint: mend the cause"):
        store_all(store, "finals", rows, "t")
    assert store.inserts <= MOST_INSERTS + 2


def test_what_the_store_takes_is_neither_told_nor_counted(caplog: pytest.LogCaptureFixture) -> None:
    assert store_all(Picky(), "rejects", reject("good", None), "t").is_empty()
    assert not caplog.records
