"""Cutting what a connection sends into link-layer messages, by their lengths and within bounds. Sans-I/O."""

from typing import Final

from ingest.dlms.framing import WPDU_HEAD_OCTETS, RawMessage, split_messages, wpdu_starts
from ingest.dlms.hdlc import frame_stop
from schemas.codes import RejectReason
from schemas.errors import ProtocolError

_WPDU_VERSION: Final = b"\x00\x01"
_GENERAL_BLOCK_TRANSFER: Final = 0xE0
_LAST_BLOCK: Final = 0x80
_PORTS: Final = slice(2, 6)
"""Of a wrapper PDU: source and destination."""
_HDLC_FLAG: Final = b"\x7e"
_HDLC_FORMAT: Final = 0xA
_HDLC_SEGMENTED: Final = 0x08
_OUT_OF_STEP: Final = (RejectReason.NOT_DLMS, RejectReason.LINK_LENGTH)
_WITHOUT_LENGTH: Final = frozenset(("apdu", "llc"))
_SMALL_OCTETS: Final = 4_096
"""As long as no more waits, it is looked at whenever something comes."""


class StreamCutter:
    """Bytes of one connection in, whole messages out, in order and none lost.

    Blocks of one APDU (general block transfer) and segments stay together: only so can they be joined later. On a
    concentrator's line transfers interleave: wrapper ports tell them apart, and nobody waits for another's last block.
    Whoever sends something else has given its own transfer up. A sender without any link layer has no lengths: its
    bytes are one message, whole when the connection ends.

    What is looked at stays linear in what is sent, in however small pieces: HDLC segments are gone through once, and
    where cutting found nothing it is tried again when half as much has come on top.
    """

    def __init__(self, limit: int) -> None:
        """`limit`: bytes of one message, its blocks and segments together, that are waited for."""
        self._limit = limit
        self._rest = b""
        self._blocks: dict[bytes, list[bytes]] = {}  # by wrapper ports: the transfers that have begun
        self._block_octets = 0
        self._walked = 0  # where in the rest the first HDLC frame stands that is not known to be a segment
        self._futile = 0  # octets of the rest when it was last cut in vain
        # The flag that closed the last frame, or fill after it, may be the one that opens the next.
        self._flag_before = False
        self.lost_step = False
        """The bytes can no longer be cut: what came was given out as one message, and no more is wanted."""

    @property
    def waiting(self) -> int:
        """Bytes of a message that has begun and is not whole."""
        return len(self._rest) + self._block_octets

    def feed(self, data: bytes) -> list[bytes]:
        """Messages that became whole. Past the limit, or where nothing fits, the rest is one message: it will be
        rejected with its bytes, and `lost_step` says that the connection is to be closed."""
        if self._flag_before and data[:1] and data[0] >> 4 == _HDLC_FORMAT:
            data = _HDLC_FLAG + data
        self._flag_before = self._flag_before and not data
        self._rest += data
        messages = self._whole_wpdus()
        if self._rest and not _begins_wpdu(self._rest) and self._may_be_whole():
            messages += self._others()
        if self.waiting > self._limit:
            self.lost_step = True
            messages += self.finish()
        return messages

    def finish(self) -> list[bytes]:
        """The connection ended, or is about to: what waits is given out as it is."""
        messages = self._others() if len(self._rest) > self._futile > 0 and not self._blocks else []
        messages += [self._released(ports) for ports in list(self._blocks)]
        rest, self._rest = self._rest, b""
        return [*messages, rest] if rest else messages

    def _whole_wpdus(self) -> list[bytes]:
        starts, stop = wpdu_starts(self._rest)
        if not starts:
            return []
        messages: list[bytes] = []
        for at, after in zip(starts, [*starts[1:], stop], strict=True):
            messages += self._joined(self._rest[at:after])
        self._rest, self._walked, self._futile = self._rest[stop:], 0, 0
        return messages

    def _joined(self, wpdu: bytes) -> list[bytes]:
        block, ports = wpdu[WPDU_HEAD_OCTETS : WPDU_HEAD_OCTETS + 2], wpdu[_PORTS]
        if len(block) == 2 and block[0] == _GENERAL_BLOCK_TRANSFER:
            self._blocks.setdefault(ports, []).append(wpdu)
            self._block_octets += len(wpdu)
            return [self._released(ports)] if block[1] & _LAST_BLOCK else []
        return [self._released(ports), wpdu] if ports in self._blocks else [wpdu]

    def _released(self, ports: bytes) -> bytes:
        message = b"".join(self._blocks.pop(ports))
        self._block_octets -= len(message)
        return message

    def _may_be_whole(self) -> bool:
        return 2 * len(self._rest) >= 3 * self._futile and (self._rest[:1] != _HDLC_FLAG or self._has_last_segment())

    def _has_last_segment(self) -> bool:
        """Whether a frame that is no segment has come whole, or something that is no frame."""
        while True:
            try:
                stop = frame_stop(self._rest, self._walked)
            except ProtocolError as error:
                return error.reason is not RejectReason.LINK_INCOMPLETE
            after = len(self._rest) - len(self._rest[stop:].lstrip(_HDLC_FLAG))
            if not self._rest[self._walked + 1] & _HDLC_SEGMENTED:
                return True
            if after == len(self._rest):
                return False
            if self._rest[after] >> 4 != _HDLC_FORMAT:
                return True
            self._walked = after - 1

    def _others(self) -> list[bytes]:
        found = split_messages(self._rest, growing=True)
        if not found:
            return []
        self._walked = self._futile = 0
        *whole, last = found
        messages = [message.payload for message in whole]
        if _may_grow(last):
            self._rest = self._rest[last.start :]
            if last.link in _WITHOUT_LENGTH or len(self._rest) > _SMALL_OCTETS:
                self._futile = len(self._rest)
            return messages
        self.lost_step = last.error is not None and last.error.reason in _OUT_OF_STEP
        self._flag_before = last.link.startswith("hdlc")
        self._rest = b""
        return [*messages, last.payload]


def _begins_wpdu(rest: bytes) -> bool:
    return rest.startswith(_WPDU_VERSION[: len(rest)])


def _may_grow(last: RawMessage) -> bool:
    if last.error is None:
        return last.link in _WITHOUT_LENGTH
    return last.error.reason is RejectReason.LINK_INCOMPLETE
