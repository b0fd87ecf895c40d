"""Bytes on disk of an interval value after merging, history and provenance included, column by column.

    python benchmarks/storage_size.py [--meters 400] [--days 14]

A simulated fleet (15 minutes, hourly pushes, copies and late ones among them) goes the whole road into the embedded
engine, a current one; the table is merged with the packaged codec migration and without it.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # the packages first: files here have names of theirs

import msgspec
import polars as pl

from app import workers
from app.embedded import MemoryPublisher, carry_both_lanes
from ingest import meter_types
from ingest.keyring import Keyring
from simulator.fleet import simulate
from simulator.params import SimulatorParams
from storage.embedded import EmbeddedEngine
from storage.migrations import apply_migrations, packaged_migrations
from storage.queries import Query
from storage.store import SqlStore

TARGET = 2.5


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--meters", type=int, default=400)
    options.add_argument("--days", type=int, default=14)
    chosen = options.parse_args()
    simulated = simulate(msgspec.structs.replace(SimulatorParams(), meters=chosen.meters, days=chosen.days, seed=1))
    registry = workers.Registry.of(Keyring.from_csv(simulated.keys_csv), simulated.meters, meter_types.BUILT_IN)
    hints = [migration for migration in packaged_migrations() if "_codecs" in f"_{migration.name}"]
    plain = tuple(migration for migration in packaged_migrations() if migration not in hints)
    for name, wanted in (("without the codec migration", plain), ("as migrated", packaged_migrations())):
        engine = EmbeddedEngine()
        engine.execute(f"CREATE DATABASE {'plain' if wanted is plain else 'packed'}")
        engine.execute(f"USE {'plain' if wanted is plain else 'packed'}")
        apply_migrations(engine, wanted)
        carry_both_lanes(simulated.frames, SqlStore(engine), MemoryPublisher(), registry)
        report(engine, name)
        engine.close()


def report(engine: EmbeddedEngine, name: str) -> None:
    """Bytes a value of the merged table, whole and by column."""
    engine.execute("OPTIMIZE TABLE intervals FINAL")
    where = "database = currentDatabase() AND table = 'intervals' AND active"
    ((size, rows),) = engine.select(
        Query(
            f"SELECT sum(bytes_on_disk) AS size, sum(rows) AS rows FROM system.parts WHERE {where}", {},
            pl.Schema({"size": pl.UInt64, "rows": pl.UInt64}),
        )
    ).rows()  # fmt: skip
    print(f"{name}: {size / rows:.2f} bytes a value on disk ({rows:,} values; target {TARGET})")
    columns = engine.select(
        Query(
            "SELECT column AS name, sum(column_data_compressed_bytes) AS size FROM system.parts_columns"
            f" WHERE {where} GROUP BY column ORDER BY size DESC", {},
            pl.Schema({"name": pl.String, "size": pl.UInt64}),
        )
    )  # fmt: skip
    print("   " + ", ".join(f"{column} {octets / rows:.2f}" for column, octets in columns.rows()))


if __name__ == "__main__":
    main()
