"""The worker and daily values from local midnight, over 29 March 2026, when Berlin's clock is put forward."""

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from itertools import pairwise

import hourly_day
import polars as pl
import pytest

from app import vee_lane
from schemas.frames import INTERVALS, READS, REJECTS
from schemas.timegrid import day_bounds
from storage.store import Scope, SqlStore
from validation.params import VeeParams

DAY = timedelta(days=1)
NAME = "AMI0000000000000"
FLEET = hourly_day.fleet_of(NAME).with_columns(
    interval_s=pl.lit(86_400, pl.Int32), timezone=pl.lit("Europe/Berlin"), multiplier=pl.lit(1_000, pl.Int64)
)
FIRST = date(2026, 3, 20)
BEGINS = [day_bounds(FIRST + k * DAY, "Europe/Berlin")[0] for k in range(16)]
CHANGE = 9
"""The day of 23 hours; its value is lost."""


@pytest.fixture
def store() -> Iterator[SqlStore]:
    for opened in hourly_day.opened(FLEET):
        opened.engine.execute("TRUNCATE TABLE reads")
        yield opened


def raw(at: datetime, column: str, value: int, number: int, *more: tuple[str, int]) -> dict[str, object]:
    return {
        "topic": "ami.frames.v1", "partition": 0, "offset": number, "frame": 0, "meter_id": NAME, "status": 0,
        "channel": hourly_day.DELIVERED, column: at, "value_milli": value, **dict(more),
    }  # fmt: skip


def test_days_judged_one_by_one_are_those_of_the_clock_and_a_lost_one_meets_the_register(store: SqlStore) -> None:
    """1,000 an hour and a mWh more each day. The register, read where the eighth and the twelfth day begin, moves by
    95,000 + 38: without the other three days, 24,000 + 7, + 8 and + 10, that leaves 23,013 for that of the change."""
    reads = {7: 5_000, 11: 5_000 + 95_000 + 38}
    for k, (at, after) in enumerate(pairwise(BEGINS)):
        length = int((after - at).total_seconds())
        if k != CHANGE:
            row = raw(at, "interval_start", length * 1_000 // 3_600 + k, k, ("interval_s", 86_400))
            rows = pl.DataFrame([row | {"received_at": after}], schema=INTERVALS.schema)
            store.append("intervals", rows, f"day {k}")
        if k + 1 in reads or k in reads:
            found = [raw(BEGINS[each], "read_at", value, each) for each, value in reads.items() if each in (k, k + 1)]
            rows = pl.DataFrame([one | {"received_at": after} for one in found], schema=READS.schema)
            store.append("reads", rows, f"read {k}")
        now = after + timedelta(hours=30)
        params = VeeParams(judged_at=now, run_id="", context_days=12, estimate_after_s=86_400)
        work = vee_lane.VeeWork(store, FLEET, params, lambda now=now: now)  # type: ignore[misc]
        work.deliver(vee_lane.Due([Scope((NAME,), at, after)], REJECTS.empty()), "")
    finals = store.load_current("finals", Scope((NAME,), BEGINS[0], BEGINS[-1])).sort("interval_start")
    assert finals["interval_start"].to_list() == BEGINS[:-1]
    assert finals["interval_s"].to_list() == [86_400] * CHANGE + [82_800] + [86_400] * 5
    assert finals["value_milli"][CHANGE] == 23_013
    assert finals["quality"].cast(pl.String).to_list() == ["valid"] * CHANGE + ["estimated"] + ["valid"] * 5
