"""What each worker does with a batch, beside the lanes that carry it."""

import socket
import threading
import time
import weakref
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest

from app import refused, store_lane, vee_lane, workers
from app.config import parse_config
from app.embedded import Gathered, MemoryPublisher, carry_both_lanes
from app.messages import to_messages
from app.stores import stored_windows
from ingest.derived import bucket_of
from ingest.kafka.source import Position
from schemas.errors import ContractError, TransientError
from schemas.frames import DIRTY_DAYS, EVENTS, HEARD, REJECTS, REPLAY_WINDOWS, UTC_US
from simulator.fleet import Simulated
from storage.embedded import open_embedded
from storage.store import Scope, SqlStore
from validation.params import VeeParams

NOW = datetime(2026, 4, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def filled(simulated: Simulated, registry: workers.Registry) -> Iterator[tuple[SqlStore, MemoryPublisher, Gathered]]:
    store, publisher = open_embedded(), MemoryPublisher()
    for table in ("frames", "intervals", "reads", "rejects", "events", "finals", "exceptions", "outages", "meters"):
        store.engine.execute(f"TRUNCATE TABLE {table}")
    store.append("meters", simulated.meters, "meters")
    decoded = carry_both_lanes(simulated.frames, store, publisher, registry)
    yield store, publisher, Gathered.of(decoded)
    store.close()


def test_dirty_days_name_every_meter_that_sent_something(filled, simulated):
    _, publisher, gathered = filled
    dirty = publisher.rows(workers.DIRTY_DAYS_TOPIC, DIRTY_DAYS)
    sent = pl.concat([gathered.intervals["meter_id"], gathered.reads["meter_id"]]).unique()
    assert set(dirty["bucket"]) == set(bucket_of(sent))
    assert date(2026, 3, 2) in set(dirty["day"])


def test_heard_meters_are_those_that_sent_something(filled):
    _, publisher, gathered = filled
    heard = publisher.rows(workers.HEARD_TOPIC, HEARD)
    assert set(heard["meter_id"]) == set(gathered.intervals["meter_id"]) | set(gathered.reads["meter_id"])


def test_vee_judges_what_is_dirty_and_doing_it_again_appends_nothing(filled, simulated):
    store, publisher, _ = filled
    params = VeeParams(judged_at=NOW, run_id="", context_days=30)
    work = vee_lane.VeeWork(store, simulated.meters, params, lambda: NOW)
    dirty = publisher.rows(workers.DIRTY_DAYS_TOPIC, DIRTY_DAYS).filter(pl.col("day") == date(2026, 3, 2))
    due = work.prepare(to_messages(dirty, dirty["bucket"]))
    assert due.scopes
    work.deliver(due, "first")
    meters = tuple(simulated.meters["meter_id"].unique().to_list())
    span = Scope(meters, datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 5, tzinfo=UTC))
    finals = store.load_current("finals", span)
    assert finals.height > 90 * len(meters)
    assert set(finals["version"]) == {1}
    later = vee_lane.VeeWork(store, simulated.meters, params, lambda: NOW + timedelta(hours=1))
    later.deliver(later.prepare(to_messages(dirty, dirty["bucket"])), "second")
    assert store.load_current("finals", span).equals(finals)
    findings = store.load_current("exceptions", span)
    assert findings.height > 0
    assert findings.drop("run_id").is_unique().all()
    assert findings["run_id"].n_unique() == 1


def test_meters_of_one_span_are_asked_for_together_and_in_bounded_numbers(simulated, monkeypatch):
    params = VeeParams(judged_at=NOW, run_id="", context_days=28)
    work = vee_lane.VeeWork(None, simulated.meters, params, lambda: NOW)
    meters = simulated.meters["meter_id"].unique().sort()
    buckets = bucket_of(meters).unique().sort()
    days = pl.DataFrame({"bucket": buckets, "day": [date(2026, 3, 2)] * len(buckets)}, schema=DIRTY_DAYS.schema)
    late = days.head(1).with_columns(day=pl.lit(date(2026, 2, 27)))
    scopes = work.prepare(to_messages(pl.concat([days, late]), pl.concat([days, late])["bucket"])).scopes
    assert len(scopes) == 2
    assert sorted(meter for scope in scopes for meter in scope.meters) == meters.to_list()
    year_old = days.head(1).with_columns(day=pl.lit(date(2025, 3, 1)))
    every = pl.concat([days, late, year_old])
    parts = work.prepare(to_messages(every, every["bucket"])).scopes
    half = timedelta(hours=12)
    spans = sorted(((scope.start + half).date(), (scope.end - half).date()) for scope in parts)
    today = date(2026, 3, 2)
    assert spans == [(date(2025, 3, 1), date(2025, 3, 1)), (date(2026, 2, 27), today), (today, today)]
    for setting, value in (("METERS_A_QUERY", 10), ("METER_DAYS_A_QUERY", 10 * (28 + 1 + 28))):
        with monkeypatch.context() as patched:
            patched.setattr(vee_lane, setting, value)
            few = work.prepare(to_messages(days, days["bucket"])).scopes
        assert max(len(scope.meters) for scope in few) == 10
        assert sorted(meter for scope in few for meter in scope.meters) == meters.to_list()


