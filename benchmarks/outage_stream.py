"""From the meter's word to the control room through a real broker: one transformer at rest, and a storm.

    python benchmarks/outage_stream.py [--kafka HOST:PORT] [--meters N] [--gasps N] [--single N] [--over SECONDS]

Takes about four minutes; the storm lasts a minute, or with `--over 0` as long as it takes to publish it. Starts a
broker of its own, or makes the topics anew on the one that is named: never name one that is in use. A worker runs as a
process of its own; the clock stops when the incident's message is read back from its topic.
"""

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

# `benchmarks/outage.py` bears the name of a room: the folder above comes first.
sys.path[0] = str(Path(__file__).resolve().parents[1])
sys.path.append(str(Path(sys.path[0]) / "deploy" / "local"))

import numpy as np  # noqa: E402
import polars as pl  # noqa: E402
from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition  # noqa: E402
from services import Kafka, free_port  # noqa: E402

from app.messages import to_messages  # noqa: E402
from app.workers import EVENTS_TOPIC, HEARD_TOPIC, OUTAGES_TOPIC  # noqa: E402
from benchmarks.outage_storm import draw_storm, fleet, gasps, single_node  # noqa: E402
from ingest.kafka.publisher import KafkaPublisher  # noqa: E402
from ingest.kafka.settings import KafkaSettings  # noqa: E402
from ingest.kafka.topics import apply_topics, packaged_topics  # noqa: E402
from outage.messages.cim_json import OutageMessage, parse_cim_json  # noqa: E402
from schemas.frames import HEARD, conform  # noqa: E402

READ_EVERY_S = 3600
QUIET_S, LONGEST_S, START_S = 15.0, 120.0, 120.0
"""Nothing more is awaited after so long without a message, and in all; and for the worker's start."""


class Broker(NamedTuple):
    """A publisher, and a reader of what is said."""

    publisher: KafkaPublisher
    reader: Any


def publish(broker: Broker, topic: str, rows: pl.DataFrame, meters: pl.DataFrame, slice_rows: int = 1000) -> None:
    """The rows on their topic, as the lanes before publish them."""
    feeders = rows.select("meter_id").join(meters, on="meter_id", how="left", maintain_order="left")["feeder_id"]
    for at in range(0, rows.height, slice_rows):
        broker.publisher.publish(topic, to_messages(rows[at : at + slice_rows], feeders[at : at + slice_rows]))
    broker.publisher.flush()


class Said(NamedTuple):
    """What was read back: when a node was first named, and the newest step of each incident."""

    first: dict[str, float]
    last: dict[str, OutageMessage]

    def take(self, polled: Any) -> None:
        """The clock is read before the messages are."""
        at = time.time()
        for records in polled.values():
            for record in records:
                message = parse_cim_json(record.value)
                self.first.setdefault(message.node.mRID, at)
                known = self.last.get(message.mRID)
                if known is None or message.step >= known.step:
                    self.last[message.mRID] = message


def single(broker: Broker, meters: pl.DataFrame, times: int) -> list[float]:
    """Seconds from the deciding gasp of a transformer to its incident, one transformer after another.

    Its neighbours are read as usual; the first two gasps are there, the third one decides.
    """
    latencies = []
    for i in range(times):
        node = single_node(i, meters)
        below = meters[10 * node : 10 * node + 8]
        around = meters.filter(pl.col("feeder_id") == below["feeder_id"][0]).join(below, on="meter_id", how="anti")
        publish(broker, HEARD_TOPIC, _reads(around["meter_id"], datetime.now(UTC)), meters)
        publish(broker, EVENTS_TOPIC, gasps(below[:2], datetime.now(UTC), 0.1), meters)
        said, until = Said({}, {}), time.time() + 0.5
        while time.time() < until:
            said.take(broker.reader.poll(20))
        sent = time.time()
        publish(broker, EVENTS_TOPIC, gasps(below[2:], datetime.now(UTC), 0.1), meters)
        while f"T{node}" not in said.first and time.time() < sent + 8.0:
            said.take(broker.reader.poll(20))
        latencies.append(said.first.get(f"T{node}", float("inf")) - sent)
    return latencies


