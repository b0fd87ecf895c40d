"""Workers killed at every step of their life: at the end every frame is there exactly once, by identity."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import NamedTuple

import polars as pl
import pytest
from accounts import STRAY, STRAYS_ON, Account, account, account_finals, all_rows
from cluster import FULL, Workers
from fleet import Fleet, dark_street, enrol, in_one_pass, on_topics, publish, push, say
from found import Found
from polars.testing import assert_frame_equal

from app.commands.worker import CLOCK_AHEAD_S
from app.inputs import load_meters, load_types
from app.messages import from_messages
from ingest.kafka.settings import KafkaSettings
from ingest.lanes import LAST_GASP_TOPIC, lane_of
from schemas.frames import EVENTS
from storage.store import SqlStore
from validation.params import VeeParams

LIVES = {
    "ingest": (
        "load_windows", "poll", "prepare", "append frames", "append intervals", "append reads", "append replay_windows",
        "append rejects", "publish ami.rejects.v1", "publish ami.heard.v1", "publish ami.dirty-days.v1", "flush",
        "commit",
    ),
    "events": (
        "load_windows", "poll", "prepare", "publish ami.events.v1", "publish ami.rejects.v1", "flush", "commit",
    ),
    "store": (
        "poll", "prepare", "append events", "append outages", "append meters", "append rejects",
        "publish ami.rejects.v1", "publish ami.dirty-days.v1", "flush", "commit",
    ),
    "vee": ("poll", "prepare", "append rejects", "load_context", "append exceptions", "append finals", "commit"),
}  # fmt: skip
"""The calls of each worker's life, in their order."""
SOME = {
    "ingest": ("prepare:after", "append frames:after", "append replay_windows:after", "flush:after", "commit:before",
               "commit:after"),
    "events": ("publish ami.events.v1:after", "commit:before"),
    "store": ("append events:after", "append outages:after", "append meters:after", "append rejects:after",
              "publish ami.dirty-days.v1:after"),
    "vee": ("append rejects:after", "append exceptions:after", "append finals:after"),
}  # fmt: skip
"""Without AMI_FULL=1: the places where order matters most."""
NTH = {"ingest": 2, "events": 1, "store": 1, "vee": 1}
"""An ingest worker lives for a batch before it dies, so that there is something between two deaths."""
SELDOM = ("load_windows", "append rejects", "publish ami.rejects.v1")
"""All partitions of an assignment at once; and what few batches have."""
JUDGED = VeeParams(
    gate_months=True,
    judged_at=datetime(2026, 4, 1, tzinfo=UTC), run_id="", context_days=28, clock_ahead_s=CLOCK_AHEAD_S,
    estimate_after_s=86_400,
)  # fmt: skip


def steps(role: str) -> tuple[str, ...]:
    every = tuple(f"{call}:{when}" for call in LIVES[role] for when in ("before", "after"))
    return every if FULL else SOME[role]


def kill_everywhere(workers: Workers, role: str, supply: Callable[[], None]) -> int:
    """The worker has died at each of its steps; how often. What is left waits for another.

    Args:
        supply: Called before each death: what the step needs is there, however much the one before has committed.
    """
    for step in steps(role):
        supply()
        assert workers.lag(role), f"nothing was left for {role} to die of before {step}"
        workers.die(role, step, 1 if step.startswith(SELDOM) else NTH[role])
    return len(steps(role))


class Others(NamedTuple):
    """What other workers and the operator say beside the frames."""

    settings: KafkaSettings
    meters: pl.DataFrame
    outages: pl.DataFrame

    def enrol(self) -> None:
        enrol(self.settings, self.meters)

    def stray(self) -> None:
        """Messages that are no rows of their topic."""
        for topic in STRAYS_ON:
            publish(self.settings, topic, pl.DataFrame({"key": ["stray"], "value": [STRAY]}))

    def speak(self) -> None:
        """Incidents, a meter once more, and strays."""
        say(self.settings, self.outages)
        enrol(self.settings, self.meters[:1])
        self.stray()


@pytest.fixture
def others(workers: Workers, fleet: Fleet) -> Others:
    meters = load_meters(fleet.meters, load_types(None))
    return Others(workers.settings, meters, dark_street(meters))


