# ruff: noqa: E402  the services' starter lies beside the packages, not among them
"""Pushes a second from a topic to an acknowledged insert, beside its own parts and the plain stack, in one run.

    python benchmarks/pipeline.py [--frames 400000] [--peer 100000] [--rounds 3] [--folder DIR] [--profile]

Broker and server run on the same machine (AMI_TEST_KAFKA and AMI_TEST_CLICKHOUSE, else deploy/local, with their data in
a memory file system where there is one: a thousand rows an insert make so many files that ext4, which steps over each
that was deleted of late, decides how fast the peer is: the server took 99 us a push for it in the first of five runs
behind each other, and 274 in the last). The message is a ciphered hourly push of 4 intervals and 3 channels. `pipeline`
is one ingest worker: poll, decode, insert acknowledged, published, committed. `decode` and `insert` are its parts
alone, on the same batches. The peer is what one writes first: kafka-python, dlms-cosem, rows as tuples, a thousand to
an insert. It has a database of its own, which is dropped behind it, and enough pushes for some ten seconds: the first
inserts do not meet the merges that they cause.
"""

import argparse
import os
import resource
import statistics
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "deploy" / "local")]  # the packages first: files here have names of theirs

import app.allocator  # noqa: F401  isort: skip  before polars is loaded, as the command does
import polars as pl
from decode import AK, EK, Batch, hourly_batch
from dlms_cosem import security as peer_security
from dlms_cosem.protocol.xdlms.data_notification import DataNotification
from dlms_cosem.protocol.xdlms.general_global_cipher import GeneralGlobalCipher
from dlms_cosem.utils import parse_as_dlms_data
from kafka import KafkaConsumer
from old_clickhouse import connect_old, old_migrations
from services import ClickHouse, Kafka, free_port

from app import workers
from app.allocator import keep_freed_memory
from app.config import Ingest
from app.lane import Lane, LaneParams
from app.telemetry import Health
from app.workers import IngestWork, Registry
from ingest.dlms.framing import wpdu_starts
from ingest.kafka.publisher import KafkaPublisher
from ingest.kafka.settings import KafkaSettings
from ingest.kafka.source import FirstStart, KafkaSource, Polled, Subscription
from ingest.kafka.topics import apply_topics, packaged_topics
from ingest.meter_types import BUILT_IN
from ingest.packing import Waiting, packed_rows
from schemas.frames import METERS
from storage import clickhouse
from storage.clickhouse import ClickHouseEngine, ServerAddress, connect
from storage.migrations import apply_migrations
from storage.queries import Query
from storage.store import SqlStore
from storage.tables import TABLES

TOPIC = "ami.frames.v1"
PACKED_OCTETS = 65_536
INGEST = Ingest()
"""Batches as a worker has them by default: a backlog fills them by their bytes."""
ROWS_AN_INSERT = 1_000
LONGEST_MERGE_S = 60
IN_MEMORY = Path("/dev/shm")
WARMING = 3
"""Rounds that do not count: processes that live for months have their memory, and the broker's code is compiled (3.7 us
of its processor time a push in the first round, 2.4 in the third, 1.4 in the fifth)."""


@contextmanager
def services(below: Path | None = None) -> Iterator[tuple[KafkaSettings, tuple[str, int]]]:
    """Addresses of both, started here where none is given, their data below that folder (the temporary one)."""
    if os.environ.get("AMI_TEST_KAFKA") and os.environ.get("AMI_TEST_CLICKHOUSE"):
        host, _, port = os.environ["AMI_TEST_CLICKHOUSE"].rpartition(":")
        yield KafkaSettings(brokers=(os.environ["AMI_TEST_KAFKA"],)), (host, int(port))
        return
    with tempfile.TemporaryDirectory(dir=below) as folder:
        kafka, clickhouse = Kafka(Path(folder), free_port()), ClickHouse(Path(folder), free_port())
        try:
            clickhouse.run()
            kafka.run()
            yield KafkaSettings(brokers=(kafka.address,)), ("127.0.0.1", clickhouse.port)
        finally:
            kafka.stop(kill=True)
            clickhouse.stop(kill=True)


@contextmanager
def stores_on(host: str, port: int) -> Iterator[tuple[SqlStore, SqlStore]]:
    """A migrated database of its own over two connections, dropped afterwards."""
    name = f"bench_{uuid.uuid4().hex[:8]}"
    first = connect(ServerAddress(host=host, port=port, database="default"))
    first.execute(f"CREATE DATABASE {name}")
    old = first.version() < (20, 0)
    engine, other = (
        connect_old(host, port, name) if old else connect(ServerAddress(host=host, port=port, database=name))
        for _ in range(2)
    )
    apply_migrations(engine, old_migrations() if old else None)
    yield SqlStore(engine), SqlStore(other)
    for each in (engine, other):
        each.close()
    first.execute(f"DROP DATABASE {name}")
    first.close()


