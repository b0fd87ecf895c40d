"""Door: meters push here, over TCP and UDP; what they send goes to Kafka as it came.

A connection is read only while there is room, so a slow broker slows the senders down and nothing is dropped; a
datagram that finds no room is counted as lost. Nothing is acknowledged to a meter: DLMS pushes are unconfirmed.
"""

import asyncio
import socket
from collections import deque
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple

from ingest.datagrams import Given, HeldBlocks
from ingest.dlms.transfers import Past
from ingest.gateway_lane import Lane, Publisher
from ingest.gateway_limits import GatewayCounts, GatewayLimits
from ingest.gateway_room import Room
from ingest.lanes import LAST_GASP_TOPIC, key_of_stream, lane_of_stream, with_sender
from ingest.line_titles import LineTitles
from ingest.push_stream import StreamCutter
from ingest.stream_names import name_of, single_messages

DLMS_PORT: Final = 4059
"""Registered with IANA for DLMS/COSEM."""
_READ_OCTETS: Final = 16_384
_MESSAGES_A_TURN: Final = 16
"""After so many the others have their turn: connections that send nothing but tiny messages hold no datagram up."""


class _Addressed(NamedTuple):
    """A message, and where it goes."""

    topic: str
    message: bytes
    key: bytes


class _Silent(NamedTuple):
    """A connection of which something is waited for, and since when."""

    writer: asyncio.StreamWriter
    since: float


