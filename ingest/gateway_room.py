"""What the gateway holds of each lane until Kafka has it, and who may bring more meanwhile."""

import asyncio
from collections import Counter
from collections.abc import Iterable
from typing import Final

from ingest.lanes import LAST_GASP_TOPIC

_BESIDE_OCTETS: Final = 256
"""What a message takes in memory beside its own bytes, be it empty."""
_PARTS: Final = 8
_OF_FRAMES: Final = 6
"""Parts of the room that the other lane than that of last gasps may take: one that cannot be written holds no gasp up.
"""
_OF_STREAMS: Final = 7
"""Parts that streams may take, of both lanes: the rest is left to datagrams. A stream can be made to wait, they cannot.
"""


class Room:
    """Octets held and not yet acknowledged, by topic, within a bound for all of them.

    Streams bring messages of the frames' lane until it holds six eighths of the room, and last gasps until seven
    eighths are taken in all; datagrams are taken until all is.
    """

    def __init__(self, limit: int, topics: Iterable[str]) -> None:
        self._limit = limit
        self._octets: Counter[str] = Counter()
        self._messages: Counter[str] = Counter()
        self._free = {topic: asyncio.Event() for topic in topics}
        self._look()

    @property
    def octets(self) -> int:
        """Octets of messages that are not acknowledged yet."""
        return self._octets.total()

    def held(self, topic: str | None = None) -> int:
        """What those of a lane take in memory, or of both."""
        if topic is None:
            return self._octets.total() + _BESIDE_OCTETS * self._messages.total()
        return self._octets[topic] + _BESIDE_OCTETS * self._messages[topic]

    def is_free(self, topic: str) -> bool:
        """Whether a stream may bring more for this lane."""
        if _PARTS * self.held() >= _OF_STREAMS * self._limit:
            return False
        return topic == LAST_GASP_TOPIC or _PARTS * self.held(topic) < _OF_FRAMES * self._limit

    def is_free_for_datagrams(self) -> bool:
        """Whether a datagram may be taken."""
        return self.held() < self._limit

    def take(self, topic: str, octets: int) -> None:
        """A message is held from now on."""
        self._octets[topic] += octets
        self._messages[topic] += 1
        self._look()

    def release(self, topic: str, octets: int, messages: int) -> None:
        """So many are acknowledged."""
        self._octets[topic] -= octets
        self._messages[topic] -= messages
        self._look()

    async def wait(self, topic: str) -> None:
        """There is room for a message of this lane. All who wait are woken at once: who comes first may take it all."""
        while not self.is_free(topic):
            await self._free[topic].wait()

    def _look(self) -> None:
        for topic, event in self._free.items():
            (event.set if self.is_free(topic) else event.clear)()
