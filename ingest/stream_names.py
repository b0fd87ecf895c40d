"""What a message is named by, whatever it is wrapped in: the sender's system title and the octets that are protected.

Replay windows belong to a lane and live where its partition is read. Who records a message can send it again in
another wrapping: link layer, ports, blocks, a signature around it or taken off, its title in it or known to the link,
junk before it. None of that is under the tag, so none of it may choose the lane or the partition: in another one the
window is empty, and the recording would be news. Nothing here is verified: a wrong name only sends a message elsewhere.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

from ingest.dlms.framing import WPDU_HEAD_OCTETS, split_messages, unwrap
from ingest.dlms.resync import WPDU_VERSION
from ingest.dlms.security import TAG_OCTETS, has_doubled_title, is_ciphered, read_header, undoubled
from ingest.dlms.signing import read_signed
from ingest.dlms.tags import GENERAL_BLOCK_TRANSFER, GENERAL_SIGNING, GET_RESPONSE
from schemas.errors import ProtocolError

_SIGNED: Final = bytes((GENERAL_SIGNING,))
_BLOCKS: Final = frozenset((GENERAL_BLOCK_TRANSFER, GET_RESPONSE))
_CONTROL_AND_COUNTER: Final = 5
_CUTS: Final = 4
"""Cutting what was cut finds the same again; how often it is tried is bounded all the same."""


class StreamName(NamedTuple):
    """What a message says of its stream.

    `title`: the sender's system title, empty where the message names none. `protected_octets`: from the security
    control byte to the end of the tag, 0 where nothing is ciphered. `apdu`: joined, its signature taken off; empty
    where the message cannot be unwrapped.
    """

    title: bytes
    protected_octets: int
    apdu: bytes


def name_of(message: bytes) -> StreamName:
    """The name of a link-layer message."""
    try:
        apdu = _apdu_of(message)
    except ProtocolError:
        # A gateway judges no message: this one goes on as it is and becomes a reject where frames are decoded.
        return StreamName(b"", 0, b"")
    apdu = undoubled(apdu) if has_doubled_title(apdu) else apdu
    signer = b""
    if apdu.startswith(_SIGNED):
        try:
            signed = read_signed(apdu)
        except ProtocolError:
            return StreamName(b"", 0, apdu)
        signer, apdu = signed.system_title or b"", signed.content
    if not is_ciphered(apdu):
        return StreamName(signer, 0, apdu)
    try:
        header = read_header(apdu)
    except ProtocolError:
        return StreamName(signer, 0, apdu)
    tag_octets = TAG_OCTETS if header.authenticated else 0
    octets = _CONTROL_AND_COUNTER + header.content_stop - header.content_at + tag_octets
    return StreamName(header.system_title or signer, octets, apdu)


def single_messages(message: bytes) -> Iterator[bytes]:
    """The messages in what a sender gave as one, cut as whoever decodes will cut them; none of their bytes is lost.

    Each is named by itself: behind junk or behind a message of another meter it would go where those go.
    """
    return _cut(message, _CUTS)


def _cut(message: bytes, times: int) -> Iterator[bytes]:
    found = [] if _is_whole_wpdu(message) or not times else split_messages(message)
    if len(found) < 2:
        yield message
        return
    for each in found:
        yield from _cut(each.payload, times - 1)


def _is_whole_wpdu(message: bytes) -> bool:
    """One wrapper PDU of one APDU: the usual message, which needs no joining."""
    if not message.startswith(WPDU_VERSION) or len(message) <= WPDU_HEAD_OCTETS:
        return False
    whole = int.from_bytes(message[6:WPDU_HEAD_OCTETS], "big") == len(message) - WPDU_HEAD_OCTETS
    return whole and message[WPDU_HEAD_OCTETS] not in _BLOCKS


def _apdu_of(message: bytes) -> bytes:
    return message[WPDU_HEAD_OCTETS:] if _is_whole_wpdu(message) else unwrap(message).apdu
