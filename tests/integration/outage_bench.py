"""A night below two substations, workers on a real broker that live through it, and what they said by identity."""

import itertools
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import polars as pl
from kafka import KafkaConsumer, TopicPartition

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "outage"))

from fate import REACHED  # noqa: E402
from outage_logs import MINUTE, T0, alive, last_steps, log, told, tree  # noqa: E402

from app.messages import to_messages  # noqa: E402
from app.meter_states import METERS_TOPIC  # noqa: E402
from app.outage_source import INPUT_TOPICS, JOURNAL_TOPIC  # noqa: E402
from app.registry import COLUMNS  # noqa: E402
from app.workers import EVENTS_TOPIC, HEARD_TOPIC, OUTAGES_TOPIC  # noqa: E402
from ingest.enrolment import Enrolment  # noqa: E402
from ingest.kafka.publisher import KafkaPublisher  # noqa: E402
from ingest.kafka.settings import KafkaSettings  # noqa: E402
from ingest.meter_types import BUILT_IN  # noqa: E402
from outage.detect import detect_outages  # noqa: E402
from outage.identity import GONE  # noqa: E402
from outage.messages.cim_json import OutageMessage, parse_cim_json  # noqa: E402
from outage.params import DetectParams  # noqa: E402
from outage.stream_record import Folding, Positions, read_part  # noqa: E402

LIMIT_S = 90
LAST_CALLS_S = 2
"""What follows its record in the journal takes a worker no longer."""
CHUNKS = 7


class Night(NamedTuple):
    """A night of storms below two substations, cut by the time of reception."""

    meters: pl.DataFrame
    events: list[pl.DataFrame]
    heard: list[pl.DataFrame]

    def said(self) -> pl.DataFrame:
        """What one pass over the log says."""
        return detect_outages(pl.concat(self.events), self.meters, pl.concat(self.heard), DetectParams()).outages


def feeder_of(rows: pl.DataFrame, meters: pl.DataFrame) -> pl.Series:
    """The key under which the decoding workers publish each row."""
    at = rows["received_at" if "received_at" in rows.columns else "read_at"]
    return Enrolment.of(meters, BUILT_IN).keys_of(rows["meter_id"], at)


def write_meters(meters: pl.DataFrame, folder: Path) -> None:
    """METERS as `meters.csv`, with the columns that say something."""
    csv = meters.with_columns(channels=pl.lit(None, pl.String))
    csv.select(name for name in COLUMNS if csv[name].null_count() < csv.height).write_csv(folder / "meters.csv")


def night_of_storms(chunks: int = CHUNKS) -> Night:
    """Individuals, streets and zones, one after the other; some of it received late."""
    names = ("meter_id", "service_point_id", "transformer_id", "lateral_id", "feeder_id", "substation_id")
    meters = pl.concat([tree(3, 2, 3, 8).with_columns(pl.col(*names) + pl.lit(suffix)) for suffix in ("", "b")])

    def below(column: str, node: str) -> list[str]:
        return meters.filter(pl.col(column) == node)["meter_id"].to_list()

    substation = below("substation_id", "S0b")
    street, feeder = below("transformer_id", "T010"), below("feeder_id", "F1")
    doubted = "M210-000"
    dark = [*street, *feeder, *substation, "M200-001", "M201-002"]
    events = log(
        told(street[1:], "power_down", T0 + 2 * MINUTE),
        told(["M200-001"], "power_down", T0 + 3 * MINUTE),
        told(feeder[::2], "last_gasp", T0 + 8 * MINUTE),
        told(feeder[1::2], "last_gasp", T0 + 8 * MINUTE, delay=6 * MINUTE),
        told(substation[:40], "last_gasp", T0 + 20 * MINUTE),
        told(substation[40:], "last_gasp", T0 + 20 * MINUTE, delay=4 * MINUTE),
        told(["M201-002"], "power_down", T0 + 30 * MINUTE),
        # It goes on reading, and is warned of.
        *(told([doubted], "last_gasp", T0 + (5 * n + 3) * MINUTE, authenticated=False) for n in range(17)),
        told(feeder[:20], "power_up", T0 + 40 * MINUTE),
        told(street, "power_up", T0 + 50 * MINUTE),
        told(feeder[20:], "power_up", T0 + 70 * MINUTE),
        told(substation, "power_up", T0 + 75 * MINUTE),
        told(["M200-001", "M201-002"], "power_up", T0 + 80 * MINUTE),
    )
    heard = alive(meters, dark, *(T0 + 5 * n * MINUTE for n in range(18)))
    bounds = [T0 + n * 90 * MINUTE / chunks for n in range(chunks + 1)]
    return Night(
        meters,
        [events.filter(pl.col("received_at").is_between(a, b, closed="left")) for a, b in itertools.pairwise(bounds)],
        [heard.filter(pl.col("read_at").is_between(a, b, closed="left")) for a, b in itertools.pairwise(bounds)],
    )


