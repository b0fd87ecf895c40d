"""What came of every frame, by identity: the tables against what one undisturbed pass over the topics gives."""

from datetime import UTC, datetime
from typing import NamedTuple

import polars as pl
from fleet import LANES, Fleet, in_one_pass, on_topics
from polars.testing import assert_frame_equal

from app.unreadable import rejects_of_messages
from app.vee_lane import VeeWork
from app.workers import DIRTY_DAYS_TOPIC, EVENTS_TOPIC
from ingest.kafka.settings import KafkaSettings
from schemas.frames import EXCEPTIONS, FINALS
from storage.queries import Query, select_all
from storage.store import Context, Scope, SqlStore
from storage.tables import table_of
from validation.params import VeeParams

PLACE = ["topic", "partition", "offset", "frame"]
STRAY = b"no rows of any topic"
STRAYS_ON = (EVENTS_TOPIC, DIRTY_DAYS_TOPIC)
_PLACES = pl.Schema({"topic": pl.String(), "partition": pl.Int32(), "offset": pl.Int64(), "frame": pl.Int32()})


class Account(NamedTuple):
    """A line of the crash matrix: frames by what became of them, `lost` and `doubled` by (topic, partition, offset,
    frame) in the view `frames_current`."""

    case: str
    deaths: int
    frames: int
    with_rows: int
    rejected: int
    copies: int
    lost: int
    doubled: int


def account(
    case: str, deaths: int, store: SqlStore, settings: KafkaSettings, fleet: Fleet, *, published: bool = True
) -> Account:
    """Every table holds what one pass over the topics gives, history included, and every frame is accounted for."""
    frames = on_topics(settings, *LANES)
    assert sorted(frames["payload"]) == sorted(fleet.payloads), "the topics do not hold what was pushed"
    one_pass = in_one_pass(frames, fleet.registry())
    for name, rows in (
        ("frames", one_pass.messages),
        ("intervals", one_pass.intervals),
        ("reads", one_pass.reads),
        ("events", one_pass.events if published else one_pass.events.clear()),
        ("rejects", pl.concat([one_pass.rejects, rejects_of_strays(settings)])),
        ("replay_windows", one_pass.seen),
    ):
        stored = all_rows(store, name)
        wanted = rows.select(stored.columns).unique()
        assert stored.height == wanted.height, name
        assert_frame_equal(stored.sort(stored.columns), wanted.sort(stored.columns))
    stored_places = current_places(store, "frames")
    gave_rows = pl.concat([current_or_past(store, name) for name in ("intervals", "reads", "events")]).unique()
    refused = current_places(store, "rejects").filter(pl.col("topic").is_in(LANES)).unique()
    counts = one_pass.counts
    told = Account(
        case,
        deaths,
        frames.height,
        gave_rows.height,
        refused.height,
        counts.duplicates,
        frames.join(stored_places, on=PLACE, how="anti").height,
        stored_places.height - stored_places.n_unique(),
    )
    assert (told.lost, told.doubled) == (0, 0), told
    assert counts.frames == counts.decoded + counts.rejected + counts.duplicates == len(fleet.payloads)
    if published:
        # A message of which a part is refused stands on both sides.
        settled = pl.concat([gave_rows, refused]).unique()
        assert settled.height + counts.duplicates == told.frames, told
    return told


def rejects_of_strays(settings: KafkaSettings) -> pl.DataFrame:
    """REJECTS of the messages that are no rows of their topic."""
    messages = on_topics(settings, *STRAYS_ON).filter(pl.col("payload") == STRAY)
    return rejects_of_messages(messages.rename({"payload": "value"}), pl.col("received_at"))


def account_finals(store: SqlStore, settings: KafkaSettings, meters: pl.DataFrame, params: VeeParams) -> int:
    """The finals are those that one pass over the dirty days gives, each interval once; their number."""
    dirty = on_topics(settings, DIRTY_DAYS_TOPIC)["payload"].to_list()
    judged = _Judged(store)
    assert dirty
    work = VeeWork(judged, meters, params, lambda: datetime.now(UTC))  # as the worker: who is silent depends on it
    work.deliver(work.prepare(pl.DataFrame({"value": [days for days in dirty if days != STRAY]})), "one pass")
    what = [name for name in FINALS.schema if name not in ("judged_at", "run_id")]
    wanted = pl.concat(judged.finals).select(what)
    stored = all_rows(store, "finals").select(what)
    assert_frame_equal(stored.sort(what), wanted.sort(what))
    assert stored.select("meter_id", "channel", "interval_start").is_unique().all()
    found = [name for name in EXCEPTIONS.schema if name != "run_id"]
    wanted = pl.concat(judged.exceptions).select(found)
    always = datetime(1970, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
    standing = store.load_open_exceptions(Scope(tuple(meters["meter_id"].unique()), *always))
    assert_frame_equal(standing.select(found).sort(found), wanted.sort(found))
    return stored.height


def all_rows(store: SqlStore, name: str) -> pl.DataFrame:
    """History of a table, copies of redeliveries taken away, in the types of its frame."""
    table = table_of(name)
    rows = store.engine.select(select_all(table, "1", {}))
    return rows.select(pl.col(column).cast(dtype) for column, dtype in table.frame.schema.items())


def current_places(store: SqlStore, name: str, where: str = "1") -> pl.DataFrame:
    """Places of the rows that the view of the newest shows, of those that the condition takes."""
    sql = f"SELECT topic, `partition`, `offset`, frame FROM {name}_current WHERE {where}"
    return store.engine.select(Query(sql, {}, _PLACES))


def current_or_past(store: SqlStore, name: str) -> pl.DataFrame:
    """Places of all rows, also of values that a later one has superseded."""
    return all_rows(store, name).select(PLACE)


class _Judged:
    """The store as it was before any judgement; what is judged is kept here."""

    def __init__(self, store: SqlStore) -> None:
        self._store = store
        self.finals: list[pl.DataFrame] = []
        self.exceptions: list[pl.DataFrame] = []

    def load_context(self, scope: Scope, *, finals: bool = True) -> Context:
        return self._store.load_context(scope, finals=finals)._replace(finals=FINALS.empty())

    def load_ends(self, scope: Scope) -> pl.DataFrame:
        return self._store.load_ends(scope).clear()

    def load_peaks(self, scope: Scope) -> pl.DataFrame:
        return self._store.load_peaks(scope).clear()

    def load_current(self, table: str, scope: Scope) -> pl.DataFrame:
        return self._store.load_current(table, scope).clear()

    def has_rows(self, table: str) -> bool:
        return self._store.has_rows(table)

    def load_open_exceptions(self, scope: Scope) -> pl.DataFrame:
        return self._store.load_open_exceptions(scope).clear()

    def load_heard(self, start: datetime, end: datetime, registers: tuple[str, ...]) -> pl.DataFrame:
        return self._store.load_heard(start, end, registers)

    def append(self, table: str, rows: pl.DataFrame, token: str) -> int:
        if table == "finals":
            self.finals.append(rows)
        if table == "exceptions":
            self.exceptions.append(rows)
        return rows.height
