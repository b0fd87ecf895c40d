"""Consuming: poll, pause, commit. Offsets are committed by us alone: the next one of a partition while we own it."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from enum import StrEnum
from typing import Any, Final, NamedTuple

import polars as pl
from kafka import KafkaConsumer, OffsetAndMetadata, TopicPartition, errors
from kafka.structs import MemberState

from ingest.kafka.opening import opening
from ingest.kafka.ownership import Ownership
from ingest.kafka.records import Records, frames_of_records
from ingest.kafka.settings import KafkaSettings, typed_error
from schemas.errors import TerminalError

Place = tuple[str, int]
"""Topic and partition."""

_ANSWER_MS: Final = 10_000
_LAG_MS: Final = 1_000
_LEAVING_MS: Final = 2_000
"""How long the brokers may take to let a member go: it goes all the same, and its session ends later."""
_JOINING_S: Final = 1.0
"""How long a paused member waits for the group that forms anew. Of a join that ends while nobody waits kafka-python
3.0.12 forgets the answer and asks again, so that the group forms anew without end."""
_LOST_GROUP: Final = (
    errors.CommitFailedError,
    errors.IllegalGenerationError,
    errors.UnknownMemberIdError,
    errors.RebalanceInProgressError,
)


class FirstStart(StrEnum):
    """Where a group that never committed begins. Without it, a missing position is a lost one."""

    EARLIEST = "earliest"
    LATEST = "latest"


class Span(NamedTuple):
    """Offsets of one partition in a batch: [first, next), and the term of ownership in which they were polled."""

    topic: str
    partition: int
    first: int
    next: int
    term: int


class Position(NamedTuple):
    """A partition that is ours from now on, and the committed offset at which it is read."""

    topic: str
    partition: int
    offset: int


class Polled(NamedTuple):
    """What one poll brought.

    `revoked` comes first in time: rows of those partitions that are not inserted yet are dropped, whoever owns them
    now reads them again. Then `assigned`: replay windows are loaded as of these offsets. Then `records`.
    """

    revoked: frozenset[Place]
    assigned: tuple[Position, ...]
    records: tuple[Records, ...]
    spans: tuple[Span, ...]

    def frames(self) -> pl.DataFrame:
        """The link-layer messages polled (`RAW_FRAMES`)."""
        return frames_of_records(*self.records)


class Subscription(NamedTuple):
    """What to read and as whom. `instance` names a static member: one that comes back keeps its partitions."""

    topics: tuple[str, ...]
    group: str
    instance: str | None = None
    first_start: FirstStart | None = None
    session_timeout_ms: int = 30_000
    max_poll_interval_ms: int = 300_000


class KafkaSource:
    """One member of a consumer group. Not to be shared between threads, but that beside a commit the lag may be asked
    for, and that it may be closed: the client carries out what several threads ask of it in a thread of its own."""

    def __init__(self, settings: KafkaSettings, subscription: Subscription) -> None:
        self._first_start = subscription.first_start
        with opening(settings):
            self._consumer: Any = KafkaConsumer(
                **settings.client_options(),
                group_id=subscription.group,
                group_instance_id=subscription.instance,
                enable_auto_commit=False,
                auto_offset_reset="none",
                allow_auto_create_topics=False,
                session_timeout_ms=subscription.session_timeout_ms,
                max_poll_interval_ms=subscription.max_poll_interval_ms,
                max_partition_fetch_bytes=8 * 1024 * 1024,
                fetch_min_bytes=1,
                fetch_max_wait_ms=100,
            )
        self._ownership = Ownership()
        self._kept: dict[Any, tuple[int | None, list[Any]]] = {}
        self._paused = False
        self._consumer.subscribe(list(subscription.topics), listener=self._ownership)

    def poll(self, limit_s: float, max_messages: int) -> Polled:
        """What came within the limit; at most `max_messages` Kafka messages, whole ones, ascending in each partition.

        Raises:
            TransientError: The brokers are away.
            TerminalError: A partition has no committed position and no first start was asked for, or its position is
                no longer kept by the broker: either way messages may have been lost, and a person must say so.
        """
        if not self._kept:
            self._keep(self._poll(limit_s, max_messages))
        revoked, assigned = self._changes()
        kept, self._kept = self._kept, {}
        # Of an earlier term: whoever owns the partition now, we too, reads them again.
        ours = {
            place: records for place, (term, records) in kept.items()
            if term is not None and term == self._ownership.term(tuple(place))
        }  # fmt: skip
        return self._told(revoked, assigned, ours)

    def keep_alive(self) -> Polled:
        """Ownership changes only: the group is told that we live, and nothing is fetched. For use while paused."""
        # A partition that was ours only just now was not paused yet: what came of it is for the next poll.
        self._keep(self._poll(_JOINING_S if self._is_joining() else 0, 1))
        if self._paused:
            self.pause()
        return self._told(*self._changes(), {})

    def pause(self) -> None:
        """Nothing more is fetched; `keep_alive` must go on being called."""
        self._paused = True
        self._consumer.pause(*self._consumer.assignment())

    def resume(self) -> None:
        """Fetching goes on where it stopped."""
        self._paused = False
        self._consumer.resume(*self._consumer.paused())

    def commit(self, spans: Iterable[Span]) -> frozenset[Place]:
        """The next offset of each span is committed where the partition was ours all the time; those are returned.

        Raises:
            TransientError: The brokers are away. Whether the commit was done is unknown; it may be tried again.
            TerminalError: The brokers refuse.
        """
        ours = {
            TopicPartition(span.topic, span.partition): OffsetAndMetadata(span.next, "", -1)
            for span in spans
            if self._ownership.term((span.topic, span.partition)) == span.term
        }
        if not ours:
            return frozenset()
        try:
            self._consumer.commit(ours, timeout_ms=_ANSWER_MS)
        except _LOST_GROUP:
            return frozenset()
        except errors.KafkaError as error:
            raise typed_error(error, retriable=_may_pass(error)) from error
        self._ownership.committed |= {place: position.offset for place, position in ours.items()}
        return frozenset((place.topic, place.partition) for place in ours)

    def lag(self) -> dict[Place, int]:
        """Messages of each of our partitions that are not committed yet, polled or not: what a delivery that hangs
        holds still waits. As of the last fetch; while paused, nothing being fetched, as the brokers say, if they
        answer."""
        committed = self._ownership.committed
        places = [place for place in self._consumer.assignment() if place in committed]
        ends: dict[Any, int | None] = {place: self._consumer.highwater(place) for place in places}
        if self._paused and places:
            with suppress(errors.KafkaError):  # the last that is known will do
                ends |= self._consumer.end_offsets(places, timeout_ms=_LAG_MS)
        return {
            (place.topic, place.partition): max(0, newest - committed[place])
            for place, newest in ends.items()
            if newest is not None
        }

    def close(self) -> None:
        """The group is left (a static member stays in it until its session ends). Nothing is committed."""
        # Without a limit the client waits as long as for any request, beside the bound of who is told to stop.
        self._consumer.close(autocommit=False, timeout_ms=_LEAVING_MS)

    def _poll(self, limit_s: float, max_messages: int) -> dict[Any, list[Any]]:
        try:
            polled: dict[Any, list[Any]] = self._consumer.poll(int(limit_s * 1000), max_records=max_messages)
        except errors.NoOffsetForPartitionError:
            self._begin()
            return {}
        except errors.OffsetOutOfRangeError as error:
            raise TerminalError(f"kafka: the committed position is no longer kept: {error}") from error
        except errors.KafkaError as error:
            raise typed_error(error, retriable=_may_pass(error)) from error
        finally:
            self._keep_joining()
        return polled

    def _keep_joining(self) -> None:
        """A rebalance that a poll was too short for is taken up again by the next.

        kafka-python 3.0.12 forgets one that changed metadata had caused: it clears what told it so before it waits for
        the group, and where the poll ends first nobody asks for the answer. The member then owns nothing, for ever.
        """
        if self._is_joining():
            self._consumer._coordinator.request_rejoin()

    def _is_joining(self) -> bool:
        return self._consumer.group_metadata().state is MemberState.REBALANCING

    def _keep(self, polled: dict[Any, list[Any]]) -> None:
        """For the next poll, or for this one, should it fail before it can tell of them: they are not fetched again."""
        for place, records in polled.items():
            term, (before, known) = self._ownership.term(tuple(place)), self._kept.get(place, (None, []))
            self._kept[place] = (term, [*known, *records] if before == term else records)

    def _told(self, revoked: frozenset[Place], assigned: tuple[Position, ...], ours: dict[Any, list[Any]]) -> Polled:
        spans = tuple(
            Span(place.topic, place.partition, records[0].offset, records[-1].offset + 1,
                 self._ownership.terms[tuple(place)])
            for place, records in ours.items()
        )  # fmt: skip
        for place, records in ours.items():
            self._ownership.positions[place] = records[-1].offset + 1
        return Polled(revoked, assigned, tuple(_columns(*item) for item in ours.items()), spans)

    def _changes(self) -> tuple[frozenset[Place], tuple[Position, ...]]:
        """What was revoked and what was assigned since the last time; told again where the brokers do not answer."""
        with _asking():
            found = [(place, self._committed(place)) for place in sorted(self._ownership.assigned)]
        for place, offset in found:
            self._read_from(place, offset)
        revoked = self._ownership.told()
        self._ownership.committed |= {place: offset or 0 for place, offset in found}
        return revoked, tuple(Position(place.topic, place.partition, offset or 0) for place, offset in found)

    def _read_from(self, place: Any, offset: int | None) -> None:
        """A partition that is ours anew is read from where it is told, and what came of it from elsewhere is forgotten.

        kafka-python 3.0.12 leaves one that it had before the rebalance at the position of the term before: messages
        that were polled in that term and dropped with it would never come again, and a later commit would pass them.
        """
        term, records = self._kept.get(place, (None, []))
        if offset is None or (records and term == self._ownership.term(tuple(place)) and records[0].offset == offset):
            return
        self._kept.pop(place, None)
        self._consumer.seek(place, offset)

    def _committed(self, place: Any) -> int | None:
        # Without a limit the client would ask for ever, and nobody would see a signal or a heartbeat.
        offset: int | None = self._consumer.committed(place, timeout_ms=_ANSWER_MS)
        return offset

    def _begin(self) -> None:
        """Positions of partitions that never had one: sought explicitly, and committed so that they have one now."""
        with _asking():
            missing = [place for place in self._consumer.assignment() if self._committed(place) is None]
        if self._first_start is None:
            names = ", ".join(f"{place.topic}/{place.partition}" for place in sorted(missing))
            raise TerminalError(
                f"kafka: no committed position for {names}: lost, or a first start that was not asked for"
            )
        ends = (
            self._consumer.beginning_offsets if self._first_start is FirstStart.EARLIEST else self._consumer.end_offsets
        )
        try:
            with _asking():
                offsets = ends(missing)
                firsts = {place: OffsetAndMetadata(offsets[place], "", -1) for place in missing}
                self._consumer.commit(firsts, timeout_ms=_ANSWER_MS)
        except _LOST_GROUP:
            return  # the group is being formed anew: whoever gets the partitions begins them
        for place in missing:
            self._consumer.seek(place, offsets[place])
            self._ownership.committed[place] = offsets[place]


@contextmanager
def _asking() -> Iterator[None]:
    """A question that may be asked again: what the brokers do not answer is `TransientError`."""
    try:
        yield
    except _LOST_GROUP:
        raise
    except errors.KafkaError as error:
        raise typed_error(error, retriable=True) from error


def _columns(place: Any, records: list[Any]) -> Records:
    return Records(
        place.topic,
        place.partition,
        [record.offset for record in records],
        [record.timestamp for record in records],
        [record.value for record in records],
    )


def _may_pass(error: Exception) -> bool:
    return isinstance(error, errors.RetriableError) or bool(getattr(error, "retriable", False))