class Timed:
    """A source that notes when the first messages came and when nothing is left to commit."""

    def __init__(self, source: KafkaSource, messages: int) -> None:
        self._source, self._left = source, messages
        self.first: float | None = None
        self.last = 0.0
        self.keep_alive, self.pause, self.resume, self.lag = (
            source.keep_alive, source.pause, source.resume, source.lag,
        )  # fmt: skip
        self._waiting = 0

    def poll(self, limit_s: float, max_messages: int) -> Any:
        polled = self._source.poll(limit_s, max_messages)
        if polled.spans and self.first is None:
            self.first = time.perf_counter()
        self._waiting += sum(len(part.values) for part in polled.records)
        return polled

    def commit(self, spans: Any) -> Any:
        done = self._source.commit(spans)
        self.last = time.perf_counter()
        return done

    def done(self) -> bool:
        return self._waiting >= self._left


def push(settings: KafkaSettings, batch: Batch) -> int:
    """The pushes on their topic, packed as the gateway does; the number of Kafka messages."""
    publisher = KafkaPublisher(settings, compression=None)
    waiting: dict[int, list[Waiting]] = {}
    now = time.time_ns() // 1_000_000  # of an older time the broker would take them away in the middle of a run
    for payload in batch.payloads:
        key = payload[10:18].hex().encode()
        waiting.setdefault(publisher.partition_for(TOPIC, key), []).append(Waiting(payload, key, now))
    rows = packed_rows(waiting, PACKED_OCTETS)
    publisher.publish(TOPIC, rows)
    publisher.flush()
    publisher.close()
    return rows.height


def pipeline(
    settings: KafkaSettings, stores: tuple[SqlStore, SqlStore], registry: Registry, size: tuple[int, int]
) -> float:
    """Seconds from the first message polled to the last commit; the topic from its beginning."""
    _, messages = size
    store, beside = stores
    empty(store)
    group = Subscription((TOPIC,), uuid.uuid4().hex, first_start=FirstStart.EARLIEST)
    source = KafkaSource(settings, group)
    timed = Timed(source, messages)
    publisher = KafkaPublisher(settings)
    work = IngestWork(store, publisher, registry, lambda *_: None, beside)
    params = LaneParams(INGEST.batch_messages, INGEST.batch_seconds, 600.0, 0.05, INGEST.batch_octets)
    Lane(timed, work, params, Health(heartbeat_limit_s=60)).run(timed.done)
    source.close()
    publisher.close()
    return timed.last - (timed.first or 0.0)


class Meter:
    """CPU and wall seconds inside calls, each call's without those of the metered calls that it makes."""

    def __init__(self) -> None:
        self.spent: dict[str, list[float]] = {}
        self._inner = threading.local()

    def on(self, owner: Any, method: str, name: str) -> None:
        original = getattr(owner, method)

        def metered(*args: Any, **named: Any) -> Any:
            outer = getattr(self._inner, "spent", None)
            self._inner.spent = mine = [0.0, 0.0]
            begun = time.thread_time(), time.perf_counter()
            try:
                return original(*args, **named)
            finally:
                whole = time.thread_time() - begun[0], time.perf_counter() - begun[1]
                self._inner.spent = outer
                total = self.spent.setdefault(name, [0.0, 0.0])
                for i in (0, 1):
                    total[i] += whole[i] - mine[i]
                    if outer is not None:
                        outer[i] += whole[i]

        setattr(owner, method, metered)


def cpu_of_processes() -> dict[str, float]:
    """CPU seconds so far of this process, of those that it started, by name, and of everything on the machine."""
    ticks = os.sysconf("SC_CLK_TCK")
    spent = {"the worker": time.process_time()}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, rest = stat.read_text().partition("(")[2].rpartition(")")
        except OSError:
            continue  # it has ended
        words = rest.split()
        if int(words[1]) == os.getpid():
            spent[name] = spent.get(name, 0.0) + (int(words[11]) + int(words[12])) / ticks
    busy = [int(word) for word in Path("/proc/stat").read_text().splitlines()[0].split()[1:]]
    spent["all processes"] = (sum(busy[:3]) + sum(busy[5:8])) / ticks
    return spent


