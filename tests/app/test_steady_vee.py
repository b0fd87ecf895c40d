"""VEE beside a day that fills hour by hour: what is on its way is awaited, what is late is estimated, once."""

import socket
from collections.abc import Iterator
from concurrent.futures import wait
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from app import vee_lane, workers
from app.embedded import MemoryPublisher
from app.lane import Lane, LaneParams
from app.messages import to_messages
from app.revisits import AGAIN_S, Revisits
from app.telemetry import Health
from ingest.buckets import bucket_of
from ingest.kafka.source import Polled, Position
from schemas.errors import TerminalError, TransientError
from schemas.frames import DIRTY_DAYS, INTERVALS, METERS
from storage.clickhouse import ServerAddress, connect
from storage.embedded import open_embedded
from storage.store import Scope, SqlStore
from validation.params import VeeParams

MIDNIGHT = datetime(2026, 3, 2, tzinfo=UTC)
HOUR = timedelta(hours=1)
TURN = 3
NAMES = [f"AMI{number:013d}" for number in range(7)]
SILENT, LATE, REMOVED, MOVED = NAMES[1], NAMES[2], NAMES[5], NAMES[6]
ENDS = {REMOVED: MIDNIGHT + 20 * HOUR, MOVED: MIDNIGHT + 8 * HOUR}
FLEET = pl.DataFrame(
    [
        {"meter_id": name, "interval_s": 3600, "channels": ["energy_delivered"], "timezone": "UTC"}
        | {"removed_at": None if again else ENDS.get(name), "installed_at": ENDS[name] if again else None}
        for name, again in [*((name, False) for name in NAMES), (MOVED, True)]
    ],
    schema=METERS.schema,
)  # fmt: skip


@pytest.fixture
def store() -> Iterator[SqlStore]:
    store = open_embedded()
    for table in ("meters", "intervals", "finals", "exceptions"):
        store.engine.execute(f"TRUNCATE TABLE {table}")
    store.append("meters", FLEET, "meters")
    yield store
    store.close()


def sent(names: list[str], hour: int) -> pl.DataFrame:
    """The interval of an hour, as these meters push it when it is over."""
    start = MIDNIGHT + hour * HOUR
    row = {
        "topic": "ami.frames.v1", "partition": 0, "offset": hour, "received_at": start + HOUR,
        "channel": "energy_delivered", "interval_start": start, "interval_s": 3600, "status": 0,
    }  # fmt: skip
    rows = [row | {"frame": NAMES.index(n), "meter_id": n, "value_milli": 100_000 + 977 * hour % 13} for n in names]
    return pl.DataFrame(rows, schema=INTERVALS.schema)


class Hours:
    """A lane that reads dirty days from a topic in memory, as the VEE worker does, three hours of the clock a turn."""

    def __init__(
        self, store: SqlStore, estimate_after_s: int | None = 86_400, final_after: timedelta | None = None
    ) -> None:
        params = VeeParams(judged_at=MIDNIGHT, run_id="", context_days=3, estimate_after_s=estimate_after_s)
        self.now = MIDNIGHT
        self.store, self.work = store, vee_lane.VeeWork(store, FLEET, params, lambda: self.now, final_after)
        self.publisher = MemoryPublisher()
        self.source = Revisits(Nothing(), self.publisher, lambda: self.work.due(store), 6 * 3600, self._seconds)

    def live(self, hours: range) -> None:
        """Each hour every meter pushes that is there and speaks; LATE brings two hours at once."""
        rows: list[pl.DataFrame] = []
        for hour in hours:
            self.now = MIDNIGHT + (hour + 1) * HOUR + timedelta(minutes=5)
            silent = {LATE} | ({SILENT, MOVED} if hour >= 10 else set()) | ({REMOVED} if hour >= 20 else set())
            rows.append(sent([name for name in NAMES if name not in silent], hour))
            if hour % 2:
                rows += [sent([LATE], hour - 1), sent([LATE], hour)]
            if hour % TURN == TURN - 1 or hour == hours[-1]:
                self.store_and_judge(pl.concat(rows))
                rows = []

    def store_and_judge(self, pushed: pl.DataFrame) -> None:
        self.store.append("intervals", pushed, str(pushed["offset"].to_list()))
        days = pl.DataFrame({"bucket": bucket_of(pushed["meter_id"]), "day": pushed["interval_start"].dt.date()})
        dirty = days.unique()
        self.publisher.publish(workers.DIRTY_DAYS_TOPIC, to_messages(dirty, dirty["bucket"]))
        self.publisher.flush()
        poll(self.source)
        said = self.publisher.rows(workers.DIRTY_DAYS_TOPIC, DIRTY_DAYS)
        self.work.deliver(self.work.prepare(to_messages(said, said["bucket"])), "")
        self.publisher = self.source._publisher = MemoryPublisher()

    def _seconds(self) -> float:
        return (self.now - MIDNIGHT).total_seconds()


