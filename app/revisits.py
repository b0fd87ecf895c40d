"""Days that nobody made dirty, and in which something awaited has become due: published like any other dirty day.

Dirty days come of data. A meter that fell silent, or an area that was waited for, brings none: so the worker that holds
the first partition of the topic says now and then which days are to be looked at again. Judging one again that has
nothing new appends nothing.

The store is asked, and the topic written, beside the loop that polls: neither a store that says nothing nor brokers
that do not acknowledge hold its heartbeat. One question is on its way at a time.
"""

import logging
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import Final, Protocol

import polars as pl

from app.beside import beside
from app.lane import Polled, Source
from app.messages import to_messages
from app.workers import DIRTY_DAYS_TOPIC, Publisher
from ingest.kafka.source import Place, Span
from schemas.errors import TransientError

LOG = logging.getLogger("ami.revisits")

AGAIN_S: Final = 60.0
"""Until what could not be told is tried again."""
_TELLER: Final = (DIRTY_DAYS_TOPIC, 0)
"""Whoever owns this partition speaks for all."""


class Member(Source, Protocol):
    """A source that can be left."""

    def close(self) -> None:
        """Give the membership back."""
        ...


class Revisits:
    """A source of dirty days that adds to its topic.

    Args:
        source: The member of the group that reads the topic.
        publisher: Writes to it; nobody else uses it.
        due: DIRTY_DAYS to be looked at again now; asked by a thread of its own, over a connection of its own.
        every_s: Seconds between two times; the first comes with the partition.
        clock: Seconds of a monotonic clock.
    """

    def __init__(
        self,
        source: Member,
        publisher: Publisher,
        due: Callable[[], pl.DataFrame],
        every_s: float,
        clock: Callable[[], float],
    ) -> None:
        self._source, self._publisher, self._due = source, publisher, due
        self._every_s, self._clock = every_s, clock
        self._speaks = False
        self._next_at = clock()
        self._saying: Future[None] | None = None
        self.pause, self.resume, self.lag, self.close = source.pause, source.resume, source.lag, source.close

    def poll(self, limit_s: float, max_messages: int) -> Polled:
        """See `app.lane.Source`. What is due is asked for, written and acknowledged meanwhile.

        While the database or the brokers are away the topic is read all the same, and it is tried again in a while.

        Raises:
            AmiError: As raised by the question before, unless that was transient.
        """
        if self._saying is not None and self._saying.done():
            said, self._saying = self._saying, None
            self._hear(said)
        if self._speaks and self._saying is None and self._clock() >= self._next_at:
            self._next_at = self._clock() + self._every_s
            self._saying = beside(self._say, "revisits")
        return self._noted(self._source.poll(limit_s, max_messages))

    def _hear(self, said: Future[None]) -> None:
        try:
            said.result()
        except TransientError as error:
            self._next_at = self._clock() + AGAIN_S
            LOG.warning("what is due cannot be told", extra={"fields": {"why": str(error)}})

    def _say(self) -> None:
        days = self._due()
        if days.height:
            self._publisher.publish(DIRTY_DAYS_TOPIC, to_messages(days, days["bucket"]))
            self._publisher.flush()

    def keep_alive(self) -> Polled:
        """See `app.lane.Source`."""
        return self._noted(self._source.keep_alive())

    def commit(self, spans: Iterable[Span]) -> frozenset[Place]:
        """See `app.lane.Source`."""
        return self._source.commit(spans)

    def _noted(self, polled: Polled) -> Polled:
        owned = any((position.topic, position.partition) == _TELLER for position in polled.assigned)
        self._speaks = owned or (self._speaks and _TELLER not in polled.revoked)
        return polled
