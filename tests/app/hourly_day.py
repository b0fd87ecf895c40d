"""Hourly meters and a day of theirs in a store, judged as the worker does it."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

import polars as pl

from app import vee_lane
from schemas.frames import DETERMINANTS, INTERVALS, METERS, REJECTS
from storage.embedded import open_embedded
from storage.store import Scope, SqlStore
from validation.params import VeeParams

MIDNIGHT: Final = datetime(2026, 3, 2, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
DELIVERED: Final = "energy_delivered"


def fleet_of(*names: str) -> pl.DataFrame:
    """METERS."""
    rows = [{"meter_id": name, "interval_s": 3600, "channels": [DELIVERED], "timezone": "UTC"} for name in names]
    return pl.DataFrame(rows, schema=METERS.schema)


def whole_day(*names: str) -> Scope:
    return Scope(names, MIDNIGHT, MIDNIGHT + DAY)


def opened(fleet: pl.DataFrame) -> Iterator[SqlStore]:
    """A store that holds the meters and nothing else; closed in the end."""
    store = open_embedded()
    for table in ("meters", "intervals", "finals", "exceptions", "billing_ledger"):
        store.engine.execute(f"TRUNCATE TABLE {table}")
    store.append("meters", fleet, "meters")
    yield store
    store.close()


def sent(hours: dict[int, int], received: int, *names: str) -> pl.DataFrame:
    """INTERVALS of each meter by the hour of the day, received so many hours after it began."""
    row = {
        "topic": "ami.frames.v1", "partition": 0, "received_at": MIDNIGHT + received * HOUR, "interval_s": 3600,
        "channel": DELIVERED, "status": 0, "offset": received,
    }  # fmt: skip
    rows = [
        row | {"frame": k * 100 + hour, "meter_id": n, "interval_start": MIDNIGHT + hour * HOUR, "value_milli": value}
        for k, n in enumerate(names)
        for hour, value in hours.items()
    ]
    return pl.DataFrame(rows, schema=INTERVALS.schema)


def bill_of(meter_id: str, start: datetime = MIDNIGHT, number: int = 1, sign: int = 1) -> pl.DataFrame:
    """A line of the ledger that bills a day, or takes it back (`sign` -1)."""
    line = {
        "batch_id": f"batch {number}", "line_no": number, "meter_id": meter_id, "channel": DELIVERED, "uom": "kWh",
        "determinant": "energy_total", "value_milli": 1, "period_start": start, "period_end": start + DAY,
        "timezone": "UTC", "quality_class": "actual", "determinant_revision": 1, "sign": sign,
        **{f"n_{name}": 0 for name in ("intervals", "actual", "estimated", "edited", "suspect", "outage", "missing")},
    }  # fmt: skip
    return pl.DataFrame([line], schema=DETERMINANTS.schema)


def judge(store: SqlStore, fleet: pl.DataFrame, span: Scope, day: int, run: str = "") -> None:
    """The span is judged so many days after MIDNIGHT."""
    now = MIDNIGHT + day * DAY
    params = VeeParams(judged_at=now, run_id=run, context_days=3)
    vee_lane.VeeWork(store, fleet, params, lambda: now).deliver(vee_lane.Due([span], REJECTS.empty()), run)
