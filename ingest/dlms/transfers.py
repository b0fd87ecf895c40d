"""Block transfers that follow each other, told apart where copies come late: what was given out is remembered."""

from collections import OrderedDict
from itertools import count
from typing import Final, Generic, NamedTuple, TypeVar

from ingest.dlms.blocks import Assembly, Block

Item = TypeVar("Item")
Key = TypeVar("Key")

REMEMBERED: Final = 1 << 18
"""Blocks given out that are known again, of all senders of a door together: some sixty megabytes."""
_NUMBERS: Final = count()


class Part(NamedTuple, Generic[Item]):
    """One block as it came."""

    block: Block
    octets: bytes
    mark: int  # the same for copies: a hash of the block, its transfer's key and who holds it
    old: bool  # it was part of a transfer that was given out
    item: Item
    size: int  # octets of the item


class Ended(NamedTuple, Generic[Item]):
    """A transfer that is whole, or will not become so; and copies of blocks of others that had come among its own.

    No part: there were but copies.
    """

    parts: list[Part[Item]]
    copies: list[Part[Item]]


class Past:
    """Blocks that were given out, as marks: the latest `limit` of them, until they are forgotten by time."""

    __slots__ = ("_limit", "_marks")

    def __init__(self, limit: int = REMEMBERED) -> None:
        self._limit = limit
        self._marks: OrderedDict[int, float] = OrderedDict()  # the oldest first; a plain one is slow to lose them

    def __len__(self) -> int:
        return len(self._marks)

    def __contains__(self, mark: int) -> bool:
        return mark in self._marks

    def add(self, mark: int, now: float) -> None:
        """It is the latest, even where it was known."""
        self._marks[mark] = now
        self._marks.move_to_end(mark)
        if len(self._marks) > self._limit:
            self._marks.popitem(last=False)

    def forget(self, before: float) -> None:
        """What was given out by then is not known again."""
        while self._marks and next(iter(self._marks.values())) <= before:
            self._marks.popitem(last=False)


class _Transfer(Generic[Item]):
    """Parts of one transfer as they came, and what of its blocks is there."""

    __slots__ = ("assembly", "begins", "behind_whole", "doubtful", "either", "octets", "parts", "since")

    def __init__(self, since: float) -> None:
        self.since = since
        self.parts: list[Part[Item]] = []
        self.octets = 0
        self.assembly = Assembly()
        self.begins: int | None = None  # parts before a first block that may begin the next
        self.behind_whole = False  # those parts are a whole transfer, if none of them is a copy
        self.either = False  # and the first block took an old one's place: it is of one transfer or of the other
        self.doubtful = False  # for what came before it is no reason to take it for this one's

    @property
    def is_whole(self) -> bool:
        """Nothing more is waited for. An old block could be a copy, unless it is a message by itself: those may be
        equal."""
        sure = self.assembly.is_sure or (len(self.parts) == 1 and self.parts[0].block.last)
        return self.assembly.complete and sure and not self.doubtful

    def accept(self, part: Part[Item]) -> bool:
        """Whether the part is of this transfer, or a copy: then it is held. Else the next one has begun."""
        assembly, block, octets = self.assembly, part.block, part.octets
        if block.number == 1 and block.last and self.parts and not part.old:
            return False  # a message by itself
        if block.number > 1 or not self.parts or assembly.is_first_alone:
            if self.behind_whole and assembly.contradicts(block, octets):
                return False
            accepted = assembly.accept(block, octets, old=part.old) or (part.old and bool(self.parts))
        elif self.behind_whole and self.begins == len(self.parts) - 1 and self.parts[-1].mark == part.mark:
            accepted = True  # what may begin the next one, twice
        else:
            accepted = self._accept_first(part)
        if accepted:
            self.parts.append(part)
            self.octets += part.size
        return accepted

    def _accept_first(self, part: Part[Item]) -> bool:
        assembly = self.assembly
        self.begins, self.doubtful = len(self.parts), assembly.may_begin_next
        self.behind_whole = assembly.complete
        repeated = assembly.complete and assembly.holds(part.block, part.octets)
        replaces = assembly.complete and assembly.is_first_old and not part.old
        accepted = assembly.accept(part.block, part.octets, old=part.old)
        self.either = accepted and replaces and not repeated
        return accepted or (part.old and not repeated)