def storm(broker: Broker, meters: pl.DataFrame, count: int, over_s: float) -> dict[str, Any]:
    """A second of gasps at a time, ordinary reads of others beside them; what is said is compared with the truth."""
    plan = draw_storm(meters, count, over_s)
    reads_a_s = meters.height // READ_EVERY_S
    publish(broker, HEARD_TOPIC, _reads(plan.living[: meters.height // 3], datetime.now(UTC)), meters)
    start, seconds = time.time(), max(1, round(over_s))
    plan = plan._replace(gasps=gasps(plan.gasps.select("meter_id"), datetime.now(UTC), over_s))
    told_at = np.empty(plan.gasps.height)
    bounds = np.linspace(0, plan.gasps.height, seconds + 1).astype(int)
    said = Said({}, {})
    for second in range(seconds):
        while (wait := start + (second + 1) * over_s / seconds - time.time()) > 0:
            said.take(broker.reader.poll(min(20, int(wait * 1000) + 1)))
        batch = slice(bounds[second], bounds[second + 1])
        told_at[batch] = time.time()
        publish(broker, EVENTS_TOPIC, plan.gasps[batch], meters, 5000)
        alive = plan.living.gather((np.arange(reads_a_s) + second * reads_a_s) % plan.living.len())
        publish(broker, HEARD_TOPIC, _reads(alive, datetime.now(UTC)), meters, 5000)
    sent = time.time()
    silent_since = sent
    while time.time() - silent_since < QUIET_S and time.time() - sent < LONGEST_S:
        polled = broker.reader.poll(20)
        silent_since = time.time() if polled else silent_since
        said.take(polled)
    late = np.array([max(0.0, said.first[node] - sent) for node in plan.wanted if node in said.first] or [np.inf])
    decided = [said.first[node] - told_at[row] for node, row in plan.wanted.items() if node in said.first] or [np.inf]
    standing = [last.node.mRID for last in said.last.values() if last.status not in ("merged", "cancelled")]
    return {
        "gasps": plan.gasps.height, "over_s": round(sent - start, 1), "incidents": len(plan.wanted), "found": len(late),
        "others_at_the_end": len(standing) - len(plan.wanted.keys() & set(standing)),
        "seconds_after_the_last_gasp": _percentiles(late), "seconds_after_the_deciding_gasp": _percentiles(decided),
        "told_within_30_s_of_the_last": float((late <= 30).mean()),
    }  # fmt: skip


def _reads(names: pl.Series, at: datetime) -> pl.DataFrame:
    return conform(names.to_frame("meter_id").with_columns(read_at=pl.lit(at)), HEARD)


def _percentiles(values: Any) -> dict[str, float]:
    return {f"p{q}": round(float(np.percentile(values, q)), 2) for q in (0, 50, 90, 99, 100)}


def open_broker(address: str) -> Broker:
    """Every topic, empty, and clients."""
    settings = KafkaSettings(brokers=(address,))
    admin = KafkaAdminClient(**settings.client_options())
    wanted = packaged_topics()
    names = {topic.name for topic in wanted}
    admin.delete_topics(sorted(names & set(admin.list_topics())))
    while set(admin.list_topics()) & names:
        time.sleep(0.2)
    admin.close()
    apply_topics(settings, wanted, replication=1)
    reader = KafkaConsumer(**settings.client_options(), enable_auto_commit=False, fetch_max_wait_ms=10)
    reader.assign([TopicPartition(OUTAGES_TOPIC, part) for part in sorted(reader.partitions_for_topic(OUTAGES_TOPIC))])
    reader.seek_to_beginning()
    return Broker(KafkaPublisher(settings), reader)


def run(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Both measurements."""
    meters = fleet(arguments.meters)
    meters.write_csv(folder / "meters.csv")
    broker = open_broker(arguments.kafka)
    config = folder / "ami.toml"
    config.write_text(
        f'[kafka]\nbrokers = ["{arguments.kafka}"]\n[group]\nprefix = "bench-{uuid.uuid4().hex[:6]}"\n'
        f'first_start = "earliest"\nsession_timeout_ms = 10000\n[meters]\nfile = "{folder / "meters.csv"}"\n'
        "[telemetry]\nport = 0\n"
    )
    code = "import sys; from app.cli import main; sys.exit(main(sys.argv[1:]))"
    log = Path(arguments.log) if arguments.log else folder / "worker.log"
    with log.open("wb") as stderr:
        words = [sys.executable, "-c", code, "worker", "outage", "--config", str(config)]
        worker = subprocess.Popen(words, stderr=stderr)
        try:
            _await_work(worker, log)
            latencies = single(broker, meters, arguments.single)
            told = {"meters": arguments.meters, "single_transformer_s": _percentiles(latencies), "of": len(latencies)}
            print(json.dumps(told), flush=True)
            told["storm"] = storm(broker, meters, arguments.gasps, arguments.over)
        finally:
            worker.terminate()
            worker.wait(60)
    return told


def _await_work(worker: "subprocess.Popen[bytes]", log: Path) -> None:
    until = time.time() + START_S
    while b"at work" not in log.read_bytes():
        if worker.poll() is not None or time.time() > until:
            raise SystemExit(f"the worker did not come to work:\n{log.read_text()[-2000:]}")
        time.sleep(0.2)


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description="Outages through a real broker: latency at rest, and a storm")
    parser.add_argument("--kafka")
    parser.add_argument("--meters", type=int, default=1_000_000)
    parser.add_argument("--gasps", type=int, default=100_000)
    parser.add_argument("--single", type=int, default=100)
    parser.add_argument("--over", type=float, default=60.0, help="seconds of the storm; 0: as fast as the broker takes")
    parser.add_argument("--log", help="where the worker's log stays")
    arguments = parser.parse_args()
    # Told to stop, it stops its worker and its broker too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory() as folder:
        if arguments.kafka:
            print(json.dumps(run(arguments, Path(folder)), indent=2))
            return
        broker = Kafka(Path(folder), free_port())
        broker.run()
        try:
            arguments.kafka = broker.address
            print(json.dumps(run(arguments, Path(folder)), indent=2))
        finally:
            broker.stop()


if __name__ == "__main__":
    main()
