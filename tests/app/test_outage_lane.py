"""What the outage worker says, and when: after its journal, once, and again after a death in between."""

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from app.inputs import load_keyring, load_types
from app.messages import to_messages
from app.outage_lane import Doors, OutageParams, OutageWork
from app.outage_source import JOURNAL_TOPIC, NOTES_TOPIC, PING_RESULTS_TOPIC, Pace
from app.store_lane import StoreWork
from app.workers import EVENTS_TOPIC, HEARD_TOPIC, OUTAGES_TOPIC, REJECTS_TOPIC, Registry
from ingest.kafka.source import Position
from outage.params import DetectParams
from outage.stream_fleet import read_fleet
from outage.stream_record import Kind
from outage.stream_said import said_steps
from schemas.errors import TerminalError, TransientError
from schemas.frames import EVENTS, HEARD, METERS, UTC_US, conform
from tests.failing_publisher import FailingPublisher
from tests.memory_inputs import MemoryInputs
from tests.memory_journal import MemoryJournal
from tests.noting_store import noting_store

T0 = datetime(2026, 1, 10, 10, tzinfo=UTC)
NAMES = [f"M{i}" for i in range(12)]
FLEET = read_fleet(
    conform(
        pl.DataFrame(
            {"meter_id": NAMES, "transformer_id": [f"T{i // 6}" for i in range(12)], "feeder_id": ["F0"] * 12}
        ),
        METERS,
    )
)
PARAMS = OutageParams(DetectParams(), missing_from_start=True, snapshot_batches=2)
OURS = (Position(JOURNAL_TOPIC, 0, 1),)
LOGS = {EVENTS_TOPIC: {3: (0, 0)}}
"""Of the inputs, before a test begins."""


class Publisher(FailingPublisher):
    """One that tells its story; `said` is what was acknowledged of outages."""

    def __init__(self, story: list[object]) -> None:
        super().__init__()
        self.story, self.said = story, []

    def publish(self, topic: str, rows: pl.DataFrame) -> int:
        self.story.append(topic)
        return super().publish(topic, rows)

    def flush(self) -> None:
        before = len(self.values(OUTAGES_TOPIC))
        super().flush()
        self.story.append("flush")
        self.said += self.values(OUTAGES_TOPIC)[before:]


class World:
    def __init__(self) -> None:
        self.now, self.story = 0.0, []
        self.journal, self.inputs = MemoryJournal(story=self.story), MemoryInputs(LOGS)
        self.publisher = Publisher(self.story)

    def worker(self, params: OutageParams = PARAMS) -> OutageWork:
        work = OutageWork(
            Doors(self.journal, self.inputs, self.publisher), FLEET, params, Pace(), clock=lambda: self.now
        )
        work.adopt(OURS)
        return work


def gasps(meters: list[str], at: datetime = T0) -> pl.DataFrame:
    rows = {
        "topic": "t", "partition": 0, "offset": range(len(meters)), "frame": 0, "received_at": at, "meter_id": meters,
        "event": "last_gasp", "code": 1, "origin": "meter", "occurred_at": at, "sequence": None, "authenticated": True,
    }  # fmt: skip
    return conform(pl.DataFrame(rows, schema_overrides={"sequence": pl.Int64}), EVENTS)


def on(topic: str, rows: pl.DataFrame, offset: int = 0, stamp: datetime = T0) -> pl.DataFrame:
    """One message, as the source polls it."""
    values = to_messages(rows, pl.Series(["k"] * rows.height))["value"]
    stamp_ms = int(stamp.timestamp() * 1000)
    return pl.DataFrame(
        {"topic": topic, "partition": 3, "offset": offset, "timestamp_ms": stamp_ms, "value": values},
        schema={"topic": pl.String, "partition": pl.Int32, "offset": pl.Int64, "timestamp_ms": pl.Int64,
                "value": pl.Binary},
    )  # fmt: skip


TICK = on(JOURNAL_TOPIC, HEARD.empty()).clear()
STREET = on(EVENTS_TOPIC, gasps(NAMES[:6]), 41)


def test_it_is_in_the_journal_before_it_is_said() -> None:
    world = World()
    work = world.worker()
    work.deliver(work.prepare(STREET), "")
    assert world.story[:3] == [Kind.STEP, OUTAGES_TOPIC, "flush"]
    assert said_steps(world.publisher.said)["node_id"].unique().to_list() == ["F0"]
    assert world.journal.records[-1].positions == {EVENTS_TOPIC: {3: 42}}