class Bench(NamedTuple):
    """Empty topics, and how workers of one group are started."""

    settings: KafkaSettings
    folder: Path
    group: str
    started: list[subprocess.Popen[bytes]]

    def start(self, name: str, step: str = "none", nth: int = 1) -> subprocess.Popen[bytes]:
        """A worker; `name` is that of a static member."""
        config = self.folder / f"{name}.toml"
        config.write_text(
            f"""
[kafka]
brokers = ["{self.settings.brokers[0]}"]
[group]
prefix = "{self.group}"
instance = "{name}"
first_start = "earliest"
session_timeout_ms = 6000
[clickhouse]
host = "127.0.0.1"
port = 1
[outage]
snapshot_batches = 3
tick_seconds = 1.0
[meters]
file = "{self.folder / "meters.csv"}"
refresh_seconds = 0.2
[telemetry]
port = 0
"""
        )
        command = [sys.executable, str(HERE / "doomed_outage.py"), step, str(nth), "--config", str(config)]
        env = os.environ | {"PYTHONPATH": str(HERE.parents[1]), REACHED: str(self.life)}
        worker = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=self.log(name).open("ab"))
        self.started.append(worker)
        return worker

    @property
    def life(self) -> Path:
        """Where workers write down the steps that they came to."""
        return self.folder / "reached"

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def last_words(self) -> str:
        return "\n".join(f"{log.name}: {log.read_text()[-2000:]}" for log in self.folder.glob("*.log"))

    def epoch(self, name: str) -> int:
        """The epoch in which that worker was last at work; 0 where it never was."""
        if not self.log(name).exists():
            return 0
        return max((int(epoch) for epoch in re.findall(r'"epoch": (\d+)', self.log(name).read_text())), default=0)

    def push(self, night: Night, chunk: int) -> None:
        """A part of the night, as the other lanes publish it."""
        publisher = KafkaPublisher(self.settings)
        for topic, rows in ((EVENTS_TOPIC, night.events[chunk]), (HEARD_TOPIC, night.heard[chunk])):
            for part in rows.iter_slices(40):
                publisher.publish(topic, to_messages(part, feeder_of(part, night.meters)))
        publisher.flush()
        publisher.close()

    def publish_meters(self, meters: pl.DataFrame, *, gone: bool = False) -> None:
        """The state of these meters on the topic of the registry, or that they have left it."""
        messages = to_messages(meters, meters["meter_id"])
        publisher = KafkaPublisher(self.settings)
        publisher.publish(
            METERS_TOPIC, messages.with_columns(pl.lit(None, pl.Binary).alias("value")) if gone else messages
        )
        publisher.flush()
        publisher.close()

    def wait(self, done: Callable[[], bool], what: str) -> None:
        limit = time.monotonic() + LIMIT_S
        while not done():
            assert time.monotonic() < limit, f"{what}\n{self.last_words()}"

    def run_out(self, over: Callable[[], bool] = lambda: False) -> None:
        """Everything pushed is judged, and said; or it is over before."""
        ends = ends_of(self.settings, INPUT_TOPICS)
        self.wait(lambda: over() or at_end(positions(self.settings), ends), "the log was not read to its end")

    def die(self, night: Night, chunks: Iterator[int], step: str) -> None:
        """A worker has died at the step; it hears of parts of the night until it comes there."""
        worker = self.start("one", step)
        for chunk in chunks:
            self.push(night, chunk)
            self.stray()
            self.run_out(lambda: worker.poll() is not None)
            try:
                assert worker.wait(LAST_CALLS_S) == -9, (step, self.last_words())
            except subprocess.TimeoutExpired:
                continue
            return
        raise AssertionError(f"the night is over and no worker came to {step}")

    def stray(self) -> None:
        """A message that is no rows of its topic."""
        publisher = KafkaPublisher(self.settings)
        publisher.publish(EVENTS_TOPIC, pl.DataFrame({"key": ["stray"], "value": [b"no rows of any topic"]}))
        publisher.flush()
        publisher.close()


