"""A lane: poll, prepare, deliver, commit; batches in order, and at most two alive.

While one batch is delivered (inserted, published, flushed), the next is polled and prepared. Both are done by threads
of their own, and each by one at a time: the loop waits, keeping the group membership alive, and has a commit made.
Offsets move only after delivery.
"""

import logging
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, wait
from concurrent.futures import TimeoutError as NotYet
from typing import Any, Final, Generic, NamedTuple, Protocol, TypeVar

import polars as pl

from app.beside import beside
from app.pending import Batch, Pending, joined
from app.retry import Retry, StoppedError
from app.telemetry import Health
from ingest.kafka.source import Place, Position, Span
from schemas.errors import TransientError

LOG = logging.getLogger("ami.lane")

Prepared = TypeVar("Prepared")

_LISTEN_S: Final = 0.2
"""How long a wait between two tries goes on after a signal, at most."""
_FIRST_GUESS: Final = 2**21
"""Octets that the frames of a message take before one has come: 256 KiB of the smallest take 1.3 MB as rows."""
_MOST_A_POLL: Final = 256
"""Messages, however small the last ones were: those of a backlog may be as large as a topic allows."""


class Polled(Protocol):
    """What one poll brought: first ownership lost, then won, then messages."""

    @property
    def revoked(self) -> frozenset[Place]: ...
    @property
    def assigned(self) -> tuple[Position, ...]: ...
    @property
    def spans(self) -> tuple[Span, ...]: ...
    def frames(self) -> pl.DataFrame:
        """RAW_FRAMES (or rows of a topic's own kind), with `topic` and `partition`."""
        ...


class Source(Protocol):
    """One member of a consumer group; see `ingest.kafka.source.KafkaSource`."""

    def poll(self, limit_s: float, max_messages: int) -> Polled: ...
    def keep_alive(self) -> Polled: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def commit(self, spans: Iterable[Span]) -> frozenset[Place]: ...
    def lag(self) -> dict[Place, int]: ...


class Work(Protocol[Prepared]):
    """What a worker does with a batch."""

    def adopt(self, positions: tuple[Position, ...]) -> None:
        """These partitions are ours, and this is where each is read from: load what belongs to that place.

        In a thread of its own: meanwhile the source is asked for the membership and the lag alone.
        """
        ...

    def prepare(self, frames: pl.DataFrame) -> Prepared:
        """The pure stages, in a thread of its own. Called in order; may carry values from one batch to the next."""
        ...

    def deliver(self, prepared: Prepared, token: str) -> None:
        """Stored and published, acknowledged. Safe to repeat. Runs in a thread of its own."""
        ...


class LaneParams(NamedTuple):
    """When a batch is full, and how long things may take."""

    batch_messages: int
    batch_seconds: float
    shutdown_seconds: float
    poll_seconds: float = 0.2
    batch_octets: int = 2**25
    """What its rows take in memory: a backlog comes in messages of many frames, as fast as the broker can send."""


