"""One lane of the gateway: messages packed by partition, on their way to a topic, held until Kafka has them."""

import asyncio
import contextlib
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Protocol

import polars as pl

from ingest.gateway_limits import GatewayCounts, GatewayLimits
from ingest.gateway_room import Room
from ingest.lanes import LAST_GASP_TOPIC
from ingest.packing import Waiting, packed_rows
from schemas.errors import TransientError

LOG = logging.getLogger("ami.gateway")

_RETRY_S: Final = (0.05, 5.0)


class Publisher(Protocol):
    """Where packed messages go; used from one thread of its own."""

    def publish(self, topic: str, rows: pl.DataFrame) -> int:
        """Rows of `key`, `value`, `partition`, `timestamp_ms` are handed over."""
        ...

    def partition_for(self, topic: str, key: bytes) -> int:
        """The partition that a key belongs to."""
        ...

    def flush(self) -> None:
        """All is acknowledged; raises `TransientError` where it may be tried again."""
        ...


class Lane:
    """Messages on their way to one topic: packed by partition, sent by one thread, held until acknowledged."""

    def __init__(
        self, topic: str, publisher: Publisher, limits: GatewayLimits, counts: GatewayCounts, room: Room
    ) -> None:
        self._topic = topic
        self._publisher = publisher
        self._limits, self._counts, self._room = limits, counts, room
        self._fails_since: float | None = None
        self._waiting: dict[int, list[Waiting]] = {}
        self._octets = 0
        self._due = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=topic)
        self._closing = False

    def close(self) -> None:
        """Nothing more will be added: what waits is due."""
        self._closing = True
        self._due.set()

    def add(self, message: bytes, key: bytes) -> None:
        """Take a message over."""
        partition = self._publisher.partition_for(self._topic, key)
        self._waiting.setdefault(partition, []).append(Waiting(message, key, time.time_ns() // 1_000_000))
        self._octets += len(message)
        if self._topic == LAST_GASP_TOPIC or self._octets >= self._limits.packed_octets:
            self._due.set()

    async def ready(self) -> None:
        """The topic's partitions are known, so that no message waits for them."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._thread, self._publisher.partition_for, self._topic, b"")

    async def run(self) -> None:
        """Send until closing and empty."""
        while not (self._closing and not self._waiting):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._due.wait(), self._limits.linger_s)
            self._due.clear()
            if self._waiting:
                waiting, self._waiting, self._octets = self._waiting, {}, 0
                await self._send(waiting)
                octets = sum(len(item.message) for items in waiting.values() for item in items)
                messages = sum(map(len, waiting.values()))
                self._counts.acknowledged += messages
                self._room.release(self._topic, octets, messages)
        self._thread.shutdown(wait=False)

    async def _send(self, waiting: dict[int, list[Waiting]]) -> None:
        wait_s, longest_s = _RETRY_S
        loop = asyncio.get_running_loop()
        # What waited while the broker was away is much: it is packed beside the listener.
        rows = await loop.run_in_executor(self._thread, packed_rows, waiting, self._limits.packed_octets)
        while True:
            try:
                await loop.run_in_executor(self._thread, self._publish, rows)
            except TransientError as error:
                # The same rows again, until it works: senders are slowed down meanwhile.
                self._counts.retries += 1
                self._note_failure(error)
                await asyncio.sleep(wait_s)
                wait_s = min(wait_s * 2, longest_s)
            else:
                self._counts.packed += rows.height
                self._note_success()
                return

    def _publish(self, rows: pl.DataFrame) -> None:
        self._publisher.publish(self._topic, rows)
        self._publisher.flush()

    def _note_failure(self, error: TransientError) -> None:
        """Told once, when it begins: what is held meanwhile is a metric."""
        if self._fails_since is None:
            self._fails_since = time.monotonic()
            LOG.warning(
                "the topic cannot be written, the same is tried again",
                extra={"fields": {"topic": self._topic, "why": str(error)}},
            )

    def _note_success(self) -> None:
        if self._fails_since is not None:
            seconds = round(time.monotonic() - self._fails_since, 1)
            self._fails_since = None
            LOG.warning("the topic is written again", extra={"fields": {"topic": self._topic, "after_s": seconds}})