def test_a_worker_that_was_overtaken_says_nothing_and_stops_unless_its_group_says_so() -> None:
    world = World()
    work = world.worker()
    world.journal.overtaken = True
    work.deliver(work.prepare(STREET), "")
    assert world.story == []
    world.now += 31
    with pytest.raises(TerminalError, match="another group"):
        work.prepare(STREET)
    work.adopt(())
    assert world.inputs.sought[-1] == "rest"
    world.journal.overtaken = False
    work.adopt(OURS)
    work.deliver(work.prepare(STREET), "")
    assert world.publisher.said


def test_nothing_is_said_while_the_journal_is_away_and_the_same_afterwards() -> None:
    world = World()
    work = world.worker()
    prepared = work.prepare(STREET)
    world.journal.away = True
    with pytest.raises(TransientError):
        work.deliver(prepared, "")
    assert world.publisher.said == []
    world.journal.away = False
    work.deliver(prepared, "")
    assert len(world.publisher.said) == prepared.step.memory.outages.height


def test_what_the_last_record_was_to_say_is_said_again_by_whoever_takes_over() -> None:
    world = World()
    work = world.worker()
    world.journal.append(work.prepare(STREET).step)
    assert world.publisher.said == []
    second = world.worker()
    assert said_steps(world.publisher.said)["node_id"].unique().to_list() == ["F0"]
    assert world.inputs.sought[-1] == {EVENTS_TOPIC: {3: 42}}
    said = len(world.publisher.said)
    second.deliver(second.prepare(STREET), "")
    assert len(world.publisher.said) == said, "read again, nothing new"
    assert world.journal.records[1].number == 2


def test_a_snapshot_follows_every_so_many_batches_and_is_enough_to_go_on() -> None:
    world = World()
    work = world.worker()
    for minute in range(3):
        heard = conform(pl.DataFrame({"meter_id": NAMES[6:], "read_at": T0 + timedelta(minutes=minute)}), HEARD)
        batch = pl.concat([STREET, on(HEARD_TOPIC, heard, minute, T0 + timedelta(minutes=minute))])
        work.deliver(work.prepare(batch), "")
    assert [record.kind for record in world.journal.records] == [Kind.STEP, Kind.STEP, Kind.SNAPSHOT, Kind.STEP]
    del world.journal.records[:2]
    world.publisher.said.clear()
    second = world.worker()
    second.deliver(second.prepare(STREET), "")
    assert world.publisher.said == []


def test_in_silence_time_goes_on_and_a_hold_ends() -> None:
    world = World()
    work = world.worker()
    work.deliver(work.prepare(on(EVENTS_TOPIC, gasps(NAMES[:1]))), "")
    assert world.publisher.said == []
    world.now += 200
    assert work.prepare(TICK) is None
    world.now += 101
    work.deliver(work.prepare(TICK), "")
    assert said_steps(world.publisher.said)["scope"].to_list() == ["individual"]


def test_a_read_of_the_future_moves_nothing() -> None:
    world = World()
    work = world.worker()
    heard = conform(pl.DataFrame({"meter_id": NAMES[9:], "read_at": T0 + timedelta(days=400)}), HEARD)
    work.prepare(pl.concat([STREET, on(HEARD_TOPIC, heard)]))
    later = work.prepare(on(EVENTS_TOPIC, gasps(NAMES[6:9], T0 + timedelta(hours=2))))
    assert later.step.as_of < (T0 + timedelta(days=1)).timestamp() * 1e6


def answered(meters: list[str], at: datetime) -> pl.DataFrame:
    return pl.DataFrame(
        {"request_id": "r", "meter_id": meters, "result": "no_power", "answered_at": at, "authenticated": None},
        schema_overrides={"answered_at": UTC_US, "authenticated": pl.Boolean},
    )


def test_an_answer_of_the_future_moves_nothing() -> None:
    """One of them would have ended detection: whatever came later was too old, and the journal kept that."""
    world = World()
    work = world.worker()
    work.prepare(on(PING_RESULTS_TOPIC, answered(NAMES[:1], T0 + timedelta(days=400))))
    prepared = work.prepare(STREET)
    assert prepared is not None
    assert prepared.step.as_of < (T0 + timedelta(days=1)).timestamp() * 1e6
    assert prepared.step.memory.outages["state"].to_list() == ["reported"]


