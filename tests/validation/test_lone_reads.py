"""A read alone, of whatever meter, stops no run: a stranger may send one at any time."""

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from schemas.frames import EDITS, EVENTS, FINALS, INTERVALS, METERS, OUTAGES, READS
from validation.params import VeeParams
from validation.vee import VeeInputs, run_vee

MIDNIGHT = datetime(2026, 3, 2, tzinfo=UTC)
DAY = timedelta(days=1)
NOBODY = METERS.empty()
SOMEBODY = pl.DataFrame([{"meter_id": "Y", "interval_s": 900, "channels": ["energy_delivered"]}], schema=METERS.schema)
EDIT = {
    "edit_id": "e", "meter_id": "X", "channel": "energy_delivered", "from": MIDNIGHT, "to": MIDNIGHT + DAY,
    "action": "accept", "reason": "seen", "author": "a", "made_at": MIDNIGHT,
}  # fmt: skip


def read(channel: str) -> pl.DataFrame:
    row = {
        "topic": "t", "partition": 0, "offset": 0, "frame": 0, "received_at": MIDNIGHT, "meter_id": "X",
        "channel": channel, "read_at": MIDNIGHT, "value_milli": 5000, "status": 0,
    }  # fmt: skip
    return pl.DataFrame([row], schema=READS.schema)


@pytest.mark.parametrize("bounded", [False, True])
@pytest.mark.parametrize("channel", ["energy_delivered", "energy_delivered_t1", "voltage_l1"])
@pytest.mark.parametrize(("meters", "named"), [(NOBODY, 0), (SOMEBODY, 192)])
def test_one_read_of_a_meter_that_nobody_knows_gives_nothing_and_stops_nothing(
    meters: pl.DataFrame, named: int, channel: str, *, bounded: bool
) -> None:
    edits = pl.DataFrame([EDIT], schema=EDITS.schema)
    inputs = VeeInputs(INTERVALS.empty(), read(channel), EVENTS.empty(), OUTAGES.empty(), meters, edits, FINALS.empty())
    bounds = (MIDNIGHT - DAY, MIDNIGHT + DAY) if bounded else (None, None)
    judged = run_vee(inputs, VeeParams(judged_at=MIDNIGHT, run_id="", grid_from=bounds[0], grid_to=bounds[1]))
    assert judged.finals.height == (named if bounded else 0)
    assert "X" not in set(judged.finals["meter_id"])
