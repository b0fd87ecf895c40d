"""Services that answer, and databases of their own on them."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import pytest
from old_clickhouse import connect_old, old_migrations
from services import Service

from storage.clickhouse import ClickHouseEngine, ServerAddress, connect
from storage.migrations import apply_migrations


class Found(NamedTuple):
    """A service that answers; `process` where it is ours to stop and start."""

    host: str
    port: int
    process: Service | None = None


@contextmanager
def fresh_database(clickhouse: Found) -> Iterator[str]:
    """A database of its own, dropped afterwards."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    first = connect(ServerAddress(host=clickhouse.host, port=clickhouse.port, database="default"))
    first.execute(f"CREATE DATABASE {name}")
    yield name
    first.execute(f"DROP DATABASE IF EXISTS {name}")
    first.close()


def migrated(clickhouse: Found, database: str) -> ClickHouseEngine:
    """An engine on the database, its tables made. A server of before 2019 gets the old schema."""
    engine = connect(ServerAddress(host=clickhouse.host, port=clickhouse.port, database=database))
    if engine.version() < (20, 0):
        engine.close()
        engine = connect_old(clickhouse.host, clickhouse.port, database)
        apply_migrations(engine, old_migrations())
    else:
        apply_migrations(engine)
    return engine


def absent(reason: str) -> None:
    """Skip, or fail where services are required."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"services are required in CI: {reason}")
    pytest.skip(reason)