class Nothing:
    """A member that owns the first partition and reads nothing: `Hours` reads the topic itself."""

    def poll(self, limit_s: float, max_messages: int) -> Polled:
        return Polled(frozenset(), (Position(workers.DIRTY_DAYS_TOPIC, 0, 0),), (), ())

    def keep_alive(self) -> Polled: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def commit(self, spans) -> frozenset: ...
    def lag(self) -> dict: ...
    def close(self) -> None: ...


def poll(source: Revisits) -> Polled:
    """A poll; what is due by then has been said, if it was asked for."""
    polled = source.poll(0.0, 1)
    if source._saying is not None:
        wait([source._saying])
    return polled


def finals(store: SqlStore, name: str) -> pl.DataFrame:
    scope = Scope((name,), MIDNIGHT, MIDNIGHT + 72 * HOUR)
    return store.load_current("finals", scope).sort("interval_start")


def test_a_value_that_comes_in_time_is_judged_once_and_at_once(store: SqlStore) -> None:
    Hours(store).live(range(30))
    for name, hours in ((NAMES[0], 30), (LATE, 30), (REMOVED, 20)):
        mine = finals(store, name)
        assert mine["interval_start"].to_list() == [MIDNIGHT + hour * HOUR for hour in range(hours)], name
        assert set(mine["quality"]) == {"valid"}
        assert set(mine["version"]) == {1}, name


def test_a_meter_that_falls_silent_is_estimated_a_day_later_across_midnight(store: SqlStore) -> None:
    hours = Hours(store)
    hours.live(range(33))
    assert finals(store, SILENT).height == 10
    hours.live(range(33, 50))
    mine = finals(store, SILENT)
    assert mine["interval_start"].to_list() == [MIDNIGHT + hour * HOUR for hour in range(mine.height)]
    assert 20 <= mine.height <= 27, "a day after, and looked at every six hours"
    assert mine["quality"].to_list() == ["valid"] * 10 + ["estimated"] * (mine.height - 10)
    assert finals(store, REMOVED).height == 20, "a meter that was removed is not estimated"


def test_a_meter_that_was_removed_and_installed_elsewhere_goes_on_where_its_finals_ended(store: SqlStore) -> None:
    """It fell silent at 10:00; by 16:00 of the next day six hours are due, though only that day is judged."""
    store.append("intervals", pl.concat([sent([MOVED], hour) for hour in range(10)]), "until it fell silent")
    for day, now in ((0, 12), (1, 40)):
        params = VeeParams(judged_at=MIDNIGHT + now * HOUR, run_id="", context_days=3, estimate_after_s=86_400)
        start = MIDNIGHT + day * 24 * HOUR
        assert list(vee_lane.judge(store, [Scope((MOVED,), start, start + 24 * HOUR)], params))
    mine = finals(store, MOVED)
    assert mine["interval_start"].to_list() == [MIDNIGHT + hour * HOUR for hour in range(16)]
    assert mine["quality"].to_list() == ["valid"] * 10 + ["estimated"] * 6


def test_judged_at_once_the_rest_of_the_day_is_estimated_again_and_again(store: SqlStore) -> None:
    Hours(store, estimate_after_s=None).live(range(12))
    mine = finals(store, NAMES[0])
    assert mine.height == 24
    assert mine["version"].max() > 1


def test_values_that_come_after_their_estimates_replace_them(store: SqlStore) -> None:
    hours = Hours(store)
    hours.live(range(50))
    estimated = finals(store, SILENT)
    assert (estimated["quality"] == "estimated").sum() >= 10
    hours.store_and_judge(pl.concat([sent([SILENT], hour) for hour in range(10, 50)]))
    mine = finals(store, SILENT)
    assert mine["interval_start"].to_list() == [MIDNIGHT + hour * HOUR for hour in range(50)]
    assert set(mine["quality"]) == {"valid"}