class Lane(Generic[Prepared]):
    """Runs one work on one source.

    Args:
        source: Where batches come from; asked by the thread that calls `run`, but for commits: one is made beside it,
            and meanwhile `stop` may ask for the lag.
        work: What is done with them.
        params: Sizes and times.
        health: Told of each round.
        clock: Seconds of a monotonic clock.
    """

    def __init__(
        self,
        source: Source,
        work: Work[Prepared],
        params: LaneParams,
        health: Health,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source, self._work, self._params = source, work, params
        self._health, self._clock = health, clock
        self._pending = Pending(params.batch_messages, params.batch_octets)
        self._more_waits = False
        self._octets_a_message = _FIRST_GUESS
        self._in_flight: tuple[Future[None], tuple[Span, ...]] | None = None
        self._next: dict[Place, int] = {}
        self._deadline: float | None = None
        self._told_to_stop: Callable[[], bool] = lambda: False
        self._changed = False
        # A delivery tries again in its own thread, and only that of `run` asks for the signal.
        self._retry = Retry(self._may_leave, wait=_sleep_until(lambda: self._must_stop() and self._may_leave()))
        self._retry_commit = Retry(
            self._must_give_up, wait=_sleep_until(lambda: self._must_stop() and self._must_give_up())
        )
        self._retry_delivery = Retry(self._must_give_up, wait=_sleep_until(self._must_give_up))

    def run(self, stop: Callable[[], bool]) -> None:
        """Go round until `stop`, then finish what is in flight within the bound.

        Raises:
            StoppedError: The bound has passed and the batch in flight is not delivered: it is left to be read again.
            AmiError: As raised by the work; nothing of the failed batch is committed.
        """
        self._told_to_stop = stop
        try:
            while not self._must_stop():
                self._round()
            while self._pending:
                self._submit()
            self._settle()
        finally:
            # A delivery that still tries again gives up; one that hangs is left behind. There is one bound, not two.
            left_s = self._params.shutdown_seconds if self._deadline is None else self._deadline - self._clock()
            self._deadline = self._deadline or self._clock()
            if self._in_flight is not None:
                wait([self._in_flight[0]], max(left_s, 0.0))

    def _must_stop(self) -> bool:
        """Whether to end; from the first time it is told, the bound runs. Asked by the thread of `run` only."""
        if self._deadline is None and self._told_to_stop():
            self._deadline = self._clock() + self._params.shutdown_seconds
        return self._deadline is not None

    def _may_leave(self) -> bool:
        """Told to stop, and nothing is in flight that is lost by going at once; else when the bound has passed."""
        return self._deadline is not None and (self._in_flight is None or self._must_give_up())

    def _must_give_up(self) -> bool:
        return self._deadline is not None and self._clock() >= self._deadline

    def _round(self) -> None:
        asked = self._room()
        polled = self._retry(lambda: self._source.poll(self._params.poll_seconds, asked), self._broker_failed)
        self._health.beat(self._clock())
        self._note(polled)
        self._take(polled, asked)
        self._change_hands()
        if not self._is_due() and self._in_flight is not None and self._in_flight[0].done():
            self._settle()
        while self._is_due() and not self._must_stop():
            self._submit()
            self._change_hands()

    def _take(self, polled: Polled, asked: int) -> None:
        messages = sum(span.next - span.first for span in polled.spans)
        self._more_waits = messages >= asked
        if not messages:
            return
        frames = polled.frames()
        # The largest of late: what is asked for grows at most twofold from poll to poll.
        self._octets_a_message = max(1, int(frames.estimated_size()) // messages, self._octets_a_message // 2)
        self._pending.take(frames, polled.spans, self._clock())

    def _room(self) -> int:
        """Messages that the pending batch still takes: by their number, and by their size if they are as of late."""
        messages, octets = self._pending.room()
        return max(1, min(messages, octets // self._octets_a_message + 1, _MOST_A_POLL))

    def _is_due(self) -> bool:
        """Full; or old enough, and the last poll did not bring all it asked for: what waits already fills it sooner."""
        if not self._pending or self._pending.is_full():
            return bool(self._pending)
        return not self._more_waits and self._clock() - self._pending.first.since >= self._params.batch_seconds

    def _submit(self) -> None:
        """Prepare the first batch that waits while the one before is still being delivered; then hand it over."""
        batch = self._pending.pop()
        prepared = self._prepared(batch)
        self._settle()
        spans = joined(batch.spans)
        token = " ".join(f"{span.topic}/{span.partition}:{span.first}-{span.next - 1}" for span in spans)
        self._in_flight = (beside(lambda: self._deliver(prepared, token), "deliver"), spans)

    def _prepared(self, batch: Batch) -> Prepared:
        """The pure stages, beside the loop: they may take longer than a heartbeat may fail to come."""
        done = beside(lambda: self._work.prepare(pl.concat(batch.frames)), "prepare")
        wait([done], self._params.poll_seconds)
        if not done.done():
            self._wait(done)
        if not done.done():
            raise StoppedError(f"told to stop, and a batch is not prepared: {batch.spans[0].topic} is read again")
        return done.result()

    def _deliver(self, prepared: Prepared, token: str) -> None:
        def once() -> None:
            self._health.delivering_since = self._clock()
            try:
                self._work.deliver(prepared, token)
            finally:
                self._health.delivering_since = None

        self._retry_delivery(once, self._failed)
        self._health.last_insert_good = True

    def _failed(self, error: TransientError) -> None:
        self._health.last_insert_good = False
        LOG.warning("the store or the brokers fail, the same is tried again", extra={"fields": {"why": str(error)}})

    def _broker_failed(self, error: TransientError) -> None:
        # The loop goes round though the brokers are away: a restart would not help.
        self._health.beat(self._clock())
        self._must_stop()
        LOG.warning("the brokers do not answer, they are asked again", extra={"fields": {"why": str(error)}})

    def _adoption_failed(self, error: TransientError) -> None:
        """What belongs to our partitions cannot be loaded: nothing is read until it can, but we stay in the group."""
        self._failed(error)
        self._source.pause()
        self._note(self._retry(self._source.keep_alive, self._broker_failed))
        self._health.beat(self._clock())
        self._must_stop()

    def _settle(self) -> None:
        """Wait for the batch in flight, staying a member of the group, and commit it."""
        if self._in_flight is None:
            return
        done, spans = self._in_flight
        if not done.done():
            self._wait(done)
        self._in_flight = None
        if not done.done():
            raise StoppedError(f"told to stop, and the batch in flight is not through: {spans[0].topic} is read again")
        done.result()
        committed = self._retry_commit(lambda: self._commit(spans), self._broker_failed)
        for span in spans:
            if (span.topic, span.partition) in committed:
                self._next[span.topic, span.partition] = span.next

    def _commit(self, spans: tuple[Span, ...]) -> frozenset[Place]:
        """Beside the loop: the brokers may take longer over their answer than is left when we are told to stop."""
        done = beside(lambda: self._source.commit(spans), "commit")
        while not done.done() and not self._must_give_up():
            wait([done], _LISTEN_S)
            self._must_stop()
        if not done.done():
            raise StoppedError(f"told to stop, and a commit is not answered: {spans[0].topic} is read again")
        return done.result()

    def _wait(self, done: Future[Any]) -> None:
        """Until it is done or we must give up; meanwhile we stay a member of the group and the loop is alive."""
        self._source.pause()
        while not done.done() and not self._must_give_up():
            try:
                done.exception(timeout=self._params.poll_seconds)
            except NotYet:
                self._note(self._retry(self._source.keep_alive, self._broker_failed))
                self._health.beat(self._clock())
                self._must_stop()
        self._source.resume()

    def _change_hands(self) -> None:
        """After a change of ownership nothing is in flight, and the work knows where each partition of ours is read.

        What is lost meanwhile is no longer pending: its windows are not loaded, a replay would pass.
        """
        while self._changed:
            self._settle()
            self._changed = False
            self._health.assigned = False  # nothing is read before the work knows from where
            self._retry(self._adopt, self._adoption_failed)
            self._health.assigned = bool(self._next)
            self._health.last_insert_good = True  # nothing is in flight, and the store has answered
            self._source.resume()

    def _adopt(self) -> None:
        """The work has taken over our places, though a store or the brokers may say nothing for long."""
        places = self._positions()
        done = beside(lambda: self._work.adopt(places), "adopt")
        wait([done], self._params.poll_seconds)
        if not done.done():
            self._wait(done)
        if not done.done():
            raise StoppedError("told to stop, and what belongs to our partitions is not loaded")
        done.result()

    def _positions(self) -> tuple[Position, ...]:
        return tuple(Position(topic, part, offset) for (topic, part), offset in sorted(self._next.items()))

    def _note(self, polled: Polled) -> None:
        """Lost partitions are forgotten, with those of their messages that are not prepared yet; won ones have a place.

        Messages in flight are delivered all the same: that does no harm, and the source commits only what is ours.
        """
        self._changed |= bool(polled.revoked or polled.assigned)
        self._pending.drop(polled.revoked)
        for place in polled.revoked:
            self._next.pop(place, None)
        for position in polled.assigned:
            self._next[position.topic, position.partition] = position.offset


def _sleep_until(over: Callable[[], bool]) -> Callable[[float], None]:
    """Sleeps between two tries, for the time given or until it is over with them."""

    def sleep(wait_s: float) -> None:
        left_s = wait_s
        while left_s > 0 and not over():
            time.sleep(min(left_s, _LISTEN_S))
            left_s -= _LISTEN_S

    return sleep
