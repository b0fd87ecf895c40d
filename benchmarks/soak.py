# ruff: noqa: E402  the services' starter lies beside the packages, not among them
"""Ten minutes at a steady rate: whether lag, memory and batches of the workers stay where they are.

    python benchmarks/soak.py [--minutes 10] [--rate 300] [--meters 1500]

Broker, server and four workers (ingest, events, store, vee) run as processes on this machine; a simulated fleet pushes
`--rate` ciphered frames a second, packed as the gateway packs them. It stops by itself, prints lag (the age of the
oldest message that a group has not committed, to a second: a message holds one frame or hundreds) and resident memory
over time, and exits 1 where either has grown from the middle third to the last, where a batch of VEE takes more than
half as long again in the last third as in the first, or where a frame is not stored exactly once (`judging`). With as
many meters as the default a day of the fleet goes by in 80 seconds, and VEE looks back on one: what a batch loads
(the dirty days, a day or two, and one on either side) is full after four minutes, before the middle third is half over;
with more meters it still grows then. The days are older than what is awaited and come all the same in order: a fleet
that catches up, which is not estimated ahead of what it brings. A day's finals are written when they come, and again
when its register is read.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "deploy" / "local")]  # the packages first: files here have names of theirs

import polars as pl
from judging import Ends, Place, Sample, batch_seconds, judge_batches, judge_samples
from kafka import KafkaConsumer, TopicPartition
from pipeline import services, stores_on

from app.inputs import load_meters, load_types
from app.messages import to_messages
from app.meter_states import METERS_TOPIC
from ingest.kafka.publisher import KafkaPublisher
from ingest.kafka.settings import KafkaSettings
from ingest.kafka.topics import apply_topics, packaged_topics
from ingest.lanes import FRAMES_TOPIC, LAST_GASP_TOPIC, key_of, lane_of
from ingest.packing import Waiting, packed_rows
from ingest.sources import cut_bin
from storage.queries import Query
from storage.store import SqlStore

GROUPS = {
    "ingest": (FRAMES_TOPIC, LAST_GASP_TOPIC),
    "events": (LAST_GASP_TOPIC,),
    "store": ("ami.events.v1", "ami.rejects.v1", METERS_TOPIC),
    "vee": ("ami.dirty-days.v1",),
}
LOG = "workers.log"
SAMPLE_S = 10.0
PACKED_OCTETS = 262_144
DRAIN_S = 300.0


class Lag:
    """What each group has not committed of its topics."""

    def __init__(self, settings: KafkaSettings, prefix: str) -> None:
        self._ends = {role: Ends() for role in GROUPS}
        self._consumers = {
            role: KafkaConsumer(**settings.client_options(), group_id=f"{prefix}.{role}", enable_auto_commit=False)
            for role in GROUPS
        }

    def look(self, at: float) -> None:
        """Notes where the topics end."""
        for role, ends in self._ends.items():
            ends.look(at, self._written(role))

    def age_s(self, role: str, at: float) -> float:
        """How old the oldest message is that the role has not committed; as exact as looks are frequent."""
        return self._ends[role].age_s(at, self._committed(role))

    def waiting(self, role: str) -> bool:
        """Whether any message is not committed."""
        committed = self._committed(role)
        return any(end > committed[place] for place, end in self._written(role).items())

    def _places(self, role: str) -> list[TopicPartition]:
        consumer = self._consumers[role]
        return [TopicPartition(topic, i) for topic in GROUPS[role] for i in consumer.partitions_for_topic(topic)]

    def _written(self, role: str) -> dict[Place, int]:
        ends = self._consumers[role].end_offsets(self._places(role))
        return {(place.topic, place.partition): end for place, end in ends.items()}

    def _committed(self, role: str) -> dict[Place, int]:
        consumer = self._consumers[role]
        return {(place.topic, place.partition): consumer.committed(place) or 0 for place in self._places(role)}


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--minutes", type=float, default=10)
    options.add_argument("--rate", type=int, default=300, help="frames a second")
    options.add_argument("--meters", type=int, default=1_500)
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as name, services() as (settings, server), stores_on(*server) as (store, _):
        folder = Path(name)
        payloads = simulate(folder, chosen.meters, round(chosen.minutes * 60 * chosen.rate))
        apply_topics(settings, packaged_topics(), replication=1)
        publisher = KafkaPublisher(settings)
        meters = load_meters(folder / "meters.csv", load_types(None))
        publisher.publish(METERS_TOPIC, to_messages(meters, meters["meter_id"]))
        publisher.flush()
        with workers(folder, settings, store, server) as (prefix, started):
            lag = Lag(settings, prefix)
            samples = push_steadily(publisher, payloads, chosen.rate, started, lag)
            drained = drain(lag)
        stored = stored_frames(store)
        took = batch_seconds((folder / LOG).read_text("utf-8").splitlines(), "ami.dirty-days.v1")
    return judge(samples, took, len(payloads), stored, drained=drained)


def simulate(folder: Path, meters: int, wanted: int) -> list[bytes]:
    """So many frames of a fleet, in the order in which they were pushed."""
    days = 1 + wanted // (meters * 16)
    faults = folder / "simulate.toml"
    faults.write_text(f"start = {datetime.now(UTC).date() - timedelta(days=days)}\n", "ascii")
    command = [str(Path(sys.executable).with_name("ami")), "simulate", "--meters", str(meters), "--days", str(days)]
    subprocess.run([*command, "--seed", "5", "--out", str(folder), "--config", str(faults)], check=True)
    payloads: list[bytes] = cut_bin((folder / "frames.bin").read_bytes(), "frames.bin")["payload"].to_list()
    return payloads[:wanted]


@contextmanager
def workers(
    folder: Path, settings: KafkaSettings, store: SqlStore, server: tuple[str, int]
) -> Iterator[tuple[str, dict[str, subprocess.Popen[bytes]]]]:
    """The four workers, asked to end afterwards; the prefix of their groups."""
    prefix = f"soak-{uuid.uuid4().hex[:8]}"
    asked = Query("SELECT currentDatabase() AS name", {}, pl.Schema({"name": pl.String}))
    ((database,),) = store.engine.select(asked).rows()
    config = folder / "ami.toml"
    config.write_text(
        f'[kafka]\nbrokers = ["{settings.brokers[0]}"]\n[group]\nprefix = "{prefix}"\nfirst_start = "earliest"\n'
        f'[clickhouse]\nhost = "{server[0]}"\nport = {server[1]}\ndatabase = "{database}"\n'
        f'[keys]\nfile = "{folder}/keys.csv"\n[meters]\nfile = "{folder}/meters.csv"\n[telemetry]\nport = 0\n'
        "[vee]\nhistory_days = 1\nestimate_after_hours = 24.0\n"
    )
    old = store.engine.version() < (20, 0)
    launcher = [str(ROOT / "deploy/local/worker.py")] if old else ["-m", "app.cli", "worker"]
    with (folder / LOG).open("wb") as log:
        started = {
            role: subprocess.Popen(
                [sys.executable, *launcher, role, "--config", str(config)], stderr=log, cwd=ROOT,
                env=os.environ | {"PYTHONPATH": str(ROOT), "MALLOC_ARENA_MAX": "2"},
            )
            for role in GROUPS
        }  # fmt: skip
        try:
            yield prefix, started
        finally:
            for worker in started.values():
                worker.terminate()
            codes = {role: worker.wait(60) for role, worker in started.items()}
            if any(codes.values()):
                print(f"workers ended with {codes}:", (folder / LOG).read_text()[-2000:])


def push_steadily(
    publisher: KafkaPublisher, payloads: list[bytes], rate: int, started: dict[str, subprocess.Popen[bytes]], lag: Lag
) -> list[Sample]:
    """So many frames each second until there are no more; what was seen on the way."""
    samples: list[Sample] = []
    begun = time.monotonic()
    print("  s     " + "".join(f"{role + ' lag s':>14}{role + ' MB':>12}" for role in GROUPS))
    for second, first in enumerate(range(0, len(payloads), rate)):
        time.sleep(max(0.0, begun + second - time.monotonic()))
        push(publisher, payloads[first : first + rate])
        lag.look(time.monotonic() - begun)
        if second >= SAMPLE_S * (len(samples) + 1):
            dead = [role for role, worker in started.items() if worker.poll() is not None]
            if dead:
                raise SystemExit(f"{dead} ended")
            at = time.monotonic() - begun
            held = {role: resident(worker.pid) for role, worker in started.items()}
            samples.append(Sample(at, {role: lag.age_s(role, at) for role in GROUPS}, held))
            if len(samples) % 3 == 0:
                show(samples[-1])
    late = time.monotonic() - begun - len(payloads) / rate
    print(
        f"pushed {len(payloads):,} frames in {time.monotonic() - begun:.0f} s, {max(0.0, late):.1f} s behind the pace"
    )
    return samples


def push(publisher: KafkaPublisher, payloads: list[bytes]) -> None:
    now = time.time_ns() // 1_000_000
    for topic in (FRAMES_TOPIC, LAST_GASP_TOPIC):
        waiting: dict[int, list[Waiting]] = {}
        for payload in payloads:
            if lane_of(payload, over_udp=False) == topic:
                key = key_of(payload, "127.0.0.1")
                waiting.setdefault(publisher.partition_for(topic, key), []).append(Waiting(payload, key, now))
        publisher.publish(topic, packed_rows(waiting, PACKED_OCTETS))
    publisher.flush()


def resident(pid: int) -> int:
    """Octets of a process in memory."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0


