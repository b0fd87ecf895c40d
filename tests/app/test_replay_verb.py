"""Rejects decoded again once their cause is mended, and ranges of a topic once more."""

from collections.abc import Iterator
from datetime import UTC, datetime

import msgspec
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from app import replay
from app.embedded import MemoryPublisher
from app.replay import (
    PLACE,
    REPLAYABLE,
    Asked,
    Policy,
    check_reasons,
    open_rejects,
    replay_open,
    replay_range,
    replay_rejects,
)
from app.workers import EVENTS_TOPIC, IngestWork, Registry
from ingest import meter_types
from ingest.keyring import Keyring
from ingest.lanes import LAST_GASP_TOPIC
from schemas.errors import ContractError
from schemas.frames import EVENTS, REJECTS
from simulator.fleet import Simulated, simulate
from simulator.params import SimulatorParams
from storage.embedded import open_embedded
from storage.queries import Query
from storage.store import SqlStore
from storage.tables import TABLES

AT = datetime(2026, 5, 1, tzinfo=UTC)
TOPIC = "ami.frames.v1"


@pytest.fixture(scope="module")
def simulated() -> Simulated:
    return simulate(msgspec.structs.replace(SimulatorParams(), meters=12, days=1, seed=3))


@pytest.fixture(scope="module")
def frames(simulated: Simulated) -> pl.DataFrame:
    return simulated.frames.filter(pl.col("topic") == TOPIC)


def registry_of(simulated: Simulated, keys_csv: str) -> Registry:
    return Registry.of(Keyring.from_csv(keys_csv), simulated.meters, meter_types.BUILT_IN)


@pytest.fixture(scope="module")
def whole(simulated: Simulated) -> Registry:
    return registry_of(simulated, simulated.keys_csv)


@pytest.fixture(scope="module")
def lacking(simulated: Simulated) -> Registry:
    """Half of the keys are not there yet."""
    head, *lines = simulated.keys_csv.splitlines()
    return registry_of(simulated, "\n".join([head, *lines[::2]]) + "\n")


@pytest.fixture
def store() -> Iterator[SqlStore]:
    opened = open_embedded()
    for table in TABLES:
        opened.engine.execute(f"TRUNCATE TABLE {table}")
    yield opened
    opened.close()


def work_of(store: SqlStore, registry: Registry) -> IngestWork:
    return IngestWork(store, MemoryPublisher(), registry, lambda *_: None)


def ingest(store: SqlStore, registry: Registry, frames: pl.DataFrame, token: str) -> None:
    work = work_of(store, registry)
    work.deliver(work.prepare(frames), token)


def as_if_never_failed(store: SqlStore, registry: Registry, frames: pl.DataFrame) -> None:
    """The tables hold what decoding with all keys gives."""
    decoded = work_of(store, registry).prepare(frames)
    for name in ("intervals", "reads"):
        stored, wanted = store.load_current(name), getattr(decoded, name)
        newest = wanted.join(stored.select(PLACE).unique(), on=PLACE, how="semi")
        assert stored.height > 0
        assert set(stored.select(*PLACE, "meter_id").rows()) <= set(newest.select(*PLACE, "meter_id").rows())
        assert stored["meter_id"].n_unique() == wanted["meter_id"].n_unique()


def test_rejects_whose_key_came_later_become_rows_and_are_resolved(store, whole, lacking, frames) -> None:
    ingest(store, lacking, frames, "first")
    before = store.load_open_rejects(REPLAYABLE, 100_000)
    assert set(before["reason"].cast(pl.String)) >= {"key_unknown"}
    done = replay_rejects(store, work_of(store, whole), whole, before, Policy.REINSERT, AT)
    assert done.messages == before.select(PLACE).n_unique()
    assert done.mended > 0
    left = store.load_open_rejects(REPLAYABLE, 100_000)
    assert "key_unknown" not in left["reason"].cast(pl.String).to_list()
    as_if_never_failed(store, whole, frames)


def test_doing_it_again_changes_nothing(store, whole, lacking, frames) -> None:
    ingest(store, lacking, frames, "first")
    for _ in range(2):
        found = store.load_open_rejects(REPLAYABLE, 100_000)
        replay_rejects(store, work_of(store, whole), whole, found, Policy.REINSERT, AT)
    seen = {name: store.load_current(name) for name in ("intervals", "reads", "rejects")}
    found = store.load_open_rejects(REPLAYABLE, 100_000)
    replay_rejects(store, work_of(store, whole), whole, found, Policy.REINSERT, AT)
    for name, rows in seen.items():
        assert_frame_equal(store.load_current(name), rows)


def test_stop_stores_nothing_from_the_first_failing_message_on(store, lacking, frames) -> None:
    ingest(store, lacking, frames, "first")
    found = store.load_open_rejects(("key_unknown",), 100_000)
    rows = store.load_current("intervals").height
    done = replay_rejects(store, work_of(store, lacking), lacking, found, Policy.STOP, AT)
    first = found.sort(PLACE).row(0, named=True)
    assert done.stopped_at == "/".join(str(first[name]) for name in PLACE)
    assert done.mended == 0
    assert store.load_current("intervals").height == rows
    assert_frame_equal(store.load_open_rejects(("key_unknown",), 100_000), found)


