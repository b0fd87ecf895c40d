"""The outage lane: events and life in, steps of incidents out, remembered in a journal; the database is not asked.

    ami.events, ami.heard, ami.ping-results, ami.outage-notes
        ──poll─► advance ─► journal acknowledged ─► ami.outages, flushed

`outage.stream` says why a journal, and how one of several workers comes to be at work.
"""

import logging
import time
from collections.abc import Callable
from functools import reduce
from typing import Final, NamedTuple, Protocol

import polars as pl

from app import telemetry
from app.outage_messages import Said, evidence_of, messages_of, said_again
from app.outage_source import JOURNAL_TOPIC, Pace
from app.unreadable import read, rejects_of_messages
from app.workers import REJECTS_TOPIC, Publisher, Registry, place_of, publish
from ingest.kafka.source import Position
from outage.identity import last_steps
from outage.params import DetectParams
from outage.stream_fleet import Fleet, hangs_alike, read_fleet
from outage.stream_memory import added, enrolled, remembered, restored
from outage.stream_record import Kind, Memory, Positions, Record
from outage.stream_state import Advanced, Evidence, StreamState, advance, at_rest
from schemas.errors import TerminalError
from schemas.frames import REJECTS

LOG = logging.getLogger("ami.outage")

OVERTAKEN_LIMIT_S: Final = 30.0
"""A worker that was overtaken must hear of it from its group within this long; else two groups share a journal."""


class Reader(Protocol):
    """Where the inputs are read from; see `outage.stream.Inputs`."""

    def seek(self, positions: Positions, *, missing_from_start: bool | None) -> Positions: ...
    def rest(self) -> None: ...


class Log(Protocol):
    """What the worker remembers by; see `outage.stream.Journal`."""

    epoch: int

    def claim(self) -> list[Record]: ...
    def append(self, record: Record) -> bool: ...


class Doors(NamedTuple):
    """What the work reaches the world by."""

    journal: Log
    inputs: Reader
    publisher: Publisher


class OutageParams(NamedTuple):
    """What an operator may turn."""

    detect: DetectParams
    missing_from_start: bool | None
    snapshot_batches: int
    """A snapshot stands in the journal every so many batches: a worker that takes over reads no more than these."""


class Prepared(NamedTuple):
    """A batch, judged."""

    step: Record
    snapshot: Record | None
    requests: pl.DataFrame
    warnings: pl.DataFrame
    """WARNINGS."""
    received_us: int | None
    """Reception of the newest event of the batch."""
    rejects: pl.DataFrame = REJECTS.empty()
    """REJECTS of messages that are no rows of their topic."""