def test_events_and_rejects_are_stored_once_however_often_they_come(filled, simulated):
    store, publisher, _ = filled
    events = publisher.rows(workers.EVENTS_TOPIC, EVENTS)
    values = to_messages(events, events["meter_id"]).with_columns(topic=pl.lit(workers.EVENTS_TOPIC))
    work = store_lane.StoreWork(store, MemoryPublisher(), simulated.meters)
    rows = work.prepare(values)
    assert rows["events"].height == events.height
    assert rows["rejects"].equals(REJECTS.empty())
    work.deliver(rows, "once")
    work.deliver(work.prepare(values.reverse()), "twice")
    stored = store.load_current("events")
    assert stored.height == events.unique(["topic", "partition", "offset", "frame", "event", "occurred_at"]).height


def keys_of(registry, meter_ids):
    return registry.enrolment.keys_of(meter_ids, pl.Series([None], dtype=UTC_US).new_from_index(0, len(meter_ids)))


def test_news_of_one_feeder_share_a_key_and_those_without_one_that_of_their_bucket(simulated, registry):
    meters = simulated.meters
    assert keys_of(registry, meters["meter_id"].reverse()).to_list() == meters["feeder_id"].reverse().to_list()
    strangers = pl.Series([meters["meter_id"][0], "X", meters["meter_id"][0] + " ", "X" * 70, meters["meter_id"][1]])
    keys = keys_of(registry, strangers)
    assert keys.to_list() == [
        meters["feeder_id"][0], *(f"meters-{bucket}" for bucket in bucket_of(strangers[1:4])), meters["feeder_id"][1]
    ]  # fmt: skip
    without = meters.with_columns(feeder_id=pl.lit(None, pl.String))
    bare = workers.Registry.of(registry.keyring, without, registry.types)
    buckets = bucket_of(meters["meter_id"])
    assert keys_of(bare, meters["meter_id"]).to_list() == [f"meters-{bucket}" for bucket in buckets]
    nobody = workers.Registry.of(registry.keyring, meters.clear(), registry.types)
    assert keys_of(nobody, pl.Series(["X"])).to_list() == [f"meters-{bucket_of(pl.Series(['X'])).item()}"]
    assert keys_of(nobody, pl.Series([], dtype=pl.String)).is_empty()


class _Slow:
    """A store over a connection of its own: it takes a while, and then may fail."""

    def __init__(self, *, fail: bool) -> None:
        self.fail, self.ended = fail, threading.Event()
        self.tables: list[str] = []

    def append(self, table, rows, token):
        self.tables.append(table)
        time.sleep(0.05)
        self.ended.set()
        if self.fail:
            raise TransientError("away")
        return rows.height


@pytest.mark.parametrize("failing", ["none", "frames", "others", "both"])
def test_frames_go_over_their_own_connection_and_nothing_is_told_before_both_are_through(simulated, registry, failing):
    """A batch whose halves fail apart is tried again only when no connection carries it any more."""
    frames, others = (_Slow(fail=failing in (one, "both")) for one in ("frames", "others"))
    publisher = MemoryPublisher()
    work = workers.IngestWork(others, publisher, registry, lambda *_: None, frames)
    decoded = work.prepare(simulated.frames.filter(pl.col("topic") == "ami.frames.v1"))
    if failing == "none":
        work.deliver(decoded, "batch")
        assert others.tables == ["intervals", "reads", "rejects"]
    else:
        with pytest.raises(TransientError):
            work.deliver(decoded, "batch")
        publisher.flush()
        assert publisher.rows(workers.DIRTY_DAYS_TOPIC, DIRTY_DAYS).is_empty()
    assert frames.tables == (["frames"] if failing in ("frames", "both") else ["frames", "replay_windows"])
    assert frames.ended.is_set()
    assert others.ended.is_set()


def test_rows_go_to_the_store_in_the_order_of_its_keys_however_polls_brought_them(simulated, registry):
    """A server that finds them in order need not sort them, payloads and all."""
    frames = simulated.frames.head(400)
    place = ["topic", "partition", "offset", "frame"]
    half = frames.height // 2
    polls = pl.concat([frames.head(half).sort("partition", "offset"), frames.tail(-half).sort("partition", "offset")])
    assert not polls.select(place).equals(frames.select(place).sort(place))
    work = workers.IngestWork(SqlStore(None), MemoryPublisher(), registry, lambda *_: None)
    prepared = work.prepare(polls)
    assert prepared.messages.select(place).equals(frames.select(place).sort(place))
    values = prepared.intervals.select("meter_id", pl.col("channel").cast(pl.String), "interval_start")
    assert values.height > 0
    assert values.equals(values.sort(pl.all()))


