"""Batches in order, at most two alive, and nothing lost or doubled whatever call crashes."""

import itertools
import threading
import time
from collections.abc import Iterator, Mapping

import msgspec
import polars as pl
import pytest

from app import workers
from app.embedded import MemoryPolled, MemoryPublisher, MemorySource
from app.fuse import Fuse
from app.lane import Lane, LaneParams
from app.retry import StoppedError
from app.telemetry import Health
from ingest import meter_types
from ingest.kafka.source import Position, Span
from ingest.keyring import Keyring
from schemas.errors import TerminalError, TransientError
from schemas.frames import EVENTS, REJECTS, REPLAY_WINDOWS
from simulator.fleet import Simulated, simulate
from simulator.params import SimulatorParams
from storage.embedded import open_embedded
from storage.store import SqlStore

PARAMS = LaneParams(batch_messages=150, batch_seconds=0, shutdown_seconds=60, poll_seconds=0.01)
PLACE = ["topic", "partition", "offset", "frame"]


class Crash(BaseException):
    """The process is gone."""


class Calls:
    """Counts the calls of all doors; the one numbered `crash_at` is the last."""

    def __init__(self, crash_at: int | None = None) -> None:
        self._numbers = itertools.count(1)
        self._crash_at = crash_at
        self.made = 0

    def around(self, call, *, after: bool):
        def counted(*args):
            self.made = number = next(self._numbers)
            if number == self._crash_at and not after:
                raise Crash
            done = call(*args)
            if number == self._crash_at:
                raise Crash
            return done

        return counted


class Guarded:
    """A door whose named methods are counted."""

    def __init__(self, door, calls: Calls, names: tuple[str, ...], *, after: bool) -> None:
        self._door = door
        for name in names:
            setattr(self, name, calls.around(getattr(door, name), after=after))

    def __getattr__(self, name):
        return getattr(self._door, name)


@pytest.fixture(scope="module")
def simulated() -> Simulated:
    return simulate(msgspec.structs.replace(SimulatorParams(), meters=25, days=1, seed=3, partitions=2))


@pytest.fixture(scope="module")
def log(simulated: Simulated) -> pl.DataFrame:
    frames = simulated.frames.filter(pl.col("topic") == "ami.frames.v1").head(420)
    spoilt = pl.when(pl.col("offset") % 17 == 5).then(pl.lit(b"garbage")).otherwise(pl.col("payload"))
    return frames.with_columns(payload=spoilt)


@pytest.fixture
def store() -> Iterator[SqlStore]:
    opened = open_embedded()
    for table in ("frames", "intervals", "reads", "rejects", "replay_windows"):
        opened.engine.execute(f"TRUNCATE TABLE {table}")
    yield opened
    opened.close()


def _registry(simulated: Simulated) -> workers.Registry:
    return workers.Registry.of(Keyring.from_csv(simulated.keys_csv), simulated.meters, meter_types.BUILT_IN)


def _no_fuse(messages: int, rejected: Mapping[str, int]) -> None:
    assert sum(rejected.values()) <= messages


def _run(log, store, publisher, simulated, *, crash_at=None, after=False, committed=None):
    calls = Calls(crash_at)
    source = MemorySource(log, committed)
    guarded = Guarded(source, calls, ("poll", "commit"), after=after)
    work = workers.IngestWork(
        Guarded(store, calls, ("append", "load_windows"), after=after),
        Guarded(publisher, calls, ("publish", "flush"), after=after),
        _registry(simulated),
        _no_fuse,
    )
    try:
        Lane(guarded, work, PARAMS, Health(heartbeat_limit_s=60)).run(source.is_empty)
    except Crash:
        return source, calls, False
    return source, calls, True


def _places(rows: pl.DataFrame) -> set[tuple]:
    return set(rows.select(PLACE).unique().rows())


