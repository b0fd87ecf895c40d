"""Outages on their way to VEE: a supply that was off makes its days dirty, and their zeros true."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import msgspec
import polars as pl
import pytest

from app import store_lane, vee_lane, workers
from app.embedded import Gathered, MemoryPublisher, carry_both_lanes
from app.messages import to_messages
from app.supply_days import SupplyDays
from ingest import meter_types
from ingest.derived import bucket_of
from ingest.keyring import Keyring
from outage.messages.cim_json import render_cim_json
from schemas.frames import DIRTY_DAYS, EVENTS, METERS, OUTAGES, REJECTS, conform
from simulator.fleet import simulate
from simulator.params import SimulatorParams
from storage.embedded import open_embedded
from storage.store import Scope, SqlStore
from tests.noting_store import noting_store
from validation.params import VeeParams

DAY = date(2026, 3, 2)
NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
NEW_YORK, SYDNEY = "America/New_York", "Australia/Sydney"


def meters(*rows: tuple[str, str, str | None]) -> pl.DataFrame:
    return conform(pl.DataFrame(rows, schema=["meter_id", "transformer_id", "timezone"], orient="row"), METERS)


def step(node: str, begin: datetime, end: datetime | None, state: str = "restored", number: int = 0) -> pl.DataFrame:
    row = {
        "incident_id": "i", "step": number, "state": state, "scope": "street", "node_kind": "transformer",
        "node_id": node, "started_at": begin, "restored_at": end, "meters_out": 1, "customers_out": 1,
        "meters_eligible": 1, "meters_heard": 1, "meters_alive": 0, "meters_silent": 0, "authenticated_share": 1.0,
        "planned": False, "confidence": 0.9, "updated_at": (end or begin) + HOUR * (number + 1), "run_id": "",
    }  # fmt: skip
    return conform(pl.DataFrame([row], schema_overrides=dict(OUTAGES.schema)), OUTAGES)


def word(meter: str, event: str, at: datetime) -> pl.DataFrame:
    row = {
        "topic": "t", "partition": 0, "offset": 0, "frame": 0, "received_at": at, "meter_id": meter, "event": event,
        "code": 1, "origin": "meter", "occurred_at": at, "sequence": None, "authenticated": True,
    }  # fmt: skip
    return conform(pl.DataFrame([row], schema_overrides=dict(EVENTS.schema)), EVENTS)


FLEET = meters(("A", "T1", NEW_YORK), ("B", "T1", SYDNEY), ("C", "T1", None), ("D", "T2", None))


def days_of(outages: pl.DataFrame, events: pl.DataFrame) -> set[tuple[str, date]]:
    bucket = dict(zip(bucket_of(FLEET["meter_id"]), FLEET["meter_id"], strict=True))
    dirty = SupplyDays(FLEET).of(outages, events)
    assert dirty.schema == DIRTY_DAYS.schema
    return {(bucket[number], day) for number, day in dirty.rows()}


def test_the_days_are_those_of_the_meters_own_zone_from_the_onset_to_the_return() -> None:
    outage = step("T1", datetime(2026, 3, 2, 20, tzinfo=UTC), datetime(2026, 3, 3, 4, tzinfo=UTC))
    assert days_of(outage, EVENTS.empty()) == {
        ("A", date(2026, 3, 2)),
        ("B", date(2026, 3, 3)),
        ("C", date(2026, 3, 2)),
        ("C", date(2026, 3, 3)),
    }


def test_an_outage_that_goes_on_is_dirty_as_far_as_it_is_known() -> None:
    assert days_of(step("T2", NOON, None, "reported"), EVENTS.empty()) == {("D", DAY)}


@pytest.mark.parametrize(("begin", "end"), [(1970, 2026), (2026, 9999)])
def test_an_outage_that_a_clock_made_endless_is_judged_for_a_year_at_most(begin: int, end: int) -> None:
    outage = step("T2", datetime(begin, 3, 2, tzinfo=UTC), datetime(end, 3, 2, tzinfo=UTC))
    outage = outage.with_columns(updated_at=pl.lit(NOON).cast(pl.Datetime("us", "UTC")))
    days = {day for _, day in days_of(outage, EVENTS.empty())}
    assert DAY in days
    assert len(days) <= 368
    assert max(days) <= DAY + timedelta(days=1)


@pytest.mark.parametrize("state", ["cancelled", "merged"])
def test_what_turned_out_to_be_none_makes_its_days_dirty_too(state: str) -> None:
    assert days_of(step("T2", NOON, None, state), EVENTS.empty()) == {("D", DAY)}


def test_a_meters_own_word_makes_its_day_dirty_and_no_other_event_does() -> None:
    events = pl.concat([word("D", "power_up", NOON), word("C", "cover_opened", NOON), word("X", "power_up", NOON)])
    assert days_of(OUTAGES.empty(), events) == {("D", DAY)}


def test_a_meter_that_the_registry_names_later_has_its_days_made_dirty_too() -> None:
    publisher = MemoryPublisher()
    gone = {"outages": step("T1", NOON, NOON + HOUR), "events": EVENTS.empty()}
    gone |= dict.fromkeys(("rejects", "unreadable"), REJECTS.empty())
    with noting_store() as tables:
        work = store_lane.StoreWork(tables, publisher, METERS.empty())
        work.deliver(gone, "before")
        assert publisher.rows(workers.DIRTY_DAYS_TOPIC, DIRTY_DAYS).is_empty()
        work.enrol(workers.Registry.of(Keyring.empty(), FLEET, meter_types.BUILT_IN))
        work.deliver(gone, "after")
    told = publisher.rows(workers.DIRTY_DAYS_TOPIC, DIRTY_DAYS)
    assert set(told["bucket"]) == set(bucket_of(FLEET.filter(pl.col("transformer_id") == "T1")["meter_id"]))


@pytest.fixture
def store() -> Iterator[SqlStore]:
    opened = open_embedded()
    for table in ("intervals", "reads", "events", "finals", "exceptions", "outages", "meters"):
        opened.engine.execute(f"TRUNCATE TABLE {table}")
    yield opened
    opened.close()


def test_vee_judges_again_with_true_zeros_and_again_when_the_outage_was_none(store: SqlStore) -> None:
    """The road of a running head end: judged before the outage was known, then with it, then without it."""
    simulated = simulate(msgspec.structs.replace(SimulatorParams(), meters=10, days=1, seed=11))
    registry = workers.Registry.of(Keyring.from_csv(simulated.keys_csv), simulated.meters, meter_types.BUILT_IN)
    sent = Gathered.of(carry_both_lanes(simulated.frames, store, MemoryPublisher(), registry)).intervals
    for table in ("intervals", "reads", "events"):
        store.engine.execute(f"TRUNCATE TABLE {table}")
    node = simulated.meters["transformer_id"][0]
    below = simulated.meters.filter(pl.col("transformer_id") == node)["meter_id"].unique()
    silent = pl.col("meter_id").is_in(below.implode()) & pl.col("interval_start").is_between(
        NOON, NOON + 2 * HOUR, closed="left"
    )
    store.append("meters", simulated.meters, "meters")
    store.append("intervals", sent.filter(~silent), "sent")
    publisher = MemoryPublisher()
    storing = store_lane.StoreWork(store, publisher, simulated.meters)
    judged_at = [NOON + timedelta(days=n) for n in range(1, 4)]

    def judge(dirty: pl.DataFrame, now: datetime) -> dict[tuple[str, int | None], int]:
        work = vee_lane.VeeWork(
            store, simulated.meters, VeeParams(judged_at=now, run_id="", context_days=3), lambda: now
        )
        work.deliver(work.prepare(to_messages(dirty, dirty["bucket"])), "")
        scope = Scope(tuple(below.to_list()), NOON, NOON + 2 * HOUR)
        newest = store.load_finals(scope).filter(pl.col("channel").cast(pl.String) == "energy_delivered")
        counted = newest.group_by(pl.col("quality").cast(pl.String), zero=pl.col("value_milli") == 0).len()
        return {(quality, zero): number for quality, zero, number in counted.rows()}

    def say(outages: pl.DataFrame) -> pl.DataFrame:
        values = list(render_cim_json(outages))
        messages = pl.DataFrame({"topic": workers.OUTAGES_TOPIC, "value": values})
        storing.deliver(storing.prepare(messages), str(outages["state"].to_list()))
        return publisher.rows(workers.DIRTY_DAYS_TOPIC, DIRTY_DAYS)

    first = pl.DataFrame({"bucket": bucket_of(below), "day": DAY}, schema=DIRTY_DAYS.schema).unique()
    assert not any(quality == "outage" for quality, _ in judge(first, judged_at[0]))
    outage = step(node, NOON, NOON + 2 * HOUR)
    dirty = say(outage)
    assert set(dirty["bucket"]) == set(bucket_of(below))
    with_outage = judge(dirty, judged_at[1])
    assert set(with_outage) == {("outage", True)}
    gone = step(node, NOON, None, "cancelled").with_columns(
        updated_at=pl.lit(NOON + 9 * HOUR).cast(pl.Datetime("us", "UTC"))
    )
    assert not any(quality == "outage" for quality, _ in judge(say(gone), judged_at[2]))