def profile(
    settings: KafkaSettings, stores: tuple[SqlStore, SqlStore], registry: Registry, size: tuple[int, int]
) -> None:
    """Where the time of one worker goes: CPU is the thread's own, wall holds waiting for broker, server and the CPU."""
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(WARMING):
        pipeline(settings, stores, registry, size)
    meter = Meter()
    meter.on(KafkaSource, "poll", "poll: fetch and parse record batches")
    meter.on(Polled, "frames", "poll: cut messages into frames")
    meter.on(IngestWork, "prepare", "decode_frames")
    meter.on(workers, "to_messages", "publish: rows to JSON lines")
    meter.on(KafkaPublisher, "publish", "publish: hand over")
    meter.on(KafkaPublisher, "flush", "publish: until acknowledged")
    meter.on(clickhouse, "encode_column", "insert: columns to native blocks")
    meter.on(ClickHouseEngine, "insert", "insert: compress, send, until acknowledged")
    meter.on(SqlStore, "append", "insert: check and cast")
    meter.on(KafkaSource, "commit", "commit")
    before = cpu_of_processes()
    seconds = pipeline(settings, stores, registry, size)
    after = cpu_of_processes()
    total = sum(cpu for cpu, _ in meter.spent.values())
    print(f"profile of {size[0]:,} pushes, {seconds:.1f} s of wall, {total:.1f} s of CPU")
    print(
        f"  most memory of the worker: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB, of which "
        f"{held / 1024:.0f} MB were the benchmark's own before"
    )
    for name, cpu in after.items():
        print(f"  CPU of {name:<39}{'':6} {(cpu - before.get(name, 0.0)) / size[0] * 1e6:7.2f} us CPU a push")
    for name, (cpu, wall) in sorted(meter.spent.items(), key=lambda item: -item[1][0]):
        each = f"{cpu / size[0] * 1e6:7.2f} us CPU a push {wall / size[0] * 1e6:8.2f} us wall"
        print(f"  {name:<46}{cpu / total:6.0%} {each}")


def decode_alone(batch: Batch, registry: Registry) -> tuple[float, list[Any]]:
    """Seconds to decode all in batches, and what they gave."""
    work = IngestWork(SqlStore(None), None, registry, lambda *_: None)  # type: ignore[arg-type]
    frames = batch.frames.height * INGEST.batch_octets // int(batch.frames.estimated_size())
    start = time.perf_counter()
    decoded = [work.prepare(part) for part in batch.frames.iter_slices(frames)]
    return time.perf_counter() - start, decoded


def insert_alone(stores: tuple[SqlStore, SqlStore], registry: Registry, decoded: list[Any]) -> float:
    """Seconds until all rows of the batches are acknowledged, over both connections as a worker has them."""
    empty(stores[0])
    work = IngestWork(stores[0], None, registry, lambda *_: None, stores[1])  # type: ignore[arg-type]
    start = time.perf_counter()
    for number, one in enumerate(decoded):
        work.insert(one, f"bench {time.time_ns()} {number}")
    return time.perf_counter() - start


def plain_stack(settings: KafkaSettings, store: SqlStore, wanted: int) -> float:
    """Seconds a push of the loop that one writes first."""
    empty(store)
    client: Any = store.engine._client
    consumer = KafkaConsumer(TOPIC, **settings.client_options(), auto_offset_reset="earliest", group_id=None)
    rows: list[tuple[Any, ...]] = []
    done, start = 0, None
    for record in consumer:
        start = start or time.perf_counter()
        starts, stop = wpdu_starts(record.value)
        for frame, (at, after) in enumerate(zip(starts, [*starts[1:], stop], strict=True)):
            rows += peer_rows(record, frame, record.value[at + 8 : after])
            done += 1
            if len(rows) >= ROWS_AN_INSERT:
                insert_rows(client, rows)
                rows = []
            if done >= wanted:
                insert_rows(client, rows)
                consumer.close()
                return (time.perf_counter() - start) / done
    raise SystemExit("the topic ended early")


def peer_rows(record: Any, frame: int, apdu: bytes) -> list[tuple[Any, ...]]:
    """A tuple for each value of a push."""
    sealed = GeneralGlobalCipher.from_bytes(apdu)
    plain = peer_security.decrypt(
        security_control=sealed.security_control,
        system_title=sealed.system_title,
        invocation_counter=sealed.invocation_counter,
        key=EK,
        cipher_text=sealed.ciphered_text,
        auth_key=AK,
    )
    name, _, quarters = parse_as_dlms_data(DataNotification.from_bytes(bytes(plain)).body)
    rows = []
    for quarter in quarters:
        end = clock(quarter[0])
        for channel, value in zip(
            ("energy_delivered", "energy_received", "reactive_delivered"), quarter[2:], strict=True
        ):
            rows.append(
                (record.topic.encode(), record.partition, record.offset, frame, record.timestamp * 1000, bytes(name),
                 channel.encode(), None, int((end - timedelta(minutes=15)).timestamp() * 1e6), 900, value * 1000,
                 quarter[1])
            )  # fmt: skip
    return rows


