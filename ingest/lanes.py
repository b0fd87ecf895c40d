"""Which lane a message takes and which key it has, told without holding keys of meters."""

from typing import Final

from ingest.dlms.framing import WPDU_HEAD_OCTETS, unwrap
from ingest.dlms.security import CIPHERED, SERVICE_CIPHERED, read_header, with_title
from schemas.errors import ProtocolError

FRAMES_TOPIC: Final = "ami.frames.v1"
LAST_GASP_TOPIC: Final = "ami.lastgasp.v1"

EVENT_OCTETS: Final = 128
"""A frame of at most so many bytes may be an event, whatever it is ciphered into (CONTRACTS section 3)."""

_EVENT_TAGS: Final = frozenset((0xC2, 0xCA, 0xD2))
"""EventNotification: plain, and ciphered by service with the global or a dedicated key."""
_DATA_NOTIFICATION: Final = 0x0F
_STRUCTURE: Final = 0x02
_OCTET_STRING: Final = 0x09
_MAX_APDU_OCTETS: Final = 0xFFFF
_TITLE_AT: Final = slice(2, 10)


def lane_of(message: bytes, *, over_udp: bool) -> str:
    """The topic of a message: the lane of last gasps for all that may be an event, else that of frames."""
    if over_udp or len(message) <= EVENT_OCTETS:
        return LAST_GASP_TOPIC
    return LAST_GASP_TOPIC if apdu_of(message)[:1] in _EVENT_TAG_OCTETS else FRAMES_TOPIC


def key_of(message: bytes, peer: str) -> bytes:
    """What orders the messages of one sender: its system title in hex, else its device name, else the peer's address.

    Nothing here is verified: a wrong name only sends a message to another partition.
    """
    apdu = apdu_of(message)
    return _system_title(apdu) or _device_name(apdu) or peer.encode()


def title_of(message: bytes) -> bytes:
    """The system title that a ciphered message carries, as it stands there; nothing where it carries none."""
    return bytes.fromhex(_system_title(apdu_of(message)).decode("ascii"))


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


def apdu_of(message: bytes) -> bytes:
    """The APDU of a message, or nothing where it cannot be unwrapped: whoever decodes it will say why."""
    if message.startswith(b"\x00\x01"):
        return message[WPDU_HEAD_OCTETS:]
    try:
        return unwrap(message).apdu
    except ProtocolError:
        # A gateway judges no message: this one goes on as it is and becomes a reject where frames are decoded.
        return b""


def _system_title(apdu: bytes) -> bytes:
    if not apdu or apdu[0] not in CIPHERED:
        return b""
    if apdu[1:2] == b"\x08":
        return apdu[_TITLE_AT].hex().encode()
    try:
        title = read_header(apdu).system_title
    except ProtocolError:
        return b""
    return title.hex().encode() if title else b""


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
