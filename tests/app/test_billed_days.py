"""The VEE worker and days that are billed: what it loads of the ledger, and what becomes of values that come later."""

from collections.abc import Iterator

import hourly_day
import polars as pl
import pytest
from hourly_day import HOUR, MIDNIGHT, bill_of, fleet_of, whole_day

from app.telemetry import REGISTRY
from storage.store import Scope, SqlStore

NAMES = ["AMI0000000000000", "AMI0000000000001"]
BILLED = NAMES[0]
FLEET = fleet_of(*NAMES)
WHOLE = whole_day(*NAMES)


@pytest.fixture
def store() -> Iterator[SqlStore]:
    yield from hourly_day.opened(FLEET)


def sent(hours: dict[int, int], received: int) -> pl.DataFrame:
    return hourly_day.sent(hours, received, *NAMES)


def judged(store: SqlStore, run: str) -> None:
    hourly_day.judge(store, FLEET, WHOLE, 40, run)


def value_of(store: SqlStore, name: str, hour: int) -> tuple[int, int]:
    at = MIDNIGHT + hour * HOUR
    ((value, version),) = (
        store.load_current("finals", Scope((name,), at, at + HOUR)).select("value_milli", "version").rows()
    )
    return value, version


def moved() -> float:
    return REGISTRY.get_sample_value("ami_vee_billed_deltas_total", {"reason": "late_read"}) or 0.0


def test_a_billed_day_keeps_what_was_measured_and_takes_a_late_read_as_a_delta(store: SqlStore) -> None:
    store.append("intervals", sent({hour: 1000 for hour in range(24) if hour != 5}, 24), "in time")
    judged(store, "first")
    store.append("billing_ledger", bill_of(BILLED), "billed")
    store.append("intervals", sent({5: 1400, 9: 1300}, 90), "late, and a correction")
    before = moved()
    judged(store, "second")
    assert value_of(store, BILLED, 5) == (1400, 2)
    assert moved() == before + 1
    assert value_of(store, BILLED, 9) == (1000, 1)
    assert value_of(store, NAMES[1], 9) == (1300, 2), "of a meter that is not billed"
    findings = store.load_current("exceptions", WHOLE).filter(pl.col("rule") == "held_correction")
    told = findings.select("meter_id", "first_interval", "intervals", "measured_milli", "limit_milli")
    assert told.rows() == [(BILLED, MIDNIGHT + 9 * HOUR, 1, 1300, 1000)]
    judged(store, "third")
    assert store.load_current("exceptions", WHOLE).filter(pl.col("rule") == "held_correction").equals(findings)
    assert moved() == before + 1
    store.append("billing_ledger", bill_of(BILLED, number=2, sign=-1), "taken back")
    judged(store, "fourth")
    assert value_of(store, BILLED, 9) == (1300, 2), "what is billed no more is open"
