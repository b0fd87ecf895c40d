"""One ciphered message in every wrapping: the same lane, the same partition key, and so the same replay window."""

import itertools
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from ingest.decode import Decoded, decode_frames
from ingest.gateway import Gateway
from ingest.kafka.records import Records, frames_of_records
from ingest.keyring import Keyring
from ingest.lanes import FRAMES_TOPIC, LAST_GASP_TOPIC
from ingest.line_titles import LineTitles
from ingest.meter_types import parse_types
from ingest.packing import Waiting, packed_rows
from ingest.replay import Windows
from tests.failing_publisher import FailingPublisher
from tests.ingest import by_hand as hand
from tests.ingest.fleet import AK, EK, OTHER_TITLE, TITLE, enrolled, meters

SIGNING = ec.derive_private_key(0x5EED, ec.SECP256R1())
POINT = SIGNING.public_key().public_numbers()
RING = Keyring.from_csv(
    f"system_title,ek,ak,public_key\n{TITLE.hex()},{EK.hex()},{AK.hex()},{POINT.x:064x}{POINT.y:064x}\n"
)
DOUBLING = parse_types('[[meter_type]]\nname = "doubling"\nquirks = ["title_length_doubled"]\n')


def signed(content: bytes) -> bytes:
    """A general-signing APDU of the meter around another one."""
    body = b"\x01\x01" + hand.sized(TITLE) + b"\x00\x00\x00" + hand.sized(content)
    r, s = decode_dss_signature(SIGNING.sign(body, ec.ECDSA(SHA256())))
    return b"\xdf" + body + hand.sized(r.to_bytes(32, "big") + s.to_bytes(32, "big"))


def doubled(apdu: bytes) -> bytes:
    return apdu[:1] + b"\x09" + apdu[1:]


def service(apdu: bytes, tag: int = 0xCA) -> bytes:
    """What general-glo protects, ciphered by service."""
    return bytes((tag,)) + apdu[10:]


def long_title(apdu: bytes) -> bytes:
    return apdu[:1] + b"\x81" + apdu[1:]


STRANGER = hand.wrapper(hand.general(hand.PUSH)[:2] + OTHER_TITLE + hand.general(hand.PUSH)[10:])
"""A message under the name of another meter."""
WRAPPINGS: dict[str, Callable[[bytes], bytes]] = {
    "wrapper": hand.wrapper,
    "wrapper of another port": lambda apdu: hand.wrapper(apdu, 0x66, 9),
    "hdlc": lambda apdu: hand.hdlc(b"\xe6\xe7\x00" + apdu),
    "hdlc in segments": lambda apdu: b"".join(hand.hdlc_segments(apdu, 40)),
    "m-bus": lambda apdu: b"".join(hand.mbus(apdu, 60)),
    "bare": lambda apdu: apdu,
    "a title of a long length": lambda apdu: hand.wrapper(long_title(apdu)),
    "a doubled title": lambda apdu: hand.wrapper(doubled(apdu)),
    "large blocks": lambda apdu: b"".join(hand.wrapper(block) for block in hand.blocks(apdu, 127)),
    "many blocks": lambda apdu: b"".join(hand.wrapper(block) for block in hand.blocks(apdu, 30)),
    "blocks in hdlc": lambda apdu: b"".join(
        hand.hdlc((b"" if number else b"\xe6\xe7\x00") + block) for number, block in enumerate(hand.blocks(apdu, 30))
    ),
    "signed": lambda apdu: hand.wrapper(signed(apdu)),
    "signed, ciphered by service": lambda apdu: hand.wrapper(signed(service(apdu, 0x38))),
    "behind junk": lambda apdu: b"junk" + hand.wrapper(apdu),
    "behind a message of another": lambda apdu: STRANGER + hand.wrapper(apdu),
    "in hdlc behind junk": lambda apdu: bytes(9) + hand.hdlc(b"\xe6\xe7\x00" + apdu),
    "behind a wrapper that was cut short": lambda apdu: STRANGER[:40] + hand.wrapper(apdu),
}
LINKED: dict[str, Callable[[bytes], bytes]] = {
    "report by service, its title known to the link": lambda apdu: hand.wrapper(service(apdu, 0x38)),
}


def taken(message: bytes, peer: str, *, over_udp: bool = False, title: bytes = b"") -> list[tuple[str, bytes, bytes]]:
    """What a gateway hands on of a message: lane, partition key, bytes."""
    waiting: list[tuple[str, bytes, bytes]] = []
    gateway = Gateway({topic: FailingPublisher() for topic in (FRAMES_TOPIC, LAST_GASP_TOPIC)})
    for topic, lane in gateway._lanes.items():
        lane.add = lambda each, key, topic=topic: waiting.append((topic, key, each))  # type: ignore[method-assign]
    titles = LineTitles()
    titles.note(message, title)
    gateway.take(message, peer, over_udp=over_udp, titles=titles)
    return waiting


class Cluster:
    """A worker for each lane and key, which knows nothing of the others: as where each has a partition of its own."""

    def __init__(self) -> None:
        self.windows: dict[tuple[str, bytes], Windows] = {}

    def decode(self, message: bytes, peer: str = "10.0.0.1", *, title: bytes = b"") -> list[Decoded]:
        told = []
        for lane, key, value in taken(message, peer, title=title):
            frames = frames_of_records(Records(lane, 0, [1], [1_772_400_000_000], [value]))
            before = self.windows.get((lane, key), Windows.empty())
            decoded = decode_frames(frames, RING, before, meters(enrolled(meter_type="doubling")), DOUBLING)
            self.windows[lane, key] = decoded.windows
            told.append(decoded)
        return told


