"""A fuse that blows leaves what it tells of: its batch is not committed, and the rejects of it are stored and told."""

from collections import Counter

import polars as pl
import pytest

from app import workers
from app.embedded import MemoryPublisher, MemorySource
from app.fuse import Fuse
from app.lane import Lane, LaneParams
from app.retry import MOST_INSERTS
from app.telemetry import REGISTRY, Health
from ingest import meter_types
from ingest.keyring import Keyring
from schemas.errors import ContractError, TerminalError
from schemas.frames import REJECTS, REPLAY_WINDOWS
from simulator.fleet import Simulated

PARAMS = LaneParams(batch_messages=500, batch_seconds=0, shutdown_seconds=10, poll_seconds=0.01)


class Tables:
    """Keeps what is appended, and refuses every row of some tables."""

    def __init__(self, *refused: str) -> None:
        self.refused = refused
        self.rows: dict[str, list[pl.DataFrame]] = {}
        self.tried: Counter[str] = Counter()

    def load_windows(self, positions):
        return REPLAY_WINDOWS.empty()

    def append(self, table, rows, token):
        self.tried[table] += 1
        if table in self.refused and rows.height:
            raise ContractError("the table is of another type")
        self.rows.setdefault(table, []).append(rows)
        return rows.height

    def reasons(self) -> dict[str, int]:
        rejects = pl.concat([REJECTS.empty(), *self.rows.get("rejects", [])])
        return dict(rejects.group_by(pl.col("reason").cast(pl.String)).len().rows())


def counted(reason: str) -> float:
    return REGISTRY.get_sample_value("ami_rejects_total", {"topic": "ami.frames.v1", "reason": reason}) or 0.0


def blow(simulated: Simulated, store: Tables, keys: str, reason: str) -> MemoryPublisher:
    registry = workers.Registry.of(Keyring.from_csv(keys), simulated.meters, meter_types.BUILT_IN)
    publisher, fuse = MemoryPublisher(), Fuse(share=0.05, messages=100, least=20)
    work = workers.IngestWork(store, publisher, registry, workers.fuse_of(fuse, lambda: 0.0))
    source = MemorySource(simulated.frames.filter(pl.col("topic") == "ami.frames.v1").head(500))
    with pytest.raises(TerminalError, match=f"were rejected, more than 5.0%: {reason} "):
        Lane(source, work, PARAMS, Health(heartbeat_limit_s=60)).run(source.is_empty)
    assert source.committed == {}
    return publisher


def test_the_rejects_of_the_batch_that_blew_it_are_stored_and_published(simulated: Simulated) -> None:
    """The key file is the wrong one."""
    store = Tables()
    publisher = blow(simulated, store, "system_title,ek,ak\n", "key_unknown")
    assert store.reasons()["key_unknown"] >= 20
    assert publisher.rows(workers.REJECTS_TOPIC, REJECTS).height == sum(store.reasons().values())


def test_messages_whose_rows_the_store_refuses_blow_it_too(simulated: Simulated) -> None:
    """Every row of a column of another type: a bounded number of inserts, and the fuse."""
    store, before = Tables("intervals"), counted("poison")
    blow(simulated, store, simulated.keys_csv, "poison")
    rejects = pl.concat(store.rows["rejects"])
    assert store.tried["intervals"] <= MOST_INSERTS + 2
    assert rejects.filter(pl.col("payload").bin.size() == 0).is_empty(), "their bytes can be replayed"
    assert store.reasons()["poison"] >= 20
    assert counted("poison") - before == store.reasons()["poison"]


def test_a_message_that_two_tables_refuse_is_one_reject(simulated: Simulated) -> None:
    store, before = Tables("frames", "intervals"), counted("poison")
    publisher = blow(simulated, store, simulated.keys_csv, "poison")
    told = publisher.rows(workers.REJECTS_TOPIC, REJECTS).filter(pl.col("reason") == "poison")
    places = told.select("topic", "partition", "offset", "frame")
    assert places.height == places.n_unique() == counted("poison") - before
