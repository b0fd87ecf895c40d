"""What an outage worker reads: its topics while it is at work, nothing while it stands by, ticks in silence."""

import time
from collections.abc import Iterable
from typing import Final, NamedTuple, Protocol

import polars as pl

from app.workers import EVENTS_TOPIC, HEARD_TOPIC
from ingest.kafka.source import Place, Position, Span
from outage.stream_inputs import Inputs, Message

PING_RESULTS_TOPIC: Final = "ami.ping-results.v1"
JOURNAL_TOPIC: Final = "ami.outage-journal.v1"
NOTES_TOPIC: Final = "ami.outage-notes.v1"
INPUT_TOPICS: Final = (EVENTS_TOPIC, HEARD_TOPIC, PING_RESULTS_TOPIC, NOTES_TOPIC)
LONGEST_LINGER_S: Final = 2.0

_MESSAGES: Final = pl.Schema(
    {
        "topic": pl.String(),
        "partition": pl.Int32(),
        "offset": pl.Int64(),
        "timestamp_ms": pl.Int64(),
        "value": pl.Binary(),
    }
)


class Pace:
    """How long the last batch took: while batches are dear, more is collected for each."""

    def __init__(self) -> None:
        self.cost_s = 0.0


class PolledMessages(NamedTuple):
    """See `app.lane.Polled`."""

    revoked: frozenset[Place]
    assigned: tuple[Position, ...]
    spans: tuple[Span, ...]
    messages: tuple[Message, ...]

    def frames(self) -> pl.DataFrame:
        """`topic`, `partition`, `offset`, `timestamp_ms`, `value`. A row of the journal's topic is a tick."""
        return pl.DataFrame(list(self.messages), schema=_MESSAGES, orient="row")


class Membership(Protocol):
    """Who of several workers is at work; see `outage.stream.Leadership`."""

    def term(self, limit_s: float = 0.0) -> int | None: ...
    def close(self) -> None: ...


class Alone:
    """Nobody else is there: at work from the beginning."""

    def term(self, limit_s: float = 0.0) -> int | None:  # noqa: ARG002  see `Membership`
        """The first and only one."""
        return 1

    def close(self) -> None:
        """Nothing is held."""


class OutageSource:
    """Input topics while this worker is at work, and a tick where nothing comes for a while: holds end in silence too.

    Args:
        leadership: Who is at work.
        inputs: What is read.
        pace: Told by the work.
        tick_s: Seconds of silence.
    """

    def __init__(self, leadership: Membership, inputs: Inputs, pace: Pace, tick_s: float) -> None:
        self._leadership, self._inputs, self._pace, self._tick_s = leadership, inputs, pace, tick_s
        self._term: int | None = None
        self._places: frozenset[Place] = frozenset()
        self._ticks = 0
        self._quiet_since = time.monotonic()

    def poll(self, limit_s: float, max_messages: int) -> PolledMessages:
        """See `app.lane.Source`."""
        changed = self._change(limit_s if self._term is None else 0.0)
        if changed is not None or self._term is None:
            return changed or PolledMessages(frozenset(), (), (), ())
        messages = self._inputs.poll(limit_s, max_messages)
        until = time.monotonic() + min(LONGEST_LINGER_S, self._pace.cost_s / 2)
        while messages and len(messages) < max_messages and time.monotonic() < until:
            messages += self._inputs.poll(0.02, max_messages - len(messages))
        messages = messages or self._tick()
        self._places |= {(message.topic, message.partition) for message in messages}
        return PolledMessages(frozenset(), (), _spans(messages, self._term), tuple(messages))

    def keep_alive(self) -> PolledMessages:
        """Changes of leadership only."""
        return self._change(0.0) or PolledMessages(frozenset(), (), (), ())

    def pause(self) -> None:
        """Inputs are read outside any group: there is nothing to keep alive by reading."""

    def resume(self) -> None:
        """See `pause`."""

    def commit(self, spans: Iterable[Span]) -> frozenset[Place]:
        """Positions stand in the journal; what was delivered is committed."""
        return frozenset((span.topic, span.partition) for span in spans)

    def lag(self) -> dict[Place, int]:
        """Messages that wait."""
        return self._inputs.lag()

    def close(self) -> None:
        """The group is left, connections are given back."""
        self._leadership.close()
        self._inputs.close()

    def _change(self, limit_s: float) -> PolledMessages | None:
        term = self._leadership.term(limit_s)
        if term == self._term:
            return None
        lost = frozenset() if self._term is None else self._places | {(JOURNAL_TOPIC, 0)}
        self._term, self._places = term, frozenset()
        won = () if term is None else (Position(JOURNAL_TOPIC, 0, term),)
        return PolledMessages(lost, won, (), ())

    def _tick(self) -> list[Message]:
        if time.monotonic() - self._quiet_since < self._tick_s:
            return []
        self._quiet_since = time.monotonic()
        self._ticks += 1
        return [Message(JOURNAL_TOPIC, 0, self._ticks, 0, None)]


def _spans(messages: list[Message], term: int) -> tuple[Span, ...]:
    spans: dict[Place, Span] = {}
    for message in messages:
        place = (message.topic, message.partition)
        first = spans[place].first if place in spans else message.offset
        spans[place] = Span(*place, first, message.offset + 1, term)
    return tuple(spans.values())
