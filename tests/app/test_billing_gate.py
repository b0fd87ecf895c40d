"""V36 through the worker: a month is judged as a whole when it is over, and again when late data change it."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest

from app import vee_judge, vee_lane
from app.messages import to_messages
from app.telemetry import VEE_UNJUDGED
from app.vee_months import months_to_judge
from ingest.buckets import bucket_of
from schemas.codes import Rule
from schemas.errors import TransientError
from schemas.frames import DIRTY_DAYS, FINAL_ENDS, FINALS, INTERVALS, METERS, REJECTS, UTC_US, conform
from storage.embedded import open_embedded
from storage.store import Scope, SqlStore
from validation.params import VeeParams
from validation.rules.catalogue import DEFINITION
from validation.vee import Vee

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

    def bring_only(self, name: str, hours: range, at: int, *, kwh: int = 1) -> None:
        """These hours of February came at an hour."""
        self.now = FIRST + at * HOUR + timedelta(minutes=1)
        rows = {
            "topic": "ami.frames.v1", "partition": 0, "offset": [at * 10_000 + hour for hour in hours], "frame": 0,
            "received_at": self.now, "meter_id": name, "channel": "energy_delivered", "obis": None,
            "interval_start": [FIRST + hour * HOUR for hour in hours], "interval_s": 3600,
            "value_milli": [kwh * 1_000_000 + hour % 3 for hour in hours], "status": 0,
        }  # fmt: skip
        self.store.append("intervals", pl.DataFrame(rows, schema=INTERVALS.schema), f"{name} {at} {hours}")

    def bring(self, name: str, hours: range, at: int, *, kwh: int = 1) -> None:
        """The same, and their days are judged."""
        self.bring_only(name, hours, at, kwh=kwh)
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


def instant(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def asked(
    news: dict[str, tuple[str, str]], *, before: str = "2026-02-10", zone: str | None = None, removed: str | None = None
) -> Scope | None:
    """Meters A, B and G of a grid of a day of news: who has new finals, each an hour, at the first and the last."""
    rows = [
        {"meter_id": name, "channel": "energy_delivered", "interval_start": instant(at), "interval_s": 3600}
        for name, both in news.items()
        for at in both
    ]
    finals = pl.DataFrame(
        rows, schema={name: FINALS.schema[name] for name in ("meter_id", "channel", "interval_start", "interval_s")}
    )
    told = {"meter_id": ["A", "B"], "channel": ["energy_delivered"] * 2, "ends_at": [instant(before)] * 2}
    ends = pl.DataFrame(told | {"judged_at": [FIRST] * 2}, schema=FINAL_ENDS.schema)
    left = None if removed is None else instant(removed)
    master = {"meter_id": ["A", "B", "G"], "timezone": [zone] * 3, "removed_at": [None, None, left]}
    meters = conform(pl.DataFrame(master, schema_overrides={"timezone": pl.String, "removed_at": UTC_US}), METERS)
    grid = Scope(("A", "B", "G"), instant("2026-02-28"), instant("2026-03-02"))
    return months_to_judge(finals, ends, meters, grid, "UTC")


LAST, NEXT = "2026-02-28T23:00", "2026-03-01T05:00"


@pytest.mark.parametrize(
    ("news", "before", "meters", "start", "end"),
    [
        ({}, "2026-03-01", None, "", ""),
        ({"A": ("2026-02-10", "2026-02-28T22:00")}, "2026-02-10", None, "", ""),
        ({"A": (NEXT, NEXT)}, "2026-03-01", None, "", ""),
        ({"A": (LAST, LAST)}, "2026-02-10", ("A",), "2026-02-01", "2026-03-02"),
        ({"A": (LAST, NEXT), "B": (NEXT, NEXT)}, "2026-03-01", ("A",), "2026-02-01", "2026-03-02"),
        ({"A": ("2026-02-10", "2026-02-10"), "B": (NEXT, NEXT)}, "2026-03-01", ("A",), "2026-02-01", "2026-03-02"),
        ({"A": ("2026-02-10", "2026-02-10")}, "2026-03-01", ("A",), "2026-02-01", "2026-03-02"),
        ({"A": ("2026-01-31T23:00", "2026-02-10")}, "2026-03-01", ("A",), "2026-01-01", "2026-03-02"),
        ({"A": ("2025-12-31T23:00", "2025-12-31T23:00")}, "2026-02-10", ("A",), "2025-12-01", "2026-03-02"),
    ],
    ids=["nobody", "goes on", "has begun", "ends", "one of two", "is over", "late", "two months", "of a year"],
)
def test_months_that_are_over_are_judged_of_those_who_have_news_in_them(news, before, meters, start, end) -> None:
    wanted = None if meters is None else Scope(meters, instant(start), instant(end))
    assert asked(news, before=before) == wanted


def test_a_month_is_one_of_the_meters_own_zone() -> None:
    """In Berlin March begins an hour before it does in UTC."""
    last = {"A": ("2026-02-28T22:00", "2026-02-28T22:00")}
    assert asked(last) is None
    berlin = asked(last, zone="Europe/Berlin")
    assert berlin == Scope(("A",), instant("2026-01-31T23:00"), instant("2026-03-02"))
    sydney = asked({"A": (LAST, LAST)}, zone="Australia/Sydney")
    assert sydney is None, "what is new lies in a month that goes on"


@pytest.mark.parametrize(
    ("removed", "before", "meters"),
    [
        ("2026-02-20", "2026-02-10", ("A", "G")),
        ("2026-01-20", "2026-02-10", ("A",)),
        ("2026-03-01T06:00", "2026-02-10", ("A",)),
        ("2026-02-20", "2026-03-01", ("A",)),
    ],
    ids=["in it", "before", "behind", "told already"],
)
def test_a_meter_that_was_removed_is_told_of_its_last_month_when_another_ends_it(removed, before, meters) -> None:
    told = asked({"A": (LAST, LAST)}, before=before, removed=removed)
    assert told is not None
    assert told.meters == meters


def test_only_meters_with_news_have_their_month_judged(store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both meters are whole when February ends; of one an hour is corrected later."""
    month = Month(store)
    other = MASTER.with_columns(tariff=pl.lit("home"))
    month.work = vee_lane.VeeWork(store, other, month.work._params, lambda: month.now)
    store.append("meters", other.with_columns(recorded_at=pl.lit(FIRST + HOUR)), "a tariff for both")
    for name in (BILLED, FREE):
        month.bring(name, range(FEBRUARY), FEBRUARY + 1)
    judged: list[tuple[tuple[str, ...], int]] = []
    store_ = vee_judge._store

    def counting(to: vee_judge._Source, grid: Scope, done: Vee, params: VeeParams) -> Vee:
        judged.append((grid.meters, (grid.end - grid.start).days))
        return store_(to, grid, done, params)

    monkeypatch.setattr(vee_judge, "_store", counting)
    days = (date(2026, 2, 27), date(2026, 2, 28))
    bucket = pl.DataFrame(
        {"bucket": [bucket_of(pl.Series([n]))[0] for n in (BILLED, FREE) for _ in days], "day": days * 2}
    )
    dirty = bucket.cast(dict(DIRTY_DAYS.schema)).unique().sort("bucket", "day")
    both = to_messages(dirty, dirty["bucket"])
    month.work.deliver(month.work.prepare(both), "")
    assert {days for _, days in judged} == {2}, "nothing is new"
    judged.clear()
    month.bring(BILLED, range(650, 651), FEBRUARY + 30, kwh=2)
    month.work.deliver(month.work.prepare(both), "")
    wide = [names for names, days in judged if days >= 28]
    assert wide == [(BILLED,)]


