"""Frames of one connection held until what they are parts of is whole: segments, telegrams, blocks. Sans-I/O."""

from typing import Final, NamedTuple, TypeAlias

from ingest.dlms.blocks import is_block, transfer_of
from ingest.dlms.framing import read_frame
from ingest.dlms.gathering import apdu_of_frames, block_of
from ingest.dlms.joining import NUMBERED, LinkFrame, continues

_Sender: TypeAlias = tuple[str, int | None, int | None]
TRANSFER_OCTETS: Final = 700
"""What a transfer takes in memory beside its bytes: of many with an empty block each, nearly all there is."""
_SEGMENTS: Final = b""
"""Beside the transfers of a sender, which are told by what their blocks share: the segments of its latest PDU."""


class _Open(NamedTuple):
    """Frames as their bytes: who sends small ones in numbers takes little more than these."""

    parts: list[bytes]
    since: float


class OpenTransfers:
    """Frames in, in the order sent; out come messages, none lost, as soon as they are whole or will not become so.

    On a concentrator's line senders interleave: their link addresses tell them apart, and nobody waits for another's
    last part. Behind the last block nothing more of a transfer is waited for; who sends a whole APDU has given its
    transfers up; what is not whole `held_s` after its first frame is given out as far as it came.
    """

    def __init__(self, held_s: float) -> None:
        self._held_s = held_s
        self._open: dict[tuple[_Sender, bytes], _Open] = {}  # the oldest first
        self._of: dict[_Sender, set[bytes]] = {}
        self._unnumbered: dict[_Sender, None] = {}  # who has segments open that have no numbers, the oldest first
        self.octets = 0

    @property
    def held_octets(self) -> int:
        """What is held, in memory: each transfer takes room beside its bytes."""
        return self.octets + TRANSFER_OCTETS * len(self._open)

    def __bool__(self) -> bool:
        """Something is held."""
        return bool(self._open)

    @property
    def due(self) -> float | None:
        """When the oldest has waited long enough; None while nothing is held."""
        return next(iter(self._open.values())).since + self._held_s if self._open else None

    def feed(self, frame: LinkFrame, now: float) -> list[bytes]:
        """Messages that are whole, or will not become so, after this frame; `now` in seconds of any clock."""
        sender = (frame.link, frame.source, frame.destination)
        if frame.error is not None:
            return [*self._ended_by_damage(frame, sender), frame.raw]
        run = self._open.get((sender, _SEGMENTS))
        torn = []
        if run is not None and not continues(read_frame(run.parts[-1], 0), frame):
            torn, run = [self._take(sender, _SEGMENTS)], None
        if frame.more:
            self._hold(sender, _SEGMENTS, [frame.raw], now)
            return torn
        parts = [] if run is None else self._pop(sender, _SEGMENTS)
        return torn + self._pdu(sender, [*(read_frame(part, 0) for part in parts), frame], now)

    def expire(self, now: float) -> list[bytes]:
        """What has waited long enough, the oldest first."""
        late = []
        while (due := self.due) is not None and due <= now:
            late.append(self._take(*next(iter(self._open))))
        return late

    def finish(self) -> list[bytes]:
        """Everything that is held, as it is."""
        return [self._take(*key) for key in list(self._open)]

    def _ended_by_damage(self, frame: LinkFrame, sender: _Sender) -> list[bytes]:
        """Segments that may lack this frame: its sender's where that is known, else of all without numbers."""
        if frame.source is not None:
            ended = [sender] if (sender, _SEGMENTS) in self._open else []
        else:
            ended = list(self._unnumbered)
        return [self._take(each, _SEGMENTS) for each in ended]

    def _pdu(self, sender: _Sender, pdu: list[LinkFrame], now: float) -> list[bytes]:
        apdu = apdu_of_frames(pdu)
        block = block_of(apdu)
        if block is None:
            given_up = [] if is_block(apdu) else sorted(self._of.get(sender, ()))
            return [*(self._take(sender, each) for each in given_up), b"".join(frame.raw for frame in pdu)]
        transfer = transfer_of(apdu)
        self._hold(sender, transfer, [frame.raw for frame in pdu], now)
        return [self._take(sender, transfer)] if block.last else []

    def _hold(self, sender: _Sender, part: bytes, frames: list[bytes], now: float) -> None:
        self._open.setdefault((sender, part), _Open([], now)).parts.extend(frames)
        self._of.setdefault(sender, set()).add(part)
        if part == _SEGMENTS and sender[0] not in NUMBERED:
            self._unnumbered.setdefault(sender)
        self.octets += sum(map(len, frames))

    def _pop(self, sender: _Sender, part: bytes) -> list[bytes]:
        frames = self._open.pop((sender, part)).parts
        self._of[sender].discard(part)
        if part == _SEGMENTS:
            self._unnumbered.pop(sender, None)
        if not self._of[sender]:
            del self._of[sender]
        self.octets -= sum(map(len, frames))
        return frames

    def _take(self, sender: _Sender, part: bytes) -> bytes:
        return b"".join(self._pop(sender, part))
