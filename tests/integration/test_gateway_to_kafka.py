"""From a meter that nobody here wrote, over TCP and UDP, through the gateway to a real broker."""

import asyncio
import socket
import uuid
from collections.abc import Iterator

import polars as pl
import pytest
from gurux_dlms.enums import DataType, InterfaceType, Security
from gurux_dlms.objects import GXDLMSCaptureObject, GXDLMSData, GXDLMSPushSetup, GXDLMSRegister
from gurux_dlms.secure import GXDLMSSecureNotify

from ingest.dlms.framing import unwrap
from ingest.dlms.security import read_header, unprotect
from ingest.gateway import Gateway
from ingest.gateway_limits import GatewayLimits
from ingest.kafka.publisher import KafkaPublisher
from ingest.kafka.settings import KafkaSettings
from ingest.kafka.source import FirstStart, KafkaSource, Subscription
from ingest.kafka.topics import apply_topics, packaged_topics
from ingest.lanes import FRAMES_TOPIC, LAST_GASP_TOPIC

EK, AK = bytes(range(16)), bytes(range(0xD0, 0xE0))
PATIENCE = 100


def title(number: int) -> bytes:
    return b"GRX" + number.to_bytes(5, "big")


def pushes(number: int, *, ciphered: bool, registers: int = 1) -> bytes:
    """What the library's notifier sends for one push."""
    notify = GXDLMSSecureNotify(True, 16, 1, InterfaceType.WRAPPER)
    if ciphered:
        notify.ciphering.systemTitle = title(number)
        notify.ciphering.blockCipherKey, notify.ciphering.authenticationKey = EK, AK
        notify.ciphering.security = Security.AUTHENTICATION_ENCRYPTION
        notify.ciphering.invocationCounter = 100 + number
    push = GXDLMSPushSetup()
    name = GXDLMSData("0.0.42.0.0.255")
    name.value = f"GRX{number:013d}".encode()
    name.setDataType(2, DataType.OCTET_STRING)
    push.pushObjectList.append((name, GXDLMSCaptureObject(2, 0)))
    for i in range(registers):
        register = GXDLMSRegister("1.0.1.8.0.255")
        register.value = 1000 * number + i
        register.setDataType(2, DataType.UINT32)
        push.pushObjectList.append((register, GXDLMSCaptureObject(2, 0)))
    return b"".join(bytes(message) for message in notify.generatePushSetupMessages(None, push))


@pytest.fixture
def lanes(kafka_settings: KafkaSettings) -> Iterator[dict[str, KafkaPublisher]]:
    wanted = tuple(topic for topic in packaged_topics() if topic.name in (FRAMES_TOPIC, LAST_GASP_TOPIC))
    apply_topics(kafka_settings, wanted, replication=1)
    publishers = {topic: KafkaPublisher(kafka_settings, linger_ms=0) for topic in (FRAMES_TOPIC, LAST_GASP_TOPIC)}
    yield publishers
    for publisher in publishers.values():
        publisher.close()


@pytest.fixture
def source(kafka_settings: KafkaSettings, lanes: dict[str, KafkaPublisher]) -> Iterator[KafkaSource]:
    """Both lanes, from now on."""
    group = Subscription((FRAMES_TOPIC, LAST_GASP_TOPIC), uuid.uuid4().hex, first_start=FirstStart.LATEST)
    member = KafkaSource(kafka_settings, group)
    assert any(member.poll(0.2, 1).assigned for _ in range(PATIENCE))
    yield member
    member.close()


def received(source: KafkaSource, wanted: int) -> pl.DataFrame:
    frames = []
    for _ in range(PATIENCE):
        frames.append(source.poll(0.2, 1000).frames())
        if sum(map(len, frames)) >= wanted:
            return pl.concat(frames)
    raise AssertionError(f"{sum(map(len, frames))} of {wanted} came")


def through_gateway(lanes: dict[str, KafkaPublisher], streams: list[bytes], datagrams: list[bytes]) -> Gateway:
    async def whole() -> Gateway:
        gateway = Gateway(lanes, GatewayLimits(linger_s=0.05))
        port = await gateway.start(port=0)
        await asyncio.gather(*(asyncio.to_thread(push_over_tcp, port, stream) for stream in streams))
        await asyncio.to_thread(push_over_udp, port, datagrams)
        while gateway.counts.messages[LAST_GASP_TOPIC] < len(datagrams):
            await asyncio.sleep(0.01)
        assert await gateway.stop() == 0
        return gateway

    return asyncio.run(asyncio.wait_for(whole(), 60))


def push_over_tcp(port: int, data: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as meter:
        meter.sendall(data)
        meter.shutdown(socket.SHUT_WR)
        assert meter.recv(1) == b""


def push_over_udp(port: int, datagrams: list[bytes]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as meter:
        for datagram in datagrams:
            meter.sendto(datagram, ("127.0.0.1", port))


def test_pushes_of_a_foreign_library_arrive_over_tcp_and_udp_in_their_lanes(lanes, source: KafkaSource) -> None:
    large = [pushes(i, ciphered=True, registers=30) for i in range(20)]
    small = [pushes(100 + i, ciphered=i % 2 == 0) for i in range(10)]
    assert min(map(len, large)) > 128 >= max(map(len, small))

    gateway = through_gateway(lanes, streams=large, datagrams=small)

    frames = received(source, 30)
    by_lane = dict(frames.group_by("topic").agg("payload").iter_rows())
    assert sorted(by_lane[FRAMES_TOPIC]) == sorted(large)
    assert sorted(by_lane[LAST_GASP_TOPIC]) == sorted(small)
    assert gateway.counts.acknowledged == 30
    assert frames["received_at"].null_count() == 0


def test_frames_of_one_meter_keep_their_order_in_one_partition(lanes, source: KafkaSource) -> None:
    mine = [pushes(7, ciphered=True, registers=20 + i) for i in range(12)]
    through_gateway(lanes, streams=[b"".join(mine)], datagrams=[])
    frames = received(source, 12).sort("offset", "frame")
    assert frames["partition"].n_unique() == 1
    assert frames["payload"].to_list() == mine


def test_what_came_through_decodes_with_the_meters_keys(lanes, source: KafkaSource) -> None:

    through_gateway(lanes, streams=[pushes(3, ciphered=True, registers=20)], datagrams=[])
    apdu = unwrap(received(source, 1)["payload"][0]).apdu
    header = read_header(apdu)
    assert (header.system_title, header.counter) == (title(3), 103)
    assert b"GRX0000000000003" in unprotect(apdu, header, EK, AK)
