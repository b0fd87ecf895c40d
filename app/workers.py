"""The life of a reading, a page per worker: the one place where the rooms meet.

    ami.frames ──poll─► RAW_FRAMES ─decode─► INTERVALS, READS, EVENTS, REJECTS ─append─► store ─► flush ─► commit
    ami.lastgasp ──poll─► RAW_FRAMES ─decode─► EVENTS ─► ami.events, flushed ─► commit      (no database in the way)
    ami.events, ami.rejects, ami.outages ─► store ─► ami.dirty-days, flushed ─► commit
    ami.dirty-days ─► load_context ─► run_vee ─► FINALS, EXCEPTIONS ─append─► commit

Order within a batch, never otherwise: poll, pure stages, insert acknowledged, rejects and events flushed, offsets
committed. Each worker says what it does with a batch; `app.lane` carries batches through. A crash at any call leaves
the batch to be done again, and the store collapses what came twice.
"""

import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import wait
from datetime import datetime, timedelta
from typing import Final, NamedTuple, Protocol

import msgspec
import polars as pl

from app.beside import beside
from app.fuse import Fuse
from app.messages import from_messages, to_messages
from app.meter_states import METERS_TOPIC, states_of
from app.retry import part_poison
from app.supply_days import SupplyDays
from app.telemetry import VEE_INTERVALS
from ingest.assembly import CODE_VERSION
from ingest.decode import Decoded, decode_frames
from ingest.derived import bucket_of
from ingest.enrolment import Enrolment
from ingest.kafka.source import Position
from ingest.keyring import Keyring
from ingest.lanes import LAST_GASP_TOPIC
from ingest.learned import Learned
from ingest.meter_types import MeterTypes
from ingest.replay import Windows
from outage.stream_said import said_steps
from schemas.codes import RejectReason, Rule
from schemas.errors import ContractError
from schemas.frames import DIRTY_DAYS, EVENTS, EXCEPTIONS, PROVENANCE, REJECTS, Frame
from schemas.timegrid import day_bounds, zone
from storage.store import Context, ReadingStore, Scope
from validation.params import SilenceLimits, VeeParams
from validation.rules.sets import RuleSet
from validation.vee import Vee, VeeInputs, run_vee

EVENTS_TOPIC: Final = "ami.events.v1"
HEARD_TOPIC: Final = "ami.heard.v1"
DIRTY_DAYS_TOPIC: Final = "ami.dirty-days.v1"
REJECTS_TOPIC: Final = "ami.rejects.v1"
OUTAGES_TOPIC: Final = "ami.outages.v1"
METERS_A_QUERY: Final = 500
"""Meters whose context is loaded and judged at once: with 28 days of quarters on both sides some 8 million rows."""
_NO_PERIOD: Final = RuleSet("the days of a batch are no billing period", {Rule.BILLING_GATE.value: {"on": False}})
"""Shares of a period (V36) cannot be told of the days that happen to be judged together; billing has its own gate."""
_FEW: Final = 20
"""Meters whose finals tell since when days are judged."""
_FINDING: Final = [name for name in EXCEPTIONS.schema if name != "run_id"]


class Publisher(Protocol):
    """Messages on their way to a topic. What `flush` has returned from is acknowledged by the broker."""

    def publish(self, topic: str, rows: pl.DataFrame) -> int:
        """Messages (`key`, `value`) are handed over; their number."""
        ...

    def flush(self) -> None:
        """Everything handed over is acknowledged; raises when it is not."""
        ...


class Registry(NamedTuple):
    """What decoding needs to know of the fleet."""

    keyring: Keyring
    meters: pl.DataFrame
    types: MeterTypes
    enrolment: Enrolment

    @classmethod
    def of(cls, keyring: Keyring, meters: pl.DataFrame, types: MeterTypes) -> "Registry":
        """The registry, its look-up tables made once."""
        return cls(keyring, meters, types, Enrolment.of(meters, types))


