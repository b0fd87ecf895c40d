"""Registry changes reach workers by the meter, whole states, and a bad one stops nobody."""

import json
import logging
import threading
from datetime import UTC, datetime

import polars as pl
import pytest

from app.commands.meters import changed_states
from app.embedded import MemoryPublisher
from app.following import Following, RegistryFeed
from app.messages import to_messages
from app.meter_states import METERS_TOPIC, states_of
from app.registry import parse_meters
from app.store_lane import StoreWork
from app.workers import Registry
from ingest import meter_types
from ingest.kafka.compacted import Newest
from ingest.keyring import Keyring
from schemas.errors import ContractError
from schemas.frames import METERS
from tests.memory_topic import MemoryTopic
from tests.noting_store import noting_store

AT = datetime(2026, 3, 1, tzinfo=UTC)


def rows(text: str) -> pl.DataFrame:
    return parse_meters("meter_id,meter_type,system_title,installed_at,removed_at\n" + text, "meters.csv")


def values(text: str) -> dict[bytes, Newest]:
    meters = rows(text)
    messages = to_messages(meters, meters["meter_id"])
    return {
        key.encode(): Newest(value, 0, f"ami.meters.v1/0@{i}")
        for i, (key, value) in enumerate(zip(messages["key"], messages["value"], strict=True))
    }


def feed_on(topic: MemoryTopic, meters: pl.DataFrame | None = None, every_s: float = 0.0) -> RegistryFeed:
    base = Registry.of(Keyring.empty(), METERS.empty() if meters is None else meters, meter_types.BUILT_IN)
    now = iter(range(10_000))
    return RegistryFeed(topic, base, every_s, lambda: float(next(now)))


def ids(feed: RegistryFeed) -> list[str]:
    return feed.registry.meters["meter_id"].to_list()


def test_a_meter_of_the_topic_replaces_that_of_the_file_with_all_its_installations():
    topic = MemoryTopic()
    feed = feed_on(topic, rows("A,generic,,,\nB,generic,,,\n"))
    topic.write(values("A,generic,,2025-01-01T00:00:00Z,2026-01-01T00:00:00Z\nA,generic,,2026-01-01T00:00:00Z,\n"))
    assert feed.look()
    assert ids(feed) == ["A", "A", "B"]
    assert not feed.look()


def test_a_message_without_a_value_takes_the_meter_away():
    topic = MemoryTopic()
    feed = feed_on(topic, rows("A,generic,,,\nB,generic,,,\n"))
    topic.write({b"A": Newest(None, 0, "x")})
    feed.look()
    assert ids(feed) == ["B"]


def test_a_title_may_pass_from_one_meter_to_another():
    topic = MemoryTopic()
    feed = feed_on(topic, rows("A,generic,4d4d4d0000000001,,\nB,generic,,,\n"))
    topic.write(values("A,generic,,,\nB,generic,4d4d4d0000000001,,\n"))
    feed.look()
    assert feed.registry.meters.filter(pl.col("meter_id") == "B")["system_title"].to_list() == ["4d4d4d0000000001"]


def test_a_change_that_cannot_be_taken_is_told_by_its_place_and_holds_up_no_other(caplog: pytest.LogCaptureFixture):
    topic = MemoryTopic()
    feed = feed_on(topic, rows("A,generic,4d4d4d0000000001,,\n"))
    good = values("C,generic,,,\nD,generic,,,\nE,generic,,,\n")
    bad = {b"X": Newest(b'{"no": "row"}\n', 0, "ami.meters.v1/3@17"), b"T": values("T,no_such_type,,,\n")[b"T"],
           b"Y": values("Z,generic,,,\n")[b"Z"]}  # fmt: skip
    twin = values("B,generic,4d4d4d0000000001,,\n")
    topic.write({**bad, **good, **twin})
    with caplog.at_level(logging.INFO, "ami.registry"):
        assert feed.look()
    assert ids(feed) == ["A", "C", "D", "E"]
    told = caplog.records[-1].fields
    assert told["refused"] == 4
    assert "ami.meters.v1/3@17" in told["places"]


@pytest.mark.parametrize(
    "wrong",
    [{"timezone": "Nowhere/Land"}, {"interval_s": 7}, {"interval_s": 0}, {"multiplier": 0}, {"channels": ["heat"]}],
    ids=str,
)
def test_a_change_that_no_file_could_make_is_refused_and_neither_followed_nor_stored(wrong: dict[str, object]):
    """An unknown zone stopped VEE and the store worker of every meter."""
    topic = MemoryTopic()
    feed = feed_on(topic)
    good, state = values("A,generic,,,\n"), json.loads(values("B,generic,,,\n")[b"B"].value)
    value = json.dumps(state | wrong).encode()
    topic.write(good | {b"B": Newest(value, 0, "ami.meters.v1/0@9")})
    feed.look()
    assert ids(feed) == ["A"]
    message = {"topic": METERS_TOPIC, "partition": 0, "offset": [9], "at": [AT], "value": [value]}
    kinds = {"value": pl.Binary(), "at": pl.Datetime("us", "UTC")}
    with pytest.raises(ContractError):
        states_of(pl.DataFrame(message, schema_overrides=kinds))


