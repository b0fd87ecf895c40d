"""Services that answer, and databases of their own on them."""

import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import pytest
from old_clickhouse import connect_old, old_migrations
from services import Service, ServiceError

from ingest.kafka.settings import KafkaSettings
from ingest.kafka.topics import TopicContract, apply_topics
from storage.clickhouse import ClickHouseEngine, ServerAddress, connect
from storage.migrations import apply_migrations


class Found(NamedTuple):
    """A service that answers; `process` where it is ours to stop and start."""

    host: str
    port: int
    process: Service | None = None


def of_deploy_local(service: Service) -> Iterator[Found]:
    """A process of our own, killed afterwards; where it cannot run, the test is skipped, and in CI it fails."""
    try:
        service.run()
    except ServiceError as error:
        absent(str(error))
    yield Found("127.0.0.1", service.port, service)
    service.stop(kill=True)


def ours(found: Found, local: Callable[[], Service]) -> Iterator[Found]:
    """The same service where it is ours to kill; beside one that was given, or in a container, a process of our own."""
    if found.process is not None:
        yield found
    else:
        yield from of_deploy_local(local())


def fresh_topic(settings: KafkaSettings) -> str:
    """A topic of four partitions that nobody else uses."""
    contract = TopicContract(
        name=f"test.{uuid.uuid4().hex}", key="", value="", partitions=4, cleanup="delete", retention_ms=-1,
        max_message_bytes=1_048_576,
    )  # fmt: skip
    apply_topics(settings, (contract,), replication=1)
    return contract.name


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