def outcome(told: list[Decoded]) -> str:
    """Decoded, a copy, or the reason of the last message: what was put in front of it has reasons of its own."""
    last = told[-1]
    if last.counts.decoded:
        return "decoded"
    return "copy" if last.counts.duplicates else str(last.rejects["reason"][-1])


def every_wrapping() -> list[tuple[str, Callable[[bytes], bytes], bytes]]:
    return [*((name, wrap, b"") for name, wrap in WRAPPINGS.items()),
            *((name, wrap, TITLE) for name, wrap in LINKED.items())]  # fmt: skip


def push(counter: int, octets: int) -> bytes:
    """A ciphered push whose protected octets (security byte to tag) are so many: a text fills it up."""
    head = hand.PUSH[:18] + b"\x01\x03" + hand.PUSH[20:] + bytes.fromhex("0202 0906 0000600D00FF 09")
    filled = head + hand.sized(bytes(octets - 17 - len(head) - 1))
    return hand.general(filled, counter=counter)


@pytest.mark.parametrize("octets", [118, 126, 127, 200])
def test_whatever_a_recorded_message_comes_in_its_window_knows_it(octets: int) -> None:
    recorded, newer = push(5, octets), push(500, octets)
    for (first, wrap, title), (again, rewrap, retitle) in itertools.product(every_wrapping(), repeat=2):
        cluster = Cluster()
        assert outcome(cluster.decode(wrap(recorded), title=title)) == "decoded", first
        assert outcome(cluster.decode(rewrap(recorded), "10.9.9.9", title=retitle)) == "copy", (first, again)
        assert outcome(cluster.decode(wrap(newer), title=title)) == "decoded", first
        assert outcome(cluster.decode(rewrap(recorded), "10.9.9.9", title=retitle)) == "replay", (first, again)


@pytest.mark.parametrize("octets", [118, 126, 127, 200])
@pytest.mark.parametrize("over_udp", [False, True])
def test_every_wrapping_has_the_meter_s_key_and_one_lane(octets: int, over_udp: bool) -> None:
    apdu = push(5, octets)
    found = {
        name: taken(wrap(apdu), "10.0.0.1", over_udp=over_udp, title=title)[-1][:2]
        for name, wrap, title in every_wrapping()
    }
    lane = LAST_GASP_TOPIC if over_udp or octets <= 126 else FRAMES_TOPIC
    assert found == dict.fromkeys(found, (lane, TITLE.hex().encode()))


def test_an_event_notification_of_any_length_takes_the_lane_of_last_gasps() -> None:
    """CONTRACTS section 3. As over UDP, what was recorded on the other lane passes there once."""
    event = hand.wrapper(service(push(5, 200)))
    assert taken(event, "10.0.0.1", title=TITLE)[-1][:2] == (LAST_GASP_TOPIC, TITLE.hex().encode())
    assert taken(hand.wrapper(signed(service(push(5, 200)))), "10.0.0.1")[-1][0] == LAST_GASP_TOPIC


def packed(messages: list[bytes], peer: str = "10.9.9.9", *, over_udp: bool = False) -> list[tuple[str, bytes, bytes]]:
    """Values as they stand in Kafka where each lane and key has a partition of its own: lane, key, value."""
    waiting: dict[tuple[str, bytes], list[Waiting]] = {}
    for message in messages:
        for lane, key, each in taken(message, peer, over_udp=over_udp):
            waiting.setdefault((lane, key), []).append(Waiting(each, key, 1))
    values = {place: packed_rows({0: items}, 1 << 16)["value"].to_list() for place, items in waiting.items()}
    return [(lane, key, value) for (lane, key), several in values.items() for value in several]


@pytest.mark.parametrize("tag", [0x77, 0x0F, 0xDB, 0xC2, 0xDF])
@pytest.mark.parametrize("behind", [
    hand.wrapper(b""), hand.wrapper(b"\x77"), hand.wrapper(b"\x77" * 9), hand.wrapper(b"\x0f"), b"\x00", b"\x7e",
    hand.wrapper(b"\x0f" * 9), hand.wrapper(hand.blocks(bytes(30), 20)[0]), hand.wrapper(bytes.fromhex("C402C1") * 4),
])  # fmt: skip
@pytest.mark.parametrize("octets", [118, 200])
def test_what_is_packed_behind_a_message_does_not_open_it(tag: int, behind: bytes, octets: int) -> None:
    """Inside a message that is nobody's stands a recorded one: whoever cuts the packed value must not find it there."""
    recorded = hand.wrapper(push(5, octets))
    around = hand.wrapper(bytes((tag,)) + b"junk" + recorded)
    for messages in ([around, behind], [behind, around, behind], [around, behind, around, behind]):
        for lane, key, value in packed(messages):
            frames = frames_of_records(Records(lane, 0, [1], [1_772_400_000_000], [value]))
            titles = decode_frames(frames, RING, Windows.empty(), meters()).seen["system_title"].to_list()
            assert titles == [] or key == TITLE.hex().encode(), messages