def test_a_crash_within_the_end_of_a_month_leaves_no_final_without_its_gate(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    month = Month(store)
    month.bring(BILLED, range(335), 340)
    append = SqlStore.append
    left = iter(range(3))

    def failing(self: SqlStore, table: str, rows: pl.DataFrame, token: str) -> int:
        if table in ("finals", "exceptions") and next(left, None) is not None:
            raise TransientError("away")
        return append(self, table, rows, token)

    monkeypatch.setattr(SqlStore, "append", failing)
    month.bring_only(BILLED, range(FEBRUARY, FEBRUARY + 24), FEBRUARY + 25)
    for _ in range(4):
        try:
            month.judge(BILLED, date(2026, 3, 1), date(2026, 2, 28))
        except TransientError:
            continue
    assert month.held() == ALL


def test_a_removed_meter_is_held_when_its_month_is_over(store: SqlStore) -> None:
    """Gone after 300 hours, of which it sent 100."""
    gone = MASTER.with_columns(
        tariff=pl.lit("home"), removed_at=pl.when(pl.col("meter_id") == FREE).then(FIRST + 300 * HOUR)
    )
    gone = conform(gone.cast({"removed_at": UTC_US}), METERS)
    store.append("meters", gone.with_columns(recorded_at=pl.lit(FIRST + HOUR)), "removed")
    month = Month(store)
    month.work = vee_lane.VeeWork(store, gone, month.work._params, lambda: month.now)
    month.bring_only(FREE, range(100), 100)
    month.bring(BILLED, range(FEBRUARY - 24), FEBRUARY - 23)
    together = [
        Scope((BILLED, FREE), FIRST, FIRST + 27 * DAY),
        Scope((BILLED, FREE), FIRST + 27 * DAY, FIRST + 28 * DAY),
    ]
    month.work.deliver(vee_lane.Due(together[:1], REJECTS.empty()), "")
    assert month.held(FREE) == [], "the month goes on"
    month.bring_only(BILLED, range(FEBRUARY - 24, FEBRUARY), FEBRUARY + 1)
    month.work.deliver(vee_lane.Due(together[1:], REJECTS.empty()), "")
    assert month.held(FREE) == [FIRST + hour * HOUR for hour in range(300)]
    assert month.held(BILLED) == []
