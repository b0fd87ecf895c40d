"""The doors in memory, which other tests and the demo use, keep what the doors to Kafka keep."""

import pytest
from door_promises import *  # noqa: F403
from door_promises import Doors, log_of_messages

from app.embedded import MemoryPublisher, MemorySource


class Source(MemorySource):
    """One that leaves what it committed to the next."""

    def __init__(self, committed: dict[tuple[str, int], int]) -> None:
        super().__init__(log_of_messages(), committed)
        self._left = committed

    def close(self) -> None:
        self._left |= self.committed


class Publisher(MemoryPublisher):
    def close(self) -> None: ...

    def values(self) -> list[bytes]:
        return [value for part in self._topics["out"] for value in part["value"]]


@pytest.fixture
def doors() -> Doors:
    committed: dict[tuple[str, int], int] = {}
    publisher = Publisher()
    return Doors(lambda: Source(committed), lambda: publisher, publisher.values)
