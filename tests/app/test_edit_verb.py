"""`ami edit`: what a person says is stored, and judged by the worker as a higher version that names its author."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from app import vee_lane, workers
from app.cli import main
from app.edits import check_edits, enter_edits
from app.embedded import MemoryPublisher
from app.messages import to_messages
from ingest.buckets import bucket_of
from schemas.errors import ContractError
from schemas.frames import DIRTY_DAYS, EDITS, INTERVALS, METERS, conform
from storage.embedded import open_embedded
from storage.store import Scope, SqlStore
from validation.params import VeeParams

MIDNIGHT = datetime(2026, 3, 10, tzinfo=UTC)
HOUR = timedelta(hours=1)
NOW = MIDNIGHT + 31 * HOUR
NAMES = ["AMI1", "AMI2"]
FLEET = conform(
    pl.DataFrame({"meter_id": NAMES, "interval_s": [3600] * 2, "timezone": ["UTC", "Australia/Sydney"]})
    .with_columns(pl.col("interval_s").cast(pl.Int32), channels=pl.lit(["energy_delivered"])), METERS,
)  # fmt: skip


def edit(**over: Any) -> pl.DataFrame:
    row = {
        "edit_id": "E1", "meter_id": "AMI1", "channel": "energy_delivered", "from": MIDNIGHT + 3 * HOUR,
        "to": MIDNIGHT + 4 * HOUR, "action": "set", "value_milli": 777, "reason": "read on site", "author": "ann",
        "approved_by": None, "made_at": MIDNIGHT + 30 * HOUR,
    }  # fmt: skip
    return pl.DataFrame([row | over], schema=EDITS.schema)


@pytest.fixture
def store() -> Iterator[SqlStore]:
    store = open_embedded()
    for table in ("meters", "intervals", "edits", "finals", "exceptions"):
        store.engine.execute(f"TRUNCATE TABLE {table}")
    store.append("meters", FLEET, "meters")
    rows = [
        {
            "topic": "t", "partition": 0, "offset": hour, "frame": number, "received_at": MIDNIGHT + (hour + 1) * HOUR,
            "meter_id": name, "channel": "energy_delivered", "interval_start": MIDNIGHT + hour * HOUR,
            "interval_s": 3600, "value_milli": 100 + hour, "status": 0,
        }
        for hour in range(24)
        for number, name in enumerate(NAMES)
    ]  # fmt: skip
    store.append("intervals", pl.DataFrame(rows, schema=INTERVALS.schema), "intervals")
    yield store
    store.close()


def judge(store: SqlStore, dirty: pl.DataFrame, now: datetime) -> pl.DataFrame:
    params = VeeParams(judged_at=now, run_id="", context_days=3)
    work = vee_lane.VeeWork(store, FLEET, params, lambda: now)
    work.deliver(work.prepare(to_messages(dirty, dirty["bucket"])), "")
    return store.load_current("finals", Scope(tuple(NAMES), MIDNIGHT, MIDNIGHT + 24 * HOUR))


def test_an_edit_is_stored_once_and_becomes_a_higher_version_that_names_its_author(store: SqlStore) -> None:
    whole = pl.DataFrame({"bucket": bucket_of(pl.Series(NAMES)), "day": MIDNIGHT.date()}).cast(dict(DIRTY_DAYS.schema))
    before = judge(store, whole, MIDNIGHT + 25 * HOUR)
    assert set(before["version"]) == {1}
    for _ in range(2):
        publisher = MemoryPublisher()
        dirty = enter_edits(store, publisher, edit(), FLEET, NOW)
        told = publisher.rows(workers.DIRTY_DAYS_TOPIC, DIRTY_DAYS)
        assert told.equals(dirty)
        assert dirty.rows() == [(bucket_of(pl.Series(["AMI1"])).item(), MIDNIGHT.date())]
        assert store.load_current("edits").height == 1
        after = judge(store, dirty, MIDNIGHT + 31 * HOUR)
        changed = after.filter(pl.col("version") > 1)
        assert changed.select("meter_id", "interval_start", "value_milli", "quality", "author", "version").rows() == [
            ("AMI1", MIDNIGHT + 3 * HOUR, 777, "edited", "ann", 2)
        ]


def test_a_shift_makes_the_days_dirty_that_its_values_come_to(store: SqlStore) -> None:
    for hours, days in ((22, [10, 11]), (-4, [9, 10])):
        publisher = MemoryPublisher()
        dirty = enter_edits(store, publisher, edit(action="shift", value_milli=hours * 3_600_000), FLEET, NOW)
        assert dirty["day"].sort().to_list() == [date(2026, 3, day) for day in days]


def test_the_days_are_local_ones_and_the_end_of_the_span_is_outside(store: SqlStore) -> None:
    """From noon to 13:00 UTC in Sydney it is 23:00 to midnight of the tenth; an hour more, and the eleventh begins."""
    for hours, days in ((1, [date(2026, 3, 10)]), (2, [date(2026, 3, 10), date(2026, 3, 11)])):
        row = edit(meter_id="AMI2", **{"from": MIDNIGHT + 12 * HOUR, "to": MIDNIGHT + (12 + hours) * HOUR})
        assert enter_edits(store, MemoryPublisher(), row, FLEET, NOW)["day"].to_list() == days


@pytest.mark.parametrize(
    ("over", "why"),
    [
        ({"to": MIDNIGHT + 3 * HOUR}, "ends before"), ({"author": " "}, "author"), ({"reason": ""}, "reason"),
        ({"approved_by": "ann"}, "cannot approve"), ({"value_milli": None}, "value_milli"),
        ({"to": datetime(9999, 12, 31, tzinfo=UTC)}, "from now"), ({"to": NOW + 367 * 24 * HOUR}, "from now"),
        ({"from": datetime(1, 1, 1, tzinfo=UTC)}, "days ago"), ({"from": NOW - 3_651 * 24 * HOUR}, "days ago"),
        ({"meter_id": "AMI9"}, "METERS"), ({"edit_id": ""}, "edit_id"), ({"edit_id": "E0"}, "twice"),
    ],
)  # fmt: skip
def test_a_row_that_cannot_be_carried_out_is_named_and_nothing_is_stored(
    store: SqlStore, over: dict[str, Any], why: str
) -> None:
    rows = pl.concat([edit(edit_id="E0"), edit(**over)])
    with pytest.raises(ContractError, match=why) as refused:
        enter_edits(store, MemoryPublisher(), rows, FLEET, NOW)
    assert "row " in str(refused.value)
    assert store.load_current("edits").is_empty()
    check_edits(edit(action="accept", value_milli=None), FLEET, NOW)


def test_an_edit_of_what_is_to_come_may_reach_a_year_ahead_and_ten_years_back() -> None:
    check_edits(edit(to=NOW + 366 * 24 * HOUR), FLEET, NOW)
    check_edits(edit(**{"from": NOW - 3_650 * 24 * HOUR}), FLEET, NOW)


def test_the_verb_refuses_a_bad_file_in_one_line_before_it_asks_any_server(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edit().write_parquet(tmp_path / "edits.parquet")
    assert main(["edit", str(tmp_path / "edits.parquet")]) == 2
    assert "the meter is not in METERS" in capsys.readouterr().err
