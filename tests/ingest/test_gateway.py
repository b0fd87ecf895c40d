"""The listener, over the loopback, with a publisher that a test can make slow or absent."""

import asyncio
import errno
import socket
from collections.abc import Awaitable, Callable
from typing import ClassVar

import pytest

from ingest.dlms.framing import split_messages, wrap_wpdu
from ingest.gateway import Gateway
from ingest.gateway_limits import GatewayLimits
from ingest.lanes import FRAMES_TOPIC, LAST_GASP_TOPIC, with_sender
from schemas.errors import TerminalError
from tests.failing_publisher import FailingPublisher
from tests.ingest import by_hand as hand
from tests.ingest.fleet import TITLE, decode

SMALL = [wrap_wpdu(b"\x0f" + bytes([i]) * 40) for i in range(20)]
LARGE = [wrap_wpdu(b"\x0f" + bytes([i]) * 300) for i in range(20)]
PATIENCE = 500


class Publisher(FailingPublisher):
    """One that tells which messages of meters came."""

    def messages(self, topic: str) -> list[bytes]:
        return [message.payload for value in self.values(topic) for message in split_messages(value)]


Scenario = Callable[[Gateway, int], Awaitable[None]]


def run(scenario: Scenario, publisher: Publisher, gasps: Publisher | None = None, **limits: float) -> Gateway:
    async def whole() -> Gateway:
        publishers = {FRAMES_TOPIC: publisher, LAST_GASP_TOPIC: gasps or publisher.beside()}
        gateway = Gateway(publishers, GatewayLimits(**({"linger_s": 0.01, "shutdown_s": 5.0} | limits)))
        port = await gateway.start(port=0)
        await asyncio.wait_for(scenario(gateway, port), 20)
        await gateway.stop()
        return gateway

    return asyncio.run(whole())


async def send(port: int, data: bytes, *, pause_after: int = 0) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for piece in (data[:pause_after], data[pause_after:]):
        writer.write(piece)
        await writer.drain()
        await asyncio.sleep(0)
    writer.write_eof()
    await reader.read()
    writer.close()


async def until(true: Callable[[], bool]) -> None:
    for _ in range(PATIENCE):
        if true():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not come to that")


def test_what_many_connections_send_reaches_its_lane_whole_and_in_order() -> None:
    publisher = Publisher()

    async def scenario(gateway: Gateway, port: int) -> None:
        await asyncio.gather(*(send(port, b"".join(LARGE + SMALL), pause_after=100 + i) for i in range(10)))

    gateway = run(scenario, publisher)
    assert sorted(publisher.messages(FRAMES_TOPIC)) == sorted(LARGE * 10)
    assert sorted(publisher.messages(LAST_GASP_TOPIC)) == sorted(SMALL * 10)
    assert gateway.counts.acknowledged == 400
    assert gateway.counts.cut_short == 0


def test_a_message_ciphered_by_service_goes_on_with_the_title_that_its_connection_knows() -> None:
    publisher = Publisher()
    push, gasp = hand.general(hand.PUSH, counter=1), hand.by_service(0xCA, hand.PUSH, counter=2)
    push, gasp = hand.wrapper(push), hand.wrapper(gasp)

    async def scenario(gateway: Gateway, port: int) -> None:
        await send(port, gasp)  # another connection: nothing is known of its sender
        await send(port, push + gasp)

    run(scenario, publisher)
    named = hand.wrapper(hand.general(hand.PUSH, counter=2))  # its tag is that of the message by service
    assert sorted(publisher.messages(LAST_GASP_TOPIC)) == sorted([push, gasp, named])
    assert decode(named).reads["value_milli"].to_list() == [hand.VALUE * 1000]
    assert with_sender(b"\x00\x01junk", TITLE) == b"\x00\x01junk" and with_sender(push, TITLE) == push


