"""Door: meters push here, over TCP and UDP; what they send goes to Kafka as it came.

A connection is read only while there is room, so a slow broker slows the senders down and nothing is dropped; a
datagram that finds no room is counted as lost. Nothing is acknowledged to a meter: DLMS pushes are unconfirmed.
"""

import asyncio
import contextlib
import socket
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, Protocol

import polars as pl

from ingest.datagrams import Given, HeldBlocks
from ingest.gateway_limits import GatewayCounts, GatewayLimits
from ingest.lanes import LAST_GASP_TOPIC, key_of_stream, lane_of_stream, with_sender
from ingest.line_titles import LineTitles
from ingest.packing import Waiting, packed_rows
from ingest.push_stream import StreamCutter
from ingest.stream_names import name_of, single_messages
from schemas.errors import TransientError

DLMS_PORT: Final = 4059
"""Registered with IANA for DLMS/COSEM."""
_READ_OCTETS: Final = 65_536
_RETRY_S: Final = (0.05, 5.0)
_BESIDE_OCTETS: Final = 256
"""What a message takes in memory beside its own bytes, be it empty."""
_DATAGRAMS_ALONE: Final = 4
"""One part in so many of the room is left to datagrams: a stream can be made to wait, a last gasp cannot."""


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


class _Lane:
    """Messages on their way to one topic: packed by partition, sent by one thread, held until acknowledged."""

    def __init__(self, topic: str, publisher: Publisher, gateway: "Gateway") -> None:
        self._topic = topic
        self._publisher = publisher
        self._gateway = gateway
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
        if self._topic == LAST_GASP_TOPIC or self._octets >= self._gateway.limits.packed_octets:
            self._due.set()

    async def ready(self) -> None:
        """The topic's partitions are known, so that no message waits for them."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._thread, self._publisher.partition_for, self._topic, b"")

    async def run(self) -> None:
        """Send until closing and empty."""
        while not (self._closing and not self._waiting):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._due.wait(), self._gateway.limits.linger_s)
            self._due.clear()
            if self._waiting:
                waiting, self._waiting, self._octets = self._waiting, {}, 0
                await self._send(waiting)
                self._gateway.released(sum(len(item.message) for items in waiting.values() for item in items),
                                       sum(map(len, waiting.values())))  # fmt: skip
        self._thread.shutdown(wait=False)

    async def _send(self, waiting: dict[int, list[Waiting]]) -> None:
        wait_s, longest_s = _RETRY_S
        loop = asyncio.get_running_loop()
        # What waited while the broker was away is much: it is packed beside the listener.
        rows = await loop.run_in_executor(self._thread, packed_rows, waiting, self._gateway.limits.packed_octets)
        while True:
            try:
                await loop.run_in_executor(self._thread, self._publish, rows)
            except TransientError:
                # The same rows again, until it works: senders are slowed down meanwhile.
                self._gateway.counts.retries += 1
                await asyncio.sleep(wait_s)
                wait_s = min(wait_s * 2, longest_s)
            else:
                self._gateway.counts.packed += rows.height
                return

    def _publish(self, rows: pl.DataFrame) -> None:
        self._publisher.publish(self._topic, rows)
        self._publisher.flush()


class Gateway:
    """A listener on one host and port, TCP and UDP. `start`, then `run` until `stop`."""

    def __init__(self, publishers: Mapping[str, Publisher], limits: GatewayLimits | None = None) -> None:
        """`publishers`: one for each lane, by topic, so that neither waits for the other."""
        self.limits = limits or GatewayLimits()
        self.counts = GatewayCounts()
        self._lanes = {topic: _Lane(topic, publisher, self) for topic, publisher in publishers.items()}
        self._held = 0
        self._held_messages = 0
        self._begun = 0
        self._room = asyncio.Event()
        self._room.set()
        self._handlers: set[asyncio.Task[None]] = set()
        self._tasks: list[asyncio.Task[None]] = []
        self._server: asyncio.Server | None = None
        self._transport: asyncio.DatagramTransport | None = None
        self._datagrams: _Datagrams | None = None

    async def start(self, host: str = "127.0.0.1", port: int = DLMS_PORT) -> int:
        """Both protocols are listened to on the port, which is returned (of 0, the one that was free).

        Raises:
            TransientError: Kafka is away; nothing is listened to.
        """
        for lane in self._lanes.values():
            await lane.ready()
        self._server = await asyncio.start_server(self._connected, host, port, limit=_READ_OCTETS, backlog=1024)
        chosen: int = self._server.sockets[0].getsockname()[1]
        loop = asyncio.get_running_loop()
        self._transport, self._datagrams = await loop.create_datagram_endpoint(lambda: _Datagrams(self), (host, chosen))
        udp: socket.socket = self._transport.get_extra_info("socket")
        udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * 1024 * 1024)
        self._tasks = [asyncio.create_task(lane.run()) for lane in self._lanes.values()]
        return chosen

    async def stop(self) -> int:
        """Nothing more is taken; what was taken is sent within the bound. The bytes that could not be sent."""
        if self._server is not None:
            self._server.close()
        if self._transport is not None:
            self._transport.close()
        if self._datagrams is not None:
            self._datagrams.finish()
        for handler in self._handlers:
            handler.cancel()
        await asyncio.gather(*self._handlers, return_exceptions=True)
        for lane in self._lanes.values():
            lane.close()
        _, unsent = await asyncio.wait(self._tasks, timeout=self.limits.shutdown_s)
        for task in unsent:
            task.cancel()
        return self._held

    async def wait_failed(self) -> None:
        """Returns when a lane cannot go on (the broker refuses for good); raises what it said."""
        done, _ = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()

    def kernel_lost(self) -> int:
        """Datagrams that the kernel dropped before we read them, as Linux counts them; 0 where it does not say."""
        if self._transport is None:
            return 0
        port = self._transport.get_extra_info("sockname")[1]
        return _kernel_drops(port)

    def take(self, message: bytes, peer: str, *, over_udp: bool, titles: LineTitles | None = None) -> None:
        """Take a message over: from here on it is held until Kafka has it.

        `titles`: of the senders of its line; a message ciphered by service goes on with the one of its own port in it.
        """
        known = titles or LineTitles()
        for each in single_messages(message):
            name = name_of(each)
            known.note(each, name.title)
            named = with_sender(each, known.of(each))
            if named is not each:
                name = name._replace(title=known.of(each))
            topic = lane_of_stream(name, len(named), over_udp=over_udp)
            self._hold(topic, named, key_of_stream(name, peer))

    def _hold(self, topic: str, message: bytes, key: bytes) -> None:
        self.counts.messages[topic] += 1
        self.counts.octets += len(message)
        self._held += len(message)
        self._held_messages += 1
        if not self.has_room():
            self._room.clear()
        self._lanes[topic].add(message, key)

    def has_room(self, *, over_udp: bool = False) -> bool:
        """Whether more may be taken: of streams until three quarters of the room are taken, of datagrams until all."""
        taken = self.held_octets()
        if over_udp:
            return taken < self.limits.held_octets
        return _DATAGRAMS_ALONE * taken < (_DATAGRAMS_ALONE - 1) * self.limits.held_octets

    def held_octets(self) -> int:
        """What is not acknowledged yet, in memory."""
        return self._held + _BESIDE_OCTETS * self._held_messages

    def released(self, octets: int, messages: int) -> None:
        """So much is acknowledged."""
        self._held -= octets
        self._held_messages -= messages
        self.counts.acknowledged += messages
        if self.has_room():
            self._room.set()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if len(self._handlers) >= self.limits.connections or task is None:
            self.counts.refused += 1
            writer.close()
            return
        self.counts.connections += 1
        self._handlers.add(task)
        peer = str(writer.get_extra_info("peername")[0])
        cutter = StreamCutter(self.limits.message_octets, self.limits.message_s)
        try:
            await self._read(reader, cutter, peer)
        except OSError:  # time, or whatever a network says when it loses a sender
            self.counts.cut_short += 1
        except asyncio.CancelledError:
            # Only `stop` cancels; a task that ends cancelled would be logged as an error by the streams module.
            return
        finally:
            for message in cutter.finish():
                self.take(message, peer, over_udp=False)
            self._handlers.discard(task)
            writer.close()

    async def _read(self, reader: asyncio.StreamReader, cutter: StreamCutter, peer: str) -> None:
        loop = asyncio.get_running_loop()
        begun = heard = loop.time()
        no_room_s, begun_octets = 0.0, 0  # nobody is late for want of room
        titles = LineTitles()
        try:
            while not cutter.lost_step and not (cutter.waiting and self._begun > self.limits.begun_octets):
                last = begun + self.limits.message_s if cutter.partial else heard + self.limits.idle_s
                until = last if cutter.due is None else min(last, cutter.due)
                data = await self._next(reader, until + no_room_s, is_last=until == last)
                if data == b"":
                    return
                came = loop.time()
                try:
                    # All who wait are woken at once, and the first of them may take what room there is.
                    while not self.has_room():
                        await self._room.wait()
                finally:  # told to stop too: what was read is taken
                    no_room_s += loop.time() - came
                    now = loop.time() - no_room_s
                    messages = cutter.feed(data, now) if data else []
                    messages += cutter.expire(now)
                    heard = now if data else heard
                    begun = now if data and cutter.partial <= len(data) else begun
                    for message in messages:
                        self.take(message, peer, over_udp=False, titles=titles)
                    self._begun += cutter.held_octets - begun_octets
                    begun_octets = cutter.held_octets
        finally:
            self._begun -= begun_octets
        self.counts.cut_short += 1

    async def _next(self, reader: asyncio.StreamReader, until: float, *, is_last: bool) -> bytes | None:
        """What comes next, nothing at the end; None where nothing came by then and it is not the last moment."""
        wait_s = until - asyncio.get_running_loop().time()
        try:
            return await asyncio.wait_for(reader.read(_READ_OCTETS), max(wait_s, 0.0))
        except TimeoutError:
            if is_last:
                raise
            return None


class _Datagrams(asyncio.DatagramProtocol):
    """Each datagram is one piece: it cannot be continued by another, but by further blocks of one APDU."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._blocks = HeldBlocks(gateway.limits.message_s, gateway.limits.message_octets)
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    def datagram_received(self, data: bytes, addr: Any) -> None:
        """Take it, or count it as lost: a datagram cannot be made to wait."""
        if not self._gateway.has_room(over_udp=True):
            self._gateway.counts.udp_lost += 1
            return
        self._give(self._blocks.feed(data, str(addr[0]), self._loop.time()))
        self._set_timer()

    def finish(self) -> None:
        """What is held goes on as it is."""
        if self._timer is not None:
            self._timer.cancel()
        self._give(self._blocks.finish())

    def _expire(self) -> None:
        self._timer = None
        self._give(self._blocks.expire(self._loop.time()))
        self._set_timer()

    def _set_timer(self) -> None:
        due = self._blocks.due
        if self._timer is None and due is not None:
            self._timer = self._loop.call_at(due, self._expire)

    def _give(self, given: list[Given]) -> None:
        for message, peer in given:
            self._gateway.take(message, peer, over_udp=True)


def _kernel_drops(port: int) -> int:
    tables = [table for table in (Path("/proc/net/udp"), Path("/proc/net/udp6")) if table.exists()]
    rows = [line.split() for table in tables for line in table.read_text().splitlines()[1:]]
    return sum(int(row[-1]) for row in rows if int(row[1].rpartition(":")[2], 16) == port)
