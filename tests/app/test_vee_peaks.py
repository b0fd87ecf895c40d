"""V9's second limit through the worker: the all-time maximum of a meter whose fuse nobody knows."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest

from app import vee_lane
from app.messages import to_messages
from app.vee_peaks import KnownPeaks
from ingest.buckets import bucket_of
from schemas.codes import Rule
from schemas.frames import DIRTY_DAYS, FINAL_PEAKS, FINALS, INTERVALS, METERS, conform
from storage.embedded import open_embedded
from storage.store import Scope, SqlStore
from validation.params import VeeParams
from validation.rules.catalogue import DEFINITION

TODAY = datetime(2026, 3, 10, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
LIMIT = int(DEFINITION[Rule.ABSOLUTE_LIMIT].bit)
PLAIN, FUSED, YOUNG = (f"AMI{number:013d}" for number in (1, 2, 3))
BACK = {PLAIN: 400, FUSED: 400, YOUNG: 300}
MASTER = conform(
    pl.DataFrame(
        {
            "meter_id": list(BACK), "interval_s": [3600] * 3, "timezone": ["UTC"] * 3,
            "channels": [["energy_delivered"]] * 3, "installed_at": [TODAY - 500 * DAY] * 3,
            "fuse_a": [None, 100, None], "voltage_v": [230] * 3, "phase": ["A"] * 3,
        },
        schema_overrides={"interval_s": pl.Int32, "fuse_a": pl.Int32, "voltage_v": pl.Int32},
    ),
    METERS,
)  # fmt: skip


def past(name: str, *, at: datetime, value: int, quality: str = "valid", version: int = 1) -> pl.DataFrame:
    row = {
        "meter_id": name, "service_point_id": None, "channel": "energy_delivered", "interval_start": at,
        "interval_s": 3600, "value_milli": value, "quality": quality, "method": None, "failed": 0, "unjudged": 0,
        "is_final_estimate": False, "version": version, "judged_at": at + DAY, "author": None, "run_id": "r",
    }  # fmt: skip
    return pl.DataFrame([row], schema=FINALS.schema)


@pytest.fixture
def store() -> Iterator[SqlStore]:
    """An hour of 1 kWh a day for as long as a meter is there; one of 2 kWh; a spike that was corrected."""
    store = open_embedded()
    for table in ("meters", "intervals", "reads", "events", "outages", "edits", "finals", "exceptions"):
        store.engine.execute(f"TRUNCATE TABLE {table}")
    store.append("meters", MASTER, "meters")
    rows = [
        past(name, at=TODAY - day * DAY, value=2_000_000 if day == 290 else 1_000_000)
        for name, days in BACK.items()
        for day in range(7, days)
    ]
    spike = [
        past(name, at=TODAY - 250 * DAY + HOUR, value=value, quality=quality, version=version)
        for name in BACK
        for value, quality, version in ((90_000_000, "valid", 1), (1_000_000, "estimated", 2))
    ]
    store.append("finals", pl.concat([*rows, *spike]), "past")
    yield store
    store.close()


def sent(name: str, values: list[int]) -> pl.DataFrame:
    hours = range(len(values))
    rows = {
        "topic": "ami.frames.v1", "partition": 0, "offset": list(hours), "frame": list(BACK).index(name),
        "received_at": TODAY + 20 * HOUR, "meter_id": name, "channel": "energy_delivered", "obis": None,
        "interval_start": [TODAY + hour * HOUR for hour in hours], "interval_s": 3600, "value_milli": values,
        "status": 0,
    }  # fmt: skip
    return pl.DataFrame(rows, schema=INTERVALS.schema)


def judged(store: SqlStore) -> pl.DataFrame:
    """12 hours of today, of which one is three kWh and one a thousandth of a Wh more."""
    values = [1_000_000] * 4 + [3_000_000] + [1_000_000] * 2 + [3_000_001] + [1_000_000] * 4
    store.append("intervals", pl.concat([sent(name, values) for name in BACK]), "today")
    params = VeeParams(judged_at=TODAY, run_id="", context_days=6, estimate_after_s=86_400)
    work = vee_lane.VeeWork(store, MASTER, params, lambda: TODAY + 21 * HOUR)
    buckets = bucket_of(pl.Series(list(BACK))).unique()
    dirty = pl.DataFrame({"bucket": buckets, "day": [date(2026, 3, 10)] * len(buckets)}, schema=DIRTY_DAYS.schema)
    work.deliver(work.prepare(to_messages(dirty, dirty["bucket"])), "")
    return store.load_current("finals", Scope(tuple(BACK), TODAY, TODAY + DAY)).sort("meter_id", "interval_start")


def hours(finals: pl.DataFrame, name: str, column: str) -> list[int]:
    mine = finals.filter((pl.col("meter_id") == name) & ((pl.col(column) & LIMIT) != 0))
    return mine["interval_start"].dt.hour().to_list()


def test_without_a_fuse_half_more_than_the_all_time_maximum_passes_and_more_is_replaced(store: SqlStore) -> None:
    """The maximum of 393 days is 2 kWh, long before the history that is loaded; a spike corrected since is none."""
    finals = judged(store)
    assert hours(finals, PLAIN, "failed") == [7]
    assert hours(finals, PLAIN, "unjudged") == []
    mine = finals.filter(pl.col("meter_id") == PLAIN)
    assert mine["quality"][7] == "estimated"
    assert mine["value_milli"][4] == 3_000_000
    told = store.load_current("exceptions", Scope((PLAIN,), TODAY, TODAY + DAY))
    assert told.filter(pl.col("rule") == "absolute_limit")["limit_milli"].to_list() == [3_000_000]
    assert hours(finals, FUSED, "failed") == hours(finals, FUSED, "unjudged") == [], "its fuse is the limit"
    assert hours(finals, YOUNG, "unjudged") == list(range(12)), "less than a year"


def test_what_was_asked_for_once_is_asked_for_from_there_on(store: SqlStore) -> None:
    asked: list[Scope] = []

    class Counting:
        def load_peaks(self, scope: Scope) -> pl.DataFrame:
            asked.append(scope)
            return store.load_peaks(scope)

    known, counting = KnownPeaks(), Counting()

    def before(days: int) -> list[tuple[str, int, int]]:
        rows = known.before(counting, MASTER, TODAY - days * DAY)
        return rows.sort("meter_id").select("meter_id", "highest_milli", "days").rows()

    assert before(300) == [(PLAIN, 1_000_000, 99)]
    assert before(280) == [(PLAIN, 2_000_000, 119), (YOUNG, 2_000_000, 19)]
    assert before(280) == before(280)
    assert before(320) == [(PLAIN, 1_000_000, 79)], "of a day further back nothing later is told"
    assert before(270) == [(PLAIN, 2_000_000, 129), (YOUNG, 2_000_000, 29)]
    spans = [(scope.start, scope.end) for scope in asked]
    epoch, marks = datetime(1970, 1, 1, tzinfo=UTC), [TODAY - days * DAY for days in (300, 280, 320, 270)]
    assert spans == [(epoch, marks[0]), (marks[0], marks[1]), (epoch, marks[2]), (marks[1], marks[3])]
    assert {scope.meters for scope in asked} == {(PLAIN, YOUNG)}, "a meter with a fuse is not asked for"
    assert known.before(counting, METERS.empty(), TODAY).equals(FINAL_PEAKS.empty())
