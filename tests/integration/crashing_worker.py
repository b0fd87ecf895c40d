"""A worker that kills itself at a step: python crashing_worker.py STEP NTH ROLE --config FILE

STEP is "<call>:before" or "<call>:after", for instance "append intervals:after"; the process ends by SIGKILL the NTH
time it gets there. With the step "disk full" its first NTH inserts fail; with "none" it runs to its end.
AMI_OLD_SERVER=1 connects as to a server of before 2019.
"""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2] / "deploy" / "local"))

from clickhouse_driver.errors import ServerException

from app import cli, store_lane, stores, vee_lane, workers
from ingest.kafka.publisher import KafkaPublisher
from ingest.kafka.source import KafkaSource
from storage.clickhouse import ClickHouseEngine, typed_error
from storage.store import SqlStore


class Fate:
    """Counts the visits of one step and ends the process at the last of them."""

    def __init__(self, step: str, visits: int) -> None:
        self._step, self._visits = step, visits

    def reach(self, step: str) -> None:
        if step == self._step:
            self._visits -= 1
            if self._visits == 0:
                os.kill(os.getpid(), signal.SIGKILL)


def doom(fate: Fate, owner: type, method: str, name: Callable[..., str]) -> None:
    """Every call of the method reaches the step before it and the step after it."""
    original = getattr(owner, method)

    def called(*args: Any, **named: Any) -> Any:
        step = name(*args, **named)
        fate.reach(f"{step}:before")
        answer = original(*args, **named)
        fate.reach(f"{step}:after")
        return answer

    setattr(owner, method, called)


def fill_disk(inserts: int) -> None:
    """The first so many inserts fail as on a server whose disk is full."""
    original = ClickHouseEngine.insert
    left = iter(range(inserts))

    def insert(self: ClickHouseEngine, table: str, rows: Any, token: str) -> None:
        if next(left, None) is not None:
            raise typed_error(ServerException("DB::Exception: no space left (NOT_ENOUGH_SPACE)", 243))
        original(self, table, rows, token)

    ClickHouseEngine.insert = insert


def doom_all(fate: Fate) -> None:
    """All calls of a worker's life that touch the world, and the stage between them."""
    doom(fate, KafkaSource, "poll", lambda *_, **__: "poll")
    doom(fate, KafkaSource, "commit", lambda *_: "commit")
    doom(fate, KafkaPublisher, "publish", lambda _, topic, __: f"publish {topic}")
    doom(fate, KafkaPublisher, "flush", lambda *_, **__: "flush")
    doom(fate, SqlStore, "append", lambda _, table, *__: f"append {table}")
    doom(fate, SqlStore, "load_windows", lambda *_: "load_windows")
    doom(fate, SqlStore, "load_context", lambda *_, **__: "load_context")
    doom(fate, workers.IngestWork, "prepare", lambda *_: "prepare")
    doom(fate, workers.EventsWork, "prepare", lambda *_: "prepare")
    doom(fate, store_lane.StoreWork, "prepare", lambda *_: "prepare")
    doom(fate, vee_lane.VeeWork, "prepare", lambda *_: "prepare")


if __name__ == "__main__":
    _, at, nth, *arguments = sys.argv
    if os.environ.get("AMI_OLD_SERVER") == "1":
        from old_clickhouse import connect_old

        stores.connect = lambda address: connect_old(address.host, address.port, address.database)
    if at == "disk full":
        fill_disk(int(nth))
    doom_all(Fate(at, int(nth)))
    sys.argv = ["ami", "worker", *arguments]
    sys.exit(cli.main())