def test_a_message_ciphered_by_service_never_goes_on_with_the_title_of_another_meter_of_its_line() -> None:
    publisher = Publisher()
    titled = hand.wrapper(hand.general(hand.PUSH, counter=1), source=1)
    gasps = [hand.wrapper(hand.by_service(0xCA, hand.PUSH, counter=2), source=port) for port in (2, 1)]

    async def scenario(gateway: Gateway, port: int) -> None:
        await send(port, titled + b"".join(gasps))

    run(scenario, publisher)
    named = hand.wrapper(hand.general(hand.PUSH, counter=2), source=1)
    assert sorted(publisher.messages(LAST_GASP_TOPIC)) == sorted([titled, gasps[0], named])


def test_frames_of_a_partition_are_packed_into_few_messages() -> None:
    publisher = Publisher()

    async def scenario(gateway: Gateway, port: int) -> None:
        await send(port, b"".join(LARGE))

    run(scenario, publisher, linger_s=0.1)
    assert publisher.messages(FRAMES_TOPIC) == LARGE
    assert len(publisher.sent) <= 3


def test_datagrams_take_the_lane_of_last_gasps_and_are_not_joined() -> None:
    publisher = Publisher()

    async def scenario(gateway: Gateway, port: int) -> None:
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            asyncio.DatagramProtocol, remote_addr=("127.0.0.1", port)
        )
        for message in [LARGE[0], LARGE[1][:50], SMALL[2]]:
            transport.sendto(message)
        await until(lambda: gateway.counts.messages[LAST_GASP_TOPIC] == 3)
        transport.close()

    gateway = run(scenario, publisher)
    assert sorted(value for _, value, _ in publisher.sent) == sorted([LARGE[0], LARGE[1][:50], SMALL[2]])
    assert gateway.kernel_lost() == 0


def test_blocks_of_one_apdu_in_datagrams_of_their_own_are_one_message_or_what_came_of_it() -> None:
    publisher = Publisher()
    blocks = [hand.wrapper(block) for block in hand.blocks(hand.PUSH, 20)]
    mixed = [*blocks[1:-1][::-1], blocks[0], blocks[-1]]
    other = blocks[1][:-1] + bytes((blocks[1][-1] ^ 1,))

    async def scenario(gateway: Gateway, port: int) -> None:
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            asyncio.DatagramProtocol, remote_addr=("127.0.0.1", port)
        )
        for datagram in (*mixed, blocks[1], other):  # a copy, and one that is none
            transport.sendto(datagram)
        await until(lambda: gateway.counts.messages[LAST_GASP_TOPIC] == 2)  # the last one waited in vain
        transport.close()

    run(scenario, publisher, message_s=2.0)
    assert [value for _, value, _ in publisher.sent] == [b"".join(mixed), other]


def test_datagrams_that_wait_for_others_go_on_in_their_own_time_though_nobody_sends_any_more() -> None:
    publisher = Publisher()
    one, other = ([hand.wrapper(block, port) for block in hand.blocks(hand.PUSH, 20)] for port in (1, 2))

    async def scenario(gateway: Gateway, port: int) -> None:
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            asyncio.DatagramProtocol, remote_addr=("127.0.0.1", port)
        )
        transport.sendto(one[0])
        await asyncio.sleep(0.3)
        transport.sendto(other[1])  # held when the time of the first one is over
        await until(lambda: gateway.counts.messages[LAST_GASP_TOPIC] == 2)
        transport.close()

    run(scenario, publisher, message_s=0.6)
    assert [value for _, value, _ in publisher.sent] == [one[0], other[1]]


def test_a_transfer_that_lost_its_end_goes_on_in_its_time_and_its_line_stays() -> None:
    publisher = Publisher()
    one, other = ([hand.wrapper(block, port) for block in hand.blocks(hand.PUSH, 20)] for port in (1, 2))

    async def scenario(gateway: Gateway, port: int) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(one[0] + other[0] + one[1] + b"".join(other[1:]))
        await until(lambda: sum(gateway.counts.messages.values()) == 2)
        writer.write(LARGE[0])
        await until(lambda: sum(gateway.counts.messages.values()) == 3)
        writer.close()

    gateway = run(scenario, publisher, message_s=1.5)
    assert gateway.counts.cut_short == 0
    assert sorted(value for _, value, _ in publisher.sent) == sorted([b"".join(other), one[0] + one[1], LARGE[0]])