def test_a_message_with_lines_between_its_rows_is_no_rows() -> None:
    world = World()
    work = world.worker()
    heard = conform(pl.DataFrame({"meter_id": NAMES[9:], "read_at": T0}), HEARD)
    gaping = on(HEARD_TOPIC, heard).with_columns(value=pl.col("value").bin.encode("hex").str.replace("7d0a", "7d0a0a"))
    prepared = work.prepare(pl.concat([gaping.with_columns(pl.col("value").str.decode("hex")), STREET]))
    assert prepared is not None
    assert prepared.rejects["topic"].to_list() == [HEARD_TOPIC]
    assert prepared.step.memory.outages["node_id"].unique().to_list() == ["F0"]


def test_an_answered_ping_confirms() -> None:
    world = World()
    work = world.worker()
    answers = answered(NAMES[7:9], T0 + timedelta(minutes=1))
    prepared = work.prepare(pl.concat([on(EVENTS_TOPIC, gasps(NAMES[6:7])), on(PING_RESULTS_TOPIC, answers)]))
    assert prepared.step.memory.outages["node_id"].unique().to_list() == ["T1"]


def test_what_is_said_comes_back_as_outages_and_is_stored() -> None:
    world = World()
    work = world.worker()
    prepared = work.prepare(STREET)
    work.deliver(prepared, "")
    again = said_steps(world.publisher.said)
    assert again.equals(prepared.step.memory.outages)
    messages = pl.DataFrame({"topic": OUTAGES_TOPIC, "value": world.publisher.said})
    with noting_store() as tables:
        store = StoreWork(tables, Publisher([]), FLEET.meters)
        store.deliver(store.prepare(messages), "token")
    stored = tables.rows
    assert stored["outages"].equals(again)
    assert stored["events"].is_empty()


def test_messages_that_are_no_rows_are_rejected_before_the_journal_and_others_are_judged() -> None:
    world = World()
    work = world.worker()
    rubbish = [
        STREET.with_columns(topic=pl.lit(topic), offset=pl.lit(at, pl.Int64), value=pl.lit(b"{"))
        for at, topic in enumerate((EVENTS_TOPIC, HEARD_TOPIC, PING_RESULTS_TOPIC, NOTES_TOPIC), 50)
    ]
    prepared = work.prepare(pl.concat([*rubbish[:2], STREET, *rubbish[2:]]))
    assert prepared is not None
    assert prepared.rejects["offset"].to_list() == [50, 51, 52, 53]
    assert prepared.rejects["received_at"].unique().to_list() == [T0]
    work.deliver(prepared, "")
    assert world.story[:5] == [REJECTS_TOPIC, "flush", Kind.STEP, OUTAGES_TOPIC, "flush"]
    assert said_steps(world.publisher.said)["node_id"].unique().to_list() == ["F0"]
    assert world.journal.records[-1].positions[HEARD_TOPIC] == {3: 52}


def test_another_registry_keeps_the_incidents_and_a_snapshot_hands_it_on() -> None:
    """A new substation whose name comes first, and a meter of the street that is gone: other numbers, the same id."""
    world = World()
    work = world.worker(PARAMS._replace(snapshot_batches=100))
    work.deliver(work.prepare(STREET), "")
    (said,) = said_steps(world.publisher.said)["incident_id"].unique()
    rows = [{"meter_id": "A1", "transformer_id": "A", "feeder_id": "A"}]
    meters = conform(
        pl.concat([conform(pl.DataFrame(rows), METERS), FLEET.meters.filter(pl.col("meter_id") != "M3")]), METERS
    )
    registry = Registry.of(load_keyring(None), meters, load_types(None))
    work.enrol(registry)
    up = gasps(NAMES[:6], T0 + timedelta(minutes=20)).with_columns(event=pl.lit("power_up", EVENTS.schema["event"]))
    assert [record.kind for record in world.journal.records] == [Kind.STEP]
    work.deliver(work.prepare(on(HEARD_TOPIC, heard("A1", T0 + timedelta(minutes=1)))), "")
    assert [record.kind for record in world.journal.records] == [Kind.STEP, Kind.STEP, Kind.SNAPSHOT]
    heir = OutageWork(
        Doors(world.journal, world.inputs, world.publisher), read_fleet(meters), PARAMS, Pace(), clock=lambda: world.now
    )
    heir.adopt(OURS)
    for worker in (work, heir):
        worker.enrol(registry)
        seen = worker.prepare(on(EVENTS_TOPIC, up, 42))
        assert seen is not None
        outages = seen.step.memory.outages
        assert outages.select("incident_id", pl.col("state").cast(pl.String)).rows()[-1] == (said, "restored")
        assert outages["incident_id"].unique().to_list() == [said]


