"""Frames to messages: HDLC segments, M-Bus telegrams and transfer blocks of one APDU, in their order."""

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import takewhile
from typing import Final, NamedTuple

from ingest.dlms import hdlc
from ingest.dlms.blocks import Assembly, block_of, head_of, is_block, read_block, transfer_of
from ingest.dlms.tags import GENERAL_BLOCK_TRANSFER
from schemas.codes import RejectReason
from schemas.errors import ProtocolError

NUMBERED: Final = frozenset({"mbus"})
"""Links whose parts say which they are. Of others, what comes behind a part that was damaged would fill its gap."""


class LinkFrame(NamedTuple):
    """One link-layer frame: its place in the input, its bytes, and where in these the information stands."""

    link: str
    start: int
    stop: int
    raw: bytes
    info_at: int
    info_stop: int
    more: bool
    segment: int
    source: int | None
    destination: int | None
    quirks: tuple[str, ...]
    error: ProtocolError | None = None

    @classmethod
    def faulty(cls, link: str, start: int, raw: bytes, error: ProtocolError) -> "LinkFrame":
        """A frame that cannot be read. Its addresses are known where its head verifies."""
        return cls(link, start, start + len(raw), raw, 0, 0, False, 0, None, None, (), error)


class Joined(NamedTuple):
    """The message that starts at a frame: how many frames it takes, and what they carry or why they cannot."""

    frames: int
    link: str
    apdu: bytes
    pieces: tuple[tuple[int, int], ...]
    source: int | None
    destination: int | None
    quirks: tuple[str, ...]
    error: ProtocolError | None


def join_next(frames: list[LinkFrame], first: int) -> Joined:
    """The message that starts at `frames[first]`; it takes one frame at least. Places count from that frame's start."""
    pdu = _join_segments(frames, first)
    if pdu.error is not None or not is_block(pdu.apdu):
        return pdu
    return _join_blocks(frames, first, pdu)


def _join_segments(frames: list[LinkFrame], first: int) -> Joined:
    head = frames[first]
    if head.error is not None:
        return _broken(1, head, head.error)
    count = 1
    place, stop = 0, len(head.raw)  # of the last part
    parts = [head]
    pieces = [(head.info_at, head.info_stop - head.info_at)]
    quirks = head.quirks
    while parts[-1].more:
        copies = list(takewhile(partial(is_repeated, parts), _from(frames, first + count)))
        count, stop = count + len(copies), stop + sum(len(copy.raw) for copy in copies)
        follower = frames[first + count] if first + count < len(frames) else None
        if follower is None or not continues(parts[-1], follower):
            fault = ProtocolError(RejectReason.LINK_INCOMPLETE, place, "the segment that should follow is not there")
            return _broken(count, head, fault)
        place, stop = stop, stop + len(follower.raw)
        count += 1
        parts.append(follower)
        pieces.append((place + follower.info_at, follower.info_stop - follower.info_at))
        quirks += tuple(quirk for quirk in follower.quirks if quirk not in quirks)
    if head.link == "mbus" and head.segment != 0:
        return _broken(count, head, ProtocolError(RejectReason.LINK_INCOMPLETE, 0, "the first telegram is missing"))
    apdu = b"".join(frame.raw[frame.info_at : frame.info_stop] for frame in parts)
    if head.link in ("hdlc", "llc"):
        if apdu[:3] in (hdlc.LLC_FROM_SERVER, hdlc.LLC_FROM_CLIENT):
            apdu = apdu[3:]
            pieces = _cut_pieces(pieces, 3, len(apdu) + 3)
        elif apdu[0] != GENERAL_BLOCK_TRANSFER:
            fault = ProtocolError(RejectReason.LINK_INCOMPLETE, head.info_at, "no LLC: the frame before is missing")
            return _broken(count, head, fault)
    return Joined(count, head.link, apdu, tuple(pieces), head.source, head.destination, quirks, None)


def _from(frames: list[LinkFrame], first: int) -> Iterator[LinkFrame]:
    return (frames[place] for place in range(first, len(frames)))


class _Begun(NamedTuple):
    """Where a first block stands behind others of its transfer: it may be the next message's, which may begin alike."""

    frames: int
    octets: int
    late: bool  # behind the last block


