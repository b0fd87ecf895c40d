"""Delivery to outage systems: steps of incidents into stored letters; couriers beside, that nobody waits for.

    ami.outages, ami.ping-results ──poll─► letters and positions, on disk together     (this lane)
    outbox ──courier─► HTTPS                                                          (a thread a counterparty)

Detection is another process: whatever an outage system does, it goes on. `app.oms_reception` hears what they ask.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Final, NamedTuple, Protocol

import polars as pl

from app import telemetry
from app.outage_messages import ping_results
from app.outage_source import PING_RESULTS_TOPIC
from app.unreadable import sift
from app.workers import OUTAGES_TOPIC, Registry
from ingest.kafka.source import Position
from outage.circumstances import PINGS, PingAnswer
from outage.delivery import Delivery, Pumped
from outage.letter import Letter
from outage.messages.letters import ping_letter
from outage.messages.multispeak import Version
from outage.messages.multispeak_requests import Incoming, PingRequest
from outage.oms_outbox import Check, Outbox, Step
from outage.stream_record import Positions
from outage.stream_said import said_steps

LOG = logging.getLogger("ami.oms")

OMS_TOPICS: Final = (OUTAGES_TOPIC, PING_RESULTS_TOPIC)
COURIER_PAUSE_S: Final = 0.2
UNCHANGED_S: Final = 90 * 86_400
"""Incidents of which nothing came for so long are forgotten."""
TIDY_EVERY_S: Final = 600


class Reader(Protocol):
    """Where the topics are read from; see `outage.stream_inputs.Inputs`."""

    def seek(self, positions: Positions, *, missing_from_start: bool | None) -> Positions: ...


class Post(NamedTuple):
    """One counterparty: what is stored for it, and how its letters are written."""

    name: str
    outbox: Outbox
    letters: Callable[[pl.DataFrame], Iterable[Letter]]
    """OUTAGES to letters, in the order of the rows."""
    delivery: Delivery
    whole: bool = False
    """Its letters tell an incident whole: all steps are kept."""


class OmsWork:
    """Letters of every counterparty, on disk before anything else happens to them.

    Args:
        inputs: Topics, read outside every group: positions stand in the outboxes.
        posts: The counterparties.
        missing_from_start: Where an outbox without positions begins.
        check: Raises what stopped a courier.
        enrol: Is told of METERS when the registry has changed.
        clock: Seconds since 1970.
    """

    def __init__(
        self,
        inputs: Reader,
        posts: Sequence[Post],
        *,
        missing_from_start: bool | None,
        check: Callable[[], None] = lambda: None,
        enrol: Callable[[pl.DataFrame], None] = lambda _: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._inputs, self._posts, self._check, self._enrol, self._clock = inputs, posts, check, enrol, clock
        self._missing_from_start = missing_from_start
        self._tidied_at = clock()

    def adopt(self, positions: tuple[Position, ...]) -> None:
        """Reading begins where the outbox that is furthest behind ends; what the others know is left out."""
        if not positions:
            return
        least: Positions = {}
        for post in self._posts:
            known = self._inputs.seek(post.outbox.positions(), missing_from_start=self._missing_from_start)
            post.outbox.put((), known)
            for topic, parts in known.items():
                for partition, at in parts.items():
                    behind = least.setdefault(topic, {})
                    behind[partition] = min(at, behind.get(partition, at))
        self._inputs.seek(least, missing_from_start=self._missing_from_start)

    def enrol(self, registry: Registry) -> None:
        """Whoever asks about a meter is answered by this registry from now on."""
        self._enrol(registry.meters)

    def prepare(self, messages: pl.DataFrame) -> pl.DataFrame:
        """The messages as they came, and whether each is `readable`; raises what stopped a courier.

        Those that are not are told; rejects of them come from who else reads the topics: store and outage workers.
        """
        self._check()
        bad = sift(messages.with_row_index("row").filter(pl.col("value").is_not_null()), _parse).unreadable
        return messages.with_columns(readable=~pl.int_range(pl.len(), dtype=pl.UInt32).is_in(bad["row"].implode()))

    def deliver(self, messages: pl.DataFrame, token: str) -> None:  # noqa: ARG002  positions are its token
        """On the disk of every counterparty. Safe to repeat: positions say what an outbox has."""
        for post in self._posts:
            self._store(post, messages)
        self._tidy()

    def _store(self, post: Post, messages: pl.DataFrame) -> None:
        known = post.outbox.positions()
        fresh = after(messages, known)
        of_topic = {topic: fresh.filter(pl.col("topic") == topic, "readable") for topic in OMS_TOPICS}
        said = of_topic[OUTAGES_TOPIC]["value"].to_list()
        steps = said_steps(said)
        if post.whole:
            names = zip(steps["incident_id"], steps["step"], said, strict=True)
            post.outbox.keep((Step(*name) for name in names), self._clock())
        post.outbox.answer(_answers(of_topic[PING_RESULTS_TOPIC]))
        answerable = post.outbox.answerable(self._clock())
        letters = [*post.letters(steps), *(_ping_letter(checks, self._clock()) for checks in answerable)]
        if fresh.is_empty() and not letters:
            return
        new = post.outbox.put(letters, moved(known, fresh), [checks[0].request for checks in answerable])
        fields = {"counterparty": post.name, "steps": steps.height, "new": new, "answers": len(answerable)}
        LOG.info("letters", extra={"fields": fields})

    def _tidy(self) -> None:
        if self._clock() - self._tidied_at < TIDY_EVERY_S:
            return
        self._tidied_at = self._clock()
        for post in self._posts:
            post.outbox.forget_sent(older_than=self._clock() - UNCHANGED_S)


def after(messages: pl.DataFrame, positions: Positions) -> pl.DataFrame:
    """The messages at those positions and behind, in their order; ticks are none."""
    places = [(topic, part, at) for topic, parts in positions.items() for part, at in parts.items()]
    known = pl.DataFrame(places, schema={"topic": pl.String, "partition": pl.Int32, "next": pl.Int64}, orient="row")
    return (
        messages.join(known, on=["topic", "partition"], how="left", maintain_order="left")
        .filter(
            pl.col("topic").is_in(OMS_TOPICS),
            pl.col("value").is_not_null(),
            pl.col("offset") >= pl.col("next").fill_null(0),
        )
        .drop("next")
    )


def moved(positions: Positions, messages: pl.DataFrame) -> Positions:
    """The positions behind those messages."""
    there = {topic: dict(parts) for topic, parts in positions.items()}
    for topic, partition, offset in messages.group_by("topic", "partition").agg(pl.col("offset").max()).rows():
        there.setdefault(topic, {})[partition] = offset + 1
    return there


def _answers(messages: pl.DataFrame) -> list[tuple[str, str, int]]:
    results = ping_results(messages["value"].to_list())
    return results.select("request_id", "answer", pl.col("answered_at").to_physical()).rows()


def _parse(messages: pl.DataFrame) -> None:
    """Raises `ContractError` where a message is no rows of its topic."""
    said_steps(messages.filter(pl.col("topic") == OUTAGES_TOPIC)["value"].to_list())
    ping_results(messages.filter(pl.col("topic") == PING_RESULTS_TOPIC)["value"].to_list())


def _ping_letter(checks: list[Check], now: float) -> Letter:
    """The answer to a request; a meter that said nothing in time is `unknown`."""
    first, now_us = checks[0], int(now * 1e6)
    rows = [(c.meter, c.answered_us or now_us, c.answer or PingAnswer.UNKNOWN.value) for c in checks]
    answers = pl.DataFrame(
        rows, schema={"meter_id": pl.String, "answered_at": PINGS["answered_at"], "answer": pl.String}, orient="row"
    )
    request = PingRequest((), datetime.fromtimestamp(now, UTC), None, first.transaction, None)
    asked = Incoming("InitiateOutageDetectionEventRequest", Version(first.version), request)
    return ping_letter(first.request, asked, answers)


class Couriers:
    """A thread a counterparty, which brings what is due for as long as the worker lives."""

    def __init__(self, posts: Sequence[Post]) -> None:
        self._stop = threading.Event()
        self._posts = posts
        self._open = dict.fromkeys((post.name for post in posts), False)
        self._stored = {post.name: post.outbox.counts() for post in posts}
        self._pool = ThreadPoolExecutor(max(1, len(posts)), thread_name_prefix="courier")
        self._running: list[Future[None]] = [self._pool.submit(self._run, post) for post in posts]

    def check(self) -> None:
        """Raises what stopped a courier: a disk that is full or broken stops the worker, with its reason."""
        for running in self._running:
            if running.done():
                running.result()

    def close(self) -> None:
        """No further letter is sent; the one on its way gets its answer, or its time-out."""
        self._stop.set()
        self._pool.shutdown(wait=True)

    def _run(self, post: Post) -> None:
        while not self._stop.is_set():
            self._observe(post, post.delivery.pump(time.time, self._stop))
            self._stop.wait(COURIER_PAUSE_S)

    def _observe(self, post: Post, done: Pumped) -> None:
        for outcome, number in zip(("accepted", "refused", "postponed"), done[:3], strict=True):
            telemetry.OMS_LETTERS.labels(outcome=outcome).inc(number)
        changed = self._open[post.name] != done.circuit_open
        self._open[post.name] = done.circuit_open
        telemetry.OMS_CIRCUITS_OPEN.set(sum(self._open.values()))
        if changed or any(done[:3]):
            counts = post.outbox.counts()
            self._stored[post.name] = counts
            for state in ("waiting", "refused"):
                number = sum(getattr(stored, state) for stored in self._stored.values())
                telemetry.OMS_LETTERS_STORED.labels(state=state).set(number)
            fields = {"counterparty": post.name, **done._asdict(), "waiting": counts.waiting, "aside": counts.refused}
            LOG.log(logging.WARNING if done.circuit_open else logging.INFO, "delivered", extra={"fields": fields})
