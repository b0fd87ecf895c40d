"""The real store on the embedded engine, which notes what is appended to it in a test."""

from collections.abc import Iterator
from contextlib import contextmanager

import polars as pl

from storage.embedded import open_embedded
from storage.store import Engine, SqlStore
from storage.tables import TABLES


class NotingStore(SqlStore):
    """By table the rows that were appended last."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self.rows: dict[str, pl.DataFrame] = {}

    def append(self, table: str, rows: pl.DataFrame, token: str) -> int:
        """See `ReadingStore.append`; noted once they are stored."""
        stored = super().append(table, rows, token)
        self.rows[table] = rows
        return stored


@contextmanager
def noting_store() -> Iterator[NotingStore]:
    """One with empty tables, closed afterwards."""
    opened = open_embedded()
    try:
        for table in TABLES:
            opened.engine.execute(f"TRUNCATE TABLE {table}")
        store = NotingStore(opened.engine)
        yield store
    finally:
        opened.close()
