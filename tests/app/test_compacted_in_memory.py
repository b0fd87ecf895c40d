"""The compacted topic in memory, which tests of the registry follow, keeps what the one in Kafka keeps."""

import pytest
from compacted_promises import *  # noqa: F403
from compacted_promises import Compacted

from ingest.kafka.compacted import Newest
from tests.memory_topic import MemoryTopic


@pytest.fixture
def compacted() -> Compacted:
    log: list[tuple[bytes, Newest]] = []
    return Compacted(
        lambda: MemoryTopic(log), lambda messages: log.extend((key, Newest(value, 0, "")) for key, value in messages)
    )