class OutageWork:
    """Judges batches, writes the journal, says what is new.

    Args:
        doors: Journal, inputs, publisher.
        fleet: METERS.
        params: Thresholds and sizes.
        pace: Is told how long batches take.
        clock: Seconds of a monotonic clock: in silence time goes on at its pace, from the newest evidence.
    """

    def __init__(
        self, doors: Doors, fleet: Fleet, params: OutageParams, pace: Pace, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._doors, self._fleet, self._params, self._pace, self._clock = doors, fleet, params, pace, clock
        self._state: StreamState = at_rest()
        self._positions: Positions = {}
        self._number = 0
        self._since_snapshot = 0
        self._advanced_at = clock()
        self._overtaken_at: float | None = None

    def adopt(self, positions: tuple[Position, ...]) -> None:
        """At work: the journal is claimed and read, what its last record was to say is said again. Else at rest."""
        if not positions:
            self._doors.inputs.rest()
            return
        start = self._clock()
        records = self._doors.journal.claim()
        memory = reduce(added, (record.memory for record in records), Memory.nothing())
        as_of = records[-1].as_of if records else 0
        self._state = restored(memory, as_of, self._fleet, self._params.detect) if records else at_rest()
        known = records[-1].positions if records else {}
        self._positions = self._doors.inputs.seek(known, missing_from_start=self._params.missing_from_start)
        self._number = records[-1].number if records else 0
        self._since_snapshot = len(records)
        self._overtaken_at = None
        if records and records[-1].kind is Kind.STEP:
            # The worker before may have died between its journal and its word.
            last = records[-1].memory
            self._say(said_again(last))
        self._advanced_at = self._clock()
        fields = {
            "epoch": self._doors.journal.epoch,
            "batches": len(records),
            "ms": round(1000 * (self._clock() - start)),
        }
        LOG.info("at work", extra={"fields": fields})

    def enrol(self, registry: Registry) -> None:
        """From the next batch on this registry counts; open incidents keep their ids.

        A snapshot follows the next batch, so that whoever takes over begins with the meters that there are now.
        """
        if hangs_alike(registry.meters, self._fleet.meters):
            return
        start, before = self._clock(), self._fleet
        self._fleet = read_fleet(registry.meters)
        self._state = enrolled(self._state, before, self._fleet, self._params.detect)
        self._since_snapshot = self._params.snapshot_batches
        fields = {"meters": self._fleet.meters.height, "ms": round(1000 * (self._clock() - start))}
        LOG.info("registry", extra={"fields": fields})

    def prepare(self, messages: pl.DataFrame) -> Prepared | None:
        """What follows from the messages; nothing where a tick brings nothing new.

        Raises:
            TerminalError: Another worker writes the journal, and the group does not say so.
        """
        if self._overtaken_at is not None and self._clock() - self._overtaken_at > OVERTAKEN_LIMIT_S:
            raise TerminalError(f"{JOURNAL_TOPIC} is written by a worker of another group")
        start = self._clock()
        evidence, unreadable = read(messages, lambda part: evidence_of(part, self._params.detect))
        as_of = self._state.as_of + int((start - self._advanced_at) * 1_000_000) if self._state.as_of else 0
        advanced = advance(self._state, evidence, self._fleet, self._params.detect, as_of)
        self._state, self._advanced_at = advanced.state, start
        self._positions = _moved(self._positions, messages)
        self._pace.cost_s = self._clock() - start
        says = advanced.outages.height + advanced.requests.height + advanced.warnings.height
        if (messages["topic"] == JOURNAL_TOPIC).all() and not says:
            return None
        written = pl.from_epoch("timestamp_ms", "ms")
        return self._recorded(advanced, evidence)._replace(rejects=rejects_of_messages(unreadable, written))

    def deliver(self, prepared: Prepared | None, token: str) -> None:  # noqa: ARG002  the number of the batch is its name
        """In the journal first, then said and acknowledged; rejects before either. Safe to repeat."""
        if prepared is None or self._overtaken_at is not None:
            return
        if prepared.rejects.height:  # what the journal has read nobody reads again
            publish(self._doors.publisher, REJECTS_TOPIC, prepared.rejects, place_of(prepared.rejects))
            self._doors.publisher.flush()
        if not self._doors.journal.append(prepared.step):
            self._overtaken_at = self._clock()
            LOG.warning("overtaken", extra={"fields": {"number": prepared.step.number}})
            return
        self._say(Said(prepared.step.memory.outages, prepared.requests, prepared.warnings))
        if prepared.snapshot is not None:
            self._doors.journal.append(prepared.snapshot)
        _observe(prepared)

    def _recorded(self, advanced: Advanced, evidence: Evidence) -> Prepared:
        self._number += 1
        self._since_snapshot += 1
        step = Record(Kind.STEP, 0, self._number, self._state.as_of, self._positions, advanced.memory)
        snapshot = None
        if self._since_snapshot >= self._params.snapshot_batches:
            self._since_snapshot = 0
            snapshot = step._replace(kind=Kind.SNAPSHOT, memory=remembered(self._state, self._fleet))
        received = evidence.events["received_at"].to_physical().max()
        when = received if isinstance(received, int) else None
        return Prepared(step, snapshot, advanced.requests, advanced.warnings, when)

    def _say(self, said: Said) -> None:
        for topic, messages in messages_of(said):
            self._doors.publisher.publish(topic, messages)
        self._doors.publisher.flush()


def _moved(positions: Positions, messages: pl.DataFrame) -> Positions:
    moved = {topic: dict(partitions) for topic, partitions in positions.items()}
    newest = (
        messages.filter(pl.col("topic") != JOURNAL_TOPIC).group_by("topic", "partition").agg(pl.col("offset").max())
    )
    for topic, partition, offset in newest.rows():
        moved.setdefault(topic, {})[partition] = offset + 1
    return moved


def _observe(prepared: Prepared) -> None:
    outages = prepared.step.memory.outages
    if prepared.received_us is not None:
        age_s = max(0.0, time.time() - prepared.received_us / 1e6)
        for scope in outages.filter(pl.col("step") == 0)["scope"]:
            telemetry.LAST_GASP_TO_INCIDENT.labels(scope=scope).observe(age_s)
    for scope, state in last_steps(outages).select("scope", "state").rows():
        telemetry.INCIDENTS.labels(scope=scope, state=state).inc()
    fields = {"batch": prepared.step.number, "steps": outages.height, "pings": prepared.requests.height}
    LOG.info("said", extra={"fields": fields})
