"""Findings in the store: one that no longer holds is withdrawn, one that stands is not told twice, none is lost."""

from collections.abc import Iterator

import hourly_day
import polars as pl
import pytest
from hourly_day import DAY, MIDNIGHT, fleet_of, whole_day

from schemas.errors import TransientError
from schemas.frames import UTC_US
from storage.queries import Query
from storage.store import Scope, SqlStore

NAME = "AMI0000000000000"
FLEET = fleet_of(NAME)
WHOLE = whole_day(NAME)


@pytest.fixture
def store() -> Iterator[SqlStore]:
    yield from hourly_day.opened(FLEET)


def sent(store: SqlStore, hours: dict[int, int], received: int) -> None:
    store.append("intervals", hourly_day.sent(hours, received, NAME), f"sent {received}")


def judged(store: SqlStore, day: int, span: Scope = WHOLE) -> None:
    hourly_day.judge(store, FLEET, span, day)


def rules(findings: pl.DataFrame) -> list[str]:
    return findings["rule"].cast(pl.String).sort().to_list()


def stored(store: SqlStore) -> pl.DataFrame:
    """Every row of the table."""
    schema = pl.Schema({"rule": pl.String(), "run_id": pl.String(), "resolved_at": UTC_US})
    return store.engine.select(Query("SELECT rule, run_id, resolved_at FROM exceptions FINAL ORDER BY ALL", {}, schema))


def shown_open(store: SqlStore) -> list[str]:
    schema = pl.Schema({"rule": pl.String()})
    return store.engine.select(Query("SELECT rule FROM exceptions_open", {}, schema))["rule"].to_list()


LOST = {hour: 1_000_000 + hour for hour in range(24) if hour != 5}


def test_a_hole_that_was_filled_late_is_no_open_finding_any_more_and_stays_on_record(store: SqlStore) -> None:
    sent(store, LOST, 24)
    judged(store, 2)
    assert "missing_interval" in rules(store.load_open_exceptions(WHOLE))
    sent(store, {5: 1_000_005}, 60)
    judged(store, 3)
    assert rules(store.load_open_exceptions(WHOLE)) == shown_open(store) == []
    every = stored(store)
    assert rules(every) == ["missing_interval"] * 2, "found, and withdrawn"
    assert every["resolved_at"].to_list() == [None, MIDNIGHT + 3 * DAY] or every["resolved_at"].null_count() == 1
    assert every["run_id"].n_unique() == 1
    assert rules(store.load_current("exceptions", WHOLE)) == ["missing_interval"]
    judged(store, 4)
    assert stored(store).equals(every), "judged again nothing changes"


def test_what_no_longer_holds_may_come_back(store: SqlStore) -> None:
    sent(store, LOST, 24)
    judged(store, 2)
    for number, value in ((60, 1_000_005), (90, None), (120, 1_000_007), (150, None)):
        sent(store, {5: value}, number)  # type: ignore[dict-item]
        judged(store, number)
    assert "missing_interval" in rules(store.load_open_exceptions(WHOLE))
    missing = stored(store).filter(pl.col("rule") == "missing_interval")
    assert missing["run_id"].n_unique() == 3
    assert missing["resolved_at"].null_count() == 3


def test_a_judgement_that_is_cut_short_between_findings_and_finals_loses_neither(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That one measured value took the place of another is found only while the stored final is the old one."""
    sent(store, {hour: 1_000_000 + hour for hour in range(24)}, 24)
    judged(store, 2)
    sent(store, {7: 1_200_000}, 60)
    append = SqlStore.append
    for table in ("finals", "exceptions"):

        def failing(self: SqlStore, name: str, rows: pl.DataFrame, token: str, away: str = table) -> int:
            if name == away:
                raise TransientError("away")
            return append(self, name, rows, token)

        monkeypatch.setattr(SqlStore, "append", failing)
        with pytest.raises(TransientError):
            judged(store, 3)
    monkeypatch.setattr(SqlStore, "append", append)
    judged(store, 3)
    assert rules(store.load_open_exceptions(WHOLE)) == ["replacement"]
    assert store.load_current("finals", WHOLE).sort("interval_start")["value_milli"][7] == 1_200_000
    every = stored(store)
    judged(store, 4)
    assert stored(store).equals(every)


def test_days_and_what_holds_over_all_of_them_are_told_in_one_way_whatever_was_judged_first(store: SqlStore) -> None:
    """Four days of one value: judged day by day, all at once, and a single day again."""
    sent(store, dict.fromkeys(range(96), 1_000), 97)
    four = Scope((NAME,), MIDNIGHT, MIDNIGHT + 4 * DAY)
    for day in range(4):
        judged(store, 5, Scope((NAME,), MIDNIGHT + day * DAY, MIDNIGHT + (day + 1) * DAY))
    judged(store, 6, four)
    once = store.load_open_exceptions(four)
    flat = once.filter(pl.col("rule") == "flat_line")
    assert flat.select("first_interval", "intervals").rows() == [(MIDNIGHT, 96)]
    every = stored(store)
    judged(store, 7, Scope((NAME,), MIDNIGHT + DAY, MIDNIGHT + 2 * DAY))
    judged(store, 8, four)
    assert stored(store).equals(every)
