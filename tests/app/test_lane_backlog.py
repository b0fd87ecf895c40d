"""A backlog of messages that hold many frames: batches stay bounded, offsets exact, and the loop alive."""

import itertools
import threading
import time

import polars as pl
import pytest

from app.embedded import MemoryPolled, MemorySource
from app.lane import Lane, LaneParams
from app.pending import Pending
from app.retry import StoppedError
from app.telemetry import Health
from ingest.kafka.records import Records, frames_of_records
from ingest.kafka.source import Position, Span

PARAMS = LaneParams(batch_messages=20_000, batch_seconds=0, shutdown_seconds=60, poll_seconds=0.01)
TINY = b"\x00\x01\x00\x01\x00\x66\x00\x01\x0f"
_SCHEMA = {"topic": pl.String, "partition": pl.Int32, "offset": pl.Int64, "frame": pl.Int32}


class _Keeping:
    """A work without rooms: it remembers its batches."""

    def __init__(self) -> None:
        self.prepared: list[pl.DataFrame] = []
        self.delivered: list[tuple[int, int]] = []
        self.gate = threading.Event()
        self.gate.set()

    def adopt(self, positions):
        """Nothing is carried from batch to batch."""

    def prepare(self, frames):
        assert self.gate.wait(8)
        self.prepared.append(frames)
        return frames

    def deliver(self, prepared, token):
        self.delivered += prepared.select("partition", "offset").rows()


class _Told(MemorySource):
    """Tells what is asked of it."""

    def __init__(self, rows: pl.DataFrame) -> None:
        super().__init__(rows)
        self.asked: list[int] = []
        self.spans: list[Span] = []

    def poll(self, limit_s, max_messages):
        self.asked.append(max_messages)
        return super().poll(limit_s, max_messages)

    def commit(self, spans):
        self.spans += spans
        return super().commit(spans)


class _Whole(_Told):
    """Brings everything at once, whatever is asked."""

    def poll(self, limit_s, max_messages):
        return super().poll(limit_s, 10**6)


def _rows(frames: dict[int, list[int]]) -> pl.DataFrame:
    """Frames of each message of each partition."""
    places = [
        ("t", partition, offset, frame)
        for partition, messages in frames.items()
        for offset, number in enumerate(messages)
        for frame in range(number)
    ]
    return pl.DataFrame(places, schema=_SCHEMA, orient="row")


def _run(source, work, health=None, **change) -> None:
    Lane(source, work, PARAMS._replace(**change), health or Health(heartbeat_limit_s=60)).run(source.is_empty)


