"""Workers of one group as processes: started with a fate, watched by the lag they leave, asked to end."""

import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from fate import REACHED
from fleet import LANES, PARTITIONS, Fleet, patiently
from found import Found
from kafka import KafkaConsumer, TopicPartition

from ingest.kafka.settings import KafkaSettings
from ingest.lanes import LAST_GASP_TOPIC

CRASHING_WORKER = Path(__file__).parents[1] / "crashing_worker.py"
FULL = os.environ.get("AMI_FULL") == "1"
LIMIT_S = 600 if FULL else 240
TOPICS = {
    "ingest": LANES,
    "events": (LAST_GASP_TOPIC,),
    "store": ("ami.events.v1", "ami.rejects.v1", "ami.outages.v1", "ami.meters.v1"),
    "vee": ("ami.dirty-days.v1",),
}


class Workers(NamedTuple):
    """How workers of one group are started."""

    config: Path
    env: dict[str, str]
    settings: KafkaSettings
    group: str
    started: list[subprocess.Popen[bytes]]

    def start(self, role: str, step: str = "none", nth: int = 1) -> subprocess.Popen[bytes]:
        """A worker that kills itself the `nth` time it comes to the step."""
        return self.run(("worker", role), role, step, nth)

    def run(self, verb: tuple[str, ...], life: str, step: str = "none", nth: int = 1) -> subprocess.Popen[bytes]:
        """A verb of `ami` that kills itself the `nth` time it comes to the step; what it comes to is that life's."""
        command = [sys.executable, str(CRASHING_WORKER), step, str(nth), *verb, "--config", str(self.config)]
        env = os.environ | self.env | {REACHED: str(self.life(life))}
        with self.log.open("ab") as log:
            worker = subprocess.Popen(command, env=env, stdout=log, stderr=log)
        self.started.append(worker)
        return worker

    def life(self, role: str) -> Path:
        """Where workers of the role write down the steps that they came to."""
        return self.config.with_suffix(f".{role}")

    def reached(self, role: str) -> set[str]:
        """The steps that workers of the role came to."""
        return set(self.life(role).read_text().splitlines())

    @property
    def log(self) -> Path:
        return self.config.with_suffix(".log")

    def tail(self) -> str:
        """The end of what the workers said."""
        return self.log.read_text()[-3000:]

    def as_instance(self, name: str) -> "Workers":
        """Another static member of the same groups."""
        config = self.config.with_name(f"{name}.toml")
        config.write_text(self.config.read_text().replace('instance = "one"', f'instance = "{name}"'))
        return self._replace(config=config)

    def die(self, role: str, step: str, nth: int) -> None:
        """A worker that dies by SIGKILL at the step."""
        assert self.start(role, step, nth).wait(LIMIT_S) == -9, (role, step, self.tail())

    def wait_begun(self, role: str, worker: subprocess.Popen[bytes]) -> None:
        """The first batch is committed."""
        total = self.lag(role)  # nothing left when a quick worker was first
        patiently(lambda: total == 0 or self.lag_under(role, worker) < total, LIMIT_S)

    def wait_idle(self, role: str, worker: subprocess.Popen[bytes]) -> None:
        """Nothing waits; the worker still runs."""
        patiently(lambda: self.lag_under(role, worker) == 0, LIMIT_S)

    def lag_under(self, role: str, worker: subprocess.Popen[bytes]) -> int:
        """The lag, while the worker runs."""
        assert worker.poll() is None, self.tail()
        return self.lag(role)

    def end(self, worker: subprocess.Popen[bytes]) -> None:
        """Asked to end, it does, and well."""
        worker.terminate()
        assert worker.wait(LIMIT_S) == 0, self.tail()

    def lag(self, role: str) -> int:
        """Messages of its topics that the role has not committed."""
        consumer = KafkaConsumer(
            **self.settings.client_options(), group_id=f"{self.group}.{role}", enable_auto_commit=False
        )
        places = [TopicPartition(topic, i) for topic in TOPICS[role] for i in range(PARTITIONS)]
        ends = consumer.end_offsets(places)
        waiting = sum(ends[place] - (consumer.committed(place) or 0) for place in places)
        consumer.close(autocommit=False)
        return waiting

    def run_out(self, *roles: str) -> None:
        """Workers that nothing happens to, one after the other, until nothing waits."""
        for role in roles:
            if self.lag(role):
                worker = self.start(role)
                self.wait_idle(role, worker)
                self.end(worker)


def configure(
    folder: Path, fleet: Fleet, group: str, database: str, batch_messages: int, services: tuple[Found, str]
) -> Path:
    """The configuration of a group of workers, written down."""
    clickhouse, broker = services
    config = folder / "ami.toml"
    config.write_text(
        f"""
[kafka]
brokers = ["{broker}"]
[group]
prefix = "{group}"
instance = "one"
first_start = "earliest"
session_timeout_ms = 10000
[clickhouse]
host = "{clickhouse.host}"
port = {clickhouse.port}
database = "{database}"
[ingest]
batch_messages = {batch_messages}
batch_seconds = 0.1
[vee]
debounce_seconds = 3.0
[keys]
file = "{fleet.keys}"
[meters]
file = "{fleet.meters}"
[telemetry]
port = 0
"""
    )
    return config