def test_what_was_refused_is_tried_again_with_the_next_change():
    topic = MemoryTopic()
    feed = feed_on(topic, rows("A,generic,4d4d4d0000000001,,\n"))
    topic.write(values("B,generic,4d4d4d0000000001,,\n"))
    assert not feed.look()
    topic.write(values("A,generic,,,\n"))
    feed.look()
    assert ids(feed) == ["A", "B"]


def test_while_the_brokers_are_away_the_registry_stays():
    topic = MemoryTopic()
    feed = feed_on(topic, rows("A,generic,,,\n"))
    topic.away = True
    assert not feed.look()
    assert ids(feed) == ["A"]


def test_the_topic_is_looked_at_no_more_often_than_asked():
    topic = MemoryTopic()
    feed = feed_on(topic, every_s=5.0)
    assert not feed.look()
    topic.write(values("A,generic,,,\n"))
    looks = [feed.look() for _ in range(5)]
    assert looks.count(True) == 1
    assert looks[0] is False


def test_a_batch_is_prepared_by_the_newest_registry_and_its_token_names_it():
    topic = MemoryTopic()
    told: list[object] = []

    class Work:
        def enrol(self, registry: Registry) -> None:
            told.append(registry.meters["meter_id"].to_list())

        def adopt(self, positions: object) -> None: ...
        def prepare(self, frames: pl.DataFrame) -> str:
            return "prepared"

        def deliver(self, prepared: str, token: str) -> None:
            told.append((prepared, token))

    work = Following(Work(), feed_on(topic))
    first = work.prepare(pl.DataFrame())
    topic.write(values("A,generic,,,\n"))
    second = work.prepare(pl.DataFrame())
    work.deliver(first, "t")
    work.deliver(second, "t")
    assert told == [["A"], ("prepared", "t registry 0"), ("prepared", "t registry 1")]


def test_only_meters_whose_state_changed_are_published():
    known = {key: newest.value for key, newest in values("A,generic,,,\nB,generic,,,\nC,generic,,,\n").items()}
    changed = changed_states(rows("A,generic,,,\nB,dsmr4,,,\nD,generic,,,\n"), known, remove=False)
    assert changed["key"].to_list() == ["B", "D"]
    with_removed = changed_states(rows("A,generic,,,\n"), known | {b"Z": None}, remove=True)
    assert with_removed.rows() == [("B", None), ("C", None)]


def test_states_are_stored_with_the_time_of_their_message_and_a_bad_message_holds_up_none():
    two = "A,generic,,2024-01-01T00:00:00Z,2025-01-01T00:00:00Z\nA,generic,,2025-01-01T00:00:00Z,\n"
    messages = [newest.value for newest in values(two + "B,generic,,,\n").values()]
    table = pl.DataFrame(
        {"topic": METERS_TOPIC, "partition": 0, "offset": [0, 1, 2], "at": [AT, AT, AT.replace(day=2)],
         "value": [messages[0], b"rubbish", messages[1]]},
        schema_overrides={"value": pl.Binary(), "at": pl.Datetime("us", "UTC")},
    )  # fmt: skip
    with noting_store() as store:
        work = StoreWork(store, MemoryPublisher(), METERS.empty())
        work.deliver(work.prepare(table), "t")
    appended = store.rows
    states = appended["meters"]
    assert states.select("meter_id", "recorded_at").rows() == [("A", AT), ("A", AT), ("B", AT.replace(day=2))]
    assert appended["rejects"].select("topic", "offset", "payload").rows() == [(METERS_TOPIC, 1, b"rubbish")]
    assert states_of(table.clear()).height == 0


def test_silent_brokers_hold_no_batch_and_what_they_say_later_is_taken_then(monkeypatch):
    monkeypatch.setattr("app.following.LOOK_S", 0.05, raising=False)
    answers = threading.Event()
    answers.set()

    class Silent(MemoryTopic):
        def changes(self) -> dict[bytes, Newest]:
            assert answers.wait(6), "a batch waits for the brokers"
            return super().changes()

    topic = Silent()
    feed = feed_on(topic)
    assert not feed.look()
    topic.write(values("A,generic,,,\n"))
    answers.clear()
    assert not feed.look()
    assert not feed.look()
    answers.set()
    monkeypatch.setattr("app.following.LOOK_S", 6.0)
    assert feed.look()
    assert ids(feed) == ["A"]
    assert feed.version == 1


def test_the_first_look_is_waited_for_however_long_the_topic_takes(monkeypatch):
    monkeypatch.setattr("app.following.LOOK_S", 0.0, raising=False)

    class Long(MemoryTopic):
        def changes(self) -> dict[bytes, Newest]:
            threading.Event().wait(0.3)
            return super().changes()

    topic = Long()
    topic.write(values("A,generic,,,\n"))
    feed = feed_on(topic)
    assert feed.look()
    assert ids(feed) == ["A"]
