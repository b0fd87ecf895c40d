"""The doors in memory, which other tests and the demo use, keep what the doors to Kafka keep."""

from collections.abc import Iterable

import polars as pl
import pytest
from door_promises import *  # noqa: F403
from door_promises import PARTITIONS, Doors, log_of_messages

from app.embedded import MemoryPolled, MemorySource
from ingest.kafka.source import Place, Span
from tests.failing_publisher import FailingPublisher


class Group:
    """Members of one group: each partition has one owner, and only what another member is due moves."""

    def __init__(self) -> None:
        self.committed: dict[Place, int] = {}
        self.members: list[Source] = []
        self._term = 0

    def share(self) -> None:
        for number, member in enumerate(self.members):
            due = {("in", partition) for partition in range(number, PARTITIONS, len(self.members))}
            self._term += 1
            member.own(due, self._term)


class Source(MemorySource):
    """One member: it leaves what it committed to the next, and loses partitions to members that join."""

    def __init__(self, group: Group) -> None:
        super().__init__(log_of_messages().clear(), group.committed)
        self._group = group
        self._terms: dict[Place, int] = {}
        self._revoked: set[Place] = set()
        group.members.append(self)
        group.share()

    def own(self, due: set[Place], term: int) -> None:
        lost, won = self._terms.keys() - due, due - self._terms.keys()
        self._revoked |= lost
        self._terms = {place: self._terms.get(place, term) for place in due}
        self.committed |= self._group.committed
        log, rest = log_of_messages(), self._rows.slice(self._read)
        ours = [rest.filter(~_of(lost)), log.filter(_of(won))]
        super().__init__(pl.concat(ours), self.committed)
        self._places = log.filter(_of(won)).select("topic", "partition").unique().sort("partition")

    def poll(self, limit_s: float, max_messages: int) -> MemoryPolled:
        told = super().poll(limit_s, max_messages)
        spans = tuple(span._replace(term=self._terms[span.topic, span.partition]) for span in told.spans)
        revoked, self._revoked = frozenset(self._revoked), set()
        return told._replace(revoked=revoked, spans=spans)

    def commit(self, spans: Iterable[Span]) -> frozenset[Place]:
        done = super().commit([span for span in spans if self._terms.get((span.topic, span.partition)) == span.term])
        self._group.committed |= {place: self.committed[place] for place in done}
        return done

    def close(self) -> None:
        self._group.members.remove(self)
        self._group.share()


def _of(places: Iterable[Place]) -> pl.Expr:
    return pl.col("partition").is_in([partition for _, partition in places])


@pytest.fixture
def doors() -> Doors:
    group = Group()
    publisher = FailingPublisher()
    return Doors(lambda: Source(group), lambda: publisher, lambda: publisher.values("out"))
