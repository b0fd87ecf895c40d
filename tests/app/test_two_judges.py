"""A batch of VEE that is in flight when its partition changes hands: what the new owner judged stays current."""

import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from app.embedded import MemoryPolled
from app.lane import Lane, LaneParams
from app.messages import to_messages
from app.telemetry import REGISTRY, Health
from app.vee_lane import VeeWork
from app.workers import DIRTY_DAYS_TOPIC
from ingest.buckets import bucket_of
from ingest.kafka.source import Position, Span
from schemas.frames import INTERVALS, METERS
from storage.embedded import open_embedded
from storage.store import Scope, SqlStore
from storage.trace import explain
from validation.params import VeeParams
from validation.versions import newest

MIDNIGHT = datetime(2026, 3, 2, tzinfo=UTC)
HOUR = timedelta(hours=1)
LATER = MIDNIGHT + 60 * HOUR
METER = "AMI0000000000001"
HOLE = MIDNIGHT + 5 * HOUR
LATE_MILLI = 777_000
FLEET = pl.DataFrame(
    [{"meter_id": METER, "interval_s": 3600, "channels": ["energy_delivered"], "timezone": "UTC"}], schema=METERS.schema
)


@pytest.fixture
def store() -> Iterator[SqlStore]:
    store = open_embedded()
    for table in ("meters", "intervals", "finals", "exceptions"):
        store.engine.execute(f"TRUNCATE TABLE {table}")
    store.append("meters", FLEET, "meters")
    store.append("intervals", sent([hour for hour in range(24) if hour != 5], 100_000), "all but one")
    yield store
    store.close()


def sent(hours: list[int], value_milli: int) -> pl.DataFrame:
    row = {
        "topic": "ami.frames.v1", "partition": 0, "frame": 0, "meter_id": METER, "channel": "energy_delivered",
        "interval_s": 3600, "status": 0,
    }  # fmt: skip
    starts = [(hour, MIDNIGHT + hour * HOUR) for hour in hours]
    rows = [
        row | {"offset": h, "interval_start": at, "received_at": at + HOUR, "value_milli": value_milli + h}
        for h, at in starts
    ]
    return pl.DataFrame(rows, schema=INTERVALS.schema)


def dirty() -> pl.DataFrame:
    """The message that says the day, at offset 0 of the topic."""
    bucket = bucket_of(pl.Series([METER]))
    said = to_messages(pl.DataFrame({"bucket": bucket, "day": [MIDNIGHT.date()]}), bucket)
    return said.with_columns(topic=pl.lit(DIRTY_DAYS_TOPIC), partition=pl.lit(0), offset=pl.lit(0))


def work(store: Any, seconds: float) -> VeeWork:
    params = VeeParams(judged_at=MIDNIGHT, run_id="", context_days=3, estimate_after_s=86_400)
    return VeeWork(store, FLEET, params, lambda: LATER + timedelta(seconds=seconds))


def new_owner(store: SqlStore) -> None:
    """The late value comes, and who owns the partition now judges the day."""
    store.append("intervals", sent([5], LATE_MILLI - 5), "the late one")
    judge = work(store, 10)
    judge.deliver(judge.prepare(dirty()), "new owner")
    assert current(store) == (LATE_MILLI, "valid")


def current(store: SqlStore) -> tuple[Any, ...]:
    finals = store.load_current("finals", Scope((METER,), HOLE, HOLE + HOUR))
    return finals.select("value_milli", "quality").row(0)


class Overtaken:
    """The old owner's store: something happens once, before its call of that name for finals."""

    def __init__(self, store: SqlStore, call: str, happens: Callable[[], None]) -> None:
        self._store, self._call, self._happens = store, call, [happens]

    def __getattr__(self, name: str) -> Any:
        if name != self._call:
            return getattr(self._store, name)

        def called(table: str, *rest: Any) -> Any:
            if table == "finals" and self._happens:
                self._happens.pop()()
            return getattr(self._store, name)(table, *rest)

        return called


