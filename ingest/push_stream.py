"""Cutting what a connection sends into link-layer messages, by their lengths and within bounds. Sans-I/O."""

from typing import Final

from ingest.dlms.framing import WPDU_HEAD_OCTETS, RawMessage, split_messages, wpdu_starts
from schemas.codes import RejectReason

_WPDU_VERSION: Final = b"\x00\x01"
_GENERAL_BLOCK_TRANSFER: Final = 0xE0
_LAST_BLOCK: Final = 0x80
_HDLC_FLAG: Final = b"\x7e"
_HDLC_FORMAT: Final = 0xA
_OUT_OF_STEP: Final = (RejectReason.NOT_DLMS, RejectReason.LINK_LENGTH)
_WITHOUT_LENGTH: Final = frozenset(("apdu", "llc"))


class StreamCutter:
    """Bytes of one connection in, whole messages out, in order and none lost.

    Blocks of one APDU (general block transfer) and segments stay together: only so can they be joined later. A sender
    without any link layer has no lengths: its bytes are one message, whole when the connection ends.
    """

    def __init__(self, limit: int) -> None:
        """`limit`: bytes of one message, its blocks and segments together, that are waited for."""
        self._limit = limit
        self._rest = b""
        self._blocks: list[bytes] = []
        # The flag that closed the last frame, or fill after it, may be the one that opens the next.
        self._flag_before = False
        self.lost_step = False
        """The bytes can no longer be cut: what came was given out as one message, and no more is wanted."""

    @property
    def waiting(self) -> int:
        """Bytes of a message that has begun and is not whole."""
        return len(self._rest) + sum(map(len, self._blocks))

    def feed(self, data: bytes) -> list[bytes]:
        """Messages that became whole. Past the limit, or where nothing fits, the rest is one message: it will be
        rejected with its bytes, and `lost_step` says that the connection is to be closed."""
        if self._flag_before and data[:1] and data[0] >> 4 == _HDLC_FORMAT:
            data = _HDLC_FLAG + data
        self._flag_before = self._flag_before and not data
        self._rest += data
        messages = self._whole_wpdus()
        if self._rest and not _begins_wpdu(self._rest):
            messages += self._others()
        if self.waiting > self._limit:
            self.lost_step = True
            messages += self.finish()
        return messages

    def finish(self) -> list[bytes]:
        """The connection ended, or is about to: what waits is given out as it is."""
        rest = b"".join((*self._blocks, self._rest))
        self._rest, self._blocks = b"", []
        return [rest] if rest else []

    def _whole_wpdus(self) -> list[bytes]:
        starts, stop = wpdu_starts(self._rest)
        if not starts:
            return []
        messages: list[bytes] = []
        for at, after in zip(starts, [*starts[1:], stop], strict=True):
            messages += self._joined(self._rest[at:after])
        self._rest = self._rest[stop:]
        return messages

    def _joined(self, wpdu: bytes) -> list[bytes]:
        block = wpdu[WPDU_HEAD_OCTETS : WPDU_HEAD_OCTETS + 2]
        if len(block) == 2 and block[0] == _GENERAL_BLOCK_TRANSFER:
            self._blocks.append(wpdu)
            if not block[1] & _LAST_BLOCK:
                return []
            wpdu = b""
        whole = [b"".join(self._blocks)] if self._blocks else []
        self._blocks = []
        return [*whole, wpdu] if wpdu else whole

    def _others(self) -> list[bytes]:
        found = split_messages(self._rest)
        if not found:
            return []
        *whole, last = found
        messages = [message.payload for message in whole]
        if _may_grow(last):
            self._rest = self._rest[last.start :]
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
