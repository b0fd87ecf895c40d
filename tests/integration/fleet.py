"""A simulated fleet on a real broker, and what its frames decode to in one pass: the reference of the crash tests."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import polars as pl
from kafka import KafkaAdminClient
from outage_logs import MINUTE, log, told

from app.inputs import load_keyring, load_meters, load_types
from app.messages import to_messages
from app.meter_states import METERS_TOPIC
from app.workers import OUTAGES_TOPIC, Registry
from ingest.decode import Decoded, decode_frames
from ingest.kafka.publisher import KafkaPublisher
from ingest.kafka.ranges import read_range
from ingest.kafka.settings import KafkaSettings
from ingest.kafka.source import Span
from ingest.kafka.topics import TopicContract, apply_topics, packaged_topics
from ingest.lanes import FRAMES_TOPIC, LAST_GASP_TOPIC, key_of, lane_of
from ingest.packing import Waiting, packed_rows
from ingest.replay import Windows
from ingest.sources import cut_bin
from outage.detect import detect_outages
from outage.messages.cim_json import render_cim_json
from outage.params import DetectParams
from schemas.errors import TransientError
from schemas.frames import HEARD, RAW_FRAMES

LANES = (FRAMES_TOPIC, LAST_GASP_TOPIC)
PARTITIONS = 4
PACKED_OCTETS = 2_000


def patiently(come_true: Callable[[], bool], limit_s: float = 120.0) -> None:
    """Wait until other processes have made it so."""
    limit = time.monotonic() + limit_s
    pause = threading.Event()
    while not come_true():
        assert time.monotonic() < limit, "it did not come to that"
        pause.wait(0.05)


class Fleet(NamedTuple):
    """Files of a fleet and its frames in the order in which they were pushed."""

    folder: Path
    payloads: list[bytes]

    @property
    def keys(self) -> Path:
        return self.folder / "keys.csv"

    @property
    def meters(self) -> Path:
        return self.folder / "meters.csv"

    def registry(self) -> Registry:
        types = load_types(None)
        return Registry.of(load_keyring(self.keys), load_meters(self.meters, types), types)


def simulate(folder: Path, meters: int, days: int) -> Fleet:
    """A fleet with its faults, and beside them copies, rubbish and cut-off frames at odd places."""
    command = [
        str(Path(sys.executable).with_name("ami")),
        "simulate",
        "--meters",
        str(meters),
        "--days",
        str(days),
        "--seed",
        "7",
    ]
    subprocess.run([*command, "--out", str(folder)], check=True, capture_output=True)
    payloads = cut_bin((folder / "frames.bin").read_bytes(), "frames.bin")["payload"].to_list()
    for i in range(0, len(payloads), 500):
        payloads[i : i + 1] = [payloads[i], payloads[i], b"\x00rubbish %d" % i, payloads[i][:-3]]
    return Fleet(folder, payloads)


def fresh_topics(settings: KafkaSettings) -> None:
    """All topics of the head end, empty, with few partitions."""
    wanted = tuple(_small(topic) for topic in packaged_topics())
    admin = KafkaAdminClient(**settings.client_options())
    there = [topic.name for topic in wanted if topic.name in set(admin.list_topics())]
    if there:
        admin.delete_topics(there)
    patiently(lambda: not set(admin.list_topics()) & {topic.name for topic in wanted})
    admin.close()
    for _ in range(50):
        try:
            if not apply_topics(settings, wanted, replication=1).missing:
                return
        except TransientError:
            continue


def _small(topic: TopicContract) -> TopicContract:
    fields = {name: getattr(topic, name) for name in TopicContract.__struct_fields__}
    return TopicContract(**(fields | {"partitions": PARTITIONS, "retention_ms": -1}))


def push(settings: KafkaSettings, payloads: list[bytes]) -> None:
    """The frames in their lanes as a gateway packs them."""
    publisher = KafkaPublisher(settings)
    for lane in LANES:
        waiting: dict[int, list[Waiting]] = {}
        for i, payload in enumerate(payloads):
            if lane_of(payload, over_udp=False) == lane:
                key = key_of(payload, "10.0.0.1")
                place = publisher.partition_for(lane, key)
                waiting.setdefault(place, []).append(Waiting(payload, key, 1_760_000_000_000 + i))
        publisher.publish(lane, packed_rows(waiting, PACKED_OCTETS))
    publisher.flush()
    publisher.close()


def enrol(settings: KafkaSettings, meters: pl.DataFrame) -> None:
    """The meters on their topic, as `ami meters publish` writes them."""
    publish(settings, METERS_TOPIC, to_messages(meters, meters["meter_id"]))


def dark_street(meters: pl.DataFrame) -> pl.DataFrame:
    """OUTAGES: a street of the fleet was dark on one of its days, and is lit again."""
    transformer = meters["transformer_id"].drop_nulls().mode().sort()[0]
    street = meters.filter(pl.col("transformer_id") == transformer)["meter_id"].unique().sort().to_list()
    at = datetime(2026, 3, 2, 10, tzinfo=UTC)
    events = log(told(street, "power_down", at), told(street, "power_up", at + 40 * MINUTE))
    return detect_outages(events, meters, HEARD.empty(), DetectParams()).outages


def say(settings: KafkaSettings, outages: pl.DataFrame) -> None:
    """Steps of incidents on their topic, as the outage worker says them."""
    values = pl.Series(list(render_cim_json(outages)), dtype=pl.Binary)
    publish(settings, OUTAGES_TOPIC, pl.DataFrame({"key": outages["incident_id"], "value": values}))


def publish(settings: KafkaSettings, topic: str, messages: pl.DataFrame) -> None:
    """The messages (`key`, `value`) stand on the topic."""
    publisher = KafkaPublisher(settings)
    publisher.publish(topic, messages)
    publisher.flush()
    publisher.close()


def on_topics(settings: KafkaSettings, *topics: str) -> pl.DataFrame:
    """RAW_FRAMES of everything that stands on the topics."""
    parts = [
        part
        for topic in topics
        for partition in range(PARTITIONS)
        for part in read_range(settings, Span(topic, partition, 0, 2**62, 0))
    ]
    return pl.concat([RAW_FRAMES.empty(), *parts])


def in_one_pass(frames: pl.DataFrame, registry: Registry) -> Decoded:
    """What the frames decode to when nothing ever fails."""
    return decode_frames(frames, registry.keyring, Windows.empty(), registry.enrolment, registry.types)