def test_drop_resolves_what_still_fails_and_keeps_its_bytes(store, lacking, frames) -> None:
    ingest(store, lacking, frames, "first")
    found = store.load_open_rejects(("key_unknown",), 100_000)
    done = replay_rejects(store, work_of(store, lacking), lacking, found, Policy.DROP, AT)
    assert done.failing == found.height
    assert store.load_open_rejects(("key_unknown",), 100_000).is_empty()
    assert_frame_equal(
        store.load_current("rejects").filter(pl.col("reason").cast(pl.String) == "key_unknown").sort(PLACE),
        found.sort(PLACE),
    )


def test_a_range_again_leaves_the_tables_as_they_were(store, whole, frames) -> None:
    ingest(store, whole, frames, "first")
    seen = {name: store.load_current(name) for name in ("intervals", "reads", "rejects", "replay_windows")}
    parts = iter([frames.head(40), frames.slice(40)])
    done = list(replay_range(store, work_of(store, whole), parts, AT))
    assert sum(decoded.counts.frames for decoded, _ in done) == frames.height
    assert [mended for _, mended in done] == [0, 0]
    for name, rows in seen.items():
        assert_frame_equal(store.load_current(name), rows)


def test_a_range_again_resolves_the_rejects_that_it_mends_and_no_other(store, whole, lacking, frames) -> None:
    ingest(store, lacking, frames, "first")
    before = store.load_open_rejects(REPLAYABLE, 100_000)
    half = before.sort(PLACE)["offset"].median()
    part = frames.filter(pl.col("offset") < half)
    ((decoded, mended),) = replay_range(store, work_of(store, whole), iter([part]), AT)
    still = decoded.rejects.select(PLACE).unique()
    wanted = before.filter(pl.col("offset") < half).join(still, on=PLACE, how="anti")
    assert mended == wanted.height > 0
    left = store.load_open_rejects(REPLAYABLE, 100_000)
    assert_frame_equal(left.sort(PLACE), before.join(wanted, on=[*PLACE, "at", "reason"], how="anti").sort(PLACE))
    told = store.engine.select(
        Query(
            "SELECT resolution, resolved_at FROM rejects FINAL WHERE resolved_at IS NOT NULL", {},
            pl.Schema({"resolution": pl.String(), "resolved_at": pl.Datetime("us", "UTC")}),
        )
    )  # fmt: skip
    assert told.unique().rows() == [("reinserted", AT)]
    assert told.height == wanted.height
    assert_frame_equal(store.load_current("rejects").sort(PLACE), before.sort(PLACE))


class Paged:
    """The store, and how many rejects it was asked for at once."""

    def __init__(self, store: SqlStore) -> None:
        self._store, self.pages = store, []

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    def load_open_rejects(self, *asked: object) -> pl.DataFrame:
        found = self._store.load_open_rejects(*asked)
        self.pages.append(found.height)
        return found


def test_open_rejects_are_replayed_by_pages_as_they_are_at_once(
    store, whole, lacking, frames, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "PAGE_REJECTS", 10)
    ingest(store, lacking, frames, "first")
    every = store.load_open_rejects(REPLAYABLE, 100_000)
    paged = Paged(store)
    done = replay_open(paged, work_of(store, whole), whole, Asked(REPLAYABLE, 100_000), Policy.REINSERT, AT)
    assert max(paged.pages) == 10
    assert len(paged.pages) > 3
    assert done.messages == every.select(PLACE).n_unique()
    left = store.load_open_rejects(REPLAYABLE, 100_000)
    assert done.mended == done.messages - left.select(PLACE).n_unique() > 20
    assert "key_unknown" not in left["reason"].cast(pl.String).to_list()
    as_if_never_failed(store, whole, frames)


def test_pages_end_at_the_limit_and_with_stop_at_the_first_that_fails(
    store, whole, lacking, frames, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "PAGE_REJECTS", 10)
    ingest(store, lacking, frames, "first")
    every = store.load_open_rejects(("key_unknown",), 100_000)
    some = replay_open(store, work_of(store, whole), whole, Asked(("key_unknown",), 15), Policy.STOP, AT)
    assert (some.messages, some.mended, some.stopped_at) == (15, 15, None)
    paged = Paged(store)
    none = replay_open(paged, work_of(store, lacking), lacking, Asked(("key_unknown",), 100_000), Policy.STOP, AT)
    assert none.stopped_at == "/".join(str(part) for part in every.sort(PLACE).select(PLACE).row(15))
    assert len(paged.pages) == 1