def show(sample: Sample) -> None:
    cells = "".join(f"{sample.age_s[role]:14.1f}{sample.memory[role] / 1e6:12.0f}" for role in GROUPS)
    print(f"{sample.at:5.0f}   {cells}", flush=True)


def drain(lag: Lag) -> bool:
    """Whether every group is through within the bound."""
    limit = time.monotonic() + DRAIN_S
    while any(lag.waiting(role) for role in GROUPS):
        if time.monotonic() > limit:
            return False
        time.sleep(1)
    return True


def stored_frames(store: SqlStore) -> tuple[int, int]:
    """Frames in the view of the newest, and how many of them are different ones."""
    asked = "SELECT count() AS rows, uniqExact(topic, `partition`, `offset`, frame) AS frames FROM frames_current"
    schema = pl.Schema({"rows": pl.UInt64, "frames": pl.UInt64})
    ((rows, frames),) = store.engine.select(Query(asked, {}, schema)).rows()
    return rows, frames


def judge(samples: list[Sample], took: list[float], pushed: int, stored: tuple[int, int], *, drained: bool) -> int:
    """0 where nothing has grown and nothing is lost or doubled."""
    verdicts = [*judge_samples(samples, GROUPS), *judge_batches(took)]
    for one in verdicts:
        print(f"{one.what:<14} {one.before:10.1f} -> {one.after:10.1f}   {'flat' if one.good else 'GROWN'}")
    print(f"{len(took)} batches of VEE; stored {stored[0]:,} rows of {stored[1]:,} frames; pushed {pushed:,}; ", end="")
    print(f"all groups through: {drained}")
    good = all(one.good for one in verdicts) and drained and stored == (pushed, pushed)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
