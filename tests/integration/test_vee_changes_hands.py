"""Two workers of VEE on a real broker and store: one has judged, and not stored yet, when the other takes its days."""

import itertools
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from fleet import patiently
from found import Found, migrated
from polars.testing import assert_frame_equal

from app.doors import ValueSource
from app.lane import Lane, LaneParams
from app.messages import to_messages
from app.telemetry import Health
from app.vee_lane import VeeWork
from ingest.buckets import bucket_of
from ingest.kafka.publisher import KafkaPublisher
from ingest.kafka.settings import KafkaSettings
from ingest.kafka.source import FirstStart, KafkaSource, Place, Polled, Span, Subscription
from ingest.kafka.topics import TopicContract, apply_topics
from schemas.frames import INTERVALS, METERS
from storage.store import SqlStore
from validation.params import VeeParams

PATIENCE_S = 240.0
PARTITIONS = 2
MIDNIGHT = datetime(2026, 3, 2, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
LATE_MILLI = 777_000
NAMES = [f"AMI{number:013}" for number in range(8)]
HOLES = {name: MIDNIGHT + (3 + 2 * number) * HOUR for number, name in enumerate(NAMES)}
"""The hour of each meter that comes late: none of all, or the area would be silent."""
FLEET = pl.DataFrame(
    [{"meter_id": name, "interval_s": 3600, "channels": ["energy_delivered"], "timezone": "UTC"} for name in NAMES],
    schema=METERS.schema,
)
BUCKETS = bucket_of(pl.Series(NAMES)).to_list()
TICKS = itertools.count()


def now() -> datetime:
    """A second later whenever it is asked."""
    return MIDNIGHT + 4 * DAY + timedelta(seconds=next(TICKS))


def sent(day: datetime, hours: Callable[[str, datetime], bool], value_milli: int, offset: int) -> pl.DataFrame:
    """INTERVALS of the hours of a day that are taken."""
    row = {"topic": "ami.frames.v1", "partition": 0, "frame": 0, "channel": "energy_delivered", "interval_s": 3600,
           "status": 0}  # fmt: skip
    rows = [
        row | {"meter_id": name, "interval_start": at, "received_at": at + HOUR, "value_milli": value_milli,
               "offset": offset + place}
        for place, (name, at) in enumerate(itertools.product(NAMES, [day + n * HOUR for n in range(24)]))
        if hours(name, at)
    ]  # fmt: skip
    return pl.DataFrame(rows, schema=INTERVALS.schema)


@pytest.fixture
def days_topic(kafka_settings: KafkaSettings) -> str:
    contract = TopicContract(
        name=f"test.{uuid.uuid4().hex}", key="", value="", partitions=PARTITIONS, cleanup="delete", retention_ms=-1,
        max_message_bytes=1_048_576,
    )  # fmt: skip
    apply_topics(kafka_settings, (contract,), replication=1)
    return contract.name


def say_dirty(settings: KafkaSettings, topic: str, day: date) -> None:
    """One message a bucket, half of them on each partition."""
    said = to_messages(pl.DataFrame({"bucket": BUCKETS, "day": [day] * len(NAMES)}), pl.Series(BUCKETS))
    assert said.height == len(NAMES), "each meter has a bucket of its own"
    partitions = pl.Series([place % PARTITIONS for place in range(len(NAMES))], dtype=pl.Int32)
    publisher = KafkaPublisher(settings)
    publisher.publish(topic, said.with_columns(partition=partitions))
    publisher.flush()
    publisher.close()


class Told(KafkaSource):
    """One that writes down what it was told, and what was committed of what was asked for."""

    def __init__(self, settings: KafkaSettings, subscription: Subscription) -> None:
        super().__init__(settings, subscription)
        self.mine: set[Place] = set()
        self.begun: list[tuple[Place, int]] = []
        self.lost = threading.Event()
        self.commits: list[tuple[tuple[Span, ...], frozenset[Place]]] = []
        self.next: dict[Place, int] = {}

    def poll(self, limit_s: float, max_messages: int) -> Polled:
        return self._noted(super().poll(limit_s, max_messages))

    def keep_alive(self) -> Polled:
        return self._noted(super().keep_alive())

    def commit(self, spans: Iterable[Span]) -> frozenset[Place]:
        asked = tuple(spans)
        done = super().commit(asked)
        self.next |= {(span.topic, span.partition): span.next for span in asked if (span.topic, span.partition) in done}
        self.commits.append((asked, done))
        return done

    def _noted(self, polled: Polled) -> Polled:
        won = [((each.topic, each.partition), each.offset) for each in polled.assigned]
        self.mine = self.mine - polled.revoked | {place for place, _ in won}
        self.begun += won
        if polled.revoked:
            self.lost.set()
        return polled


class Held:
    """A store whose first insert of finals waits until it is let go: they are judged by what was there before."""

    def __init__(self, store: SqlStore) -> None:
        self._store = store
        self.there, self.go = threading.Event(), threading.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def append(self, table: str, *rest: Any) -> Any:
        if table == "finals" and not self.there.is_set():
            self.there.set()
            assert self.go.wait(PATIENCE_S)
        return self._store.append(table, *rest)


class Worker(threading.Thread):
    """A lane of VEE in a thread of its own. A batch is what stands on one partition after both days, or on both
    after the first."""

    def __init__(self, source: Callable[[], Told], store: Any) -> None:
        super().__init__(daemon=True)
        params = VeeParams(judged_at=MIDNIGHT, run_id="", context_days=3, estimate_after_s=86_400)
        self._make, self._work = source, VeeWork(store, FLEET, params, now)
        self._end = threading.Event()
        self.source: Told | None = None
        self.failed: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self.source = self._make()
            limits = LaneParams(len(NAMES), 5.0, PATIENCE_S)
            health = Health(heartbeat_limit_s=PATIENCE_S)
            Lane(ValueSource(self.source), self._work, limits, health).run(self._end.is_set)
            self.source.close()
        except BaseException as error:
            self.failed = error
            raise

    def lives(self) -> bool:
        assert self.failed is None, self.failed
        return True

    def through(self, offset: int) -> bool:
        """Whether it owns something, all of which is committed up to there."""
        source = self.source
        if not self.lives() or source is None:
            return False
        mine = set(source.mine)
        return bool(mine) and all(source.next.get(place) == offset for place in mine)

    def end(self) -> None:
        self._end.set()
        self.join(PATIENCE_S)
        assert not self.is_alive()
        assert self.failed is None


@pytest.fixture
def stores(store: SqlStore, clickhouse: Found, database: str) -> Iterator[tuple[SqlStore, SqlStore]]:
    """One connection for each worker."""
    engines = [migrated(clickhouse, database) for _ in range(2)]
    yield SqlStore(engines[0]), SqlStore(engines[1])
    for engine in engines:
        engine.close()


def test_of_days_that_change_hands_in_mid_batch_the_newest_judgement_counts_and_none_is_lost(
    kafka_settings: KafkaSettings, days_topic: str, store: SqlStore, stores: tuple[SqlStore, SqlStore]
) -> None:
    asked = Subscription((days_topic,), uuid.uuid4().hex, first_start=FirstStart.EARLIEST, session_timeout_ms=30_000)
    store.append("meters", FLEET, "meters")
    store.append("intervals", sent(MIDNIGHT, lambda name, at: at != HOLES[name], 100_000, 0), "all but one an hour")
    say_dirty(kafka_settings, days_topic, MIDNIGHT.date())
    held = Held(stores[0])
    old = Worker(lambda: Told(kafka_settings, asked), held)
    patiently(lambda: old.lives() and held.there.is_set(), PATIENCE_S)

    store.append("intervals", sent(MIDNIGHT, lambda name, at: at == HOLES[name], LATE_MILLI, 1_000), "the late ones")
    store.append("intervals", sent(MIDNIGHT + DAY, lambda *_: True, 200_000, 2_000), "the next day")
    say_dirty(kafka_settings, days_topic, (MIDNIGHT + DAY).date())
    both = len(NAMES) // PARTITIONS * 2
    new = Worker(lambda: Told(kafka_settings, asked), stores[1])
    patiently(lambda: old.lives() and new.through(both), PATIENCE_S)
    mine, theirs = old.source, new.source
    assert mine is not None and theirs is not None
    assert mine.lost.is_set()
    assert mine.commits == []
    assert theirs.begun[0][1] == 0, "nothing of the former term was committed"
    first = store.load_current("finals")
    ((_, taken),) = theirs.mine
    held.go.set()
    patiently(lambda: old.through(both), PATIENCE_S)
    ((_, kept),) = mine.mine
    assert kept != taken
    old.end()
    new.end()

    former = {span.term for spans, done in mine.commits for span in spans if not done}
    since = {span.term for spans, done in mine.commits for span in spans if done}
    assert former, "what was in flight when the partitions were lost"
    assert max(former) < min(since)
    assert {place for _, done in mine.commits for place in done} == {(days_topic, kept)}
    assert mine.next | theirs.next == {(days_topic, number): both for number in range(PARTITIONS)}

    told = store.load_current("finals").sort("meter_id", "interval_start")
    wanted = pl.concat([
        sent(MIDNIGHT, lambda name, at: at != HOLES[name], 100_000, 0),
        sent(MIDNIGHT, lambda name, at: at == HOLES[name], LATE_MILLI, 0),
        sent(MIDNIGHT + DAY, lambda *_: True, 200_000, 0),
    ])  # fmt: skip
    what = ["meter_id", "interval_start", "value_milli"]
    wrong = told.join(wanted, on=what, how="anti")
    assert (told.height, wrong.height) == (wanted.height, 0), wrong.select(*what, "quality", "version", "judged_at")
    assert told["quality"].cast(pl.String).unique().to_list() == ["valid"]
    for name in NAMES[taken::PARTITIONS]:
        late = (pl.col("meter_id") == name) & (pl.col("interval_start") == HOLES[name])
        assert_frame_equal(told.filter(late), first.filter(late))
        history = store.load_evidence(name, HOLES[name], 3600).finals.filter(late).sort("judged_at")
        assert history["quality"].cast(pl.String).to_list() == ["estimated", "valid"], "the older one was stored, later"
