"""Frames of one connection held until what they are parts of is whole: segments, telegrams, blocks. Sans-I/O."""

from collections import OrderedDict
from itertools import islice
from typing import Final, NamedTuple, TypeAlias

from ingest.dlms.blocks import block_of, is_block, transfer_of
from ingest.dlms.framing import read_frame
from ingest.dlms.gathering import apdu_of_frames
from ingest.dlms.joining import NUMBERED, LinkFrame, continues
from ingest.dlms.transfers import Ended, Past, Transfers

_Sender: TypeAlias = tuple[str, int | None, int | None]
TRANSFER_OCTETS: Final = 700
"""What a transfer takes in memory beside its bytes: of many with an empty block each, nearly all there is."""
PART_OCTETS: Final = 320
"""What each of its blocks takes beside its bytes."""


class _Open(NamedTuple):
    """Segments of a sender's latest PDU as their bytes: who sends small ones in numbers takes little more."""

    parts: list[bytes]
    since: float


class OpenTransfers:
    """Frames in, in the order sent; out come messages, none lost, as soon as they are whole or will not become so.

    On a concentrator's line senders interleave: their link addresses tell them apart, and nobody waits for another's
    last part. Blocks may come out of order and twice, as in datagrams (`Transfers`); who sends a whole APDU has given
    its transfers up; what is not whole `held_s` after its first frame is given out as far as it came. Nothing is lost
    but copies, for `held_s`, of blocks that were given out.
    """

    def __init__(self, held_s: float, past: Past) -> None:
        """`past`: what was given out, of this connection and others."""
        self._held_s, self._past = held_s, past
        self._segments: OrderedDict[_Sender, _Open] = OrderedDict()  # the oldest first
        self._unnumbered: dict[_Sender, None] = {}  # who has segments open that have no numbers, the oldest first
        self._transfers: Transfers[tuple[_Sender, bytes], bytes] = Transfers(past)
        self._of: dict[_Sender, set[bytes]] = {}  # senders of blocks, and what those of each transfer share
        self._segment_octets = 0

    @property
    def octets(self) -> int:
        """Of the frames that are held."""
        return self._segment_octets + self._transfers.octets

    @property
    def held_octets(self) -> int:
        """What is held, in memory: each transfer, and each block, takes room beside its bytes."""
        held = len(self._segments) + len(self._transfers)
        return self.octets + TRANSFER_OCTETS * held + PART_OCTETS * self._transfers.parts

    def __bool__(self) -> bool:
        """Something is held."""
        return bool(self._segments) or len(self._transfers) > 0

    @property
    def due(self) -> float | None:
        """When the oldest has waited long enough; None while nothing is held."""
        since = [each.since for each in islice(self._segments.values(), 1)]
        since += [] if (oldest := self._transfers.oldest) is None else [oldest[1]]
        return min(since) + self._held_s if since else None

    def feed(self, frame: LinkFrame, now: float) -> list[bytes]:
        """Messages that are whole, or will not become so, after this frame; `now` in seconds of any clock."""
        self._past.forget(now - self._held_s)
        sender = (frame.link, frame.source, frame.destination)
        if frame.error is not None:
            return [*self._ended_by_damage(frame, sender), frame.raw]
        run = self._segments.get(sender)
        torn = []
        if run is not None and _is_repeated(run.parts, frame):
            return []
        if run is not None and not continues(read_frame(run.parts[-1], 0), frame):
            torn, run = [self._pop(sender)], None
        if frame.more:
            self._hold(frame, sender, now)
            return torn
        parts = [] if run is None else [read_frame(part, 0) for part in run.parts]
        if run is not None:
            self._pop(sender)
        return torn + self._pdu(sender, [*parts, frame], now)

    def expire(self, now: float) -> list[bytes]:
        """What has waited long enough, the oldest first."""
        before = now - self._held_s
        self._past.forget(before)
        late: list[bytes] = []
        while True:
            run = next(iter(self._segments.items()), None)
            oldest = self._transfers.oldest
            if run is not None and run[1].since <= before and (oldest is None or run[1].since <= oldest[1]):
                late.append(self._pop(run[0]))
            elif oldest is not None and oldest[1] <= before:
                late += self._take(*oldest[0], now)
            else:
                return late

    def finish(self) -> list[bytes]:
        """Everything that is held, as it is."""
        return [
            *(each for key in self._transfers.open_keys() for each in self._take(*key, 0.0)),
            *(self._pop(sender) for sender in list(self._segments)),
        ]

    def _ended_by_damage(self, frame: LinkFrame, sender: _Sender) -> list[bytes]:
        """Segments that may lack this frame: its sender's where that is known, else of all without numbers."""
        mine = [sender] if sender in self._segments else []
        return [self._pop(each) for each in (mine if frame.source is not None else list(self._unnumbered))]

    def _pdu(self, sender: _Sender, pdu: list[LinkFrame], now: float) -> list[bytes]:
        apdu = apdu_of_frames(pdu)
        raw = b"".join(frame.raw for frame in pdu)
        block = block_of(apdu)
        if block is None:
            given_up = [] if is_block(apdu) else sorted(self._of.get(sender, ()))
            return [*(each for transfer in given_up for each in self._take(sender, transfer, now)), raw]
        transfer = transfer_of(apdu)
        octets = apdu[block.data_at : block.data_stop]
        ended = self._transfers.feed((sender, transfer), block, octets, raw, len(raw), now)
        self._note(sender, transfer)
        return _messages(ended)

    def _take(self, sender: _Sender, transfer: bytes, now: float) -> list[bytes]:
        ended = self._transfers.take((sender, transfer), now)
        self._note(sender, transfer)
        return _messages(ended)

    def _note(self, sender: _Sender, transfer: bytes) -> None:
        """What a sender has open is known, for when it gives it up."""
        if (sender, transfer) in self._transfers:
            self._of.setdefault(sender, set()).add(transfer)
        elif sender in self._of:
            self._of[sender].discard(transfer)
            if not self._of[sender]:
                del self._of[sender]

    def _hold(self, frame: LinkFrame, sender: _Sender, now: float) -> None:
        self._segments.setdefault(sender, _Open([], now)).parts.append(frame.raw)
        if frame.link not in NUMBERED:
            self._unnumbered.setdefault(sender)
        self._segment_octets += len(frame.raw)

    def _pop(self, sender: _Sender) -> bytes:
        frames = self._segments.pop(sender).parts
        self._unnumbered.pop(sender, None)
        self._segment_octets -= sum(map(len, frames))
        return b"".join(frames)


def _is_repeated(parts: list[bytes], frame: LinkFrame) -> bool:
    """As `joining.is_repeated`, of parts as their bytes."""
    return frame.link in NUMBERED and (frame.segment > 0 or len(parts) == 1) and frame.raw in parts


def _messages(ended: list[Ended[bytes]]) -> list[bytes]:
    return [b"".join(part.item for part in each.parts) for each in ended if each.parts]
