"""Both services in containers, where an engine answers."""

from collections.abc import Iterator
from contextlib import contextmanager

import docker
from docker.errors import DockerException
from testcontainers.community.clickhouse import ClickHouseContainer
from testcontainers.community.kafka import KafkaContainer

CLICKHOUSE_IMAGE = "clickhouse/clickhouse-server:25.8"
KAFKA_IMAGE = "confluentinc/cp-kafka:8.0.0"


def docker_answers() -> bool:
    """Whether a container engine can be used."""
    try:
        return bool(docker.from_env(timeout=3).ping())
    except DockerException:
        return False


@contextmanager
def kafka_container() -> Iterator[tuple[str, int]]:
    """Host and port of a broker in KRaft mode."""
    with KafkaContainer(KAFKA_IMAGE).with_kraft() as container:
        host, _, port = container.get_bootstrap_server().rpartition(":")
        yield host, int(port)


@contextmanager
def clickhouse_container() -> Iterator[tuple[str, int]]:
    """Host and native port of a server."""
    with ClickHouseContainer(CLICKHOUSE_IMAGE, username="default", password="", dbname="default") as container:
        yield container.get_container_host_ip(), int(container.get_exposed_port(9000))
