"""Outage systems that fail on purpose, the delivering worker beside them on a real broker, and how both are started."""

import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import polars as pl
from fate import REACHED
from fleet import fresh_topics
from outage_bench import HERE, LIMIT_S, ends_of, messages_of, write_meters
from services import free_port

from oms_double import OmsDouble  # isort: skip  its folder is on the path since `outage_bench`

from app.workers import OUTAGES_TOPIC
from ingest.kafka.publisher import KafkaPublisher
from ingest.kafka.settings import KafkaSettings
from outage.messages.cim_json import parse_cim_json, render_cim_json

XSD = HERE.parents[2] / "shared" / "data" / "xsd"
PASSWORD, THEIRS = "ours-in-the-header", "theirs-in-the-header"
SPEAKS = 'xmlns="http://www.multispeak.org/Version_3.0"'
RETRY = "retry = {first_s = 0.05, longest_s = 0.5, open_after = 3, cool_s = 0.5}"


class World(NamedTuple):
    """Empty topics, outage systems by name, and how workers are started."""

    settings: KafkaSettings
    folder: Path
    doubles: dict[str, OmsDouble]
    port: int
    """Where the delivering worker listens."""
    started: list[subprocess.Popen[bytes]]

    @property
    def plain(self) -> OmsDouble:
        return self.doubles["plain"]

    @property
    def soap(self) -> OmsDouble:
        return self.doubles["soap"]

    def configure(self, parties: Mapping[str, str]) -> None:
        """What workers read at their next start.

        Args:
            parties: By name of the double, the lines of its counterparty besides its name and its retries.
        """
        (self.folder / "ami.toml").write_text(
            f"""
[kafka]
brokers = ["{self.settings.brokers[0]}"]
[group]
prefix = "oms-{uuid.uuid4().hex[:8]}"
first_start = "earliest"
session_timeout_ms = 6000
[outage]
tick_seconds = 1.0
[meters]
file = "{self.folder / "meters.csv"}"
refresh_seconds = 0.2
[telemetry]
port = 0
[oms]
folder = "{self.folder / "outboxes"}"
tick_seconds = 0.5
[oms.listen]
port = {self.port}
"""
            + "".join(f'[[oms.counterparty]]\nname = "{name}"\n{lines}\n{RETRY}\n' for name, lines in parties.items())
        )

    def start(self, program: str, step: str = "none", nth: int = 1) -> subprocess.Popen[bytes]:
        command = [sys.executable, str(HERE / program), step, str(nth), "--config", str(self.folder / "ami.toml")]
        env = os.environ | {"PYTHONPATH": str(HERE.parents[1]), REACHED: str(self.life(program))}
        with (self.folder / f"{program}.log").open("ab") as log_file:
            worker = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=log_file)
        self.started.append(worker)
        return worker

    def life(self, program: str) -> Path:
        """Where workers of that program write down the steps that they came to."""
        return self.folder / f"{program}.reached"

    def wait(self, done: Callable[[], bool], what: str) -> None:
        limit = time.monotonic() + LIMIT_S
        while not done():
            logs = "\n".join(log_file.read_text()[-3000:] for log_file in self.folder.glob("*.log"))
            assert time.monotonic() < limit, f"{what}\n{logs}"

    def publish(self, topic: str, messages: pl.DataFrame) -> None:
        publisher = KafkaPublisher(self.settings)
        publisher.publish(topic, messages)
        publisher.flush()
        publisher.close()

    def say(self, outages: pl.DataFrame) -> None:
        """Steps on their topic, as the outage worker says them."""
        values = list(render_cim_json(outages))
        self.publish(OUTAGES_TOPIC, pl.DataFrame({"key": outages["incident_id"], "value": values}))

    def said(self) -> list[tuple[str, int]]:
        """(incident, step) of everything on the topic, those of an incident in their order."""
        return [(step.mRID, step.step) for step in map(parse_cim_json, self.values(OUTAGES_TOPIC))]

    def values(self, topic: str) -> list[bytes]:
        parts = ends_of(self.settings, (topic,))[topic]
        return [value for part in parts for _, _, value in messages_of(self.settings, topic, part)]

    def ask(self, body: str, user: str = "oms", password: str = THEIRS) -> tuple[int, str]:
        header = f'<MultiSpeakMsgHeader {SPEAKS} Version="3.0" UserID="{user}" Pwd="{password}"/>'
        envelope = (
            '<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/">'
            f"<s:Header>{header}</s:Header><s:Body>{body}</s:Body></s:Envelope>"
        )
        request = Request(f"http://127.0.0.1:{self.port}/soap", envelope.encode(), {"Content-Type": "text/xml"})
        try:
            with urlopen(request, timeout=20) as response:
                return response.status, response.read().decode()
        except HTTPError as error:
            with error:
                return error.code, ""


@contextmanager
def opened(
    settings: KafkaSettings, folder: Path, meters: pl.DataFrame, doubles: dict[str, OmsDouble]
) -> Iterator[World]:
    """A world whose workers and outage systems end with it."""
    fresh_topics(settings)
    (folder / "ours").write_text(PASSWORD)
    (folder / "theirs").write_text(THEIRS)
    write_meters(meters, folder)
    world = World(settings, folder, doubles, free_port(), [])
    yield world
    for worker in world.started:
        worker.kill()
        worker.wait()
    for double in doubles.values():
        double.close()


def serves(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
