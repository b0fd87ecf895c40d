"""A worker, or another verb, that kills itself at a step: python crashing_worker.py STEP NTH worker ROLE --config FILE

STEP is "<call>:before" or "<call>:after", for instance "append intervals:after"; the process ends by SIGKILL the NTH
time it gets there. With the step "disk full" its first NTH inserts fail; with "none" it runs to its end.
AMI_OLD_SERVER=1 connects as to a server of before 2019.
"""

import os
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2] / "deploy" / "local"))

from clickhouse_driver.errors import ServerException
from fate import Fate

from app import cli, store_lane, stores, vee_lane, workers
from ingest.kafka.publisher import KafkaPublisher
from ingest.kafka.source import KafkaSource
from storage.clickhouse import ClickHouseEngine, typed_error
from storage.store import SqlStore


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
    fate.doom(KafkaSource, "poll", lambda *_, **__: "poll")
    fate.doom(KafkaSource, "commit", lambda *_: "commit")
    fate.doom(KafkaPublisher, "publish", lambda _, topic, __: f"publish {topic}")
    fate.doom(KafkaPublisher, "flush", lambda *_, **__: "flush")
    # Of the engine: rows are there. The store is told of a table without any, too.
    fate.doom(ClickHouseEngine, "insert", lambda _, table, *__: f"append {table}")
    fate.doom(SqlStore, "load_windows", lambda *_: "load_windows")
    fate.doom(SqlStore, "load_context", lambda *_, **__: "load_context")
    fate.doom(workers.IngestWork, "prepare", lambda *_: "prepare")
    fate.doom(workers.EventsWork, "prepare", lambda *_: "prepare")
    fate.doom(store_lane.StoreWork, "prepare", lambda *_: "prepare")
    fate.doom(vee_lane.VeeWork, "prepare", lambda *_: "prepare")


if __name__ == "__main__":
    _, at, nth, *arguments = sys.argv
    if os.environ.get("AMI_OLD_SERVER") == "1":
        from old_clickhouse import connect_old

        stores.connect = lambda address: connect_old(address.host, address.port, address.database)
    if at == "disk full":
        fill_disk(int(nth))
    doomed = Fate(at, int(nth))
    doomed.watch()
    doom_all(doomed)
    sys.argv = ["ami", *arguments]
    sys.exit(cli.main())