class Transfers(Generic[Key, Item]):
    """Blocks in, each with the key that those of one transfer share; out come transfers, each as soon as it is whole.

    Order and copies do not matter. A block that was part of a transfer given out before is used where no other of its
    number comes: until then the transfer waits, and where it ends without it, it was a copy. Where the first block
    comes behind others it may be the next one's (pushes of a meter begin alike): what follows decides. Memory is that
    of the parts, and of the marks of the past, which doors may share; the cost of a block does not rise with what is
    held.
    """

    def __init__(self, past: Past) -> None:
        self._open: OrderedDict[Key, _Transfer[Item]] = OrderedDict()  # the oldest first
        self._past = past
        self._own = next(_NUMBERS)  # of those who share the past; no other has or had it
        self.octets = 0
        self.parts = 0

    def __len__(self) -> int:
        """Transfers that are open."""
        return len(self._open)

    def __contains__(self, key: Key) -> bool:
        """The transfer is open."""
        return key in self._open

    @property
    def oldest(self) -> tuple[Key, float] | None:
        """The transfer that has waited for longest, and since when."""
        return next(((key, each.since) for key, each in self._open.items()), None)

    def open_keys(self) -> list[Key]:
        """Of the transfers that are open, the oldest first."""
        return list(self._open)

    def octets_of(self, key: Key) -> int:
        """What is held of a transfer."""
        return self._open[key].octets if key in self._open else 0

    def feed(self, key: Key, block: Block, octets: bytes, item: Item, size: int, now: float) -> list[Ended[Item]]:
        """Transfers that are whole, or will not become so, after this block."""
        mark = hash((self._own, key, block.number, block.last, octets))
        part = Part(block, octets, mark, mark in self._past, item, size)
        ended: list[Ended[Item]] = []
        known = self._open.get(key)
        while known is not None and not known.accept(part):
            ended += self.take(key, now, known.begins if block.number > 1 else None)
            part = part._replace(old=mark in self._past)
            known = self._open.get(key)
        if known is None:
            known = _Transfer(now)
            if not known.accept(part):
                return [*ended, Ended([part], [])]
            self._open[key] = known
        self.octets += size
        self.parts += 1
        return [*ended, *self.take(key, now)] if known.is_whole else ended

    def take(self, key: Key, now: float, first: int | None = None) -> list[Ended[Item]]:
        """A transfer as it is, or its first parts: the others begin one of their own, now."""
        known = self._open.pop(key)
        self.octets -= known.octets
        self.parts -= len(known.parts)
        if first is None and known.either:  # which of them the other blocks are of cannot be known: neither is believed
            old = [part for part in known.parts[: known.begins] if part.old]
            sure = [part for part in known.parts[: known.begins] if not part.old]
            ended = [Ended(sure, old), Ended(known.parts[known.begins :], [])]
        elif first is None:
            ended = [_ended(known.parts, known.assembly)]
        else:
            ended = [_ended(known.parts[:first])]
            begun = self._open[key] = _Transfer(now)
            for place, part in enumerate(known.parts[first:]):
                begun.accept(part if place else part._replace(old=False))  # that it begins is shown
            begun.parts[1:] = known.parts[first + 1 :]
            begun.octets = sum(part.size for part in begun.parts)
            self.octets += begun.octets
            self.parts += len(begun.parts)
        for each in ended:
            for part in each.parts:
                self._past.add(part.mark, now)
        return ended


def _ended(parts: list[Part[Item]], assembly: Assembly | None = None) -> Ended[Item]:
    if assembly is None:
        assembly = Assembly()
        for part in parts:
            assembly.accept(part.block, part.octets, old=part.old)
    if not assembly.complete and all(part.old for part in parts):
        return Ended([], parts)
    own = [not part.old or assembly.holds(part.block, part.octets) for part in parts]
    return Ended(
        [part for part, is_own in zip(parts, own, strict=True) if is_own],
        [part for part, is_own in zip(parts, own, strict=True) if not is_own],
    )
