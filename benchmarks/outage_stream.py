"""From the meter's word to the control room through a real broker: one transformer at rest, and a storm.

    python benchmarks/outage_stream.py [--kafka HOST:PORT] [--meters 1000000] [--gasps 100000] [--single 20]

Starts a broker of its own, or makes the outage worker's topics anew on the one that is named: never name one that is in
use. A worker runs as a process of its own; the clock stops when the incident's message is read back from its topic.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
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
from app.outage_source import INPUT_TOPICS, JOURNAL_TOPIC  # noqa: E402
from app.workers import EVENTS_TOPIC, HEARD_TOPIC, OUTAGES_TOPIC  # noqa: E402
from ingest.kafka.publisher import KafkaPublisher  # noqa: E402
from ingest.kafka.settings import KafkaSettings  # noqa: E402
from ingest.kafka.topics import apply_topics, packaged_topics  # noqa: E402
from outage.messages.cim_json import OutageMessage, parse_cim_json  # noqa: E402
from schemas.frames import EVENTS, HEARD, conform  # noqa: E402

METERS_A_TRANSFORMER, TRANSFORMERS_A_LATERAL, LATERALS_A_FEEDER, FEEDERS_A_SUBSTATION = 10, 10, 10, 10
TOPICS = (*INPUT_TOPICS, OUTAGES_TOPIC, JOURNAL_TOPIC, "ami.ping-requests.v1")


class Broker(NamedTuple):
    """The broker, a publisher, and a reader of what is said."""

    settings: KafkaSettings
    publisher: KafkaPublisher
    reader: Any

    def said(self, limit_s: float) -> Iterator[tuple[float, OutageMessage]]:
        """Messages and when they were there, until none comes for so long."""
        limit = time.time() + limit_s
        while time.time() < limit:
            for records in self.reader.poll(20).values():
                at = time.time()
                limit = at + limit_s
                yield from ((at, parse_cim_json(record.value)) for record in records)


def fleet(count: int) -> pl.DataFrame:
    """METERS.csv of a tree of ten by ten by ten by ten."""
    number = pl.int_range(count, dtype=pl.Int64, eager=True)
    sizes = np.cumprod([METERS_A_TRANSFORMER, TRANSFORMERS_A_LATERAL, LATERALS_A_FEEDER, FEEDERS_A_SUBSTATION])
    levels = zip(("transformer", "lateral", "feeder", "substation"), "TLFS", sizes, strict=True)
    return pl.DataFrame({"n": number}).select(
        pl.format("M{}", "n").alias("meter_id"),
        pl.format("P{}", "n").alias("service_point_id"),
        *(pl.format(letter + "{}", pl.col("n") // int(size)).alias(f"{level}_id") for level, letter, size in levels),
    )


def gasps(meters: pl.DataFrame, at: datetime, spread_s: float) -> pl.DataFrame:
    """A last gasp of each meter, received now."""
    count = meters.height
    occurred = pl.Series([at] * count, dtype=pl.Datetime("us", "UTC")) + pl.Series(
        (np.arange(count) * spread_s * 1e6 / max(count, 1)).astype(np.int64)
    ).cast(pl.Duration("us"))
    rows = meters.select(
        topic=pl.lit("ami.lastgasp.v1"), partition=pl.lit(0), offset=pl.int_range(count), frame=pl.lit(0),
        received_at=occurred, meter_id="meter_id", event=pl.lit("last_gasp"), code=pl.lit(1), origin=pl.lit("meter"),
        occurred_at=occurred, sequence=pl.lit(None, pl.Int64), authenticated=pl.lit(value=True),
    )  # fmt: skip
    return conform(rows.with_columns(pl.col("partition", "frame", "code").cast(pl.Int32)), EVENTS)


def publish(broker: Broker, topic: str, rows: pl.DataFrame, meters: pl.DataFrame, slice_rows: int = 1000) -> None:
    """The rows on their topic, as the lanes before publish them."""
    feeders = rows.select("meter_id").join(meters, on="meter_id", how="left", maintain_order="left")["feeder_id"]
    for at in range(0, rows.height, slice_rows):
        broker.publisher.publish(topic, to_messages(rows[at : at + slice_rows], feeders[at : at + slice_rows]))
    broker.publisher.flush()


def single(broker: Broker, meters: pl.DataFrame, times: int) -> list[float]:
    """Seconds from the deciding gasp of a transformer to its incident, one transformer after another."""
    latencies = []
    for i in range(times):
        # Of even number: the storm takes the odd ones.
        node = f"T{2 * 1009 * i % (meters.height // METERS_A_TRANSFORMER)}"
        below = meters.filter(pl.col("transformer_id") == node)
        around = meters.filter(pl.col("feeder_id") == below["feeder_id"][0]).join(below, on="meter_id", how="anti")
        heard = around.select("meter_id", read_at=pl.lit(datetime.now(UTC) + timedelta(seconds=31)))
        publish(broker, HEARD_TOPIC, conform(heard, HEARD), meters)
        sent = time.time()
        publish(broker, EVENTS_TOPIC, gasps(below, datetime.now(UTC), 0.1), meters)
        found = (at - sent for at, step in broker.said(8.0) if step.node.mRID == node and step.step == 0)
        latencies.append(next(found, float("inf")))
    return latencies


def storm(broker: Broker, meters: pl.DataFrame, count: int) -> dict[str, Any]:
    """Seconds from the last gasp to the last of all incidents. Every second transformer of some laterals is dark."""
    dark = meters.with_columns(t=pl.col("transformer_id").str.tail(-1).cast(pl.Int64)).filter(pl.col("t") % 2 == 1)
    step = max(1, dark.height // count)
    chosen = dark.filter((pl.col("t") // 2) % step == 0).head(count)
    wanted = set(chosen["transformer_id"].unique())
    living = meters.join(chosen, on="meter_id", how="anti").gather_every(3)
    start = datetime.now(UTC)
    publish(
        broker,
        HEARD_TOPIC,
        conform(living.select("meter_id", read_at=pl.lit(start + timedelta(seconds=95))), HEARD),
        meters,
    )
    rows = gasps(chosen.sample(fraction=1.0, shuffle=True, seed=1), start, 60.0)
    began = time.time()
    publish(broker, EVENTS_TOPIC, rows, meters, 5000)
    sent = time.time()
    first: dict[str, float] = {}
    for at, message in broker.said(45.0):
        first.setdefault(message.node.mRID, at - sent)
        if wanted <= first.keys():
            break
    late = [first[node] for node in wanted if node in first]
    shares = {f"p{q}": round(float(np.percentile(late or [np.inf], q)), 2) for q in (50, 90, 99, 100)}
    return {
        "gasps": rows.height, "published_in_s": round(sent - began, 1), "incidents": len(wanted), "found": len(late),
        "seconds_after_last": shares,
    }  # fmt: skip


def open_broker(address: str) -> Broker:
    """Empty topics, and clients."""
    settings = KafkaSettings(brokers=(address,))
    admin = KafkaAdminClient(**settings.client_options())
    admin.delete_topics([topic for topic in TOPICS if topic in set(admin.list_topics())])
    while set(admin.list_topics()) & set(TOPICS):
        time.sleep(0.2)
    admin.close()
    apply_topics(settings, tuple(topic for topic in packaged_topics() if topic.name in TOPICS), replication=1)
    reader = KafkaConsumer(**settings.client_options(), enable_auto_commit=False, fetch_max_wait_ms=10)
    reader.assign([TopicPartition(OUTAGES_TOPIC, 0)])
    reader.seek_to_beginning()
    return Broker(settings, KafkaPublisher(settings), reader)


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
    with (folder / "worker.log").open("wb") as log:
        worker = subprocess.Popen([sys.executable, "-c", code, "worker", "outage", "--config", str(config)], stderr=log)
        try:
            while b"at work" not in (folder / "worker.log").read_bytes():
                if worker.poll() is not None:
                    raise SystemExit((folder / "worker.log").read_text()[-2000:])
                time.sleep(0.2)
            latencies = sorted(single(broker, meters, arguments.single))
            told = {
                "meters": arguments.meters,
                "single_transformer_s": {
                    f"p{q}": round(float(np.percentile(latencies, q)), 3) for q in (0, 50, 90, 95, 99, 100)
                },
                "of": len(latencies),
                "storm": storm(broker, meters, arguments.gasps),
            }
        finally:
            worker.terminate()
            worker.wait(60)
    return told


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description="Outages through a real broker: latency at rest, and a storm")
    parser.add_argument("--kafka")
    parser.add_argument("--meters", type=int, default=1_000_000)
    parser.add_argument("--gasps", type=int, default=100_000)
    parser.add_argument("--single", type=int, default=20)
    arguments = parser.parse_args()
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