def clock(octets: Any) -> datetime:
    """A COSEM date-time in UTC, however the library hands it over."""
    if isinstance(octets, datetime):
        return octets
    raw = bytes(octets)
    return datetime(int.from_bytes(raw[:2], "big"), raw[2], raw[3], raw[5], raw[6], raw[7], tzinfo=UTC)


def insert_rows(client: Any, rows: list[tuple[Any, ...]]) -> None:
    names = ", ".join(f"`{name}`" for name in TABLES["intervals"].frame.schema)
    if rows:
        client.execute(f"INSERT INTO intervals ({names}) VALUES", rows)


def empty(store: SqlStore) -> None:
    """Nothing is stored, and the server no longer merges what was: nobody pays for another's parts."""
    for name in TABLES:
        store.engine.execute(f"TRUNCATE TABLE {name}")
    running = Query("SELECT toInt64(count()) AS merges FROM system.merges", {}, pl.Schema({"merges": pl.Int64()}))
    waited = time.monotonic() + LONGEST_MERGE_S
    while store.engine.select(running)["merges"].item():
        if time.monotonic() > waited:
            raise SystemExit(f"the server still merges what was dropped {LONGEST_MERGE_S} s ago")
        time.sleep(0.1)


def _in_memory() -> Path | None:
    return IN_MEMORY if IN_MEMORY.is_dir() and os.access(IN_MEMORY, os.W_OK) else None


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--frames", type=int, default=400_000)
    options.add_argument("--peer", type=int, default=100_000)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--folder", type=Path, help="where the services' data lie", default=_in_memory())
    options.add_argument("--profile", action="store_true", help="where one worker's time goes, instead")
    chosen = options.parse_args()
    if chosen.peer > chosen.frames and not chosen.profile:
        options.error(f"--peer: the topic holds the {chosen.frames} pushes of --frames")
    keep_freed_memory()  # as the command does
    batch = hourly_batch(chosen.frames, ciphered=True)
    registry = Registry(batch.keyring, METERS.empty(), BUILT_IN, batch.enrolment)
    with services(chosen.folder) as (settings, server), stores_on(*server) as stores:
        print(f"ClickHouse {'.'.join(map(str, stores[0].engine.version()))}")
        apply_topics(settings, packaged_topics(), replication=1)
        messages = push(settings, batch)
        if chosen.profile:
            profile(settings, stores, registry, (chosen.frames, messages))
            return
        taken: dict[str, list[float]] = {"pipeline": [], "decode": [], "insert": [], "plain stack": []}
        for _ in range(WARMING):
            pipeline(settings, stores, registry, (chosen.frames, messages))
        for _ in range(chosen.rounds):
            # The peer's time is long enough for the allocators to give back what the next batch needs.
            pipeline(settings, stores, registry, (chosen.frames, messages))
            taken["pipeline"].append(pipeline(settings, stores, registry, (chosen.frames, messages)) / chosen.frames)
            seconds, decoded = decode_alone(batch, registry)
            taken["decode"].append(seconds / chosen.frames)
            taken["insert"].append(insert_alone(stores, registry, decoded) / chosen.frames)
            rows = sum(one.intervals.height for one in decoded)
            del decoded  # a worker holds no more than it has at hand
            with stores_on(*server) as (its_own, _):
                taken["plain stack"].append(plain_stack(settings, its_own, chosen.peer))
        report(taken, chosen.frames, rows)


def report(taken: dict[str, list[float]], frames: int, rows: int) -> None:
    """Pushes a second of each, and the two ratios that are asked for."""
    each = {name: statistics.median(seconds) for name, seconds in taken.items()}
    print(f"{frames:,} ciphered pushes, {rows / frames:.0f} intervals each, median of {len(taken['pipeline'])}")
    for name, seconds in each.items():
        spread = (max(taken[name]) - min(taken[name])) / seconds
        rate = f"{1 / seconds:12,.0f} pushes a second{rows / frames / seconds:14,.0f} values"
        print(f"  {name:<12}{rate}   spread {spread:.0%}")
    slower = [max(parts) for parts in zip(taken["decode"], taken["insert"], strict=True)]
    for what, beside in (("x the plain stack (20", taken["plain stack"]), ("of the slower part alone (0.5", slower)):
        ratios = [other / own for other, own in zip(beside, taken["pipeline"], strict=True)]
        print(f"  {statistics.median(ratios):.2f} {what} asked for), {min(ratios):.2f} to {max(ratios):.2f} by round")


if __name__ == "__main__":
    main()
