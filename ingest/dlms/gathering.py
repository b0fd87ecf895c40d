"""Frames of transfers that interleave, brought together: a concentrator's line carries segments and blocks of many."""

from collections.abc import Sequence
from typing import Final

from ingest.dlms import hdlc
from ingest.dlms.blocks import Assembly, block_of, transfer_of
from ingest.dlms.joining import NUMBERED, LinkFrame, continues

_LLC: Final = (hdlc.LLC_FROM_SERVER, hdlc.LLC_FROM_CLIENT)


def gathered(frames: Sequence[LinkFrame]) -> list[LinkFrame]:
    """The same frames, those of one sender's segments and of one transfer's blocks behind the first of them.

    Everything else keeps its place, and so does the order within a transfer. A frame that its sender's transfer cannot
    take begins the next one where it stands, and a damaged frame ends the segments of whoever may have sent it: of its
    sender where that is known, else of all without numbers. Linear in the frames.
    """
    return [frame for unit in _by_transfer(_by_segments(frames)) for frame in unit]


def _by_segments(frames: Sequence[LinkFrame]) -> list[list[LinkFrame]]:
    """Frames of one PDU together; a frame that is a PDU by itself alone."""
    units: list[list[LinkFrame]] = []
    open_: dict[tuple[str, int | None, int | None], list[LinkFrame]] = {}
    for frame in frames:
        sender = (frame.link, frame.source, frame.destination)
        unit = open_.pop(sender, None)
        if frame.error is not None and frame.source is None:  # it may be anybody's next segment
            open_ = {each: unit for each, unit in open_.items() if each[0] in NUMBERED}
        if unit is not None and continues(unit[-1], frame):
            unit.append(frame)
        else:
            unit = [frame]
            units.append(unit)
        if frame.more:
            open_[sender] = unit
    return units


def _by_transfer(units: list[list[LinkFrame]]) -> list[list[LinkFrame]]:
    """PDUs of one block transfer together. A first block begins one: behind others, or a second time, it may be
    the next one's. Who sends a whole APDU between has given its own transfers up: what comes then would fill gaps."""
    together: list[list[LinkFrame]] = []
    late: list[tuple[list[LinkFrame], Assembly, list[LinkFrame]]] = []  # first blocks that came again, each by itself
    senders: dict[tuple[str, int | None, int | None], dict[bytes, tuple[Assembly, list[LinkFrame]]]] = {}
    for unit in units:
        apdu = apdu_of_frames(unit)
        block = block_of(apdu)
        sender = (unit[0].link, unit[0].source, unit[0].destination)
        if block is None:
            together.append(unit)
            if apdu:
                senders.pop(sender, None)
            continue
        open_, key = senders.setdefault(sender, {}), transfer_of(apdu)
        octets = apdu[block.data_at : block.data_stop]
        assembly, taken = open_.get(key, (None, []))
        begins = block.number == 1 and assembly is not None and not assembly.is_first_alone
        if assembly is not None and not begins and assembly.accept(block, octets):
            taken += unit
        else:
            ended, before = assembly, taken
            assembly, taken = Assembly(), list(unit)
            assembly.accept(block, octets)
            together.append(taken)
            if ended is not None and ended.is_copy_of_first(block, octets):
                late.append((before, assembly, taken))
        open_[key] = (assembly, taken)
    for before, assembly, taken in reversed(late):
        if assembly.is_first_alone:
            before += taken
            taken.clear()
    return together


def apdu_of_frames(unit: Sequence[LinkFrame]) -> bytes:
    """The APDU in the frames of one PDU; nothing where a frame is damaged or one is missing at the end."""
    if unit[0].error is not None or unit[-1].more:
        return b""
    apdu = b"".join(frame.raw[frame.info_at : frame.info_stop] for frame in unit)
    return apdu[3:] if unit[0].link in ("hdlc", "llc") and apdu[:3] in _LLC else apdu
