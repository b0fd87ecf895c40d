"""Days that lie far apart, or without end: VEE asks for no more than a year at once, and not for every year."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import polars as pl
import pytest

from app import vee_lane, workers
from app.messages import to_messages
from schemas.frames import DIRTY_DAYS, INTERVALS, METERS
from storage.embedded import EmbeddedEngine
from storage.migrations import apply_migrations
from storage.queries import Query
from storage.store import Scope, SqlStore
from validation.params import VeeParams

NOW = datetime(2026, 3, 4, tzinfo=UTC)
LAST = date(2026, 3, 3)
YEAR = 366


class NoStore:
    """Nothing is asked of it."""


def scopes_of(days: list[date]) -> list[tuple[date, date]]:
    """First and last day of each scope."""
    meters = pl.DataFrame([{"meter_id": "A", "timezone": "UTC"}], schema=METERS.schema)
    params = VeeParams(judged_at=NOW, run_id="", context_days=28)
    work = vee_lane.VeeWork(NoStore(), meters, params, lambda: NOW)
    dirty = work._buckets.select("bucket", day=pl.lit(days)).explode("day").cast(dict(DIRTY_DAYS.schema))
    messages = to_messages(dirty, dirty["bucket"]).with_row_index("offset")
    messages = messages.with_columns(topic=pl.lit(workers.DIRTY_DAYS_TOPIC), partition=pl.lit(0), at=pl.lit(NOW))
    due = work.prepare(messages)
    scopes = [*work._scopes(due.far), *due.scopes]
    return [(scope.start.date(), (scope.end - timedelta(days=1)).date()) for scope in scopes]


def test_old_rows_that_lie_just_within_the_history_of_each_other_are_judged_a_year_at_a_time() -> None:
    """A register of nine years, read every 27 days: the good day of the bucket's other meters is the last of them."""
    days = sorted(LAST - timedelta(days=27 * step) for step in range(120))
    spans = scopes_of(days)
    assert max((last - first).days + 1 for first, last in spans) <= YEAR
    assert all(any(first <= day <= last for first, last in spans) for day in days)
    assert all(after > last for (_, last), (after, _) in pairwise(spans))
    assert len(spans) == 9


def test_days_of_less_than_a_year_are_judged_together_even_over_new_year() -> None:
    first = date(2025, 11, 20)
    assert scopes_of([first + timedelta(days=step) for step in range(90)]) == [(first, first + timedelta(days=89))]


def test_days_without_an_end_are_cut_by_the_year_too() -> None:
    spans = sorted(scopes_of([LAST + timedelta(days=step) for step in range(75 * 365)]))
    assert max((last - first).days + 1 for first, last in spans) <= YEAR
    assert spans[0][0] == LAST
    assert spans[-1][1] == LAST + timedelta(days=75 * 365 - 1)


class Counting(EmbeddedEngine):
    """How often it is asked, and how many rows it answers."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.answered = 0, 0

    def select(self, query: Query) -> pl.DataFrame:
        rows = super().select(query)
        self.asked, self.answered = self.asked + 1, self.answered + rows.height
        return rows


@pytest.fixture
def engine() -> Iterator[Counting]:
    engine = Counting()
    apply_migrations(engine)
    for table in ("meters", "intervals", "reads", "finals", "exceptions"):
        engine.execute(f"TRUNCATE TABLE {table}")
    yield engine
    engine.close()


def test_an_edit_without_an_end_costs_what_is_stored_not_what_a_calendar_has(engine: Counting) -> None:
    """389 years of dirty days of a bucket; beside those near now a day of 1970 is stored and one of 2200."""
    store = SqlStore(engine)
    names = ["A", "B"]
    fleet = [{"meter_id": n, "interval_s": 86_400, "channels": ["energy_delivered"], "timezone": "UTC"} for n in names]
    meters = pl.DataFrame(fleet, schema=METERS.schema)
    store.append("meters", meters, "meters")
    days = [datetime(1970, 1, 1, tzinfo=UTC), NOW - timedelta(days=1), datetime(2200, 5, 6, tzinfo=UTC)]
    row = {"topic": "ami.frames.v1", "partition": 0, "frame": 0, "received_at": NOW, "channel": "energy_delivered",
           "interval_s": 86_400, "status": 0, "value_milli": 5, "meter_id": "A"}  # fmt: skip
    rows = [row | {"offset": n, "interval_start": at} for n, at in enumerate(days)]
    store.append("intervals", pl.DataFrame(rows, schema=INTERVALS.schema), "intervals")
    params = VeeParams(judged_at=NOW, run_id="", context_days=28, estimate_after_s=86_400)
    work = vee_lane.VeeWork(store, meters, params, lambda: NOW)

    def cost(days: list[date]) -> tuple[int, int]:
        engine.asked = engine.answered = 0
        buckets = work._buckets.select("bucket").unique()
        dirty = buckets.with_columns(day=pl.lit(days)).explode("day").cast(dict(DIRTY_DAYS.schema))
        messages = to_messages(dirty, dirty["bucket"]).with_row_index("offset")
        messages = messages.with_columns(topic=pl.lit(workers.DIRTY_DAYS_TOPIC), partition=pl.lit(0), at=pl.lit(NOW))
        work.deliver(work.prepare(messages), "batch")
        return engine.asked, engine.answered

    every = [date(1905, 1, 1) + timedelta(days=step) for step in range(389 * 365)]
    asked, answered = cost(every)
    near = cost([day for day in every if abs((day - NOW.date()).days) <= 366])
    assert asked <= 10 * near[0], "ten years back, not 389, and two looks at all the others"
    assert answered < 4_000
    ever = Scope(("A",), datetime(1905, 1, 1, tzinfo=UTC), datetime(2294, 1, 1, tzinfo=UTC))
    judged = store.load_current("finals", ever)
    assert set(days) <= set(judged["interval_start"]), "what is stored is judged, wherever its clock was"
