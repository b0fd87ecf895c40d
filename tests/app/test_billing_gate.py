"""V36 through the worker: a month is judged as a whole when it is over, and again when late data change it."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest

from app import vee_lane
from app.messages import to_messages
from app.telemetry import VEE_UNJUDGED
from app.vee_months import with_whole_months
from ingest.buckets import bucket_of
from schemas.codes import Rule
from schemas.frames import DIRTY_DAYS, FINAL_ENDS, INTERVALS, METERS, conform
from storage.embedded import open_embedded
from storage.store import Scope, SqlStore
from validation.params import VeeParams
from validation.rules.catalogue import DEFINITION

FIRST = datetime(2026, 2, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = 24 * HOUR
GATE = int(DEFINITION[Rule.BILLING_GATE].bit)
BILLED, FREE = "AMI0000000000001", "AMI0000000000002"
MASTER = conform(
    pl.DataFrame(
        {
            "meter_id": [BILLED, FREE], "interval_s": [3600] * 2, "timezone": ["UTC"] * 2, "tariff": ["home", None],
            "channels": [["energy_delivered"]] * 2, "installed_at": [FIRST] * 2,
        },
        schema_overrides={"interval_s": pl.Int32, "tariff": pl.String},
    ),
    METERS,
)  # fmt: skip
FEBRUARY = 28 * 24


class Month:
    """The VEE worker, and a store that gets what it judges."""

    def __init__(self, store: SqlStore, *, gate: bool = True) -> None:
        self.store, self.now = store, FIRST
        params = VeeParams(judged_at=FIRST, run_id="", context_days=28, estimate_after_s=86_400, gate_months=gate)
        self.work = vee_lane.VeeWork(store, MASTER, params, lambda: self.now)

    def bring(self, name: str, hours: range, at: int, *, kwh: int = 1) -> None:
        """These hours of February came at an hour, and their days are judged."""
        self.now = FIRST + at * HOUR + timedelta(minutes=1)
        rows = {
            "topic": "ami.frames.v1", "partition": 0, "offset": [at * 10_000 + hour for hour in hours], "frame": 0,
            "received_at": self.now, "meter_id": name, "channel": "energy_delivered", "obis": None,
            "interval_start": [FIRST + hour * HOUR for hour in hours], "interval_s": 3600,
            "value_milli": [kwh * 1_000_000 + hour % 3 for hour in hours], "status": 0,
        }  # fmt: skip
        self.store.append("intervals", pl.DataFrame(rows, schema=INTERVALS.schema), f"{name} {at} {hours}")
        self.judge(name, *{(FIRST + hour * HOUR).date() for hour in hours})

    def judge(self, name: str, *days: date) -> None:
        dirty = pl.DataFrame({"bucket": [bucket_of(pl.Series([name]))[0]] * len(days), "day": days})
        dirty = dirty.cast(dict(DIRTY_DAYS.schema)).sort("day")
        self.work.deliver(self.work.prepare(to_messages(dirty, dirty["bucket"])), "")

    def finals(self, name: str) -> pl.DataFrame:
        scope = Scope((name,), FIRST, FIRST + 40 * DAY)
        return self.store.load_current("finals", scope).sort("interval_start")

    def held(self, name: str = BILLED) -> list[datetime]:
        mine = self.finals(name)
        return mine.filter((pl.col("failed") & GATE) != 0)["interval_start"].to_list()

    def findings(self) -> list[tuple[str, int]]:
        told = self.store.load_current("exceptions", Scope((BILLED, FREE), FIRST, FIRST + 40 * DAY))
        return told.filter(pl.col("rule") == "billing_gate").select("severity", "intervals").rows()


@pytest.fixture
def store() -> Iterator[SqlStore]:
    store = open_embedded()
    for table in ("meters", "intervals", "reads", "events", "outages", "edits", "finals", "exceptions"):
        store.engine.execute(f"TRUNCATE TABLE {table}")
    store.append("meters", MASTER, "meters")
    yield store
    store.close()


ALL = [FIRST + hour * HOUR for hour in range(FEBRUARY)]


def half_of_february(month: Month) -> None:
    """337 of 672 hours never came, half a month and one; the first of March has begun, and a day more has passed."""
    month.bring(BILLED, range(335), 340)
    month.bring(BILLED, range(FEBRUARY, FEBRUARY + 24), FEBRUARY + 25)


def test_a_month_of_which_more_than_half_is_estimated_is_held_when_it_is_over(store: SqlStore) -> None:
    month = Month(store)
    month.bring(BILLED, range(335), 340)
    assert month.held() == [], "the month goes on"
    assert not (month.finals(BILLED)["unjudged"] & GATE).ne(0).any()
    half_of_february(month)
    mine = month.finals(BILLED)
    assert mine["quality"].to_list()[:FEBRUARY] == ["valid"] * 335 + ["estimated"] * 337
    assert month.held() == ALL, "of March nothing is held"
    assert month.findings() == [("blocking", FEBRUARY)]


def test_half_of_a_month_passes(store: SqlStore) -> None:
    month = Month(store)
    month.bring(BILLED, range(336), 340)
    month.bring(BILLED, range(FEBRUARY, FEBRUARY + 24), FEBRUARY + 25)
    assert month.finals(BILLED)["quality"].to_list()[:FEBRUARY] == ["valid"] * 336 + ["estimated"] * 336
    assert month.held() == month.findings() == []


def test_an_hour_that_comes_late_frees_the_month_and_judging_again_changes_nothing(store: SqlStore) -> None:
    month = Month(store)
    half_of_february(month)
    before = month.finals(BILLED)
    month.judge(BILLED, date(2026, 2, 3))
    month.judge(BILLED, date(2026, 2, 28), date(2026, 3, 1))
    month.judge(BILLED, date(2026, 3, 1))
    assert month.finals(BILLED).equals(before), "days of a month that is held stay held"
    month.bring(BILLED, range(400, 401), FEBRUARY + 30)
    assert month.finals(BILLED)["quality"][400] == "valid"
    assert month.held() == []


def test_without_a_tariff_the_gate_is_unjudged_and_nothing_is_held(store: SqlStore) -> None:
    month, counter = Month(store), VEE_UNJUDGED.labels(rule="billing_gate")
    before = counter._value.get()
    month.bring(FREE, range(335), 340)
    assert counter._value.get() - before == 335, "the worker tells which rules lack an input"
    assert (month.finals(FREE)["unjudged"] & GATE).ne(0).all()
    month.bring(FREE, range(FEBRUARY, FEBRUARY + 24), FEBRUARY + 25)
    assert (month.finals(FREE)["unjudged"] & GATE).ne(0).all()
    assert month.held(FREE) == month.findings() == []


def test_the_gate_may_be_off(store: SqlStore) -> None:
    month = Month(store, gate=False)
    half_of_february(month)
    assert month.held() == month.findings() == []


@pytest.mark.parametrize(
    ("first", "days", "ends", "start", "end"),
    [
        (date(2026, 2, 10), 1, date(2026, 2, 11), date(2026, 2, 10), date(2026, 2, 11)),
        (date(2026, 2, 10), 1, date(2026, 3, 1), date(2026, 2, 1), date(2026, 3, 1)),
        (date(2026, 2, 28), 1, date(2026, 2, 1), date(2026, 2, 1), date(2026, 3, 1)),
        (date(2026, 2, 28), 2, date(2026, 3, 2), date(2026, 2, 1), date(2026, 3, 2)),
        (date(2026, 3, 1), 1, date(2026, 3, 2), date(2026, 3, 1), date(2026, 3, 2)),
        (date(2025, 12, 31), 1, date(2026, 3, 2), date(2025, 12, 1), date(2026, 1, 1)),
    ],
    ids=["goes on", "is over", "ends", "ends and begins", "has begun", "of a year"],
)
def test_a_bucket_holds_the_months_that_are_over(first: date, days: int, ends: date, start: date, end: date) -> None:
    def midnight(day: date) -> datetime:
        return datetime(day.year, day.month, day.day, tzinfo=UTC)

    told = {"meter_id": ["A"], "channel": ["energy_delivered"], "ends_at": [midnight(ends)], "judged_at": [FIRST]}
    bucket = Scope(("A",), midnight(first), midnight(first) + days * DAY)
    wide = with_whole_months(bucket, pl.DataFrame(told, schema=FINAL_ENDS.schema), ["UTC"])
    assert wide == Scope(("A",), midnight(start), midnight(end))


def test_a_month_is_one_of_the_meters_own_zone() -> None:
    """In Berlin March begins an hour before it does in UTC, and has an hour less."""
    zone = ["Europe/Berlin"]
    bucket = Scope(("A",), datetime(2026, 3, 30, 22, tzinfo=UTC), datetime(2026, 3, 31, 22, tzinfo=UTC))
    wide = with_whole_months(bucket, FINAL_ENDS.empty(), zone)
    assert wide == Scope(("A",), datetime(2026, 2, 28, 23, tzinfo=UTC), datetime(2026, 3, 31, 22, tzinfo=UTC))
    assert wide.end - wide.start == 31 * DAY - HOUR
