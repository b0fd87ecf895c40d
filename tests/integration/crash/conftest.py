"""A fleet, a database and workers of their own for each test, on services that are ours to kill.

At the end the crash matrix is printed as a table.
"""

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from accounts import Account
from cluster import FULL, Workers, configure
from fleet import Fleet, fresh_topics, simulate
from found import Found, fresh_database, migrated

from ingest.kafka.settings import KafkaSettings
from storage.store import SqlStore

METERS, DAYS, BATCH_MESSAGES = (1_050, 3, 80) if FULL else (90, 2, 6)
"""A batch is so many Kafka messages of some ten frames: every kill leaves work for the next."""
_MATRIX = pytest.StashKey[list[Account]]()


@pytest.fixture(scope="session")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    return simulate(tmp_path_factory.mktemp("fleet"), METERS, DAYS)


@pytest.fixture(scope="session")
def kafka(our_kafka: Found) -> Found:
    return our_kafka


@pytest.fixture(scope="session")
def clickhouse(our_clickhouse: Found) -> Found:
    return our_clickhouse


@pytest.fixture(scope="session")
def kafka_settings(kafka: Found) -> KafkaSettings:
    return KafkaSettings(brokers=(f"{kafka.host}:{kafka.port}",), request_timeout_ms=10_000)


@pytest.fixture
def database(clickhouse: Found) -> Iterator[str]:
    """A database that no other test wrote to.

    Servers of before 22.12 bring the merged-away parts of a truncated table back when they are started again: what
    was in it before would stand beside what this test puts there.
    """
    with fresh_database(clickhouse) as name:
        yield name


@pytest.fixture
def store(clickhouse: Found, database: str) -> Iterator[SqlStore]:
    """Its tables, empty."""
    engine = migrated(clickhouse, database)
    yield SqlStore(engine)
    engine.close()


@pytest.fixture
def workers(
    kafka_settings: KafkaSettings, clickhouse: Found, database: str, store: SqlStore, fleet: Fleet, tmp_path: Path
) -> Iterator[Workers]:
    """Empty topics, empty tables, a group of its own, and where its configuration lies."""
    fresh_topics(kafka_settings)
    group = f"crash-{uuid.uuid4().hex[:8]}"
    config = configure(tmp_path, fleet, group, database, BATCH_MESSAGES, (clickhouse, kafka_settings.brokers[0]))
    old = "1" if store.engine.version() < (20, 0) else "0"
    all_of_them = Workers(config, {"AMI_OLD_SERVER": old}, kafka_settings, group, [])
    yield all_of_them
    for worker in all_of_them.started:
        worker.kill()
        worker.wait()


@pytest.fixture
def note(request: pytest.FixtureRequest) -> Callable[[Account], None]:
    """Puts a line into the matrix."""
    return request.config.stash.setdefault(_MATRIX, []).append


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """The matrix, a line for each case that was gone through."""
    lines = config.stash.get(_MATRIX, [])
    if not lines:
        return
    terminalreporter.section("crash matrix")
    titles = ("what died", "deaths", "frames", "gave rows", "rejected", "copies", "lost", "doubled")
    terminalreporter.write_line("| " + " | ".join(titles) + " |")
    terminalreporter.write_line("|---" + "|--:" * (len(titles) - 1) + "|")
    for line in lines:
        terminalreporter.write_line(f"| {line.case} | " + " | ".join(f"{number:,}" for number in line[1:]) + " |")
