"""Days that lie far apart, or without end: a batch of VEE never asks for more than a year at once."""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import polars as pl

from app import vee_lane, workers
from app.messages import to_messages
from schemas.frames import DIRTY_DAYS, METERS
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
    return [(scope.start.date(), (scope.end - timedelta(days=1)).date()) for scope in work.prepare(messages).scopes]


def test_old_rows_that_lie_just_within_the_history_of_each_other_are_judged_a_year_at_a_time() -> None:
    """A register of eleven years, read every 27 days: the good day of the bucket's other meters is the last of them."""
    days = sorted(LAST - timedelta(days=27 * step) for step in range(150))
    spans = scopes_of(days)
    assert max((last - first).days + 1 for first, last in spans) <= YEAR
    assert all(any(first <= day <= last for first, last in spans) for day in days)
    assert all(after > last for (_, last), (after, _) in pairwise(spans))
    assert len(spans) == 11


def test_days_of_less_than_a_year_are_judged_together_even_over_new_year() -> None:
    first = date(2025, 11, 20)
    assert scopes_of([first + timedelta(days=step) for step in range(90)]) == [(first, first + timedelta(days=89))]


def test_days_without_an_end_are_cut_by_the_year_too() -> None:
    spans = scopes_of([LAST + timedelta(days=step) for step in range(75 * 365)])
    assert max((last - first).days + 1 for first, last in spans) <= YEAR
    assert spans[0][0] == LAST
    assert spans[-1][1] == LAST + timedelta(days=75 * 365 - 1)