def test_while_the_broker_is_away_nothing_is_dropped_and_senders_wait() -> None:
    publisher = Publisher()
    publisher.away.set()

    async def scenario(gateway: Gateway, port: int) -> None:
        sending = asyncio.create_task(send(port, b"".join(LARGE * 2_000)))
        await until(lambda: gateway.counts.retries > 0 and not gateway.room.is_free(FRAMES_TOPIC))
        assert gateway.counts.octets < 1_000_000
        assert not sending.done()
        publisher.away.clear()
        await sending

    gateway = run(scenario, publisher, held_octets=100_000)
    assert len(publisher.messages(FRAMES_TOPIC)) == 40_000
    assert gateway.counts.acknowledged == 40_000


def test_a_datagram_that_finds_no_room_is_counted_as_lost() -> None:
    publisher = Publisher()
    publisher.away.set()

    async def scenario(gateway: Gateway, port: int) -> None:
        sending = asyncio.create_task(send(port, LARGE[0]))
        await until(lambda: not gateway.room.is_free(FRAMES_TOPIC))
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            asyncio.DatagramProtocol, remote_addr=("127.0.0.1", port)
        )
        transport.sendto(SMALL[0])
        await until(lambda: gateway.counts.udp_lost == 1)
        transport.close()
        publisher.away.clear()
        await sending

    gateway = run(scenario, publisher, held_octets=1)
    assert gateway.counts.messages[LAST_GASP_TOPIC] == 0


def test_datagrams_without_a_byte_take_room_too() -> None:
    publisher = Publisher()
    publisher.away.set()

    async def scenario(gateway: Gateway, port: int) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for _ in range(50):
                sender.sendto(b"", ("127.0.0.1", port))
        await until(lambda: gateway.counts.udp_lost + gateway.counts.messages[LAST_GASP_TOPIC] == 50)
        publisher.away.clear()

    gateway = run(scenario, publisher, held_octets=5_000)
    assert 10 < gateway.counts.messages[LAST_GASP_TOPIC] < 25


def test_streams_leave_room_to_datagrams_which_cannot_wait() -> None:
    publisher = Publisher()
    publisher.away.set()

    async def scenario(gateway: Gateway, port: int) -> None:
        sending = asyncio.create_task(send(port, b"".join(LARGE)))
        await until(lambda: not gateway.room.is_free(FRAMES_TOPIC))
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            asyncio.DatagramProtocol, remote_addr=("127.0.0.1", port)
        )
        transport.sendto(SMALL[0])
        await until(lambda: gateway.counts.messages[LAST_GASP_TOPIC] == 1)
        transport.close()
        publisher.away.clear()
        await sending

    gateway = run(scenario, publisher, held_octets=14_000)
    assert gateway.counts.udp_lost == 0


def test_who_waits_for_room_does_not_overrun_it_with_all_others_that_wait() -> None:
    publisher = Publisher()
    publisher.away.set()
    held: list[int] = []

    async def scenario(gateway: Gateway, port: int) -> None:
        take = gateway.room.take

        def noting(*given: object, **named: object) -> None:
            take(*given, **named)
            held.append(gateway.room.held())

        gateway.room.take = noting
        _, first = await asyncio.open_connection("127.0.0.1", port)
        first.write(LARGE[0])
        await until(lambda: not gateway.room.is_free(FRAMES_TOPIC))
        writers = [(await asyncio.open_connection("127.0.0.1", port))[1] for _ in range(40)]
        for writer in writers:
            writer.write(LARGE[1])
        await until(lambda: gateway.counts.connections == 41)
        await asyncio.sleep(0.1)
        assert len(held) == 1
        publisher.away.clear()
        await until(lambda: gateway.counts.acknowledged == 41)

    run(scenario, publisher, held_octets=600)
    assert max(held) < 2 * 600