def test_rejects_of_one_message_are_in_one_page(store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "PAGE_REJECTS", 4)
    row = {
        "topic": TOPIC, "partition": 0, "frame": 0, "received_at": AT, "payload": b"x", "reason": "axdr_tag",
        "detail": "", "code_version": "1",
    }  # fmt: skip
    rows = [row | {"offset": offset, "at": at} for offset, number in ((1, 3), (2, 3), (3, 9)) for at in range(number)]
    store.append("rejects", pl.DataFrame(rows, schema=REJECTS.schema), "t")
    pages = [page["offset"].to_list() for page in open_rejects(store, Asked(REPLAYABLE, 100))]
    assert pages == [[1] * 3, [2] * 3, [3] * 9]
    between = Asked(REPLAYABLE, 100, (TOPIC, 0, 1, 0), (TOPIC, 0, 3, 0))
    assert [page["offset"].to_list() for page in open_rejects(store, between)] == [[2] * 3]


@pytest.mark.parametrize("limits", [(3,), (1, 2)], ids=["two pages", "two runs"])
def test_a_copy_does_not_pass_because_a_page_begins_in_the_middle_of_a_kafka_message(
    store, whole, lacking, frames, monkeypatch: pytest.MonkeyPatch, limits: tuple[int, ...]
) -> None:
    """The first is seen in one page, and its copy in the next, which begins within the same Kafka message."""
    unread = work_of(store, lacking).prepare(frames).rejects.filter(pl.col("reason") == "key_unknown")
    first, second, *_ = unread.join(work_of(store, whole).prepare(frames).intervals, on=PLACE, how="semi")["payload"]
    packed = frames.head(3).with_columns(
        payload=pl.Series([first, second, first]),
        offset=pl.Series([5, 5, 6], dtype=pl.Int64),
        frame=pl.Series([0, 1, 0], dtype=pl.Int32),
        partition=pl.lit(0, pl.Int32),
    )
    ingest(store, lacking, packed, "first")
    monkeypatch.setattr(replay, "PAGE_REJECTS", 2)
    for limit in limits:
        replay_open(store, work_of(store, whole), whole, Asked(("key_unknown",), limit), Policy.STOP, AT)
    wanted = work_of(store, whole).prepare(packed)
    assert wanted.counts.duplicates == 1
    count = Query("SELECT toInt64(count()) AS rows FROM intervals FINAL", {}, pl.Schema({"rows": pl.Int64()}))
    assert store.engine.select(count)["rows"].item() == wanted.intervals.height > 0
    assert store.load_open_rejects(REPLAYABLE, 100_000).is_empty()


@pytest.mark.parametrize("reason", ["replay", "nonce_reuse", "no_such_reason"])
def test_messages_that_must_not_be_read_again_cannot_be_asked_for(reason: str) -> None:
    with pytest.raises(ContractError, match=reason):
        check_reasons((reason,))
    assert check_reasons(()) == REPLAYABLE


def test_nothing_open_is_nothing_to_do(store, whole) -> None:
    done = replay_rejects(store, work_of(store, whole), whole, REJECTS.empty(), Policy.STOP, AT)
    assert (done.messages, done.stopped_at) == (0, None)


def test_events_of_a_last_gasp_whose_key_came_later_reach_their_topic(store, simulated, whole) -> None:
    gasps = simulated.frames.filter(pl.col("topic") == LAST_GASP_TOPIC)
    ingest(store, registry_of(simulated, simulated.keys_csv.splitlines()[0] + "\n"), gasps, "first")
    found = store.load_open_rejects(REPLAYABLE, 100_000)
    publisher = MemoryPublisher()
    work = IngestWork(store, publisher, whole, lambda *_: None, told_elsewhere=frozenset())
    done = replay_rejects(store, work, whole, found, Policy.REINSERT, AT)
    assert done.mended > 0
    assert store.load_open_rejects(REPLAYABLE, 100_000).is_empty()
    wanted = work_of(store, whole).prepare(gasps).events.join(found.select(PLACE).unique(), on=PLACE, how="semi")
    assert wanted.height > 0
    assert_frame_equal(publisher.rows(EVENTS_TOPIC, EVENTS).sort(PLACE), wanted.sort(PLACE))


@pytest.mark.parametrize("policy", [Policy.REINSERT, Policy.STOP, Policy.DROP])
def test_a_message_whose_rows_the_store_still_refuses_is_not_mended(store, whole, frames, policy: Policy) -> None:
    class Refusing:
        def __getattr__(self, name):
            return getattr(store, name)

        def append(self, table, rows, token):
            if table == "intervals" and first in set(rows["meter_id"]):
                raise ContractError("a row of it")
            return store.append(table, rows, token)

    first = work_of(store, whole).prepare(frames).intervals["meter_id"][0]
    ingest(Refusing(), whole, frames, "first")
    found = store.load_open_rejects(("poison",), 100_000)
    assert found.height > 0
    done = replay_rejects(store, work_of(Refusing(), whole), whole, found, policy, AT)
    assert (done.mended, done.failing) == (0, found.height)
    left = store.load_open_rejects(("poison",), 100_000)
    assert left.height == (0 if policy is Policy.DROP else found.height)
    mended = replay_rejects(store, work_of(store, whole), whole, left, policy, AT.replace(day=2))
    assert mended.mended == left.height
    assert store.load_open_rejects(("poison",), 100_000).is_empty()
