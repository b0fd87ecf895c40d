"""What a check meter lends to its main, and when it has nothing to lend."""

from datetime import timedelta
from typing import Any

import polars as pl
import pytest
from vee_made import DELIVERED, MONDAY, intervals, meters, of, reads, unjudged, vee

from schemas import frames
from schemas.codes import Status

DAY = timedelta(days=1)
FLAT = [1_000] * 24
FUSE = {"fuse_a": 63, "voltage_v": 230, "phase": "A"}


def of_main(rows: pl.DataFrame, master: pl.DataFrame, **more: pl.DataFrame) -> Any:
    result = vee(intervals=rows, meters=master, **more)
    return result._replace(finals=result.finals.filter(pl.col("meter_id") == "MTR1"))


@pytest.mark.parametrize("step_s", [3600, 900])
def test_a_check_meter_without_the_channel_or_of_another_length_lends_nothing(step_s: int) -> None:
    both = pl.concat([intervals(FLAT), intervals(FLAT, channel="energy_received", skip=[5])])
    check = intervals([250] * 96, meter="CHECK", step_s=900) if step_s == 900 else intervals(FLAT, meter="CHECK")
    master = meters(
        {"channels": [DELIVERED, "energy_received"]}, {"meter_id": "CHECK", "check_of": "MTR1", "interval_s": step_s}
    )
    result = of_main(pl.concat([both, check]), master)
    received = result.finals.filter(pl.col("channel") == "energy_received")
    assert received.row(5, named=True)["method"] == "linear"
    # Where nothing is at hand to hold the main against, V33 says so.
    lacking = unjudged(result, "main_against_check")
    assert set(range(24, 48)) <= set(lacking)
    assert (0 in lacking) == (step_s == 900)


@pytest.mark.parametrize(
    ("status", "value"),
    [(Status.TEST_MODE, 9_999), (Status.OVERFLOW, 9_999), (Status.CLOCK_INVALID, 9_999), (0, -50), (0, 10**12)],
)
def test_what_the_check_meter_s_own_rules_reject_is_not_copied(status: int, value: int) -> None:
    sent = intervals([1_000] * 5 + [value] + [1_000] * 18, meter="CHECK", status=[0] * 5 + [int(status)] + [0] * 18)
    master = meters(FUSE, {"meter_id": "CHECK", "check_of": "MTR1", **FUSE})
    result = of_main(pl.concat([intervals(FLAT, skip=[5]), sent]), master)
    hole = result.finals.row(5, named=True)
    assert (hole["value_milli"], hole["quality"], hole["method"]) == (1_000, "estimated", "linear")


def test_what_a_person_or_a_register_took_from_the_check_meter_is_not_copied() -> None:
    rows = pl.concat([intervals(FLAT, skip=[5]), intervals([1_000] * 5 + [9_999] + [1_000] * 18, meter="CHECK")])
    master = meters({}, {"meter_id": "CHECK", "check_of": "MTR1"})
    rejected = of(
        frames.EDITS,
        {
            "meter_id": "CHECK", "channel": DELIVERED, "from": MONDAY + timedelta(hours=5),
            "to": MONDAY + timedelta(hours=6), "action": "reject", "author": "pat", "reason": "hand", "edit_id": "1",
            "made_at": MONDAY + 7 * DAY,
        },
    )  # fmt: skip
    doubted = {"reads": reads({MONDAY: 0, MONDAY + DAY: 24_000}, meter="CHECK")}
    assert of_main(rows, master).finals["value_milli"][5] == 9_999
    for more in ({"edits": rejected}, doubted):
        assert of_main(rows, master, **more).finals["value_milli"][5] == 1_000