class IngestWork:
    """Both lanes into the store: frames, intervals, reads, windows and rejects; and what others wait for, published.

    Args:
        store: Where rows go.
        publisher: Where events, rejects, dirty days and who was heard go.
        registry: Keys, meters and types.
        pass_fuse: Takes the messages of each batch, and those of its rejects that count.
        frames_store: The same store over a connection of its own: while the engine takes the frames over that one, the
            columns of the intervals are made. Without it the tables go one after the other.
    """

    def __init__(
        self,
        store: ReadingStore,
        publisher: Publisher,
        registry: Registry,
        pass_fuse: Callable[[int, int], None],
        frames_store: ReadingStore | None = None,
    ) -> None:
        self._store, self._publisher, self._registry = store, publisher, registry
        self._pass_fuse, self._frames_store = pass_fuse, frames_store
        self._windows = Windows.empty()
        self._learned: Learned | None = None

    def adopt(self, positions: tuple[Position, ...]) -> None:
        """Replay windows as they were when the first message to be read had not been seen."""
        self._windows = Windows.from_frame(self._store.load_windows(positions))

    def enrol(self, registry: Registry) -> None:
        """From the next batch on this registry counts."""
        self._registry = registry

    def prepare(self, frames: pl.DataFrame) -> Decoded:
        """Decode; the windows and the layouts learned go on to the next batch."""
        registry = self._registry
        decoded = decode_frames(
            frames, registry.keyring, self._windows, registry.enrolment, registry.types, self._learned
        )
        self._pass_fuse(decoded.counts.frames, decoded.counts.fusible)
        self._windows, self._learned = decoded.windows, decoded.learned
        return decoded

    def deliver(self, decoded: Decoded, token: str) -> None:
        """Insert acknowledged, then rejects and events flushed. The commit follows, never earlier."""
        poison = self.insert(decoded, token)
        rejects = pl.concat([decoded.rejects, *(_poison_rejects(rows, decoded.messages) for rows in poison)])
        self._store.append("rejects", rejects, f"{token} {rejects.height} {CODE_VERSION}")
        # Of the last-gasp lane the events worker publishes, sooner: here its messages are only stored.
        mine, registry = pl.col("topic") != LAST_GASP_TOPIC, self._registry
        events, refused = decoded.events.filter(mine), rejects.filter(mine)
        _publish(self._publisher, REJECTS_TOPIC, refused, _place(refused))
        _publish(self._publisher, EVENTS_TOPIC, events, _feeder(events, registry))
        _publish(self._publisher, HEARD_TOPIC, decoded.heard, _feeder(decoded.heard, registry))
        _publish(self._publisher, DIRTY_DAYS_TOPIC, decoded.dirty_days, decoded.dirty_days["bucket"])
        self._publisher.flush()

    def insert(self, decoded: Decoded, token: str) -> list[pl.DataFrame]:
        """Rows that the store refuses for good, of each table; all others are stored when this returns."""
        messages = ("frames", decoded.messages)
        tables = (("intervals", decoded.intervals), ("reads", decoded.reads), ("replay_windows", decoded.seen))
        if self._frames_store is None:
            return [_store_all(self._store, table, rows, token) for table, rows in (messages, *tables)]
        other = self._frames_store
        frames = beside(lambda: _store_all(other, *messages, token), "deliver frames")
        try:
            poison = [_store_all(self._store, table, rows, token) for table, rows in tables]
        finally:
            wait([frames])  # a batch is not tried again while a connection still carries it
        return [frames.result(), *poison]


