"""The life of a reading, a page per worker: the one place where the rooms meet.

    ami.frames ──poll─► RAW_FRAMES ─decode─► INTERVALS, READS, EVENTS, REJECTS ─append─► store ─► flush ─► commit
    ami.lastgasp ──poll─► RAW_FRAMES ─decode─► EVENTS ─► ami.events, flushed ─► commit      (no database in the way)
    dirty days ─► load_context ─► run_vee ─► FINALS, EXCEPTIONS ─append─► commit
    ami.events, ami.heard ─► detect_outages ─► ami.outages
    FINALS ─► determinants, files ─► delivery

Order within a batch, never otherwise: poll, pure stages, insert acknowledged, rejects and events flushed, offsets
committed. A crash at any call leaves the batch to be done again; the store collapses what came twice.
"""

from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import Final, NamedTuple, Protocol

import polars as pl

from ingest.decode import Decoded, decode_frames
from ingest.keyring import Keyring
from ingest.meter_types import MeterTypes
from ingest.replay import Windows
from schemas.frames import DIRTY_DAYS, EVENTS, HEARD, REJECTS, Frame
from storage.store import ReadingStore, Scope
from validation.params import VeeParams
from validation.vee import Vee, VeeInputs, run_vee

EVENTS_TOPIC: Final = "ami.events.v1"
HEARD_TOPIC: Final = "ami.heard.v1"
DIRTY_DAYS_TOPIC: Final = "ami.dirty-days.v1"
REJECTS_TOPIC: Final = "ami.rejects.v1"


class Batch(NamedTuple):
    """Messages polled together: RAW_FRAMES, and the token that names them (topic, partitions, offsets)."""

    frames: pl.DataFrame
    token: str


class Source(Protocol):
    """Batches in order. Positions move only by `commit`, and only forwards."""

    def poll(self) -> Batch | None:
        """The next batch; None when nothing waits."""
        ...

    def commit(self, batch: Batch) -> None:
        """Everything up to the end of that batch is done with."""
        ...


class Publisher(Protocol):
    """Rows on their way to a topic. What `flush` has returned from is acknowledged by the broker."""

    def publish(self, topic: str, frame: Frame, rows: pl.DataFrame) -> None:
        """The rows are handed over."""
        ...

    def flush(self) -> None:
        """Everything handed over is acknowledged; raises when it is not."""
        ...


class Registry(NamedTuple):
    """What decoding needs to know of the fleet."""

    keyring: Keyring
    meters: pl.DataFrame
    types: MeterTypes


def ingest(
    source: Source, store: ReadingStore, publisher: Publisher, registry: Registry, windows: Windows
) -> Iterator[Decoded]:
    """Run the frames lane until nothing waits: each batch stored, published and committed before the next.

    Yields:
        What each batch decoded to, after its commit; its `windows` go in with the next.
    """
    while (batch := source.poll()) is not None:
        decoded = decode_frames(batch.frames, registry.keyring, windows, registry.meters, registry.types)
        store.append("frames", decoded.messages, batch.token)
        store.append("intervals", decoded.intervals, batch.token)
        store.append("reads", decoded.reads, batch.token)
        store.append("replay_windows", decoded.seen, batch.token)
        store.append("rejects", decoded.rejects, batch.token)
        publisher.publish(REJECTS_TOPIC, REJECTS, decoded.rejects)
        publisher.publish(EVENTS_TOPIC, EVENTS, decoded.events)
        publisher.publish(HEARD_TOPIC, HEARD, decoded.heard)
        publisher.publish(DIRTY_DAYS_TOPIC, DIRTY_DAYS, decoded.dirty_days)
        publisher.flush()
        source.commit(batch)
        windows = decoded.windows
        yield decoded


def relay_events(source: Source, publisher: Publisher, registry: Registry, windows: Windows) -> Iterator[Decoded]:
    """Run the last-gasp lane until nothing waits: decoded, published, committed. The database is not asked.

    Yields:
        What each batch decoded to. Storing events and this lane's messages is the work of `store_lane`.
    """
    while (batch := source.poll()) is not None:
        decoded = decode_frames(batch.frames, registry.keyring, windows, registry.meters, registry.types)
        publisher.publish(EVENTS_TOPIC, EVENTS, decoded.events)
        publisher.publish(REJECTS_TOPIC, REJECTS, decoded.rejects)
        publisher.flush()
        source.commit(batch)
        windows = decoded.windows
        yield decoded


def judge(store: ReadingStore, buckets: Iterable[Scope], params: VeeParams) -> Iterator[Vee]:
    """Judge meters by the bucket: context in, new versions of finals and exceptions out.

    Args:
        store: Where raw data are and finals go.
        buckets: Meters and the span [start, end) whose finals are wanted.
        params: Bounds are those of each bucket; `context_days` of history are loaded beside it.

    Yields:
        The judgement of each bucket, after its rows were acknowledged. Doing a bucket again appends nothing.
    """
    reach = timedelta(days=params.context_days)
    for bucket in buckets:
        context = store.load_context(Scope(bucket.meters, bucket.start - reach, bucket.end + reach))
        judged = run_vee(VeeInputs(*context), params)
        token = f"vee {params.run_id} {bucket.meters[0]} {bucket.start.isoformat()} {bucket.end.isoformat()}"
        store.append("finals", judged.appended, token)
        store.append("exceptions", judged.exceptions, token)
        yield judged
