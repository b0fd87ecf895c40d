"""Which lane a message takes and which key it has, told without holding keys of meters."""

from typing import Final

from ingest.dlms.framing import WPDU_HEAD_OCTETS
from ingest.dlms.security import SERVICE_CIPHERED, with_title
from ingest.stream_names import StreamName, name_of

FRAMES_TOPIC: Final = "ami.frames.v1"
LAST_GASP_TOPIC: Final = "ami.lastgasp.v1"

EVENT_OCTETS: Final = 128
"""A frame of at most so many bytes may be an event, whatever it is ciphered into (CONTRACTS section 3)."""
_PROTECTED_OCTETS: Final = EVENT_OCTETS - 2
"""Protected octets that fit into such a frame: without a link layer, ciphered by service, they have a tag and a length
before them."""

_EVENT_TAGS: Final = frozenset((0xC2, 0xCA, 0xD2))
"""EventNotification: plain, and ciphered by service with the global or a dedicated key."""
_DATA_NOTIFICATION: Final = 0x0F
_STRUCTURE: Final = 0x02
_OCTET_STRING: Final = 0x09
_MAX_APDU_OCTETS: Final = 0xFFFF


def lane_of(message: bytes, *, over_udp: bool) -> str:
    """The topic of a message: the lane of last gasps for all that may be an event, else that of frames."""
    return lane_of_stream(name_of(message), len(message), over_udp=over_udp)


def lane_of_stream(name: StreamName, octets: int, *, over_udp: bool) -> str:
    """The lane of a message by its name and length.

    A ciphered one whose sender is known goes by its protected octets alone: the link, the form of its envelope and the
    tag of its service can be changed by whoever records it, and in the other lane its window would not know it.
    """
    if over_udp:
        return LAST_GASP_TOPIC
    if name.title and name.protected_octets:
        return LAST_GASP_TOPIC if name.protected_octets <= _PROTECTED_OCTETS else FRAMES_TOPIC
    return LAST_GASP_TOPIC if octets <= EVENT_OCTETS or name.apdu[:1] in _EVENT_TAG_OCTETS else FRAMES_TOPIC


def key_of(message: bytes, peer: str) -> bytes:
    """What orders the messages of one sender: its system title in hex, else its device name, else the peer's address.

    Nothing here is verified: a wrong name only sends a message to another partition.
    """
    return key_of_stream(name_of(message), peer)


def key_of_stream(name: StreamName, peer: str) -> bytes:
    """The key of a message by its name."""
    return name.title.hex().encode() or _device_name(name.apdu) or peer.encode()


def title_of(message: bytes) -> bytes:
    """The system title that a message carries, ciphered or signed; nothing where it carries none."""
    return name_of(message).title


def with_sender(message: bytes, title: bytes) -> bytes:
    """The wrapper PDU with the sender's system title in it, where only the link knew it (`security.with_title`).

    Everything else, and what would grow beyond a wrapper PDU, comes back as it is.
    """
    apdu = message[WPDU_HEAD_OCTETS:]
    if not title or not message.startswith(b"\x00\x01") or apdu[:1] not in _BY_SERVICE:
        return message
    named = with_title(apdu, title)
    if len(named) > _MAX_APDU_OCTETS or int.from_bytes(message[6:8], "big") != len(apdu):
        return message
    return message[:6] + len(named).to_bytes(2, "big") + named


def _device_name(apdu: bytes) -> bytes:
    """First octet string of the body of a plain push: the logical device name, where a push carries one.

    Others begin with the name of their object or a time: those are of every meter, or of none twice.
    """
    if len(apdu) < 7 or apdu[0] != _DATA_NOTIFICATION:
        return b""
    body = 6 + apdu[5]
    head = apdu[body : body + 4]
    if len(head) < 4 or head[0] != _STRUCTURE or head[2] != _OCTET_STRING:
        return b""
    name = apdu[body + 4 : body + 4 + head[3]]
    told = name.strip(_PADDING)
    return name if len(name) == _DEVICE_NAME_OCTETS or (told.isascii() and told.decode().isprintable()) else b""


_DEVICE_NAME_OCTETS: Final = 16
_PADDING: Final = b"\x00 "
_BY_SERVICE: Final = frozenset(bytes((tag,)) for tag in SERVICE_CIPHERED)
_EVENT_TAG_OCTETS: Final = frozenset(bytes((tag,)) for tag in _EVENT_TAGS)