class EventsWork:
    """The last-gasp lane: decode, publish, flush. It waits for no database.

    Args:
        look_back: RAW_FRAMES of the topic that stand before those positions, as many as are worth reading again.
        stored: REPLAY_WINDOWS of the lane as of those positions, as far as the database has them and answers at once:
            what lies before the look-back. What it lacks the topic brings.
    """

    def __init__(
        self,
        publisher: Publisher,
        registry: Registry,
        look_back: Callable[[tuple[Position, ...]], pl.DataFrame],
        stored: Callable[[tuple[Position, ...]], pl.DataFrame],
    ) -> None:
        self._publisher, self._registry, self._look_back, self._stored = publisher, registry, look_back, stored
        self._windows = Windows.empty()

    def adopt(self, positions: tuple[Position, ...]) -> None:
        """Replay windows as stored, and rebuilt from the messages before the first to be read."""
        self._windows = Windows.from_frame(self._stored(positions))
        self._windows = self._decode(self._look_back(positions)).windows

    def enrol(self, registry: Registry) -> None:
        """From the next batch on this registry counts."""
        self._registry = registry

    def prepare(self, frames: pl.DataFrame) -> Decoded:
        """Decode; the windows go on to the next batch."""
        decoded = self._decode(frames)
        self._windows = decoded.windows
        return decoded

    def deliver(self, decoded: Decoded, token: str) -> None:  # noqa: ARG002  every work takes a token
        """Events and rejects acknowledged by the broker."""
        _publish(self._publisher, EVENTS_TOPIC, decoded.events, _feeder(decoded.events, self._registry))
        _publish(self._publisher, REJECTS_TOPIC, decoded.rejects, _place(decoded.rejects))
        self._publisher.flush()

    def _decode(self, frames: pl.DataFrame) -> Decoded:
        registry = self._registry
        return decode_frames(frames, registry.keyring, self._windows, registry.enrolment, registry.types)


class StoreWork:
    """Events, rejects, outages and meters into the database, as a consumer of its own: no lane waits for it.

    Once it is known there that a supply was off, its days are judged again: with true zeros, and with estimates where
    an outage turned out to be none.
    """

    _TABLES: Final[dict[str, tuple[str, Frame]]] = {
        EVENTS_TOPIC: ("events", EVENTS),
        REJECTS_TOPIC: ("rejects", REJECTS),
    }

    def __init__(self, store: ReadingStore, publisher: Publisher, meters: pl.DataFrame) -> None:
        self._store, self._publisher, self._days = store, publisher, SupplyDays(meters)

    def adopt(self, positions: tuple[Position, ...]) -> None:
        """Nothing is carried from batch to batch."""

    def prepare(self, messages: pl.DataFrame) -> dict[str, pl.DataFrame]:
        """Rows by table. `messages`: `topic`, `value`, `at`. With outages and meters VEE knows what it judges."""
        values = {
            topic: rows["value"].to_list() for (topic,), rows in messages.partition_by("topic", as_dict=True).items()
        }
        rows = {table: from_messages(values.get(topic, []), frame) for topic, (table, frame) in self._TABLES.items()}
        rows["outages"] = said_steps(values.get(OUTAGES_TOPIC, []))
        meters = messages.filter(pl.col("topic") == METERS_TOPIC)
        return rows | ({"meters": states_of(meters)} if meters.height else {})

    def deliver(self, rows: dict[str, pl.DataFrame], token: str) -> None:
        """Inserted and acknowledged; then, never before, the days that follow are flushed."""
        for table, part in rows.items():
            self._store.append(table, part, token)
        dirty = self._days.of(rows["outages"], rows["events"])
        _publish(self._publisher, DIRTY_DAYS_TOPIC, dirty, dirty["bucket"])
        self._publisher.flush()