def _join_blocks(frames: list[LinkFrame], first: int, head: Joined) -> Joined:
    assembly = Assembly()
    blocks: dict[int, tuple[bytes, list[tuple[int, int]]]] = {}
    count = place = 0
    quirks: tuple[str, ...] = ()
    begun: _Begun | None = None
    link = f"{head.link}+gbt" if head.apdu[0] == GENERAL_BLOCK_TRANSFER else head.link
    pdu: Joined | None = head
    while pdu is not None:
        try:
            block = read_block(pdu.apdu)
        except ProtocolError as error:
            if count:
                break
            return _broken(pdu.frames, frames[first], ProtocolError(error.reason, _place(pdu, error.at), error.detail))
        octets = pdu.apdu[block.data_at : block.data_stop]
        if block.number == 1 and count:
            begun = _Begun(count, place, assembly.is_headless)
        if not assembly.accept(block, octets) and (
            not assembly.is_copy_of_first(block, octets) or _goes_on(frames, first + count + pdu.frames, head)
        ):
            break
        pieces = _cut_pieces([(place + at, length) for at, length in pdu.pieces], block.data_at, block.data_stop)
        blocks.setdefault(block.number, (octets, pieces))
        quirks += tuple(quirk for quirk in pdu.quirks if quirk not in quirks)
        place += sum(len(frame.raw) for frame in frames[first + count : first + count + pdu.frames])
        pdu = _next_pdu(frames, first + (count := count + pdu.frames), head)
    count = max(count, head.frames)
    # What follows such a first block may go on with it: then both are of the next message.
    contradicted = pdu is not None and assembly.contradicts(block, octets)
    is_next = begun is not None and (contradicted or (begun.late and not assembly.complete))
    if is_next or not assembly.complete:
        count, place = begun[:2] if is_next and begun else (count, place)
        missing = ProtocolError(RejectReason.BLOCK_TRANSFER_INCOMPLETE, place, "a block is missing or came twice")
        return _broken(count, frames[first], missing, link)
    together = [blocks[number] for number in assembly.numbers()]
    return _joined_blocks(together, head, (count, link, quirks))


def _goes_on(frames: list[LinkFrame], first: int, head: Joined) -> bool:
    """A further block of a transfer stands here: what came before it is no copy of a first block, but a beginning."""
    pdu = _next_pdu(frames, first, head)
    block = None if pdu is None else block_of(pdu.apdu)
    return block is not None and block.number > 1


def _joined_blocks(
    blocks: list[tuple[bytes, list[tuple[int, int]]]], head: Joined, said: tuple[int, str, tuple[str, ...]]
) -> Joined:
    """The APDU of all its blocks in order; `said`: frames, link and quirks of all of them."""
    count, link, quirks = said
    together = b"".join(octets for octets, _ in blocks)
    before = head_of(head.apdu, len(together))
    apdu = before + together
    pieces = [piece for _, places in blocks for piece in places]
    joined = (*(((head.pieces[0][0], len(before)),) if before else ()), *pieces)
    return Joined(count, link, apdu, joined, head.source, head.destination, quirks, None)


def _next_pdu(frames: list[LinkFrame], first: int, head: Joined) -> Joined | None:
    # Only what may be a further block of the same transfer; anything else starts a message of its own.
    if first >= len(frames):
        return None
    if frames[first].link != head.link or frames[first].error is not None:
        return None
    pdu = _join_segments(frames, first)
    same = (pdu.source, pdu.destination) == (head.source, head.destination)
    if pdu.error is not None or not same or not is_block(pdu.apdu):
        return None
    return pdu if transfer_of(pdu.apdu) == transfer_of(head.apdu) else None


def continues(last: LinkFrame, follower: LinkFrame) -> bool:
    """The frame goes on with the PDU whose last segment so far is the other."""
    if follower.error is not None or follower.link != last.link:
        return False
    if (follower.source, follower.destination) != (last.source, last.destination):
        return False
    if last.link == "mbus":
        return follower.segment == last.segment + 1
    # LLC stands in the first segment only: with it a new message starts, and the last one has lost its end. A segment
    # that holds these three bytes by chance is broken too, once in 2^24; joined wrongly would be two lost each time.
    return follower.raw[follower.info_at : follower.info_at + 3] != hdlc.LLC_FROM_SERVER


def is_repeated(parts: Sequence[LinkFrame], follower: LinkFrame) -> bool:
    """The frame is a copy of one of these parts of a PDU, which have numbers. A first one behind others begins one."""
    if follower.link not in NUMBERED or not (follower.segment or len(parts) == 1):
        return False
    return any(follower.raw == each.raw for each in parts)


def _cut_pieces(pieces: list[tuple[int, int]], at: int, stop: int) -> list[tuple[int, int]]:
    # The part [at, stop) of the bytes that the pieces name one after the other.
    cut = []
    before = 0
    for place, length in pieces:
        first, last = max(at - before, 0), min(stop - before, length)
        if first < last:
            cut.append((place + first, last - first))
        before += length
    return cut or [(pieces[-1][0], 0)]


def _place(pdu: Joined, at: int) -> int:
    for place, length in pdu.pieces:
        if at < length:
            return place + at
        at -= length
    return pdu.pieces[-1][0] + pdu.pieces[-1][1]


def _broken(count: int, head: LinkFrame, error: ProtocolError, link: str = "") -> Joined:
    return Joined(count, link or head.link, b"", (), head.source, head.destination, (), error)