def _state(store: SqlStore) -> tuple[set, set, pl.DataFrame]:
    intervals, reads = store.load_current("intervals"), store.load_current("reads")
    good = _places(intervals) | _places(reads)
    what = ["meter_id", pl.col("channel").cast(pl.String), "value_milli", *PLACE]
    values = pl.concat([intervals.select(what), reads.select(what)])
    return good, _places(store.load_current("rejects")), values.sort([*PLACE, "channel", "value_milli"])


def test_no_frame_is_lost_or_counted_twice_whatever_call_crashes(log, store, simulated):
    _, calls, done = _run(log, store, MemoryPublisher(), simulated)
    assert done
    good, bad, values = _state(store)
    assert calls.made > 20
    assert len(bad) > 10
    crashes = [(n, n % 2 == 0) for n in range(1, calls.made + 1, 3)]  # before odd calls, after even ones
    for crash_at, after in crashes:
        for table in ("frames", "intervals", "reads", "rejects", "replay_windows"):
            store.engine.execute(f"TRUNCATE TABLE {table}")
        publisher = MemoryPublisher()
        source, _, done = _run(log, store, publisher, simulated, crash_at=crash_at, after=after)
        assert not done, f"call {crash_at} of {calls.made} was never made"
        _, _, done = _run(log, store, publisher, simulated, committed=source.committed)
        assert done
        again_good, again_bad, again_values = _state(store)
        assert (again_good, again_bad) == (good, bad), f"crash at call {crash_at}, after={after}"
        assert again_values.equals(values)
        assert _places(publisher.rows(workers.REJECTS_TOPIC, REJECTS)) == bad