def test_a_backlog_of_the_smallest_frames_is_no_batch_of_all_its_messages():
    packed = TINY * (262_144 // len(TINY))
    count = 40
    log = frames_of_records(Records("t", 0, range(count), [0] * count, [packed] * count))
    work, source = _Keeping(), _Told(log)
    _run(source, work)
    message = log.estimated_size() // count
    assert source.asked[0] * message <= PARAMS.batch_octets
    assert max(int(part.estimated_size()) for part in work.prepared) <= PARAMS.batch_octets + message
    assert work.delivered == log.select("partition", "offset").rows()
    assert source.committed == {("t", 0): count}


def test_what_is_asked_for_grows_at_most_twofold_and_never_to_more_than_a_large_backlog_may_take():
    work, source = _Keeping(), _Told(_rows({0: [1] * 3_000}))
    _run(source, work)
    assert source.asked[0] <= 32
    assert all(after <= 2 * before for before, after in itertools.pairwise(source.asked))
    assert max(source.asked) == 256
    assert len(work.prepared) == 1  # a batch is what it was: of as many polls as it takes


def test_what_one_poll_brought_beyond_a_batch_is_several_batches_that_end_where_messages_end():
    frames = {0: [900, 1, 1, 1_500, 3, 800], 1: [5, 5, 2_000]}
    log = _rows(frames)
    log = log.filter((pl.col("partition") != 0) | (pl.col("offset") != 1))  # a message that the topic has no more
    work, source = _Keeping(), _Whole(log)
    _run(source, work, batch_octets=10_000)
    assert len(work.prepared) > 3
    largest = max(int(part.estimated_size()) for part in log.partition_by("partition", "offset"))
    assert max(int(part.estimated_size()) for part in work.prepared) <= 10_000 + largest
    assert work.delivered == log.select("partition", "offset").rows()
    for partition, after in ((0, 6), (1, 3)):
        spans = [span for span in source.spans if span.partition == partition]
        assert (spans[0].first, spans[-1].next) == (0, after)
        assert all(one.next == other.first for one, other in itertools.pairwise(spans))
    brought = [set(part.select("partition", "offset").rows()) for part in work.prepared]
    assert sum(map(len, brought)) == len(set.union(*brought))  # no message is in two batches


def test_of_a_poll_that_is_several_batches_what_is_lost_meanwhile_is_not_prepared():
    log = _rows({0: [300] * 4, 1: [300] * 4})
    work, source = _Keeping(), _Whole(log)
    work.gate.clear()

    def lost_meanwhile():
        work.gate.set()
        return MemoryPolled(frozenset({("t", 0)}), (), (), log.clear())

    answers = iter([lost_meanwhile])
    plain = MemorySource.keep_alive
    source.keep_alive = lambda: next(answers, lambda: plain(source))()
    _run(source, work, batch_octets=8_000)
    first = set(work.prepared[0]["offset"])
    assert {offset for partition, offset in work.delivered if partition == 0} == first < {0, 1, 2, 3}
    assert {offset for partition, offset in work.delivered if partition == 1} == {0, 1, 2, 3}


def test_batches_that_wait_lose_what_is_lost_and_keep_their_order():
    pending = Pending(10**6, 4_000)
    pending.take(_rows({0: [100] * 3, 1: [100] * 3}), (Span("t", 0, 0, 3, 7), Span("t", 1, 0, 3, 8)), 1.0)
    pending.drop(frozenset({("t", 0)}))
    left = []
    while pending:
        left.append(pending.pop())
    assert [span for batch in left for span in batch.spans][-1].next == 3
    assert {(span.partition, span.term) for batch in left for span in batch.spans} == {(1, 8)}
    rows = pl.concat([part for batch in left for part in batch.frames])
    assert rows.equals(_rows({1: [100] * 3}))


def test_a_long_preparation_leaves_the_loop_alive():
    work, health, beats = _Keeping(), Health(heartbeat_limit_s=60), []
    work.gate.clear()

    def beat(at: float) -> None:
        beats.append(at)
        if len(beats) == 5:
            work.gate.set()

    health.beat = beat
    source = _Told(_rows({0: [1, 1]}))
    _run(source, work, health)
    assert len(beats) >= 5
    assert source.committed == {("t", 0): 2}


def test_a_worker_told_to_stop_in_a_long_preparation_ends_within_its_bound_and_commits_nothing():
    work, source = _Keeping(), _Told(_rows({0: [1, 1]}))
    work.gate.clear()
    begun = time.monotonic()
    with pytest.raises(StoppedError, match="not prepared"):
        _run(source, work, shutdown_seconds=0.2)
    assert time.monotonic() - begun < 6
    assert source.spans == []
    work.gate.set()


def test_partitions_that_come_between_two_batches_of_a_poll_are_adopted_before_the_next():
    work, source = _Keeping(), _Whole(_rows({0: [300] * 4}))
    adopted: list[tuple[int, tuple[Position, ...]]] = []
    work.adopt = lambda positions: adopted.append((len(work.prepared), positions))
    work.gate.clear()

    def won_meanwhile():
        work.gate.set()
        return MemoryPolled(frozenset(), (Position("t", 5, 40),), (), _rows({}))

    answers = iter([won_meanwhile])
    plain = MemorySource.keep_alive
    source.keep_alive = lambda: next(answers, lambda: plain(source))()
    lane = Lane(source, work, PARAMS._replace(batch_octets=8_000), Health(heartbeat_limit_s=60))
    lane.run(lambda: source.committed.get(("t", 0)) == 4)
    after = work.prepared[0]["offset"].max() + 1
    assert adopted[0] == (0, (Position("t", 0, 0),))
    assert adopted[1] == (1, (Position("t", 0, after), Position("t", 5, 40)))
