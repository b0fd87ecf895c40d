"""Months of replay windows are given up without a window changing, on the embedded engine and on a server."""

from datetime import UTC, datetime

import polars as pl
import pytest

from schemas.errors import ContractError, TransientError
from schemas.frames import REPLAY_WINDOWS
from storage.queries import Query
from storage.store import SqlStore
from storage.window_trim import Trimmed, trim_windows

NOW = datetime(2026, 3, 15, 12, tzinfo=UTC)
JANUARY, FEBRUARY, MARCH = (datetime(2026, month, 10, tzinfo=UTC) for month in (1, 2, 3))
HEIGHT = pl.Schema({"rows": pl.Int64})


def seen(title: str, values: list[int], saved_at: datetime, first_offset: int, topic: str = "t") -> pl.DataFrame:
    count = len(values)
    row = {"topic": topic, "partition": 0, "system_title": title, "key_id": "k", "saved_at": saved_at}
    columns = {name: [value] * count for name, value in row.items()}
    columns |= {"offset": [first_offset + at for at in range(count)], "counter": values}
    columns["digest"] = [2**63 + value for value in values]
    return pl.DataFrame(columns, schema_overrides=REPLAY_WINDOWS.schema).select(REPLAY_WINDOWS.schema.names())


def rows_held(store: SqlStore) -> int:
    return int(store.engine.select(Query("SELECT toInt64(count()) AS rows FROM replay_windows", {}, HEIGHT))["rows"][0])


def windows(store: SqlStore, offset: int) -> list[tuple[object, ...]]:
    found = store.load_windows([("t", 0, offset), ("u", 0, offset)])
    return sorted(found.drop("saved_at").rows(), key=str)


@pytest.fixture
def three_months(store: SqlStore) -> SqlStore:
    """A busy meter, one that fell silent in January, one that used a counter twice then, and one of another topic."""
    store.append("replay_windows", seen("busy", list(range(1000, 1300)), JANUARY, 0), "1")
    store.append("replay_windows", seen("silent", [5, 9, 80, 81], JANUARY, 300), "2")
    store.append("replay_windows", seen("twice", [7, -8, *range(100, 180)], JANUARY, 310), "3")
    store.append("replay_windows", seen("other", [1, 2, 3], JANUARY, 0, "u"), "4")
    store.append("replay_windows", seen("busy", list(range(1300, 1330)), FEBRUARY, 400), "5")
    store.append("replay_windows", seen("busy", [1290, *range(1330, 1340)], MARCH, 500), "6")  # one came late
    store.append("replay_windows", seen("twice", [180], MARCH, 520), "7")
    return store


def test_what_a_worker_is_told_at_any_offset_of_the_kept_months_stays_the_same(three_months: SqlStore) -> None:
    offsets = [400, 405, 430, 500, 505, 511, 520, 521, 10_000]
    before = {offset: windows(three_months, offset) for offset in offsets}
    assert before[10_000]
    told = trim_windows(three_months.engine, NOW)
    assert told == Trimmed((202601,), 300 + 4 + 82 + 3, 64 + 4 + (64 + 1) + 3)
    assert rows_held(three_months) == told.carried + 30 + 11 + 1
    assert {offset: windows(three_months, offset) for offset in offsets} == before


def test_a_dry_run_counts_and_changes_nothing_and_a_second_run_finds_nothing(three_months: SqlStore) -> None:
    held = rows_held(three_months)
    told = trim_windows(three_months.engine, NOW, dry_run=True)
    assert rows_held(three_months) == held
    assert trim_windows(three_months.engine, NOW) == told
    assert trim_windows(three_months.engine, NOW) == Trimmed((), 0, 0)


class _Broken:
    """An engine that fails at a statement: what a kill there leaves."""

    def __init__(self, engine: object, word: str) -> None:
        self._engine, self._word = engine, word

    def execute(self, sql: str) -> None:
        if sql.startswith(self._word):
            raise TransientError("killed")
        self._engine.execute(sql)  # type: ignore[attr-defined]

    def __getattr__(self, name: str) -> object:
        return getattr(self._engine, name)


@pytest.mark.parametrize("word", ["INSERT", "ALTER"])
def test_a_run_that_is_broken_off_loses_no_window_and_the_next_ends_it(three_months: SqlStore, word: str) -> None:
    before = {offset: windows(three_months, offset) for offset in (400, 511, 10_000)}
    with pytest.raises(TransientError):
        trim_windows(_Broken(three_months.engine, word), NOW)  # type: ignore[arg-type]
    assert {offset: windows(three_months, offset) for offset in before} == before
    assert trim_windows(three_months.engine, NOW).months == (202601,)
    assert {offset: windows(three_months, offset) for offset in before} == before
    assert windows(three_months, 0) == []


class _Behind(_Broken):
    """A worker months behind adds a row while the months are carried on."""

    def __init__(self, store: SqlStore) -> None:
        super().__init__(store.engine, "nothing")
        self._store = store

    def execute(self, sql: str) -> None:
        super().execute(sql)
        self._store.append("replay_windows", seen("late", [1], JANUARY, 399), "late")


def test_months_that_grow_meanwhile_are_not_dropped(three_months: SqlStore) -> None:
    with pytest.raises(TransientError, match="nothing was dropped"):
        trim_windows(_Behind(three_months), NOW)  # type: ignore[arg-type]
    assert [row for row in windows(three_months, 400) if "late" in row]
    assert trim_windows(three_months.engine, NOW).months == (202601,)
    assert [row for row in windows(three_months, 400) if "late" in row]


class _Merging(_Broken):
    """The engine merges its parts while the months are carried on: what was written twice becomes one row."""

    def execute(self, sql: str) -> None:
        super().execute(sql)
        if sql.startswith("INSERT"):
            super().execute("OPTIMIZE TABLE replay_windows PARTITION 202601 FINAL")


def test_parts_that_are_merged_meanwhile_are_no_rows_that_were_added(three_months: SqlStore) -> None:
    three_months.append("replay_windows", seen("silent", [5, 9], JANUARY, 300), "delivered again")
    before = windows(three_months, 10_000)
    told = trim_windows(_Merging(three_months.engine, "nothing"), NOW)  # type: ignore[arg-type]
    assert told.months == (202601,)
    assert windows(three_months, 10_000) == before


def test_the_turn_of_the_year_and_a_time_without_a_zone(store: SqlStore) -> None:
    store.append("replay_windows", seen("busy", [1], datetime(2025, 11, 30, tzinfo=UTC), 0), "1")
    store.append("replay_windows", seen("busy", [2], datetime(2025, 12, 1, tzinfo=UTC), 1), "2")
    assert trim_windows(store.engine, datetime(2026, 1, 1, tzinfo=UTC)).months == (202511,)
    with pytest.raises(ContractError, match="without a time zone"):
        trim_windows(store.engine, datetime(2026, 1, 1))