def test_slow_senders_in_numbers_are_cut_short_and_who_only_waits_is_not() -> None:
    publisher = Publisher()

    async def scenario(gateway: Gateway, port: int) -> None:
        _, idle_writer = await asyncio.open_connection("127.0.0.1", port)
        _, one_writer = await asyncio.open_connection("127.0.0.1", port)
        one_writer.write(LARGE[0][:250])
        await until(lambda: gateway.counts.connections == 2)
        two, two_writer = await asyncio.open_connection("127.0.0.1", port)
        two_writer.write(LARGE[1][:300])
        assert await two.read() == b""
        for writer, rest in ((idle_writer, LARGE[2]), (one_writer, LARGE[0][250:])):
            writer.write(rest)
        await until(lambda: len(publisher.messages(FRAMES_TOPIC)) == 3)

    gateway = run(scenario, publisher, begun_octets=500)
    assert gateway.counts.cut_short == 1
    assert sorted(publisher.messages(FRAMES_TOPIC)) == sorted([LARGE[0], LARGE[1][:300], LARGE[2]])


def test_a_sender_that_the_network_loses_is_counted_and_what_it_sent_goes_on() -> None:
    publisher = Publisher()

    class Reader:
        pieces: ClassVar = [LARGE[0], LARGE[1][:200]]

        async def read(self, _: int) -> bytes:
            if self.pieces:
                return self.pieces.pop(0)
            raise OSError(errno.EHOSTUNREACH, "no route to host")

    class Writer:
        def get_extra_info(self, _: str) -> tuple[str, int]:
            return "192.0.2.1", 1

        def close(self) -> None: ...

    async def scenario(gateway: Gateway, port: int) -> None:
        await asyncio.create_task(gateway._connected(Reader(), Writer()))

    gateway = run(scenario, publisher)
    assert gateway.counts.cut_short == 1
    assert publisher.messages(FRAMES_TOPIC) == [LARGE[0], LARGE[1][:200]]