def test_offsets_move_only_after_everything_was_acknowledged(log, store, simulated):
    order: list[str] = []

    class Told(MemoryPublisher):
        def flush(self) -> None:
            super().flush()
            order.append("flushed")

    class Source(MemorySource):
        def commit(self, spans):
            order.append("committed")
            return super().commit(spans)

    class Store:
        def __getattr__(self, name):
            return getattr(store, name)

        def append(self, table, rows, token):
            order.append("inserted")
            return store.append(table, rows, token)

    source = Source(log)
    work = workers.IngestWork(Store(), Told(), _registry(simulated), _no_fuse)
    Lane(source, work, PARAMS, Health(heartbeat_limit_s=60)).run(source.is_empty)
    told = [step for step, _ in itertools.groupby(order)]
    assert told == ["inserted", "flushed", "committed"] * (len(told) // 3)
    assert len(told) >= 9


class _Counting:
    """A work without rooms: it remembers the offsets that it delivered."""

    def __init__(self) -> None:
        self.delivered: list[int] = []
        self.adopted: list[tuple[Position, ...]] = []
        self.fail = 0
        self.gate: threading.Event | None = None

    def adopt(self, positions):
        self.adopted.append(positions)

    def prepare(self, frames):
        return frames

    def deliver(self, prepared, token):
        if self.gate is not None:
            assert self.gate.wait(10)
        if self.fail:
            self.fail -= 1
            raise TransientError("away")
        self.delivered += prepared["offset"].to_list()


class _Script(MemorySource):
    """Polls as written down."""

    def __init__(self, polls: list[MemoryPolled]) -> None:
        super().__init__(polls[0].rows)
        self._polls = list(polls)
        self.alive: list[MemoryPolled] = []
        self.committed_spans: list[Span] = []

    def is_empty(self):
        return not self._polls

    def poll(self, limit_s, max_messages):
        return self._polls.pop(0)

    def keep_alive(self):
        return self.alive.pop(0) if self.alive else super().keep_alive()

    def commit(self, spans):
        self.committed_spans += spans
        return super().commit(spans)


def _polled(offsets: list[int], *, partition: int = 0, revoked=(), assigned=()) -> MemoryPolled:
    rows = pl.DataFrame(
        {"topic": "t", "partition": partition, "offset": offsets},
        schema={"topic": pl.String, "partition": pl.Int32, "offset": pl.Int64},
    )
    spans = (Span("t", partition, offsets[0], offsets[-1] + 1, 0),) if offsets else ()
    return MemoryPolled(frozenset(revoked), tuple(assigned), spans, rows)


def _lane(source, work, **change) -> Lane:
    return Lane(source, work, PARAMS._replace(**change), Health(heartbeat_limit_s=60))


def test_a_transient_failure_repeats_the_same_batch_and_commits_it_once():
    work = _Counting()
    work.fail = 2
    source = _Script([_polled([0, 1], assigned=[Position("t", 0, 0)])])
    _lane(source, work).run(source.is_empty)
    assert work.delivered == [0, 1]
    assert source.committed_spans == [Span("t", 0, 0, 2, 0)]


def test_a_batch_is_full_when_its_rows_take_too_much_memory_however_few_its_messages_are():
    few, many = [0, 1, 2], list(range(3, 1003))
    work, source = _Counting(), _Script([_polled(few, assigned=[Position("t", 0, 0)]), _polled(many), _polled([1003])])
    _lane(source, work, batch_messages=10**6, batch_seconds=1e9, batch_octets=8_000).run(source.is_empty)
    assert source.committed_spans == [Span("t", 0, 0, 1003, 0), Span("t", 0, 1003, 1004, 0)]
    assert work.delivered == [*few, *many, 1003]


def test_rows_of_a_lost_partition_that_are_not_prepared_are_dropped():
    work = _Counting()
    polls = [
        _polled([0, 1], partition=0, assigned=[Position("t", 0, 0), Position("t", 1, 0)]),
        _polled([7], partition=1),
        _polled([], revoked=[("t", 0)]),
    ]
    source = _Script(polls)
    _lane(source, work, batch_messages=100, batch_seconds=1e9).run(source.is_empty)
    assert work.delivered == [7]
    assert [span.partition for span in source.committed_spans] == [1]
    assert work.adopted[-1] == (Position("t", 1, 0),)


def test_a_change_of_hands_while_a_batch_is_in_flight_is_heeded_once_it_is_done():
    work = _Counting()
    work.gate = threading.Event()
    source = _Script([_polled([0], assigned=[Position("t", 0, 0)]), _polled([1]), _polled([2])])

    def won_meanwhile():
        work.gate.set()
        return _polled([], assigned=[Position("t", 5, 40)])

    answers = iter([won_meanwhile])
    plain = MemorySource.keep_alive
    source.keep_alive = lambda: next(answers, lambda: plain(source))()
    _lane(source, work, batch_messages=1).run(source.is_empty)
    assert work.delivered == [0, 1, 2]
    assert work.adopted[-1] == (Position("t", 0, 2), Position("t", 5, 40))


def test_a_terminal_failure_stops_the_lane_and_commits_nothing():
    class Broken(_Counting):
        def deliver(self, prepared, token):
            raise TerminalError("rejects cannot be stored")

    source = _Script([_polled([0], assigned=[Position("t", 0, 0)]), _polled([1])])
    with pytest.raises(TerminalError):
        _lane(source, Broken(), batch_messages=1).run(source.is_empty)
    assert source.committed_spans == []


def test_a_worker_told_to_stop_while_the_store_is_away_ends_within_its_bound_and_commits_nothing():
    class Away(_Counting):
        def deliver(self, prepared, token):
            asked.set()
            raise TransientError("away")

    asked = threading.Event()
    source = _Script([_polled([0], assigned=[Position("t", 0, 0)]), *(_polled([n]) for n in range(1, 50))])
    lane = _lane(source, Away(), batch_messages=1, shutdown_seconds=0.3)
    with pytest.raises(StoppedError):
        lane.run(asked.is_set)
    assert source.committed_spans == []


def test_a_delivery_that_hangs_does_not_hold_the_end_up_beyond_the_bound():
    work = _Counting()
    work.gate = threading.Event()
    source = _Script([_polled([0], assigned=[Position("t", 0, 0)]), _polled([1])])
    begun = time.monotonic()
    with pytest.raises(StoppedError, match="not through"):
        _lane(source, work, batch_messages=1, shutdown_seconds=3.0).run(source.is_empty)
    assert time.monotonic() - begun < 5.9  # one bound, not one for each who waits
    assert source.committed_spans == []
    work.gate.set()


def test_a_broker_that_is_away_leaves_the_heartbeat_beating():
    class Away(_Script):
        failures = 2

        def poll(self, limit_s, max_messages):
            if self.failures:
                self.failures -= 1
                raise TransientError("away")
            return super().poll(limit_s, max_messages)

    beats: list[float] = []
    health = Health(heartbeat_limit_s=60)
    health.beat = beats.append
    source = Away([_polled([0], assigned=[Position("t", 0, 0)])])
    Lane(source, _Counting(), PARAMS, health).run(source.is_empty)
    assert len(beats) >= 3
    assert source.committed_spans == [Span("t", 0, 0, 1, 0)]


def test_a_commit_that_brokers_do_not_answer_is_repeated_and_beats_and_a_signal_ends_it():
    class Away(_Script):
        failures = 2

        def commit(self, spans):
            if self.failures:
                self.failures -= 1
                raise TransientError("away")
            return super().commit(spans)

    beats: list[float] = []
    health = Health(heartbeat_limit_s=60)
    health.beat = beats.append
    source = Away([_polled([0], assigned=[Position("t", 0, 0)])])
    Lane(source, _Counting(), PARAMS, health).run(source.is_empty)
    assert len(beats) >= 3
    assert source.committed_spans == [Span("t", 0, 0, 1, 0)]

    lost = Away([_polled([0], assigned=[Position("t", 0, 0)]), *(_polled([n]) for n in range(1, 9))])
    lost.failures = 10**6
    told = itertools.count()
    lane = _lane(lost, _Counting(), batch_messages=1, shutdown_seconds=0.1)
    with pytest.raises(StoppedError):
        lane.run(lambda: next(told) > 2)  # the signal comes while the first commit fails
    assert lost.committed_spans == []


def test_a_commit_that_is_not_answered_does_not_hold_the_end_up_beyond_the_bound():
    """The brokers are gone as the commit is on its way, and the client waits for an answer for longer than is left."""
    asked, gone = threading.Event(), threading.Event()

    class Unanswered(_Script):
        def commit(self, spans):
            asked.set()
            assert gone.wait(30)
            raise TransientError("no answer")

    source = Unanswered([_polled([0], assigned=[Position("t", 0, 0)]), *(_polled([n]) for n in range(1, 9))])
    begun = time.monotonic()
    with pytest.raises(StoppedError, match="a commit is not answered"):
        _lane(source, _Counting(), batch_messages=1, shutdown_seconds=0.5).run(asked.is_set)
    assert 0.5 <= time.monotonic() - begun < 10
    gone.set()


def test_windows_that_cannot_be_loaded_are_asked_for_again_as_of_the_newest_places():
    class Away(_Counting):
        failures = 3

        def adopt(self, positions):
            super().adopt(positions)
            if self.failures:
                self.failures -= 1
                raise TransientError("the database is away")

    work = Away()
    source = _Script([_polled([4], assigned=[Position("t", 0, 4), Position("t", 1, 9)]), _polled([], partition=1)])
    source.alive = [_polled([]), _polled([], revoked=[("t", 0)])]
    health = Health(heartbeat_limit_s=60)
    ready: list[bool] = []
    source.pause = lambda: ready.append(health.last_insert_good)
    Lane(source, work, PARAMS._replace(batch_seconds=1e9), health).run(source.is_empty)
    assert work.adopted[0] == (Position("t", 0, 4), Position("t", 1, 9))
    assert set(work.adopted[2:]) == {(Position("t", 1, 9),)}
    assert ready == [False] * 3
    assert work.delivered == []


def test_what_was_polled_of_a_partition_that_is_lost_before_its_windows_are_there_is_dropped():
    work = _Counting()
    work.gate = threading.Event()
    source = _Script(
        [
            _polled([0], partition=0, assigned=[Position("t", 0, 0), Position("t", 1, 0)]),
            _polled([2], partition=0, assigned=[Position("t", 5, 40)]),
            _polled([7], partition=1),
        ]
    )

    def lost_meanwhile():
        work.gate.set()
        return _polled([], revoked=[("t", 0)])

    answers = iter([lost_meanwhile])
    source.keep_alive = lambda: next(answers, lambda: _polled([]))()
    source.commit = lambda spans: frozenset((span.topic, span.partition) for span in spans if span.partition)
    _lane(source, work).run(source.is_empty)
    # 0 is in flight when 2 comes and with it another partition; before 0 is through all of partition 0 is lost.
    assert work.adopted[-1] == (Position("t", 1, 0), Position("t", 5, 40))
    assert work.delivered == [0, 7]


def test_a_worker_told_to_stop_while_its_windows_cannot_be_loaded_ends_within_its_bound():
    class Away(_Counting):
        def adopt(self, positions):
            asked.set()
            raise TransientError("the database is away")

    asked = threading.Event()
    source = _Script([_polled([0], assigned=[Position("t", 0, 0)]), _polled([1])])
    with pytest.raises(StoppedError):
        _lane(source, Away(), shutdown_seconds=0.1).run(asked.is_set)
    assert source.committed_spans == []


class _Silent(_Counting):
    """Its store takes connections and says nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.answers = threading.Event()

    def adopt(self, positions):
        assert self.answers.wait(30)
        super().adopt(positions)


def test_a_store_that_says_nothing_leaves_the_loop_alive_and_the_worker_not_ready_until_it_has_answered():
    work, health, beats = _Silent(), Health(heartbeat_limit_s=60), []
    source = _Script([_polled([0], assigned=[Position("t", 0, 0)]), _polled([1])])
    ready: list[bool] = []

    def beat(at: float) -> None:
        beats.append(at)
        Health.beat(health, at)
        ready.append(health.ready(at))
        if len(beats) == 4:
            work.answers.set()

    health.beat = beat
    Lane(source, work, PARAMS, health).run(source.is_empty)
    assert len(beats) > 4
    assert ready[:4] == [False] * 4
    assert ready[-1]
    assert work.adopted == [(Position("t", 0, 0),)]
    assert work.delivered == [0, 1]


def test_a_worker_told_to_stop_while_the_store_says_nothing_ends_within_its_bound():
    work = _Silent()
    source = _Script([_polled([0], assigned=[Position("t", 0, 0)])])
    begun = time.monotonic()
    with pytest.raises(StoppedError):
        _lane(source, work, shutdown_seconds=0.2).run(source.is_empty)
    assert time.monotonic() - begun < 20
    assert source.committed_spans == []
    work.answers.set()


@pytest.mark.parametrize("away", ["brokers", "store"])
def test_with_nothing_in_flight_a_worker_ends_at_once_though_it_waits_between_two_tries(away: str, monkeypatch):
    """The bound is for what is in flight, and no wait between two tries is added to it."""
    monkeypatch.setattr("app.retry.FIRST_WAIT_S", 30.0)
    monkeypatch.setattr("app.retry.LONGEST_WAIT_S", 30.0)
    failed = threading.Event()

    class Away(_Counting):
        def adopt(self, positions):
            failed.set()
            raise TransientError("the database is away")

    class NoBrokers(_Script):
        def poll(self, limit_s, max_messages):
            failed.set()
            raise TransientError("the brokers are away")

    polls = [_polled([0], assigned=[Position("t", 0, 0)])]
    source, work = (NoBrokers(polls), _Counting()) if away == "brokers" else (_Script(polls), Away())
    asked: list[bool] = []

    def stop() -> bool:
        asked.append(failed.is_set())
        return sum(asked) > 2  # not by the failure itself: the signal comes while it waits

    begun = time.monotonic()
    with pytest.raises(StoppedError):
        _lane(source, work, shutdown_seconds=30.0).run(stop)
    assert time.monotonic() - begun < 12


def test_a_swallowed_reject_would_be_seen(log, store, simulated):
    class Swallowing(MemoryPublisher):
        def flush(self) -> None:
            raise TerminalError("the reject topic cannot be written")

    source = MemorySource(log)
    work = workers.IngestWork(store, Swallowing(), _registry(simulated), _no_fuse)
    with pytest.raises(TerminalError):
        Lane(source, work, PARAMS, Health(heartbeat_limit_s=60)).run(source.is_empty)
    assert source.committed == {}


def test_the_fuse_stops_the_lane_before_the_bad_batch_is_committed(log, store, simulated):
    fuse = Fuse(share=0.05, messages=100)
    count = itertools.count()

    def pass_all_rejected(messages: int, rejected: Mapping[str, int]) -> None:
        fuse.pass_through(next(count), messages, {"axdr_tag": messages})

    source = MemorySource(log)
    work = workers.IngestWork(store, MemoryPublisher(), _registry(simulated), pass_all_rejected)
    with pytest.raises(TerminalError, match="rejected"):
        Lane(source, work, PARAMS, Health(heartbeat_limit_s=60)).run(source.is_empty)
    assert source.committed == {}


def test_garbage_from_strangers_does_not_blow_the_fuse(simulated, store):
    frames = simulated.frames.head(1200)
    garbage = frames.with_columns(payload=pl.lit(b"\x00\x01\x00\x01\x00\x10\x00\x02\xff\xff"))
    seen: list[tuple[int, Mapping[str, int]]] = []
    work = workers.IngestWork(
        store, MemoryPublisher(), _registry(simulated), lambda messages, rejected: seen.append((messages, rejected))
    )
    source = MemorySource(garbage)
    Lane(source, work, PARAMS, Health(heartbeat_limit_s=60)).run(source.is_empty)
    assert sum(messages for messages, _ in seen) == garbage.height
    assert sum(sum(rejected.values()) for _, rejected in seen) == 0


def test_events_reach_their_topic_without_a_database(simulated):
    gasps = simulated.frames.filter(pl.col("topic") == "ami.lastgasp.v1")
    publisher = MemoryPublisher()
    work = workers.EventsWork(
        publisher, _registry(simulated), lambda _: (), lambda _: REPLAY_WINDOWS.empty()
    )
    source = MemorySource(gasps)
    Lane(source, work, PARAMS, Health(heartbeat_limit_s=60)).run(source.is_empty)
    events = publisher.rows(workers.EVENTS_TOPIC, EVENTS)
    assert events.height > 0
    assert set(events["topic"]) == {"ami.lastgasp.v1"}


class _Hanging:
    """A work whose delivery takes as long as a store that neither answers nor refuses."""

    def __init__(self) -> None:
        self.begun, self.answers = threading.Event(), threading.Event()

    def adopt(self, positions) -> None: ...

    def prepare(self, frames):
        return frames

    def deliver(self, prepared, token) -> None:
        self.begun.set()
        assert self.answers.wait(60)


def test_a_delivery_that_hangs_is_told_to_health_until_it_ends(log) -> None:
    work, health = _Hanging(), Health(heartbeat_limit_s=60)
    source = MemorySource(log.head(10))
    running = threading.Thread(target=lambda: Lane(source, work, PARAMS, health).run(source.is_empty))
    running.start()
    assert work.begun.wait(60)
    since = health.delivering_since
    assert since is not None
    assert health.ready(since)
    assert not health.ready(since + 50)
    work.answers.set()
    running.join(60)
    assert health.delivering_since is None
