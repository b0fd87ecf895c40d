"""The inputs in memory, which tests of the outage worker seek, keep what those in Kafka keep."""

from collections.abc import Iterator

import pytest
from inputs_promises import *  # noqa: F403
from inputs_promises import MESSAGES, ONE, TWO

from tests.memory_inputs import MemoryInputs


@pytest.fixture
def inputs() -> Iterator[MemoryInputs]:
    made = MemoryInputs({ONE: dict.fromkeys((0, 1), (0, MESSAGES)), TWO: dict.fromkeys((0, 1), (0, 0))})
    yield made
    made.close()