def test_a_row_that_the_store_refuses_becomes_a_reject_and_its_neighbours_are_stored(simulated, registry):
    appended: dict[str, list[pl.DataFrame]] = {}
    usual = simulated.frames.filter(pl.col("topic") == "ami.frames.v1")
    poison = simulated.meters.filter(pl.col("meter_type") == "generic")["meter_id"][0]

    class Picky:
        def load_windows(self, positions):
            return pl.DataFrame()

        def append(self, table, rows, token):
            if table == "intervals" and poison in rows["meter_id"].to_list():
                raise ContractError("a row is refused")
            appended.setdefault(table, []).append(rows)
            return rows.height

    work = workers.IngestWork(Picky(), MemoryPublisher(), registry, lambda *_: None)
    decoded = work.prepare(usual)
    poisoned = decoded.intervals.filter(pl.col("meter_id") == poison)
    assert poisoned.height > 0
    work.deliver(decoded, "batch")
    stored = pl.concat(appended["intervals"])
    assert stored.height == decoded.intervals.height - poisoned.height
    rejects = pl.concat(appended["rejects"]).filter(pl.col("reason").cast(pl.String) == "poison")
    place = ["topic", "partition", "offset", "frame"]
    assert set(rejects.select(place).rows()) == set(poisoned.select(place).rows())
    assert all(rejects["payload"].bin.size() > 0)


def test_parts_of_other_rows_of_the_same_batch_are_no_copies_to_the_store(simulated, registry, monkeypatch):
    """A release that decodes otherwise takes the batch up where the one before was killed while it parted it."""
    tokens: list[set[str]] = []

    class Refusing:
        def append(self, table, rows, token):
            if table == "intervals":
                tokens[-1].add(token)
                if rows.height > 1:
                    raise ContractError("a row is refused")
            return rows.height

    usual = simulated.frames.filter(pl.col("topic") == "ami.frames.v1").head(300)
    for release in ("1", "2"):
        monkeypatch.setattr(refused, "CODE_VERSION", release)
        tokens.append(set())
        work = workers.IngestWork(Refusing(), MemoryPublisher(), registry, lambda *_: None)
        work.deliver(work.prepare(usual), "batch")
    assert len(tokens[0]) == len(tokens[1]) > 3
    assert tokens[0].isdisjoint(tokens[1])


def test_a_recorded_gasp_of_before_the_look_back_is_a_copy_by_the_windows_that_are_stored(simulated, registry):
    """The topic is read again only so far; what lies before it the database knows, where it answers."""
    gasps = simulated.frames.filter(pl.col("topic") == workers.LAST_GASP_TOPIC)
    seen = workers.IngestWork(SqlStore(None), MemoryPublisher(), registry, lambda *_: None).prepare(gasps).seen
    after = int(gasps["offset"].max()) + 1
    recorded = gasps.with_columns(offset=pl.col("offset") + after)
    place = (Position(workers.LAST_GASP_TOPIC, 0, after),)

    def events_with(stored) -> int:
        work = workers.EventsWork(MemoryPublisher(), registry, lambda _: (), lambda _: stored)
        work.adopt(place)
        return work.prepare(recorded).events.height

    assert events_with(REPLAY_WINDOWS.empty()) > 0
    assert events_with(seen) == 0


def test_what_is_read_again_before_the_first_message_is_held_a_part_at_a_time(simulated, registry):
    gasps = simulated.frames.filter(pl.col("topic") == workers.LAST_GASP_TOPIC)
    recorded = gasps.with_columns(offset=pl.col("offset") + gasps["offset"].max() + 1)
    alive: list[weakref.ref] = []

    def parts(_):
        for number in range(4):
            part = gasps[number::4].sort("offset")
            assert sum(each() is not None for each in alive) <= 1, "parts that were decoded are still held"
            alive.append(weakref.ref(part))
            yield part
            del part

    work = workers.EventsWork(MemoryPublisher(), registry, parts, lambda _: REPLAY_WINDOWS.empty())
    work.adopt((Position(workers.LAST_GASP_TOPIC, 0, 1),))
    assert len(alive) == 4
    assert work.prepare(recorded).events.height == 0, "each part was seen"


def test_a_lane_that_waits_for_no_database_starts_without_its_windows(caplog):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    away = parse_config(f'[kafka]\nbrokers = ["127.0.0.1:1"]\n[clickhouse]\nport = {port}\n', "ami.toml")
    assert stored_windows(away)([("ami.lastgasp.v1", 0, 7)]).is_empty()
    assert "not known" in caplog.text
    caplog.clear()
    bare = parse_config('[kafka]\nbrokers = ["127.0.0.1:1"]\n[clickhouse]\npassword_file = "none/here"\n', "ami.toml")
    assert stored_windows(bare)([("ami.lastgasp.v1", 0, 7)]).is_empty()
    assert "not known" in caplog.text
