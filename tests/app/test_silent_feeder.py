"""A feeder falls silent for hours: the worker ends where the judgement of everything at once ends."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from app import vee_lane
from app.commands.vee import silences_of
from app.messages import to_messages
from app.silences import Silences
from ingest.buckets import bucket_of
from schemas.frames import EXCEPTIONS, FINALS, INTERVALS, METERS, conform
from storage.embedded import open_embedded
from storage.store import Scope, SqlStore
from validation.params import VeeParams
from validation.vee import Vee, VeeInputs, run_vee

MIDNIGHT = datetime(2026, 3, 10, tzinfo=UTC)
HOUR = timedelta(hours=1)
HISTORY = 8 * 24
TURN = 6
"""Hours between two batches of the worker, as long as between two times that it says what is due."""
SILENT_FROM, SILENT_TO = 5, 42
NAMES = pl.Series([f"AMI{number:013d}" for number in range(400)])
ON_F1 = NAMES[:110]
# Of the silent feeder: one goes on speaking, one loses its hours for good, one never speaks again. One of another.
SPEAKS, LOSES, DEAD, LONE = NAMES[0], NAMES[1], NAMES[2], NAMES[399]
_PLACES = pl.DataFrame(
    {
        "meter_id": NAMES,
        "feeder_id": ["F1"] * 110 + ["F2"] * 290,
        "interval_s": 3600,
        "timezone": "UTC",
        "channels": [["energy_delivered"]] * 400,
        "installed_at": MIDNIGHT - HISTORY * HOUR,
    },
    schema_overrides={"interval_s": pl.Int32},
)
FLEET = conform(_PLACES, METERS)
PARAMS = VeeParams(judged_at=MIDNIGHT, run_id="", context_days=12, estimate_after_s=86_400)


@pytest.fixture(scope="module")
def store() -> Iterator[SqlStore]:
    store = open_embedded()
    for table in ("meters", "intervals", "reads", "events", "outages", "finals", "exceptions"):
        store.engine.execute(f"TRUNCATE TABLE {table}")
    store.append("meters", FLEET, "meters")
    store.append("intervals", pl.concat([sent(NAMES, hour) for hour in range(-HISTORY, 0)]), "history")
    yield store
    store.close()


def sent(names: pl.Series, hour: int, *, at: int | None = None) -> pl.DataFrame:
    """The interval of an hour, pushed when it is over, or at another hour."""
    number = names.str.slice(3).cast(pl.Int64)
    return pl.DataFrame(
        {
            "topic": "ami.frames.v1", "partition": 0, "offset": hour + HISTORY, "frame": number,
            "received_at": MIDNIGHT + ((hour if at is None else at) + 1) * HOUR, "meter_id": names,
            "channel": "energy_delivered", "obis": None, "interval_start": MIDNIGHT + hour * HOUR,
            "interval_s": 3600, "value_milli": 100_000 + 7_919 * (hour % 24) + 31 * number, "status": 0,
        },
        schema=INTERVALS.schema,
    )  # fmt: skip


def pushed(hour: int) -> pl.DataFrame:
    """What is pushed when an hour is over; the feeder that speaks again brings what it kept."""
    mute = NAMES.is_in([DEAD, LONE]) & (hour >= SILENT_FROM)
    mute |= NAMES.is_in(ON_F1.implode()) & (NAMES != SPEAKS) & (SILENT_FROM <= hour < SILENT_TO)
    rows = [sent(NAMES.filter(~mute), hour)]
    if hour == SILENT_TO:
        kept = ON_F1.filter(~ON_F1.is_in([SPEAKS, LOSES, DEAD]))
        rows += [sent(kept, missed, at=hour) for missed in range(SILENT_FROM, SILENT_TO)]
    return pl.concat(rows)


class Worker:
    """The VEE worker, a batch every few hours: the days whose data came, and those that have become due."""

    def __init__(self, store: SqlStore) -> None:
        self.now, self.store, self.next = MIDNIGHT, store, 0
        self.work = vee_lane.VeeWork(store, FLEET, PARAMS, lambda: self.now)

    def live_until(self, hour: int) -> None:
        while self.next < hour:
            rows = pl.concat([pushed(one) for one in range(self.next, min(self.next + TURN, hour))])
            self.next = min(self.next + TURN, hour)
            self.now = MIDNIGHT + self.next * HOUR + timedelta(minutes=20)
            self.store.append("intervals", rows, f"hours before {self.next}")
            days = pl.DataFrame({"bucket": bucket_of(rows["meter_id"]), "day": rows["interval_start"].dt.date()})
            dirty = pl.concat([days.unique(), self.work.due(self.store)])
            self.work.deliver(self.work.prepare(to_messages(dirty, dirty["bucket"])), "")


def at_once(store: SqlStore, now: datetime, until: int) -> Vee:
    """The judgement of all that is stored, in one run over the fleet, as `ami vee` makes it."""
    inputs = VeeInputs(
        *store.load_context(Scope(tuple(NAMES), MIDNIGHT - HISTORY * HOUR, MIDNIGHT + until * HOUR))
    )._replace(finals=FINALS.empty())
    return run_vee(
        inputs,
        VeeParams(
            judged_at=now, run_id="at once", context_days=12, estimate_after_s=86_400, grid_from=MIDNIGHT,
            grid_to=MIDNIGHT + until * HOUR, silences=silences_of(inputs, now), rule_sets=(vee_lane.NO_PERIOD,),
        ),
    )  # fmt: skip


def the_same(store: SqlStore, whole: Vee) -> pl.DataFrame:
    """The finals of the store, which are those of the judgement at once, and among its findings are all of that one."""
    scope = Scope(tuple(NAMES), MIDNIGHT, MIDNIGHT + 100 * HOUR)
    what = [name for name in FINALS.schema if name not in ("version", "judged_at", "run_id")]
    stored = store.load_current("finals", scope).sort("meter_id", "interval_start")
    assert_frame_equal(stored.select(what), whole.finals.sort("meter_id", "interval_start").select(what))
    finding = [name for name in EXCEPTIONS.schema if name != "run_id"]
    known = store.load_current("exceptions", scope).select(finding)
    assert whole.exceptions.join(known, on=finding, how="anti", nulls_equal=True).is_empty()
    return stored


def qualities(finals: pl.DataFrame, name: str) -> list[str]:
    return finals.filter(pl.col("meter_id") == name)["quality"].to_list()


def test_a_worker_fed_a_silent_feeder_judges_as_the_judgement_of_everything_at_once(store: SqlStore) -> None:
    worker = Worker(store)
    worker.live_until(SILENT_TO)
    whole = at_once(store, worker.now, 48)
    finals = the_same(store, whole)
    # A day after each hour what is missing is told: `missing` on the feeder that is waited for, an estimate elsewhere.
    told = SILENT_TO - 24 + 1
    assert qualities(finals, DEAD) == ["valid"] * SILENT_FROM + ["missing"] * (told - SILENT_FROM)
    assert qualities(finals, LONE) == ["valid"] * SILENT_FROM + ["estimated"] * (told - SILENT_FROM)
    assert set(qualities(finals, SPEAKS)) == {"valid"}
    waiting = whole.exceptions.filter(pl.col("rule") == "estimation_waits")
    assert set(waiting["meter_id"]) == set(ON_F1) - {SPEAKS}

    worker.live_until(SILENT_TO + 2 * TURN)
    finals = the_same(store, at_once(store, worker.now, 72))
    assert "missing" not in finals["quality"]
    gap = SILENT_TO - SILENT_FROM
    assert qualities(finals, LOSES) == ["valid"] * SILENT_FROM + ["estimated"] * gap + ["valid"] * (2 * TURN)
    assert set(qualities(finals, NAMES[3])) == {"valid"}
    assert set(qualities(finals, DEAD)[SILENT_FROM:]) == {"estimated"}, "a meter that is silent alone is estimated"


def test_devices_are_counted_again_once_an_hour_and_now_and_then_the_hours_that_may_still_fill() -> None:
    asked: list[tuple[datetime, datetime]] = []

    class Counting:
        def load_heard(self, start: datetime, end: datetime, registers: tuple[str, ...]) -> pl.DataFrame:
            assert "energy_delivered" in registers and "voltage_l1" not in registers
            asked.append((start, end))
            hours = pl.datetime_range(start, end, "1h", closed="left", eager=True)
            since = MIDNIGHT + 5 * HOUR
            return pl.DataFrame(
                {
                    "hour": hours, "service": "electricity", "feeder_id": "F1", "substation_id": None,
                    "devices": [0 if hour >= since else 200 for hour in hours],
                },
                schema_overrides={"substation_id": pl.String, "devices": pl.UInt32},
            )  # fmt: skip

    silences, store = Silences(), Counting()
    assert silences.at(MIDNIGHT + 5 * HOUR, store) == ()
    later = MIDNIGHT + timedelta(hours=6, minutes=1)
    assert silences.at(MIDNIGHT + timedelta(hours=5, minutes=59), store) == ()
    found = silences.at(later, store)
    assert {(one.node_id, one.silent_from, one.silent_to) for one in found} == {
        (node, MIDNIGHT + 5 * HOUR, later) for node in (None, "F1")
    }
    assert silences.at(later + timedelta(minutes=30), store)[0].silent_to == later + timedelta(minutes=30)
    silences.at(MIDNIGHT + 11 * HOUR, store)
    silences.at(MIDNIGHT + 12 * HOUR, store)
    assert asked == [
        (MIDNIGHT + 5 * HOUR - timedelta(days=14, hours=1), MIDNIGHT + 5 * HOUR),
        (MIDNIGHT + (5 - 6) * HOUR, MIDNIGHT + 6 * HOUR),
        (MIDNIGHT + (6 - 76) * HOUR, MIDNIGHT + 11 * HOUR),
        (MIDNIGHT + (11 - 6) * HOUR, MIDNIGHT + 12 * HOUR),
    ]