def messages_of(settings: KafkaSettings, topic: str, partition: int = 0) -> list[tuple[int, bytes, bytes]]:
    consumer = KafkaConsumer(**settings.client_options(), enable_auto_commit=False, fetch_max_wait_ms=50)
    place = TopicPartition(topic, partition)
    consumer.assign([place])
    consumer.seek_to_beginning(place)
    end, found = consumer.end_offsets([place])[place], []
    while consumer.position(place) < end:
        for records in consumer.poll(500).values():
            found += [(record.offset, record.key, record.value) for record in records]
    consumer.close(autocommit=False)
    return found


def positions(settings: KafkaSettings) -> Positions:
    folding, known = Folding(), {}
    for offset, key, value in messages_of(settings, JOURNAL_TOPIC):
        record = folding.take(offset, read_part(key, value))
        known = record.positions if record is not None else known
    return known


def ends_of(settings: KafkaSettings, topics: tuple[str, ...]) -> Positions:
    consumer = KafkaConsumer(**settings.client_options(), enable_auto_commit=False)
    ends: Positions = {}
    for topic in topics:
        places = [TopicPartition(topic, partition) for partition in consumer.partitions_for_topic(topic)]
        ends[topic] = {place.partition: end for place, end in consumer.end_offsets(places).items()}
    consumer.close(autocommit=False)
    return ends


def at_end(known: Positions, ends: Positions) -> bool:
    return all(known.get(t, {}).get(p, 0) >= end for t, parts in ends.items() for p, end in parts.items())


def read_said(settings: KafkaSettings) -> pl.DataFrame:
    """What a reader of the topic holds in the end: of each step the newest version."""
    said: dict[tuple[str, int], OutageMessage] = {}
    versions: dict[tuple[str, int, object], OutageMessage] = {}
    for partition in ends_of(settings, (OUTAGES_TOPIC,))[OUTAGES_TOPIC]:
        for _, key, value in messages_of(settings, OUTAGES_TOPIC, partition):
            step = parse_cim_json(value)
            assert key.decode() == step.mRID
            version = versions.setdefault((step.mRID, step.step, step.updatedDateTime), step)
            assert version == step, "the same version of a step, told in two ways"
            known = said.get((step.mRID, step.step))
            if known is None or known.updatedDateTime <= step.updatedDateTime:
                said[step.mRID, step.step] = step
    rows = [
        (s.mRID, s.step, s.status.value, s.scope.value, s.node.kind.value, s.node.mRID, s.actualPeriod.start,
         s.actualPeriod.end, s.metersAffected)
        for s in said.values()
    ]  # fmt: skip
    return pl.DataFrame(rows, schema=SAID, orient="row")


SAID = {
    "incident_id": pl.String(), "step": pl.Int32(), "state": pl.String(), "scope": pl.String(),
    "node_kind": pl.String(), "node_id": pl.String(), "started_at": pl.Datetime("us", "UTC"),
    "restored_at": pl.Datetime("us", "UTC"), "meters_out": pl.Int32(),
}  # fmt: skip


def living(outages: pl.DataFrame) -> pl.DataFrame:
    """Steps of the incidents that are neither merged nor cancelled."""
    rows = outages.select(pl.col(name).cast(dtype) for name, dtype in SAID.items())
    gone = last_steps(rows).filter(pl.col("state").is_in(list(GONE)))["incident_id"].to_list()
    return rows.filter(~pl.col("incident_id").is_in(gone)).sort("incident_id", "step")


def assert_all_is_said(bench: Bench, night: Night) -> None:
    wanted = living(night.said())
    assert set(wanted["scope"]) == {"individual", "street", "zonal"}
    bench.wait(lambda: living(read_said(bench.settings)).equals(wanted), "the incidents differ")
