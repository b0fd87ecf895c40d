"""Block transfer: blocks held and put in order within a bound, copies dropped (Green Book 9.3.5).

Two forms number their blocks from 1: general-block-transfer, which cuts any APDU, and a get-response with datablock.
"""

from typing import Final, NamedTuple

from ingest.dlms.cursor import Cursor, encode_length
from ingest.dlms.tags import GENERAL_BLOCK_TRANSFER, GET_RESPONSE
from schemas.codes import RejectReason
from schemas.errors import ProtocolError

MAX_AHEAD: Final = 63
"""Blocks that may be held beyond the first one missing: the widest window that the control byte can name."""
MAX_MESSAGE_OCTETS: Final = 1 << 20
"""A pushed APDU is a few kilobytes (dlms.md section 11); a meter that asks for more than this is not believed."""

TRANSFER_BLOCK: Final = bytes((GENERAL_BLOCK_TRANSFER,))
DATABLOCK: Final = bytes((GET_RESPONSE, 0x02))
"""How the APDUs begin that may have to be joined across link-layer messages."""
_DATABLOCK_CHOICE_AT: Final = 8
BLOCK_TOLD_BY_OCTETS: Final = _DATABLOCK_CHOICE_AT + 1
"""So many octets of an APDU say whether it is a block."""
_LAST: Final = 0x80
_STREAMING: Final = 0x40


class Block(NamedTuple):
    """One block; `data_at` and `data_stop` are its octets in the APDU that it was read from."""

    number: int
    last: bool
    data_at: int
    data_stop: int


def is_block(apdu: bytes) -> bool:
    """The APDU is a block of a larger one. A datablock that holds a result instead of bytes is none."""
    if apdu[:1] == TRANSFER_BLOCK:
        return True
    return apdu[:2] == DATABLOCK and apdu[_DATABLOCK_CHOICE_AT : _DATABLOCK_CHOICE_AT + 1] == b"\x00"


def transfer_of(apdu: bytes) -> bytes:
    """What the blocks of one transfer share: their form, and the invoke id of a get-response."""
    return apdu[:1] if apdu[:1] == TRANSFER_BLOCK else apdu[:3]


def head_of(apdu: bytes, octets: int) -> bytes:
    """What stands before so many joined octets: nothing, or the head of a get-response of one block, the last."""
    if apdu[:1] == TRANSFER_BLOCK:
        return b""
    return DATABLOCK + apdu[2:3] + b"\x01\x00\x00\x00\x01\x00" + encode_length(octets)


def read_block(apdu: bytes) -> Block:
    """The block that an APDU is, of which `is_block` holds.

    Raises:
        ProtocolError: Cut short, bytes left over, or block number 0.
    """
    cursor = Cursor(apdu, 1)
    if apdu[:1] == TRANSFER_BLOCK:
        last = bool(cursor.u8() & _LAST)
        number = cursor.unsigned(2)
        cursor.take(2)  # acknowledged block number: nothing is acknowledged in a push
    else:
        cursor.take(2)
        last = bool(cursor.u8())
        number = cursor.unsigned(4)
        cursor.take(1)
    length = cursor.length()
    start = cursor.at
    cursor.take(length)
    cursor.finish()
    if number == 0:
        raise ProtocolError(RejectReason.APDU_MALFORMED, 2, "block numbers start at 1")
    return Block(number, last, start, cursor.at)


def block_of(apdu: bytes) -> Block | None:
    """The block that an APDU is; None for a whole APDU, and for a block that is damaged: whoever joins it says why."""
    if not is_block(apdu):
        return None
    try:
        return read_block(apdu)
    except ProtocolError:
        return None


