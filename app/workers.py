"""The life of a reading, a page per worker: the one place where the rooms meet.

    ami.frames ──poll─► RAW_FRAMES ─decode─► INTERVALS, READS, EVENTS, REJECTS ─append─► store ─► flush ─► commit
    ami.lastgasp ──poll─► RAW_FRAMES ─decode─► EVENTS ─► ami.events, flushed ─► commit      (no database in the way)
    ami.events, ami.rejects, ami.outages ─► store ─► ami.dirty-days, flushed ─► commit      (`app.store_lane`)
    ami.dirty-days ─► load_context ─► run_vee ─► EXCEPTIONS, FINALS ─append─► commit        (`app.vee_lane`)

Order within a batch, never otherwise: poll, pure stages, insert acknowledged, rejects and events flushed, offsets
committed. Each worker says what it does with a batch; `app.lane` carries batches through. A crash at any call leaves
the batch to be done again, and the store collapses what came twice.
"""

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import wait
from typing import Final, NamedTuple, Protocol

import polars as pl

from app.beside import beside
from app.fuse import Fuse
from app.messages import to_messages
from app.refused import rejects_of, store_all, store_rejects
from app.reject_counts import count_rejects
from ingest.decode import Decoded, decode_frames
from ingest.enrolment import Enrolment
from ingest.kafka.records import in_place_order
from ingest.kafka.source import Position
from ingest.keyring import Keyring
from ingest.lanes import LAST_GASP_TOPIC
from ingest.learned import Learned
from ingest.meter_types import MeterTypes
from ingest.replay import Windows
from schemas.codes import RejectReason
from schemas.frames import REJECTS, UTC_US
from storage.key_order import in_key_order
from storage.store import ReadingStore
from storage.tables import table_of

