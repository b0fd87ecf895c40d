"""Real services, found in this order: an address given in the environment, a container where an engine answers,
processes of `deploy/local`; else the test is skipped with the reason, and in CI (CI=true) it fails. What a test kills
or holds up is always a process of `deploy/local`.
"""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PARTS = ("deploy/local", "tests/storage", "tests/app", "tests/outage", "tests/integration")
sys.path[:0] = [str(ROOT / part) for part in PARTS]

from containers import clickhouse_container, docker_answers, kafka_container  # noqa: E402
from found import Found, fresh_database, fresh_topic, migrated, of_deploy_local, ours  # noqa: E402
from services import ClickHouse, Kafka, Service, free_port  # noqa: E402

from ingest.kafka.settings import KafkaSettings  # noqa: E402
from storage.clickhouse import ClickHouseEngine  # noqa: E402
from storage.store import SqlStore  # noqa: E402
from storage.tables import TABLES  # noqa: E402


def find(variable: str, container: Callable[[], object], local: Callable[[], Service]) -> Iterator[Found]:
    """The first of the three places that has the service."""
    if given := os.environ.get(variable):
        host, _, port = given.rpartition(":")
        yield Found(host, int(port))
        return
    if docker_answers():
        with container() as address:
            yield Found(*address)
        return
    yield from of_deploy_local(local())


@pytest.fixture(scope="session")
def services_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("services")


@pytest.fixture(scope="session")
def local_kafka(services_folder: Path) -> Callable[[], Service]:
    return lambda: Kafka(services_folder, free_port())


@pytest.fixture(scope="session")
def local_clickhouse(services_folder: Path) -> Callable[[], Service]:
    return lambda: ClickHouse(services_folder, free_port())


@pytest.fixture(scope="session")
def found_kafka(local_kafka: Callable[[], Service]) -> Iterator[Found]:
    yield from find("AMI_TEST_KAFKA", kafka_container, local_kafka)


@pytest.fixture(scope="session")
def found_clickhouse(local_clickhouse: Callable[[], Service]) -> Iterator[Found]:
    yield from find("AMI_TEST_CLICKHOUSE", clickhouse_container, local_clickhouse)


@pytest.fixture(scope="session")
def our_kafka(found_kafka: Found, local_kafka: Callable[[], Service]) -> Iterator[Found]:
    """To be killed by a test."""
    yield from ours(found_kafka, local_kafka)


@pytest.fixture(scope="session")
def our_clickhouse(found_clickhouse: Found, local_clickhouse: Callable[[], Service]) -> Iterator[Found]:
    """To be killed by a test."""
    yield from ours(found_clickhouse, local_clickhouse)


@pytest.fixture(scope="session")
def kafka(found_kafka: Found) -> Found:
    return found_kafka


@pytest.fixture(scope="session")
def clickhouse(found_clickhouse: Found) -> Found:
    return found_clickhouse


@pytest.fixture(scope="session")
def kafka_settings(kafka: Found) -> KafkaSettings:
    return KafkaSettings(brokers=(f"{kafka.host}:{kafka.port}",), request_timeout_ms=10_000)


@pytest.fixture
def topic(kafka_settings: KafkaSettings) -> str:
    return fresh_topic(kafka_settings)


@pytest.fixture(scope="session")
def database(clickhouse: Found) -> Iterator[str]:
    """A database of its own, dropped afterwards."""
    with fresh_database(clickhouse) as name:
        yield name


@pytest.fixture(scope="session")
def server(clickhouse: Found, database: str) -> Iterator[ClickHouseEngine]:
    """An engine on the migrated database."""
    engine = migrated(clickhouse, database)
    yield engine
    engine.close()


@pytest.fixture
def store(server: ClickHouseEngine) -> SqlStore:
    for name in TABLES:
        server.execute(f"TRUNCATE TABLE {name}")
    return SqlStore(server)