@pytest.mark.parametrize("call", ["append", "load_current"])
def test_what_was_judged_later_from_more_stays_current_though_it_was_stored_earlier(store: SqlStore, call: str) -> None:
    old = work(Overtaken(store, call, lambda: new_owner(store)), 0)
    old.deliver(old.prepare(dirty()), "old owner")
    assert current(store) == (LATE_MILLI, "valid")
    store.engine.execute("OPTIMIZE TABLE finals FINAL")
    assert current(store) == (LATE_MILLI, "valid"), "a merge takes neither away"
    scope = Scope((METER,), HOLE, HOLE + HOUR)
    assert store.load_finals(scope)["value_milli"].to_list() == [LATE_MILLI]
    history = store.load_evidence(METER, HOLE, 3600)
    assert newest(history.finals).filter(pl.col("interval_start") == HOLE)["value_milli"].to_list() == [LATE_MILLI]
    told = explain(history, METER, HOLE)["finals"]
    assert [final["value_milli"] for final in told if final["current"]] == [LATE_MILLI]


def test_the_next_judgement_compares_with_the_later_one(store: SqlStore) -> None:
    old = work(Overtaken(store, "append", lambda: new_owner(store)), 0)
    old.deliver(old.prepare(dirty()), "old owner")
    again = work(store, 20)
    before = store.load_current("finals")
    again.deliver(again.prepare(dirty()), "again")
    assert store.load_current("finals").equals(before), "nothing new is found"


class OnePartition:
    """A member that owns a partition, reads its one message, and loses the partition while that is in flight."""

    def __init__(self, lost: threading.Event) -> None:
        self._lost, self.told = lost, threading.Event()
        self._polls = iter(
            [
                MemoryPolled(frozenset(), (Position(DIRTY_DAYS_TOPIC, 0, 0),), (), dirty().clear()),
                MemoryPolled(frozenset(), (), (Span(DIRTY_DAYS_TOPIC, 0, 0, 1, 0),), dirty()),
            ]
        )
        self.commits = 0

    def poll(self, limit_s: float, max_messages: int) -> MemoryPolled:
        return next(self._polls, None) or self.keep_alive()

    def keep_alive(self) -> MemoryPolled:
        time.sleep(0.01)
        revoked = frozenset[tuple[str, int]]()
        if self._lost.is_set() and not self.told.is_set():
            revoked = frozenset({(DIRTY_DAYS_TOPIC, 0)})
            self.told.set()
        return MemoryPolled(revoked, (), (), dirty().clear())

    def pause(self) -> None:
        """Nothing is fetched anyway."""

    resume = pause

    def commit(self, spans: object) -> frozenset[tuple[str, int]]:
        """Refused: the partition is another's."""
        self.commits += 1
        return frozenset()

    def lag(self) -> dict[tuple[str, int], int]:
        return {}


def test_a_lane_that_loses_its_partition_with_a_batch_in_flight_overwrites_nothing(store: SqlStore) -> None:
    lost = threading.Event()
    source = OnePartition(lost)

    def changes_hands() -> None:
        lost.set()
        assert source.told.wait(60)
        new_owner(store)

    old = work(Overtaken(store, "append", changes_hands), 0)
    Lane(source, old, LaneParams(1000, 0.0, 60.0), Health(heartbeat_limit_s=60)).run(lambda: source.commits > 0)
    assert current(store) == (LATE_MILLI, "valid")


def test_the_size_of_a_batch_is_told_by_its_days_and_by_its_finals(store: SqlStore) -> None:
    def told(table: str) -> list[float]:
        names = ("ami_batch_rows_count", "ami_batch_rows_sum")
        return [REGISTRY.get_sample_value(name, {"table": table}) or 0.0 for name in names]

    days, finals = told("dirty_days"), told("finals")
    judge = work(store, 0)
    for token, rows in (("first", 24), ("again", 0)):
        judge.deliver(judge.prepare(dirty()), token)
        days, finals = [days[0] + 1, days[1] + 1], [finals[0] + 1, finals[1] + rows]
        assert told("dirty_days") == days
        assert told("finals") == finals