EVENTS_TOPIC: Final = "ami.events.v1"
HEARD_TOPIC: Final = "ami.heard.v1"
DIRTY_DAYS_TOPIC: Final = "ami.dirty-days.v1"
REJECTS_TOPIC: Final = "ami.rejects.v1"
OUTAGES_TOPIC: Final = "ami.outages.v1"
LANE: Final = "frames"
"""What `IngestWork` is called in the labels of metrics."""
_PLACE: Final = ("topic", "partition", "offset", "frame")


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
        pass_fuse: Takes the messages of each batch that was delivered, and by reason how many of them count as
            rejected: those of the decoder's rejects that an outsider cannot cause, and enrolled meters' whose rows the
            store refuses.
        frames_store: The same store over a connection of its own: over that one the frames and the windows go, while
            the columns of the intervals are made. Without it the tables go one after the other.
        told_elsewhere: Topics whose events and rejects another worker publishes: they are only stored.
    """

    def __init__(
        self,
        store: ReadingStore,
        publisher: Publisher,
        registry: Registry,
        pass_fuse: Callable[[int, Mapping[str, int]], None],
        frames_store: ReadingStore | None = None,
        told_elsewhere: frozenset[str] = frozenset({LAST_GASP_TOPIC}),
    ) -> None:
        self._store, self._publisher, self._registry = store, publisher, registry
        self._told_elsewhere = sorted(told_elsewhere)
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
        """Decode; messages and intervals in the order in which they are stored, so that a delivery has less to do.

        Windows and layouts learned go on to the next batch.
        """
        registry, frames = self._registry, in_place_order(frames)
        decoded = decode_frames(
            frames, registry.keyring, self._windows, registry.enrolment, registry.types, self._learned
        )
        self._windows, self._learned = decoded.windows, decoded.learned
        return decoded._replace(intervals=in_key_order(decoded.intervals, table_of("intervals")))

    def deliver(self, decoded: Decoded, token: str) -> None:
        """Insert acknowledged, then rejects and events flushed. The commit follows, never earlier.

        Raises:
            TerminalError: The fuse has blown; the batch and its rejects are stored, and it is not committed.
        """
        self.carry_out(decoded, token)

    def carry_out(self, decoded: Decoded, token: str) -> pl.DataFrame:
        """See `deliver`; the REJECTS that were stored: those of the decoder, and messages whose rows were refused."""
        poison = self.insert(decoded, token)
        # Whatever refuses its rows, a message is refused once.
        doubled = pl.concat([REJECTS.empty(), *(rejects_of(rows, decoded.messages) for rows in poison)])
        rejects = pl.concat([decoded.rejects, doubled.unique(_PLACE, keep="first", maintain_order=True)])
        store_rejects(self._store, rejects, token)
        # Of the last-gasp lane the events worker publishes, sooner.
        mine, registry = ~pl.col("topic").is_in(self._told_elsewhere), self._registry
        events, refused = decoded.events.filter(mine), rejects.filter(mine)
        publish(self._publisher, REJECTS_TOPIC, refused, place_of(refused))
        publish(self._publisher, EVENTS_TOPIC, events, _feeder(events, registry))
        publish(self._publisher, HEARD_TOPIC, decoded.heard, _feeder_heard(decoded, registry))
        publish(self._publisher, DIRTY_DAYS_TOPIC, decoded.dirty_days, decoded.dirty_days["bucket"])
        self._publisher.flush()
        count_rejects(rejects)
        # Last: whoever is told to look at the newest rejects finds them, and a batch that is tried again counts once.
        poisoned = {RejectReason.POISON.value: _of_ours(poison, registry)}
        self._pass_fuse(decoded.counts.frames, decoded.fusible_by | poisoned)
        return rejects

    def insert(self, decoded: Decoded, token: str) -> list[pl.DataFrame]:
        """Rows that the store refuses for good, of each table; all others are stored when this returns."""
        rows = (("intervals", decoded.intervals), ("reads", decoded.reads))
        messages = (("frames", decoded.messages), ("replay_windows", decoded.seen))
        if self._frames_store is None:
            return _stored(self._store, (*messages, *rows), token)
        other = self._frames_store
        beside_it = beside(lambda: _stored(other, messages, token), "deliver frames")
        try:
            poison = _stored(self._store, rows, token)
        finally:
            wait([beside_it])  # a batch is not tried again while a connection still carries it
        return [*beside_it.result(), *poison]


class EventsWork:
    """The last-gasp lane: decode, publish, flush. It waits for no database.

    Args:
        look_back: RAW_FRAMES of the topic that stand before those positions, as many as are worth reading again, in
            parts: a message may hold hundreds of frames, and no more than a part is in memory.
        stored: REPLAY_WINDOWS of the lane as of those positions, as far as the database has them and answers at once:
            what lies before the look-back. What it lacks the topic brings.
    """

    def __init__(
        self,
        publisher: Publisher,
        registry: Registry,
        look_back: Callable[[tuple[Position, ...]], Iterable[pl.DataFrame]],
        stored: Callable[[tuple[Position, ...]], pl.DataFrame],
    ) -> None:
        self._publisher, self._registry, self._look_back, self._stored = publisher, registry, look_back, stored
        self._windows = Windows.empty()

    def adopt(self, positions: tuple[Position, ...]) -> None:
        """Replay windows as stored, and rebuilt from the messages before the first to be read."""
        self._windows = Windows.from_frame(self._stored(positions))
        for part in self._look_back(positions):
            self._windows = self._decode(part).windows

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
        publish(self._publisher, EVENTS_TOPIC, decoded.events, _feeder(decoded.events, self._registry))
        publish(self._publisher, REJECTS_TOPIC, decoded.rejects, place_of(decoded.rejects))
        self._publisher.flush()

    def _decode(self, frames: pl.DataFrame) -> Decoded:
        registry = self._registry
        return decode_frames(frames, registry.keyring, self._windows, registry.enrolment, registry.types)


def _stored(store: ReadingStore, tables: Iterable[tuple[str, pl.DataFrame]], token: str) -> list[pl.DataFrame]:
    """Rows that the store refuses for good, of each table; all others are stored."""
    return [store_all(store, table, rows, token) for table, rows in tables]


def fuse_of(fuse: Fuse, clock: Callable[[], float]) -> Callable[[int, Mapping[str, int]], None]:
    """What a batch passes through: its messages, and by reason those of its rejects that count."""
    return lambda messages, rejected: fuse.pass_through(clock(), messages, rejected)


def _of_ours(poison: list[pl.DataFrame], registry: Registry) -> int:
    """Messages of enrolled meters of which the store refuses a reading."""
    enrolled = registry.meters["meter_id"].implode()
    readings = [rows.filter(pl.col("meter_id").is_in(enrolled)) for rows in poison if "meter_id" in rows.columns]
    return pl.concat([rows.select(*_PLACE) for rows in readings]).n_unique() if readings else 0


def _feeder(events: pl.DataFrame, registry: Registry) -> pl.Series:
    return registry.enrolment.keys_of(events["meter_id"], events["received_at"])


def _feeder_heard(decoded: Decoded, registry: Registry) -> pl.Series:
    """Keys of who was heard: as of the batch's newest message, for a meter is heard once a batch."""
    newest = pl.Series([decoded.messages["received_at"].max()], dtype=UTC_US)
    return registry.enrolment.keys_of(decoded.heard["meter_id"], newest.new_from_index(0, decoded.heard.height))


def publish(publisher: Publisher, topic: str, rows: pl.DataFrame, keys: pl.Series) -> None:
    """The rows as messages, handed over; those of one key together."""
    messages = to_messages(rows, keys)
    if messages.height:
        publisher.publish(topic, messages)


def place_of(rows: pl.DataFrame) -> pl.Series:
    """Key of rejects: topic and partition."""
    return rows.select(pl.format("{}-{}", "topic", "partition")).to_series()
