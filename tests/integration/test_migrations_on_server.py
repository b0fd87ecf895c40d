"""Migrations on a real server, asked for by several at once."""

from concurrent.futures import ThreadPoolExecutor

import polars as pl
from found import Found, fresh_database, migrated

from schemas.errors import TerminalError
from storage.queries import Query
from storage.tables import TABLES

STATE = pl.Schema({"number": pl.Int32, "begun": pl.UInt64, "done": pl.UInt64})
NAMES = pl.Schema({"name": pl.String})


def test_of_several_runs_at_once_one_makes_the_tables_and_the_others_are_refused_or_have_nothing_to_do(
    clickhouse: Found,
) -> None:
    with fresh_database(clickhouse) as database, ThreadPoolExecutor(4) as pool:
        ended = [pool.submit(migrated, clickhouse, database) for _ in range(4)]
        refused = [error for one in ended if (error := one.exception()) is not None]
        assert len(refused) < 4
        assert all(isinstance(error, TerminalError) and "another run" in str(error) for error in refused)
        engine = migrated(clickhouse, database)
        asked = "SELECT number, countIf(status = 'started') AS begun, countIf(status = 'done') AS done"
        rows = engine.select(Query(f"{asked} FROM migrations GROUP BY number", {}, STATE))
        assert rows.height > 0
        assert set(rows.select("begun", "done").rows()) == {(1, 1)}
        there = engine.select(Query("SELECT name FROM system.tables WHERE database = currentDatabase()", {}, NAMES))
        assert set(TABLES) <= set(there["name"].to_list())
        assert "migrations_running" not in there["name"].to_list()
        engine.close()
        for one in ended:
            if one.exception() is None:
                one.result().close()