class Assembly:
    """Blocks of one message on their way; nothing in it grows beyond the bounds above.

    A block that was part of another message before (`old`) holds its place until one comes that was not: it may be a
    copy, or this message's own, which may be alike.
    """

    __slots__ = ("_held", "_highest", "_last", "_next", "_octets", "_old", "_sure")

    def __init__(self) -> None:
        self._held: dict[int, bytes] = {}
        self._old: set[int] = set()
        self._last: int | None = None
        self._octets = 0
        self._next = 1
        self._highest = self._sure = 0  # numbers of all, and of those that are not old

    @property
    def complete(self) -> bool:
        """Every block from the first to the last is here."""
        return self._last is not None and self._next > self._last

    @property
    def is_sure(self) -> bool:
        """None of the blocks was part of another message before."""
        return not self._old

    def accept(self, block: Block, octets: bytes, *, old: bool = False) -> bool:
        """Whether the block belongs to this message; if so it is held, or dropped as a copy.

        False: its number was here with other bytes, it lies beyond the last block, or beyond the bounds.
        """
        number = block.number
        if self.holds(block, octets):
            return not self.complete or number > 1
        if (number in self._held and (old or number not in self._old)) or not self._fits(block, octets, old=old):
            return False
        if self._old and not old:
            self._clear(block)
        self._octets += len(octets) - len(self._held.get(number, b""))
        self._held[number] = octets
        self._highest = max(self._highest, number)
        if old:
            self._old.add(number)
        else:
            self._sure = max(self._sure, number)
        if block.last:
            self._last = number
        while self._next in self._held:
            self._next += 1
        return True

    @property
    def is_headless(self) -> bool:
        """The last block is here and the first is not: one that comes now is late, or begins the next message."""
        return self._last is not None and 1 not in self._held

    @property
    def is_first_alone(self) -> bool:
        """The first block is here and no other: one that comes now is a copy."""
        return len(self._held) == 1 and 1 in self._held

    @property
    def may_begin_next(self) -> bool:
        """A first block that comes now is late, a copy, or begins the next message, which may begin alike."""
        return self.is_headless or (1 in self._held and len(self._held) > 1)

    @property
    def is_first_old(self) -> bool:
        """The first block was part of another message before."""
        return 1 in self._old

    def holds(self, block: Block, octets: bytes) -> bool:
        """The block is here, with these bytes."""
        return self._held.get(block.number) == octets and block.last == (block.number == self._last)

    def contradicts(self, block: Block, octets: bytes) -> bool:
        """Whether the block shows that another message has begun: it is neither a first one nor a copy of one here."""
        return block.number > 1 and not self.holds(block, octets)

    def is_copy_of_first(self, block: Block, octets: bytes) -> bool:
        """All is here, and this is the first block again: late if it stands alone, else the next message's.

        A transfer of one block that comes again is another message: pushes may be equal.
        """
        return self.complete and block.number == 1 and not block.last and self._held.get(1) == octets

    def numbers(self) -> tuple[int, ...]:
        """Numbers of the blocks that are here, ascending."""
        return tuple(sorted(self._held))

    def _fits(self, block: Block, octets: bytes, *, old: bool) -> bool:
        number = block.number
        if number >= self._next + MAX_AHEAD + 1 or self._octets + len(octets) > MAX_MESSAGE_OCTETS:
            return False
        if self._last is not None and (old or self._last not in self._old):
            return number < self._last and not block.last
        return not block.last or number > (self._highest if old else self._sure)

    def _clear(self, block: Block) -> None:
        """Old blocks that this one shows to be copies: of its number, a last one before it, any behind the last."""
        number = block.number
        copies = [each for each in self._old if each > number] if block.last else []
        if self._last is not None and self._last < number:  # an old one, else the block would not fit
            copies.append(self._last)
        for each in copies:
            self._octets -= len(self._held.pop(each))
            self._next = min(self._next, each)
        self._old.difference_update(copies, (number,))
        if self._last is not None and self._last not in self._old:
            self._last = None


def split_blocks(apdu: bytes, block_octets: int) -> list[bytes]:
    """The APDU as general-block-transfer APDUs of at most `block_octets` octets each, streaming, window 0."""
    pieces = [apdu[first : first + block_octets] for first in range(0, len(apdu), block_octets)]
    blocks = []
    for number, piece in enumerate(pieces, start=1):
        control = _LAST | _STREAMING if number == len(pieces) else _STREAMING
        head = bytes((GENERAL_BLOCK_TRANSFER, control)) + number.to_bytes(2, "big") + b"\x00\x00"
        blocks.append(head + encode_length(len(piece)) + piece)
    return blocks
