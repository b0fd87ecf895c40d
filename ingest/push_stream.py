"""Cutting what a connection sends into link-layer messages, by their lengths and within bounds. Sans-I/O."""

from typing import Final

from ingest.dlms.blocks import BLOCK_TOLD_BY_OCTETS, is_block
from ingest.dlms.framing import WPDU_HEAD_OCTETS, cut_frames, may_grow, read_frame, wpdu_starts
from ingest.dlms.hdlc import frame_stop
from ingest.dlms.transfers import Past
from ingest.open_transfers import OpenTransfers
from schemas.codes import RejectReason
from schemas.errors import ProtocolError

_WPDU_VERSION: Final = b"\x00\x01"
_TOLD_BY: Final = slice(WPDU_HEAD_OCTETS, WPDU_HEAD_OCTETS + BLOCK_TOLD_BY_OCTETS)
"""Of a wrapper PDU: what says whether it holds a block."""
_HDLC_FLAG: Final = b"\x7e"
_HDLC_FORMAT: Final = 0xA
_OUT_OF_STEP: Final = (RejectReason.NOT_DLMS, RejectReason.LINK_LENGTH)
_WITHOUT_LENGTH: Final = frozenset(("apdu", "llc"))
_SMALL_OCTETS: Final = 4_096
"""As long as no more waits, it is looked at whenever something comes."""


class StreamCutter:
    """Bytes of one connection in, whole messages out, in order and none lost but copies of blocks that were given out.

    Blocks of one APDU (general block transfer, datablocks), segments and telegrams stay together, each sender's for
    itself (`OpenTransfers`): only so can they be joined later. A sender without any link layer has no lengths: its
    bytes are one message, whole when the connection ends.

    What is looked at stays linear in what is sent, in however small pieces: a frame that is whole is not looked at
    again, and where cutting found nothing it is tried again when half as much has come on top.
    """

    def __init__(self, limit: int, held_s: float = 15.0, past: Past | None = None) -> None:
        """`limit`: bytes that are waited for, of what is not whole. `held_s`: how long a transfer is waited for.
        `past`: blocks that were given out, where other connections remember theirs too."""
        self._limit = limit
        self._rest = b""
        self._transfers = OpenTransfers(held_s, Past() if past is None else past)
        self._futile = 0  # octets of the rest when it was last cut in vain
        # The flag that closed the last frame, or fill after it, may be the one that opens the next.
        self._flag_before = False
        self.lost_step = False
        """The bytes can no longer be cut: what came was given out as one message, and no more is wanted."""

    @property
    def waiting(self) -> int:
        """Bytes of messages that have begun and are not whole."""
        return len(self._rest) + self._transfers.octets

    @property
    def held_octets(self) -> int:
        """The same as memory: a transfer takes room beside its bytes."""
        return len(self._rest) + self._transfers.held_octets

    @property
    def partial(self) -> int:
        """Bytes of a frame that has begun and is not whole."""
        return len(self._rest)

    @property
    def due(self) -> float | None:
        """When `expire` is to be called: the time of the oldest transfer is over then. None while none is held."""
        return self._transfers.due

    def feed(self, data: bytes, now: float = 0.0) -> list[bytes]:
        """Messages that became whole, or will not become so any more; `now` in seconds of any clock.

        Past the limit, or where nothing fits, the rest is one message: it will be rejected with its bytes, and
        `lost_step` says that the connection is to be closed."""
        if self._flag_before and data[:1] and data[0] >> 4 == _HDLC_FORMAT:
            data = _HDLC_FLAG + data
        self._flag_before = self._flag_before and not data
        self._rest += data
        messages = self._whole_wpdus(now)
        if self._rest and not _begins_wpdu(self._rest) and self._may_be_whole():
            messages += self._others(now)
        if self.waiting > self._limit:
            self.lost_step = True
            messages += self.finish()
        return messages

    def expire(self, now: float) -> list[bytes]:
        """Transfers that have been waited for long enough, as far as they came."""
        return self._transfers.expire(now)

    def finish(self) -> list[bytes]:
        """The connection ended, or is about to: what waits is given out as it is."""
        messages = self._others(0.0) if len(self._rest) > self._futile > 0 else []
        messages += self._transfers.finish()
        rest, self._rest = self._rest, b""
        return [*messages, rest] if rest else messages

    def _whole_wpdus(self, now: float) -> list[bytes]:
        starts, stop = wpdu_starts(self._rest)
        if not starts:
            return []
        messages: list[bytes] = []
        for at, after in zip(starts, [*starts[1:], stop], strict=True):
            wpdu = self._rest[at:after]
            if self._transfers or is_block(wpdu[_TOLD_BY]):
                messages += self._transfers.feed(read_frame(wpdu, 0), now)
            else:
                messages.append(wpdu)
        self._rest, self._futile = self._rest[stop:], 0
        return messages

    def _may_be_whole(self) -> bool:
        return 2 * len(self._rest) >= 3 * self._futile and (self._rest[:1] != _HDLC_FLAG or self._is_no_part())

    def _is_no_part(self) -> bool:
        """Whether an HDLC frame has come whole, or something that is none."""
        try:
            frame_stop(self._rest, 0)
        except ProtocolError as error:
            return error.reason is not RejectReason.LINK_INCOMPLETE
        return True

    def _others(self, now: float) -> list[bytes]:
        frames = cut_frames(self._rest, growing=True)
        if not frames:
            return []
        self._futile = 0
        *whole, last = frames
        messages = [message for frame in whole for message in self._transfers.feed(frame, now)]
        if may_grow(last):
            self._rest = self._rest[last.start :]
            if last.link in _WITHOUT_LENGTH or len(self._rest) > _SMALL_OCTETS:
                self._futile = len(self._rest)
            return messages
        self.lost_step = last.error is not None and last.error.reason in _OUT_OF_STEP
        self._flag_before = last.link == "hdlc"
        self._rest = b""
        return messages + self._transfers.feed(last, now)


def _begins_wpdu(rest: bytes) -> bool:
    return rest.startswith(_WPDU_VERSION[: len(rest)])
