"""The VEE worker and days that are billed: what it loads of the ledger, and what becomes of values that come later."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from app import vee_lane
from app.telemetry import REGISTRY
from schemas.frames import DETERMINANTS, INTERVALS, METERS, REJECTS
from storage.embedded import open_embedded
from storage.store import Scope, SqlStore
from validation.params import VeeParams

MIDNIGHT = datetime(2026, 3, 2, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
NAMES = ["AMI0000000000000", "AMI0000000000001"]
BILLED = NAMES[0]
FLEET = pl.DataFrame(
    [{"meter_id": n, "interval_s": 3600, "channels": ["energy_delivered"], "timezone": "UTC"} for n in NAMES],
    schema=METERS.schema,
)
WHOLE = Scope(tuple(NAMES), MIDNIGHT, MIDNIGHT + DAY)


@pytest.fixture
def store() -> Iterator[SqlStore]:
    store = open_embedded()
    for table in ("meters", "intervals", "finals", "exceptions", "billing_ledger"):
        store.engine.execute(f"TRUNCATE TABLE {table}")
    store.append("meters", FLEET, "meters")
    yield store
    store.close()


def sent(hours: dict[int, int], received: int) -> pl.DataFrame:
    """Values of both meters by the hour of the day, received so many hours after it began."""
    row = {
        "topic": "ami.frames.v1", "partition": 0, "received_at": MIDNIGHT + received * HOUR, "interval_s": 3600,
        "channel": "energy_delivered", "status": 0, "offset": received,
    }  # fmt: skip
    rows = [
        row | {"frame": k * 30 + hour, "meter_id": n, "interval_start": MIDNIGHT + hour * HOUR, "value_milli": value}
        for k, n in enumerate(NAMES)
        for hour, value in hours.items()
    ]
    return pl.DataFrame(rows, schema=INTERVALS.schema)


def ledger_line(batch: str, number: int, sign: int) -> pl.DataFrame:
    line = {
        "batch_id": batch, "line_no": number, "meter_id": BILLED, "channel": "energy_delivered", "uom": "kWh",
        "determinant": "energy_total", "value_milli": 1, "period_start": MIDNIGHT, "period_end": MIDNIGHT + DAY,
        "timezone": "UTC", "quality_class": "actual", "determinant_revision": 1, "sign": sign,
        **{f"n_{name}": 0 for name in ("intervals", "actual", "estimated", "edited", "suspect", "outage", "missing")},
    }  # fmt: skip
    return pl.DataFrame([line], schema=DETERMINANTS.schema)


def judged(store: SqlStore, run: str) -> None:
    params = VeeParams(judged_at=MIDNIGHT + 40 * DAY, run_id=run, context_days=3)
    work = vee_lane.VeeWork(store, FLEET, params, lambda: MIDNIGHT + 40 * DAY)
    work.deliver(vee_lane.Due([WHOLE], REJECTS.empty()), run)


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
    store.append("billing_ledger", ledger_line("a", 1, 1), "billed")
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
    store.append("billing_ledger", ledger_line("b", 2, -1), "taken back")
    judged(store, "fourth")
    assert value_of(store, BILLED, 9) == (1300, 2), "what is billed no more is open"