def registry_of(meters: pl.DataFrame) -> Registry:
    return Registry.of(load_keyring(None), meters, load_types(None))


class DiedError(Exception):
    """The process is gone."""


def dying(call, visits: int):
    """The call, of which the last visit does not come to pass."""
    left = iter(range(visits - 1))

    def called(*arguments):
        if next(left, None) is None:
            raise DiedError
        return call(*arguments)

    return called


def a_meter_leaves(dies_at: tuple[str, str, int] | None) -> list[tuple[object, ...]]:
    """What is said, of each step the newest, when a street and an individual are dark and the individual's meter goes.

    Args:
        dies_at: Door, call and visit, with the batch behind the change, that the worker does not live to see.
    """
    world = World()
    work = world.worker(PARAMS._replace(snapshot_batches=100))
    minute, later = T0 + timedelta(minutes=1), T0 + timedelta(minutes=10)
    alive = [on(HEARD_TOPIC, heard(name, minute), 6, minute) for name in NAMES[6:11]]
    work.deliver(work.prepare(pl.concat([on(EVENTS_TOPIC, gasps([*NAMES[:6], "M11"]), 41), *alive])), "")
    world.now += 400
    work.deliver(work.prepare(TICK), "")
    registry = registry_of(FLEET.meters.filter(pl.col("meter_id") != "M11"))
    batch = on(HEARD_TOPIC, heard("M6", later), 7, later)
    work.enrol(registry)
    if dies_at is None:
        work.deliver(work.prepare(batch), "")
    else:
        door, call, visits = dies_at
        owner = getattr(world, door)
        setattr(owner, call, dying(getattr(owner, call), visits))
        with pytest.raises(DiedError):
            work.deliver(work.prepare(batch), "")
        delattr(owner, call)
        doors = Doors(world.journal, world.inputs, world.publisher)
        work = OutageWork(doors, FLEET, PARAMS, Pace(), clock=lambda: world.now)
        # As `Following` does it: the registry is looked up before the journal is taken over.
        work.enrol(registry)
        work.adopt(OURS)
        if HEARD_TOPIC not in world.inputs.sought[-1] or world.inputs.sought[-1][HEARD_TOPIC] == {3: 7}:
            work.deliver(work.prepare(batch), "")
    up = gasps(NAMES[:6], T0 + timedelta(minutes=20)).with_columns(event=pl.lit("power_up", EVENTS.schema["event"]))
    work.deliver(work.prepare(on(EVENTS_TOPIC, up, 43)), "")
    said = said_steps(world.publisher.said).sort("updated_at", maintain_order=True)
    newest = said.unique(["incident_id", "step"], keep="last", maintain_order=True).sort(
        "node_id", "incident_id", "step"
    )
    return newest.select("incident_id", "node_id", "step", pl.col("state").cast(pl.String), "meters_out").rows()


@pytest.mark.parametrize(
    "dies_at",
    [("journal", "append", 1), ("publisher", "publish", 1), ("publisher", "flush", 1), ("journal", "append", 2)],
    ids=["before the step", "before its word", "before it is acknowledged", "before the snapshot"],
)
def test_a_meter_leaves_the_registry_and_the_worker_dies_with_the_next_batch(dies_at: tuple[str, str, int]) -> None:
    """The individual's incident ends once, whoever tells it; the street's goes on under its id."""
    told = a_meter_leaves(None)
    assert [row[1:4] for row in told] == [
        ("M11", 0, "reported"), ("M11", 1, "cancelled"), ("T0", 0, "reported"), ("T0", 1, "confirmed"),
        ("T0", 2, "restored"),
    ]  # fmt: skip
    assert a_meter_leaves(dies_at) == told


def heard(meter: str, at: datetime) -> pl.DataFrame:
    return conform(pl.DataFrame({"meter_id": [meter], "read_at": [at]}), HEARD)