def test_whatever_step_kills_whatever_worker_no_frame_is_lost_or_there_twice(
    workers: Workers, store: SqlStore, fleet: Fleet, others: Others, note: Callable[[Account], None]
) -> None:
    others.enrol()
    push(workers.settings, fleet.payloads)
    deaths = {}
    for role in LIVES:
        deaths[role] = kill_everywhere(workers, role, others.speak if role == "store" else others.stray)
        workers.run_out(role)
    workers.run_out("store")  # of strays that came after it had ended
    told = account("", 0, store, workers.settings, fleet)
    for role in ("ingest", "events", "store"):
        note(told._replace(case=f"{role} worker, SIGKILL at {deaths[role]} steps", deaths=deaths[role]))
    known = store.load_current("meters")
    assert_frame_equal(
        known.sort("meter_id"), others.meters.sort("meter_id"), check_dtypes=False, categorical_as_str=True
    )
    incidents = store.load_current("outages").select("incident_id", "step").sort("step")
    assert_frame_equal(incidents, others.outages.select("incident_id", "step").sort("step"))
    finals = account_finals(store, workers.settings, others.meters, JUDGED)
    note(told._replace(case=f"vee worker, the same ({finals:,} finals, each once)", deaths=deaths["vee"]))


def test_every_call_that_a_worker_makes_is_a_step_of_its_life(
    workers: Workers, store: SqlStore, fleet: Fleet, others: Others
) -> None:
    """At a call that nobody named nobody would die, and a step that no worker comes to would kill nobody."""
    others.enrol()
    push(workers.settings, fleet.payloads)
    others.speak()
    for role in LIVES:
        workers.run_out(role)
    assert {role: workers.reached(role) for role in LIVES} == {role: set(calls) for role, calls in LIVES.items()}


def test_partitions_may_move_between_workers_in_mid_batch(
    workers: Workers, store: SqlStore, fleet: Fleet, note: Callable[[Account], None]
) -> None:
    push(workers.settings, fleet.payloads)
    one = workers.start("ingest")
    workers.wait_begun("ingest", one)
    two = workers.as_instance("two").start("ingest")
    workers.end(one)
    one = workers.start("ingest")
    two.kill()
    two.wait()
    workers.wait_idle("ingest", one)
    workers.end(one)
    workers.run_out("events", "store")
    note(account("rebalance: a second worker comes in mid-batch and is killed", 1, store, workers.settings, fleet))


def test_copies_and_reordered_messages_change_nothing(
    workers: Workers, store: SqlStore, fleet: Fleet, note: Callable[[Account], None]
) -> None:
    """Thirds of the whole run change places, last gasps among them: what a counter refuses then stops no worker."""
    mixed = [*fleet.payloads[::3], *fleet.payloads[2::3], *fleet.payloads[1::3], *fleet.payloads[::10]]
    push(workers.settings, mixed)
    for step in ("append intervals:after", "commit:before"):
        workers.die("ingest", step, 2)
    workers.run_out("ingest", "events", "store")
    told = account("copies of a tenth, the rest out of order", 2, store, workers.settings, Fleet(fleet.folder, mixed))
    assert told.copies >= len(fleet.payloads) // 20
    note(told)


def test_a_full_disk_holds_the_worker_up_and_loses_nothing(
    workers: Workers, store: SqlStore, fleet: Fleet, note: Callable[[Account], None]
) -> None:
    few = fleet._replace(payloads=fleet.payloads[:600])
    push(workers.settings, few.payloads)
    worker = workers.start("ingest", "disk full", 7)
    workers.wait_idle("ingest", worker)
    workers.end(worker)
    assert b"NOT_ENOUGH_SPACE" in workers.log.read_bytes()
    note(account("disk full on the first 7 inserts", 0, store, workers.settings, few, published=False))


def test_events_flow_while_the_database_is_down_and_are_stored_when_it_is_back(
    workers: Workers, store: SqlStore, fleet: Fleet, clickhouse: Found
) -> None:
    assert clickhouse.process is not None
    small = [payload for payload in fleet.payloads if lane_of(payload, over_udp=False) == LAST_GASP_TOPIC]
    clickhouse.process.stop()
    try:
        push(workers.settings, small)
        for step in ("publish ami.events.v1:after", "flush:after"):
            workers.die("events", step, 1)
        workers.run_out("events")
    finally:
        clickhouse.process.run()
    wanted = in_one_pass(on_topics(workers.settings, LAST_GASP_TOPIC), fleet.registry()).events
    assert wanted.height > 0
    published = from_messages(on_topics(workers.settings, "ami.events.v1")["payload"].to_list(), EVENTS)
    assert_frame_equal(published.unique().sort(published.columns), wanted.unique().sort(wanted.columns))
    workers.run_out("store")
    stored = all_rows(store, "events")
    assert_frame_equal(stored.sort(stored.columns), wanted.unique().sort(stored.columns))
