"""Frames of transfers that interleave, brought together: a concentrator's line carries segments and blocks of many."""

from collections.abc import Sequence
from typing import Final, NamedTuple, TypeAlias

from ingest.dlms import hdlc
from ingest.dlms.blocks import block_of, transfer_of
from ingest.dlms.joining import NUMBERED, LinkFrame, continues, is_repeated
from ingest.dlms.transfers import Ended, Past, Transfers

_LLC: Final = (hdlc.LLC_FROM_SERVER, hdlc.LLC_FROM_CLIENT)

_Sender: TypeAlias = tuple[str, int | None, int | None]


class _Pdu(NamedTuple):
    """Frames of one PDU, and the place of the first among all."""

    at: int
    frames: list[LinkFrame]


def gathered(frames: Sequence[LinkFrame]) -> list[list[LinkFrame]]:
    """The same frames, those of one message together: of one sender's segments, of one transfer's blocks.

    A message stands where its first frame stood, and the order within it stays. A frame that its sender's transfer
    cannot take begins the next one, a copy of a block goes to the transfer that it is of (`Transfers`), and a damaged
    frame ends the segments of whoever may have sent it: of its sender where that is known, else of all without
    numbers. Linear in the frames.
    """
    return _by_transfer(_by_segments(frames))


def _by_segments(frames: Sequence[LinkFrame]) -> list[list[LinkFrame]]:
    """Frames of one PDU together; a frame that is a PDU by itself alone."""
    units: list[list[LinkFrame]] = []
    open_: dict[_Sender, tuple[list[LinkFrame], list[LinkFrame]]] = {}  # all, and of these the parts
    for frame in frames:
        sender = (frame.link, frame.source, frame.destination)
        unit, parts = open_.pop(sender, ([], []))
        if frame.error is not None and frame.source is None:  # it may be anybody's next segment
            open_ = {each: run for each, run in open_.items() if each[0] in NUMBERED}
        if parts and is_repeated(parts, frame):
            unit.append(frame)
            open_[sender] = (unit, parts)
            continue
        if parts and continues(parts[-1], frame):
            unit.append(frame)
            parts.append(frame)
        else:
            unit, parts = [frame], [frame]
            units.append(unit)
        if frame.more:
            open_[sender] = (unit, parts)
    return units


def _by_transfer(units: list[list[LinkFrame]]) -> list[list[LinkFrame]]:
    """PDUs of one block transfer together. Who sends a whole APDU between has given its own transfers up: what comes
    then would fill gaps."""
    messages = _Messages()
    transfers: Transfers[tuple[_Sender, bytes], _Pdu] = Transfers(Past())
    senders: dict[_Sender, set[bytes]] = {}
    for at, unit in enumerate(units):
        apdu = apdu_of_frames(unit)
        block = block_of(apdu)
        sender = (unit[0].link, unit[0].source, unit[0].destination)
        if block is None:
            messages.add_alone(at, unit)
            for each in sorted(senders.pop(sender, ())) if apdu else ():
                if (sender, each) in transfers:
                    messages.add(transfers.take((sender, each), 0.0))
            continue
        key = (sender, transfer_of(apdu))
        senders.setdefault(sender, set()).add(key[1])
        octets = apdu[block.data_at : block.data_stop]
        messages.add(transfers.feed(key, block, octets, _Pdu(at, unit), 0, 0.0))
    for key in transfers.open_keys():
        messages.add(transfers.take(key, 0.0))
    return messages.in_order()


class _Messages:
    """PDUs of one message each, and copies behind what they are copies of."""

    def __init__(self) -> None:
        self._found: list[tuple[int, list[list[LinkFrame]], list[list[LinkFrame]]]] = []
        self._holds: dict[int, int] = {}  # which message a block is of, by its mark: the latest

    def add_alone(self, at: int, unit: list[LinkFrame]) -> None:
        self._found.append((at, [unit], []))

    def add(self, ended: list[Ended[_Pdu]]) -> None:
        for parts, copies in ended:
            for part in copies:
                _, pdus, first_again = self._found[self._holds[part.mark]]
                # A first block that others follow would begin a message.
                (first_again if part.block.number == 1 else pdus).append(part.item.frames)
            if parts:
                self._holds.update((part.mark, len(self._found)) for part in parts)
                self._found.append((parts[0].item.at, [part.item.frames for part in parts], []))

    def in_order(self) -> list[list[LinkFrame]]:
        found = sorted(self._found, key=lambda each: each[0])
        return [[frame for unit in (*pdus, *again) for frame in unit] for _, pdus, again in found]


def apdu_of_frames(unit: Sequence[LinkFrame]) -> bytes:
    """The APDU in the frames of one PDU; nothing where a frame is damaged or one is missing at the end."""
    if unit[0].error is not None or unit[-1].more:
        return b""
    parts: list[LinkFrame] = []
    for frame in unit:
        if not is_repeated(parts, frame):
            parts.append(frame)
    apdu = b"".join(frame.raw[frame.info_at : frame.info_stop] for frame in parts)
    return apdu[3:] if unit[0].link in ("hdlc", "llc") and apdu[:3] in _LLC else apdu
