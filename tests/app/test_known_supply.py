"""What is known of supply is known of the store, not of the meters that happen to be judged together."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from app import vee_lane
from schemas.codes import RULE_BIT, Rule
from schemas.frames import EVENTS, INTERVALS, METERS, OUTAGES, REJECTS
from storage.embedded import open_embedded
from storage.store import Scope, SqlStore
from validation.params import VeeParams

MIDNIGHT = datetime(2026, 3, 2, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
NAMES = ("AMI0000000000000", "AMI0000000000001")
FLEET = pl.DataFrame(
    [{"meter_id": n, "interval_s": 3600, "channels": ["energy_delivered"], "timezone": "UTC"} for n in NAMES],
    schema=METERS.schema,
)
BITS = sum(1 << RULE_BIT[rule] for rule in (Rule.ZERO_ON_ACTIVE, Rule.USAGE_ON_INACTIVE, Rule.OUTAGE_ZERO))


@pytest.fixture
def store() -> Iterator[SqlStore]:
    store = open_embedded()
    for table in ("meters", "intervals", "finals", "exceptions", "events", "outages", "billing_ledger"):
        store.engine.execute(f"TRUNCATE TABLE {table}")
    store.append("meters", FLEET, "meters")
    row = {
        "topic": "ami.frames.v1", "partition": 0, "offset": 1, "received_at": MIDNIGHT + DAY, "interval_s": 3600,
        "channel": "energy_delivered", "status": 0,
    }  # fmt: skip
    rows = [
        row | {"frame": hour, "meter_id": n, "interval_start": MIDNIGHT + hour * HOUR, "value_milli": hour % 5 * 1000}
        for n in NAMES
        for hour in range(24)
    ]
    store.append("intervals", pl.DataFrame(rows, schema=INTERVALS.schema), "a day")
    yield store
    store.close()


def judged(store: SqlStore, *meters: str) -> pl.DataFrame:
    now = MIDNIGHT + 2 * DAY
    params = VeeParams(judged_at=now, run_id="", context_days=3)
    work = vee_lane.VeeWork(store, FLEET, params, lambda: now)
    work.deliver(vee_lane.Due([Scope(meters, MIDNIGHT, MIDNIGHT + DAY)], REJECTS.empty()), "")
    return store.load_current("finals", Scope(NAMES, MIDNIGHT, MIDNIGHT + DAY))


def event(meter: str) -> pl.DataFrame:
    row = {
        "topic": "ami.events.v1", "partition": 0, "offset": 1, "frame": 0, "received_at": MIDNIGHT, "meter_id": meter,
        "event": "power_down", "code": 1, "origin": "meter", "occurred_at": MIDNIGHT + 50 * HOUR, "authenticated": True,
    }  # fmt: skip
    return pl.DataFrame([row], schema=EVENTS.schema)


def test_a_meter_judged_alone_is_judged_as_beside_the_one_that_sent_an_event(store: SqlStore) -> None:
    store.append("events", event(NAMES[0]), "an event of one meter")
    together = judged(store, *NAMES)
    assert set(together["unjudged"] & BITS) == {0}
    assert judged(store, NAMES[1]).equals(together)
    assert set(together["version"]) == {1}


def test_where_no_meter_ever_sent_an_event_nothing_is_known_of_supply(store: SqlStore) -> None:
    assert set(judged(store, *NAMES)["unjudged"] & BITS) == {BITS}


def test_outages_alone_say_nothing_of_disconnections(store: SqlStore) -> None:
    outage = {
        "incident_id": "i", "step": 0, "state": "closed", "scope": "individual", "node_kind": "meter",
        "node_id": "elsewhere", "started_at": MIDNIGHT - DAY, "restored_at": MIDNIGHT - DAY + HOUR,
        "confidence": 1.0, "authenticated_share": 1.0, "planned": False, "run_id": "r", "updated_at": MIDNIGHT,
        **dict.fromkeys(("meters_out", "customers_out", "meters_eligible", "meters_heard"), 1),
        **dict.fromkeys(("meters_alive", "meters_silent"), 0),
    }  # fmt: skip
    store.append("outages", pl.DataFrame([outage], schema=OUTAGES.schema), "one")
    inactive = sum(1 << RULE_BIT[rule] for rule in (Rule.ZERO_ON_ACTIVE, Rule.USAGE_ON_INACTIVE))
    assert set(judged(store, *NAMES)["unjudged"] & BITS) == {inactive}
