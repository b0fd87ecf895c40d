"""Real services, found in this order: an address given in the environment, a container where an engine answers,
processes of `deploy/local`; else the test is skipped with the reason, and in CI (CI=true) it fails.
"""

import os
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / part) for part in ("deploy/local", "tests/storage", "tests/app", "tests/integration")]

from containers import clickhouse_container, docker_answers, kafka_container  # noqa: E402
from found import Found, absent, fresh_database, migrated  # noqa: E402
from services import ClickHouse, Kafka, Service, ServiceError, free_port  # noqa: E402

from ingest.kafka.settings import KafkaSettings  # noqa: E402
from ingest.kafka.topics import TopicContract, apply_topics  # noqa: E402
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
    service = local()
    try:
        service.run()
    except ServiceError as error:
        absent(str(error))
    yield Found("127.0.0.1", service.port, service)
    service.stop(kill=True)


@pytest.fixture(scope="session")
def services_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("services")


@pytest.fixture(scope="session")
def kafka(services_folder: Path) -> Iterator[Found]:
    yield from find("AMI_TEST_KAFKA", kafka_container, lambda: Kafka(services_folder, free_port()))


@pytest.fixture(scope="session")
def clickhouse(services_folder: Path) -> Iterator[Found]:
    yield from find("AMI_TEST_CLICKHOUSE", clickhouse_container, lambda: ClickHouse(services_folder, free_port()))


@pytest.fixture(scope="session")
def kafka_settings(kafka: Found) -> KafkaSettings:
    return KafkaSettings(brokers=(f"{kafka.host}:{kafka.port}",), request_timeout_ms=10_000)


@pytest.fixture
def topic(kafka_settings: KafkaSettings) -> str:
    """A topic of four partitions that nobody else uses."""
    contract = TopicContract(
        name=f"test.{uuid.uuid4().hex}", key="", value="", partitions=4, cleanup="delete", retention_ms=-1,
        max_message_bytes=1_048_576,
    )  # fmt: skip
    apply_topics(kafka_settings, (contract,), replication=1)
    return contract.name


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