def test_only_the_owner_of_the_first_partition_says_what_is_due(store: SqlStore) -> None:
    hours = Hours(store)
    hours.live(range(2))
    source, told = hours.source, hours.publisher
    first = (workers.DIRTY_DAYS_TOPIC, 0)
    source._source.poll = lambda *_: Polled(frozenset({first}), (Position(workers.DIRTY_DAYS_TOPIC, 1, 0),), (), ())
    poll(source)
    hours.now = MIDNIGHT + 60 * HOUR
    poll(source)
    assert told.rows(workers.DIRTY_DAYS_TOPIC, DIRTY_DAYS).is_empty()
    source._source.poll = Nothing().poll
    poll(source)
    poll(source)
    due = told.rows(workers.DIRTY_DAYS_TOPIC, DIRTY_DAYS)
    assert set(due["bucket"]) == set(bucket_of(pl.Series(NAMES)))
    assert due["day"].max() == (MIDNIGHT + 36 * HOUR).date()
    poll(source)
    assert told.rows(workers.DIRTY_DAYS_TOPIC, DIRTY_DAYS).height == due.height, "once in six hours"
    source._source.poll = lambda *_: Polled(frozenset({first}), (), (), ())
    hours.now += 7 * HOUR
    poll(source)
    again = told.rows(workers.DIRTY_DAYS_TOPIC, DIRTY_DAYS).height
    hours.now += 7 * HOUR
    poll(source)
    assert told.rows(workers.DIRTY_DAYS_TOPIC, DIRTY_DAYS).height == again == 2 * due.height


def test_a_database_that_is_away_keeps_nobody_from_reading_the_topic() -> None:
    now, asked, polled = [0.0], [], []

    def due() -> pl.DataFrame:
        asked.append(now[0])
        if now[0] < 60:
            raise TransientError("away")
        return pl.DataFrame({"bucket": [7], "day": [MIDNIGHT.date()]}, schema=DIRTY_DAYS.schema)

    publisher, member = MemoryPublisher(), Nothing()
    source = Revisits(member, publisher, due, 3600, lambda: now[0])
    for now[0] in (0.0, 0.2, 0.4, 59.0, 60.5, 61.0):
        polled.append(poll(source).assigned)
    assert len(polled) == 6 and all(polled)
    assert asked == [0.2, 60.5]
    assert publisher.rows(workers.DIRTY_DAYS_TOPIC, DIRTY_DAYS)["bucket"].to_list() == [7]


def test_the_loop_goes_on_beside_a_store_that_says_nothing_and_what_is_due_comes_later(store: SqlStore) -> None:
    hours = Hours(store)
    hours.live(range(2))
    now, answered, told = [0.0], [], MemoryPublisher()
    hours.now = MIDNIGHT + 60 * HOUR
    expected = hours.work.due(store)
    health = Health(heartbeat_limit_s=60)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(15)
        away = SqlStore(connect(ServerAddress(port=silent.getsockname()[1], timeout_s=20)))
        stores = [away, store]

        def due() -> pl.DataFrame:
            try:
                return hours.work.due(stores.pop(0))
            finally:
                answered.append(now[0])

        source = Revisits(Nothing(), told, due, 3600, lambda: now[0])
        beats: list[float] = []
        health.beat = beats.append
        Lane(source, hours.work, LaneParams(1, 0.0, 1.0, 0.0), health).run(lambda: len(beats) >= 10)
        assert len(beats) >= 10
        assert not answered, "the loop has gone round, the store has not said a word"
        asked, _ = silent.accept()
        asked.close()
    wait([source._saying], 15)
    assert answered == [0.0]
    poll(source)
    assert told.rows(workers.DIRTY_DAYS_TOPIC, DIRTY_DAYS).is_empty()
    now[0] = AGAIN_S
    poll(source)
    said = told.rows(workers.DIRTY_DAYS_TOPIC, DIRTY_DAYS)
    assert expected.height
    assert said.sort("bucket", "day").equals(expected.sort("bucket", "day")), "later, and every day"


def test_a_question_that_will_never_be_answered_ends_the_worker() -> None:
    def due() -> pl.DataFrame:
        raise TerminalError("no such table")

    source = Revisits(Nothing(), MemoryPublisher(), due, 3600, lambda: 0.0)
    poll(source)
    poll(source)
    with pytest.raises(TerminalError, match="no such table"):
        poll(source)


def test_estimates_become_final_when_the_deadline_passes_though_nothing_of_their_day_is_dirty(store: SqlStore) -> None:
    """From 10:00 on SILENT is estimated; two days after, its first hours are final, and a late value waits."""
    hours = Hours(store, final_after=timedelta(hours=36))
    hours.live(range(52))
    mine = finals(store, SILENT)
    assert mine["is_final_estimate"][:10].to_list() == [False] * 10, "measured"
    final = mine.filter("is_final_estimate")
    # 36 h before the last look, at 48:05 or later: 12:05, so that the hours that begin at 10, 11 and 12 are final.
    assert final["interval_start"][0] == MIDNIGHT + 10 * HOUR
    assert 3 <= final.height <= 7
    hours.store_and_judge(pl.concat([sent([SILENT], hour) for hour in range(10, 52)]))
    after = finals(store, SILENT)
    assert after["quality"].to_list()[: 10 + final.height] == ["valid"] * 10 + ["estimated"] * final.height
    assert set(after["quality"][10 + final.height + 4 :]) == {"valid"}