class Gateway:
    """A listener on one host and port, TCP and UDP. `start`, then `run` until `stop`."""

    def __init__(self, publishers: Mapping[str, Publisher], limits: GatewayLimits | None = None) -> None:
        """`publishers`: one for each lane, by topic, so that neither waits for the other."""
        self.limits = limits or GatewayLimits()
        self.counts = GatewayCounts()
        self.room = Room(self.limits.held_octets, publishers)
        self.past = Past()
        """Blocks of transfers that were given out, of all senders: a copy that comes late is none of the next one."""
        self._lanes = {
            topic: Lane(topic, publisher, self.limits, self.counts, self.room)
            for topic, publisher in publishers.items()
        }
        self._begun = 0
        self._turn = asyncio.Lock()
        self._handlers: set[asyncio.Task[None]] = set()
        self._silent: dict[asyncio.Task[None], _Silent] = {}  # of those, who is waited for; the longest first
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
        return self.room.octets

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
        for each in self._addressed(message, peer, titles or LineTitles(), over_udp=over_udp):
            self._hold(each)

    def _addressed(self, message: bytes, peer: str, titles: LineTitles, *, over_udp: bool) -> Iterator[_Addressed]:
        for each in single_messages(message):
            name = name_of(each)
            titles.note(each, name.title)
            title = titles.of(each)
            named = with_sender(each, title)
            if named is not each:
                name = name._replace(title=title)
            topic = lane_of_stream(name, len(named), over_udp=over_udp)
            yield _Addressed(topic, named, key_of_stream(name, peer))

    def _hold(self, each: _Addressed) -> None:
        self.counts.messages[each.topic] += 1
        self.counts.octets += len(each.message)
        self.room.take(each.topic, len(each.message))
        self._lanes[each.topic].add(each.message, each.key)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or not self._has_place():
            self.counts.refused += 1
            writer.close()
            return
        self.counts.connections += 1
        self._handlers.add(task)
        peer = str(writer.get_extra_info("peername")[0])
        cutter = StreamCutter(self.limits.message_octets, self.limits.message_s, self.past)
        try:
            await self._read(reader, cutter, peer, (task, writer))
        except OSError:  # time, or whatever a network says when it loses a sender
            self.counts.cut_short += 1
        except asyncio.CancelledError:
            # Only `stop` cancels; a task that ends cancelled would be logged as an error by the streams module.
            return
        finally:
            for message in cutter.finish():
                self.take(message, peer, over_udp=False)
            self._handlers.discard(task)
            self._silent.pop(task, None)
            writer.close()

    def _has_place(self) -> bool:
        """Whether another connection is taken: where all places are, the one that is silent for longest gives way.

        Who was heard of within `message_s` keeps its place, and who waits for room: what it sent is not lost.
        """
        if len(self._handlers) < self.limits.connections:
            return True
        task, silent = next(iter(self._silent.items()), (None, None))
        if task is None or silent is None:
            return False
        if asyncio.get_running_loop().time() - silent.since < self.limits.message_s:
            return False
        self.counts.gave_way += 1
        del self._silent[task]
        silent.writer.close()  # its reader comes to its end
        return True

    async def _read(
        self,
        reader: asyncio.StreamReader,
        cutter: StreamCutter,
        peer: str,
        place: tuple[asyncio.Task[None], asyncio.StreamWriter],
    ) -> None:
        loop = asyncio.get_running_loop()
        task, writer = place
        begun = heard = loop.time()
        no_room_s, begun_octets = 0.0, 0  # nobody is late for want of room
        titles = LineTitles()
        try:
            while not cutter.lost_step and not (cutter.waiting and self._begun > self.limits.begun_octets):
                last = begun + self.limits.message_s if cutter.partial else heard + self.limits.idle_s
                until = last if cutter.due is None else min(last, cutter.due)
                self._silent.setdefault(task, _Silent(writer, loop.time()))
                data = await self._next(reader, until + no_room_s, is_last=until == last)
                if data is not None:
                    self._silent.pop(task, None)
                if data == b"":
                    return
                now = loop.time() - no_room_s
                came = loop.time()
                await self._take_all((data or b"", now), cutter, peer, titles)
                no_room_s += loop.time() - came
                if data:
                    heard = now
                    begun = now if cutter.partial <= len(data) else begun
                self._begun += cutter.held_octets - begun_octets
                begun_octets = cutter.held_octets
        finally:
            self._begun -= begun_octets
        self.counts.cut_short += 1

    async def _take_all(self, read: tuple[bytes, float], cutter: StreamCutter, peer: str, titles: LineTitles) -> None:
        """Take what a stream brought (octets, and when) as there is room: last gasps first, which wait for no frames.

        Told to stop, all that was read is taken.
        """
        left = self._cut(read, cutter, peer, titles)
        gasps, others = deque[_Addressed](), deque[_Addressed]()
        try:
            await self._next_turn()
            while some := list(islice(left, _MESSAGES_A_TURN)):
                for each in some:
                    (gasps if each.topic == LAST_GASP_TOPIC else others).append(each)
                self._take_waiting(gasps)
                await self._next_turn()
            for queue in (gasps, others):
                while queue:
                    await self.room.wait(queue[0].topic)
                    await self._next_turn()
                    self._take_waiting(queue)
        finally:
            for each in (*gasps, *others, *left):
                self._hold(each)

    def _cut(
        self, read: tuple[bytes, float], cutter: StreamCutter, peer: str, titles: LineTitles
    ) -> Iterator[_Addressed]:
        data, now = read
        messages = cutter.feed(data, now) if data else []
        for message in (*messages, *cutter.expire(now)):
            yield from self._addressed(message, peer, titles, over_udp=False)

    def _take_waiting(self, queue: deque[_Addressed]) -> None:
        for _ in range(min(_MESSAGES_A_TURN, len(queue))):
            if self.room.is_free(queue[0].topic):
                self._hold(queue.popleft())

    async def _next_turn(self) -> None:
        """The sockets are looked at, then one of those who wait for their turn goes on, in order."""
        async with self._turn:
            await asyncio.sleep(0)

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
        self._blocks = HeldBlocks(gateway.limits.message_s, gateway.limits.message_octets, gateway.past)
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    def datagram_received(self, data: bytes, addr: Any) -> None:
        """Take it, or count it as lost: a datagram cannot be made to wait."""
        if not self._gateway.room.is_free_for_datagrams():
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