class VeeWork:
    """Dirty days, collected for a while, then judged by the bucket of meters."""

    def __init__(
        self, store: ReadingStore, meters: pl.DataFrame, params: VeeParams, now: Callable[[], datetime]
    ) -> None:
        self._store, self._now = store, now
        self._params = msgspec.structs.replace(params, rule_sets=(_NO_PERIOD, *params.rule_sets))
        self._know(meters)

    def adopt(self, positions: tuple[Position, ...]) -> None:
        """Nothing is carried from batch to batch."""

    def enrol(self, registry: Registry) -> None:
        """From the next batch on its meters are judged."""
        self._know(registry.meters)

    def _know(self, meters: pl.DataFrame) -> None:
        names = meters["meter_id"].unique().sort()
        self._buckets = pl.DataFrame({"meter_id": names, "bucket": bucket_of(names)})
        self._zones = meters["timezone"].drop_nulls().unique().to_list() or ["UTC"]

    def due(self, store: ReadingStore) -> pl.DataFrame:
        """DIRTY_DAYS in which something awaited has become due: an interval that never came, or an area's silence.

        `store` is the caller's own: batches are delivered by another thread over the connection of this work.
        """
        awaited = timedelta(seconds=self._params.estimate_after_s or 0)
        now = self._now()
        few = self._buckets["meter_id"].gather_every(max(1, self._buckets.height // _FEW))
        judged = store.load_current(
            "finals", Scope(tuple(few), now - timedelta(days=self._params.context_days), now - awaited)
        )
        begun: datetime | None = next(iter(judged["interval_start"].sort().head(1)), None)
        if begun is None:
            return DIRTY_DAYS.empty()  # before the first day that was judged nothing is awaited
        reach = max(awaited, timedelta(hours=SilenceLimits().longest_h)) + timedelta(days=1)
        first, last = (
            [instant.astimezone(zone(name)).date() for name in self._zones]
            for instant in (max(begun, now - reach), now - awaited)
        )
        days = pl.date_range(min(first), max(last), eager=True).alias("day")
        return self._buckets.select("bucket").unique().sort("bucket").join(days.to_frame(), how="cross")

    def prepare(self, messages: pl.DataFrame) -> list[Scope]:
        """Meters and spans whose raw data changed, each once; meters of one span together, so that few queries ask."""
        dirty = from_messages(messages["value"].to_list(), DIRTY_DAYS).unique().sort("bucket", "day")
        # Days further apart than the history reaches have no context in common: what lies between stays as it is.
        apart = pl.col("day").diff().over("bucket") > timedelta(days=self._params.context_days)
        days = dirty.group_by("bucket", run=apart.fill_null(value=False).cum_sum().over("bucket")).agg(
            first=pl.col("day").min(), after=pl.col("day").max() + timedelta(days=1)
        )
        meters = self._buckets.join(days, on="bucket").sort("first", "after", "meter_id")
        return [
            Scope(
                tuple(part["meter_id"].to_list()),
                min(day_bounds(first, name)[0] for name in self._zones),
                max(day_bounds(after, name)[0] for name in self._zones),
            )
            for (first, after), together in meters.group_by("first", "after", maintain_order=True)
            for part in together.iter_slices(METERS_A_QUERY)
        ]

    def deliver(self, scopes: list[Scope], token: str) -> None:  # noqa: ARG002  judgements have tokens of their own
        """Judged and stored. Judging a day again appends only what differs."""
        run_id = str(uuid.uuid4())
        params = msgspec.structs.replace(self._params, judged_at=self._now(), run_id=run_id)
        for judged in judge(self._store, scopes, params):
            told = judged.appended.group_by("quality", "method").len()
            for quality, method, finals in told.rows():
                VEE_INTERVALS.labels(quality=quality, method=method or "").inc(finals)


def judge(store: ReadingStore, buckets: Iterable[Scope], params: VeeParams) -> Iterator[Vee]:
    """Judge meters by the bucket: context in, new versions of finals and exceptions out.

    Args:
        store: Where raw data are and finals go.
        buckets: Meters and the span [start, end) whose finals are wanted.
        params: `context_days` of history are loaded beside each bucket, whose bounds are those of its grid. With
            `estimate_after_s` a grid begins earlier where finals of its meters ended before it: what was still awaited
            then has become due.

    Yields:
        The judgement of each bucket, after its rows were acknowledged. Doing a bucket again appends nothing: a finding
        that is stored is not stored again by another run.
    """
    reach = timedelta(days=params.context_days)
    for bucket in buckets:
        context = store.load_context(Scope(bucket.meters, bucket.start - reach, bucket.end + reach))
        if params.estimate_after_s is not None:
            awaited = timedelta(seconds=params.estimate_after_s)
            bucket = bucket._replace(start=_unfinished_from(context, bucket.start, awaited))
        judged = run_vee(
            VeeInputs(*context), msgspec.structs.replace(params, grid_from=bucket.start, grid_to=bucket.end)
        )
        token = f"vee {params.run_id} {bucket.meters[0]} {bucket.start.isoformat()} {bucket.end.isoformat()}"
        store.append("finals", judged.appended, token)
        known = store.load_current("exceptions", bucket)
        news = judged.exceptions.join(known, on=_FINDING, how="anti", nulls_equal=True)
        store.append("exceptions", news, token)
        yield judged


def _unfinished_from(context: Context, start: datetime, awaited: timedelta) -> datetime:
    """Where the earliest series goes on whose finals end before `start`, though its meter is there; else `start`.

    One that ended longer ago than intervals are awaited, and a day, has ended for good: a channel that is sent no more.
    """
    ends = (
        context.finals.group_by("meter_id", "channel")
        .agg(at=(pl.col("interval_start") + pl.duration(seconds=pl.col("interval_s"))).max())
        .filter(pl.col("at") < start, pl.col("at") >= start - awaited - timedelta(days=1))
    )
    there = pl.col("removed_at").is_null() | (pl.col("removed_at") >= start)
    going_on = ends.join(context.meters.filter(~there), on="meter_id", how="anti")
    ended: list[datetime] = going_on["at"].to_list()
    return min([start, *ended])


def fuse_of(fuse: Fuse, clock: Callable[[], float]) -> Callable[[int, int], None]:
    """What a batch passes through: its messages, and those of its rejects that count."""
    return lambda messages, rejected: fuse.pass_through(clock(), messages, rejected)


def _feeder(rows: pl.DataFrame, registry: Registry) -> pl.Series:
    return registry.enrolment.keys_of(rows["meter_id"])


def _publish(publisher: Publisher, topic: str, rows: pl.DataFrame, keys: pl.Series) -> None:
    messages = to_messages(rows, keys)
    if messages.height:
        publisher.publish(topic, messages)


def _place(rows: pl.DataFrame) -> pl.Series:
    return rows.select(pl.format("{}-{}", "topic", "partition")).to_series()


def _store_all(store: ReadingStore, table: str, rows: pl.DataFrame, token: str) -> pl.DataFrame:
    """Rows that the store refuses for good; all others are stored.

    The token says which decoder made the rows: the store skips a token that it knows, whatever the rows.
    """
    try:
        store.append(table, rows, f"{token} {rows.height} {CODE_VERSION}")
    except ContractError:
        parts = iter(range(2 * rows.height + 1))
        return part_poison(rows, lambda part: store.append(table, part, f"{token} part {next(parts)}"))
    return rows.clear()


def _poison_rejects(poison: pl.DataFrame, messages: pl.DataFrame) -> pl.DataFrame:
    """REJECTS of the messages whose rows the store refused."""
    if poison.is_empty():
        return REJECTS.empty()
    places = list(PROVENANCE)
    hit = messages.join(poison.select(places).unique(), on=places, how="semi", nulls_equal=True)
    filled = hit.with_columns(
        reason=pl.lit(RejectReason.POISON.value).cast(REJECTS.schema["reason"]),
        detail=pl.lit("the store refuses a row of this message"),
        at=pl.lit(0, dtype=pl.Int32),
        key_id=pl.lit(None, dtype=pl.String),
        code_version=pl.lit(CODE_VERSION),
    )
    return filled.select(REJECTS.schema.names())