def test_a_sender_that_trickles_is_cut_short_and_what_it_sent_goes_on() -> None:
    publisher = Publisher()

    async def scenario(gateway: Gateway, port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(LARGE[0][:10])
        assert await reader.read() == b""
        writer.close()

    gateway = run(scenario, publisher, message_s=0.05)
    assert gateway.counts.cut_short == 1
    assert [value for _, value, _ in publisher.sent] == [LARGE[0][:10]]


def test_an_idle_connection_and_one_too_many_are_closed() -> None:
    publisher = Publisher()

    async def scenario(gateway: Gateway, port: int) -> None:
        first, first_writer = await asyncio.open_connection("127.0.0.1", port)
        await until(lambda: gateway.counts.connections == 1)
        second, second_writer = await asyncio.open_connection("127.0.0.1", port)
        assert await second.read() == b""
        assert await first.read() == b""
        first_writer.close()
        second_writer.close()

    gateway = run(scenario, publisher, connections=1, idle_s=0.3)
    assert (gateway.counts.refused, gateway.counts.cut_short) == (1, 1)


def test_an_oversized_message_ends_the_connection_and_others_go_on() -> None:
    publisher = Publisher()
    oversized = wrap_wpdu(b"\xe0\x00\x00\x01\x00\x00" + hand.sized(bytes(60_000))) * 6

    async def scenario(gateway: Gateway, port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(oversized)
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
        writer.close()
        await send(port, LARGE[1])

    gateway = run(scenario, publisher)
    assert gateway.counts.cut_short == 1
    assert LARGE[1] in [value for _, value, _ in publisher.sent]


def test_a_broker_that_refuses_for_good_ends_the_gateway() -> None:
    publisher = Publisher()
    publisher.refused = True

    async def scenario(gateway: Gateway, port: int) -> None:
        await send(port, LARGE[0])
        with pytest.raises(TerminalError):
            await gateway.wait_failed()

    run(scenario, publisher)


def test_what_was_taken_is_sent_when_the_gateway_is_asked_to_stop() -> None:
    publisher = Publisher()

    async def scenario(gateway: Gateway, port: int) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(LARGE[0] + LARGE[1][:100])
        await until(lambda: gateway.counts.octets == len(LARGE[0]))

    run(scenario, publisher, linger_s=30.0)
    assert publisher.messages(FRAMES_TOPIC) == [LARGE[0]]
    assert [v for _, v, _ in publisher.sent if len(v) == 100] == [LARGE[1][:100]]


GASP = wrap_wpdu(bytes.fromhex("c200010203"))


def test_a_lane_that_cannot_be_written_holds_no_last_gasp_of_another_connection_up(
    caplog: pytest.LogCaptureFixture,
) -> None:
    frames, gasps = Publisher(), Publisher()
    frames.away.set()

    async def scenario(gateway: Gateway, port: int) -> None:
        sending = asyncio.create_task(send(port, b"".join(LARGE * 100)))
        await until(lambda: not gateway.room.is_free(FRAMES_TOPIC))
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(LARGE[0] + GASP)
        await until(lambda: gasps.messages(LAST_GASP_TOPIC) == [GASP])
        await until(lambda: gateway.counts.retries > 3)
        assert not sending.done()
        frames.away.clear()
        await sending
        writer.close()

    gateway = run(scenario, frames, gasps, held_octets=100_000)
    assert gateway.counts.acknowledged == 2_002
    said = [record for record in caplog.records if record.name == "ami.gateway"]
    assert [record.fields["topic"] for record in said] == [FRAMES_TOPIC] * 2, (
        "once when it begins, once when it is over"
    )
    assert said[0].fields["why"] == "away"


def test_tiny_messages_of_many_connections_hold_no_datagram_up() -> None:
    publisher = Publisher()
    tiny, passes = wrap_wpdu(b"\x0f"), [0]

    async def scenario(gateway: Gateway, port: int) -> None:
        writers = [(await asyncio.open_connection("127.0.0.1", port))[1] for _ in range(30)]
        await until(lambda: gateway.counts.connections == 30)
        turns: list[int] = []
        for writer in writers:
            writer.write(tiny * 1_500)
        while sum(gateway.counts.messages.values()) < 30 * 1_500:
            before = sum(gateway.counts.messages.values())
            await asyncio.sleep(0)
            turns.append(sum(gateway.counts.messages.values()) - before)
            passes[0] += 1
        for writer in writers:
            writer.close()
        assert max(turns) <= 64, "messages between two looks at the sockets"

    gateway = run(scenario, publisher)
    assert passes[0] > 0 and gateway.counts.messages[LAST_GASP_TOPIC] == 45_000


def test_where_all_places_are_taken_the_connection_that_is_silent_for_longest_gives_way() -> None:
    publisher = Publisher()

    async def scenario(gateway: Gateway, port: int) -> None:
        lines = []
        for number in range(3):
            lines.append(await asyncio.open_connection("127.0.0.1", port))
            await until(lambda wanted=number + 1: gateway.counts.connections == wanted)
        early, _ = await asyncio.open_connection("127.0.0.1", port)
        assert await early.read() == b"", "all three came just now"
        await asyncio.sleep(1.1)
        lines[0][1].write(SMALL[0])
        await until(lambda: gateway.counts.messages[LAST_GASP_TOPIC] == 1)
        await send(port, SMALL[1])
        await until(lambda: gateway.counts.messages[LAST_GASP_TOPIC] == 2)
        assert await lines[1][0].read() == b"", "the longest silent was closed"
        lines[0][1].write(SMALL[2])
        lines[2][1].write(SMALL[3])
        await until(lambda: gateway.counts.messages[LAST_GASP_TOPIC] == 4)
        for _, writer in lines:
            writer.close()

    gateway = run(scenario, publisher, connections=3, message_s=1.0)
    assert (gateway.counts.refused, gateway.counts.gave_way, gateway.counts.connections) == (1, 1, 4)
