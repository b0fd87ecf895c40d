"""Messages of a batch by layout: learn from one, verify the structure bytes of all of its length at once, go on.

What matches no layout learned so far is learned from itself. A length with more layouts than fleets have (a hostile
batch, or strings that vary) is sorted out message by message after a bound, so the work stays linear. Layouts are given
one after the other: of a batch whose messages are each a layout of their own none is held longer than it is read.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np

from ingest.comparison import Words, differing, varying
from ingest.dlms.axdr import MAX_GROUP_A
from ingest.dlms.cosem import DATE_TIME_OCTETS, DEVIATION_UNSPECIFIED, MAX_DEVIATION_MIN
from ingest.dlms.data import Tag
from ingest.dlms.layout import WORD_OCTETS, Layout, learn
from ingest.dlms.nodes import Buffers, Lookalikes, locate
from ingest.faults import Faults
from ingest.spans import Flags, Octets, Places, Spans
from schemas.errors import ProtocolError

_LAYOUTS_A_LENGTH: Final = 64
"""Layouts of one length that are compared with all remaining messages; a vendor's fleet has a handful."""
_OCTETS_AT_ONCE: Final = 1 << 16
"""Octets of messages of which each may be a layout of its own that are learned together: of one octet, which may be a
value, a layout takes half a kilobyte."""


class Alike(NamedTuple):
    """Messages that share a layout: rows of the batch, ascending, and their bytes, one message a row, zeros behind.

    `varies`: by octet of a message, the bits in which they may differ. `is_lone`: it is one of more layouts of its
    length than fleets have, and this message's alone: not worth keeping.
    """

    layout: Layout
    message: Places
    octets: Octets
    varies: Octets
    is_lone: bool = False


class Reading(NamedTuple):
    """How messages are read: texts that tell lists apart (`layout.learn`), the layouts that are known of a length,
    departures from A-XDR that their meter type names, and what finds the compact data of its templates."""

    fixed: frozenset[bytes]
    known: Callable[[int], Sequence[Layout]]
    quirks: frozenset[str] = frozenset()
    buffers: Buffers | None = None


def group_by_layout(apdus: Spans, rows: Places, reading: Reading, faults: Faults) -> Iterator[Alike]:
    """The messages by layout, each with the same result as if it had been decoded alone.

    Args:
        apdus: APDUs in the clear.
        rows: Which of them.
        reading: How.
        faults: Receives what the scalar decoder refuses.
    """
    length = apdus.length[rows]
    if len(rows) and (length == length[0]).all():
        yield from _of_one_length(apdus, rows, reading, faults)
        return
    order = np.argsort(length, kind="stable")
    ascending = length[order]
    edges = (np.flatnonzero(ascending[1:] != ascending[:-1]) + 1).tolist()
    for first, stop in zip([0, *edges], [*edges, len(rows)], strict=True):
        if first < stop:
            yield from _of_one_length(apdus, rows[order[first:stop]], reading, faults)


def _of_one_length(apdus: Spans, rows: Places, reading: Reading, faults: Faults) -> Iterator[Alike]:
    length = int(apdus.length[rows[0]])
    words = _padded(apdus, rows, length)
    known = list(reading.known(length))
    varies: Words | None = varying(words)
    for _ in range(_LAYOUTS_A_LENGTH):
        layout, first = (known.pop(0), 0) if known else _first_learned(apdus, rows, reading, faults)
        if layout is None:
            return
        if first > 1:
            rows, words, varies = rows[first - 1 :], words[first - 1 :], None
        octets = _octets(words)
        differs = _differs(layout, words, varies, reading.fixed)
        if differs is not None and first:
            differs[0] = False  # it was learned from this one
        if differs is None or not differs.any():
            yield Alike(layout, rows, octets, _octets(varying(words) if varies is None else varies))
            return
        if not differs.all():
            same, varies = words[~differs], None
            yield Alike(layout, rows[~differs], _octets(same), _octets(varying(same)))
            rows, words = rows[differs], words[differs]
    at_once = max(1, _OCTETS_AT_ONCE // length)
    for first in range(0, len(rows), at_once):
        yield from _one_by_one(apdus, rows[first : first + at_once], reading, faults)


def _padded(apdus: Spans, rows: Places, length: int) -> Words:
    """Messages as rows of 64-bit words, zeros behind the last byte."""
    width = max(-(-length // WORD_OCTETS), 1) * WORD_OCTETS
    padded = apdus.matrix(rows, width)
    padded[:, length:] = 0
    return padded.view(np.uint64)


def _first_learned(apdus: Spans, rows: Places, reading: Reading, faults: Faults) -> tuple[Layout | None, int]:
    """The layout of the first of these messages that has one, and how many were looked at."""
    for place in range(len(rows)):
        layout = _learn(apdus, int(rows[place]), reading, faults)
        if layout is not None:
            return layout, place + 1
    return None, len(rows)


def _learn(apdus: Spans, row: int, reading: Reading, faults: Faults) -> Layout | None:
    apdu = apdus.message(row)
    try:
        return learn(apdu, locate(apdu, reading.quirks, reading.buffers), reading.fixed)
    except ProtocolError as error:
        faults.record_error(row, error)
        return None


def _octets(words: Words) -> Octets:
    return words.view(np.uint8).reshape(*words.shape[:-1], -1)


def _differs(layout: Layout, words: Words, varies: Words | None, fixed: frozenset[bytes]) -> Flags | None:
    """Messages in which a structure byte is another one, or a slot holds what makes it another layout. None: nowhere.

    Args:
        layout: What they may be.
        words: They.
        varies: The bits in which they differ from each other; None where nobody looked.
        fixed: Texts that tell lists apart.
    """
    octets = _octets(words)
    alike = varies is not None and not (varies & layout.relevant).any()
    if alike and not ((words[0] ^ layout.wanted) & layout.relevant).any():
        differs = None
    else:
        differs = differing(words, layout.wanted, layout.relevant)
    also = list(_also_differ(layout, octets, None if varies is None else _octets(varies), fixed))
    if not also:
        return differs
    differs = np.zeros(len(words), np.bool_) if differs is None else differs
    for each in also:
        differs |= each
    return differs


def _also_differ(layout: Layout, octets: Octets, varies: Octets | None, fixed: frozenset[bytes]) -> Iterator[Flags]:
    at = layout.located.date_time_at
    if at is not None:
        stamp = slice(at, at + DATE_TIME_OCTETS)
        yield _are_unreadable(octets[:, stamp], alike=varies is not None and not varies[stamp].any())
    if layout.located.lookalikes is not None:
        yield _may_be_other(layout.located.lookalikes, octets)
    if len(layout.digits):
        octet = octets[:, layout.digits]
        yield np.any((octet > 0x99) | (octet & 0x0F > 9), axis=1)
    for node in layout.names:
        for text in fixed:
            is_slot = len(text) == node.stop - node.at and node.value not in (text, text.decode("latin-1"))
            if is_slot:  # a text that tells lists apart stands where this layout has a name
                yield np.all(octets[:, node.at : node.stop] == np.frombuffer(text, np.uint8), axis=1)


def _are_unreadable(stamps: Octets, *, alike: bool) -> Flags:
    if alike:
        return np.full(len(stamps), not is_readable(stamps[:1])[0], np.bool_)
    return ~is_readable(stamps)


def _may_be_other(lookalikes: Lookalikes, octets: Octets) -> Flags:
    """Messages in which a quirk takes for a logical name or a descriptor what in the layout is a number or a null."""
    tag = lookalikes.swapped
    swapped = (
        (octets[:, tag + 1] == Tag.OCTET_STRING) & (octets[:, tag + 2] <= MAX_GROUP_A) & (octets[:, tag + 7] == 0xFF)
    )
    tag = lookalikes.descriptor
    descriptor = (octets[:, tag + 2] <= MAX_GROUP_A) & (octets[:, tag + 7] == 0xFF)
    other: Flags = swapped.any(axis=1) | descriptor.any(axis=1)
    return other


def is_readable(octets: Octets) -> Flags:
    """Header date-times that `cosem.decode_date_time` reads: in range, wildcards allowed, a day that exists."""
    year = octets[:, 0].astype(np.int64) << 8 | octets[:, 1]
    month, day, hour, minute, second, hundredths = (octets[:, at].astype(np.int64) for at in (2, 3, 5, 6, 7, 8))
    deviation = (octets[:, 9].astype(np.uint16) << 8 | octets[:, 10]).astype(np.uint16).view(np.int16).astype(np.int64)
    readable = ((month >= 1) & (month <= 12)) | (month >= 0xFD)
    readable &= ((day >= 1) & (day <= 31)) | (day >= 0xFD)
    for field, limit in ((hour, 23), (minute, 59), (second, 59), (hundredths, 99)):
        readable &= (field <= limit) | (field == 0xFF)
    readable &= (np.abs(deviation) <= MAX_DEVIATION_MIN) | (deviation == DEVIATION_UNSPECIFIED)
    leap = (year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))
    last = np.array([0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])[np.where(month <= 12, month, 0)]
    last = last + ((month == 2) & leap)
    dated = (year != 0xFFFF) & (month <= 12) & (day <= 31) & (hour != 0xFF) & (minute != 0xFF) & (second != 0xFF)
    readable &= ~dated | ((day <= last) & (year >= 1) & (year <= 9999))
    return readable


def _one_by_one(apdus: Spans, rows: Places, reading: Reading, faults: Faults) -> Iterator[Alike]:
    """Each message learned from itself; those whose structure turns out equal are put together again."""
    members: dict[tuple[bytes, bytes], tuple[Layout, list[int]]] = {}
    for row in rows.tolist():
        layout = _learn(apdus, row, reading, faults)
        if layout is not None:
            key = (layout.structure.tobytes(), layout.octets.tobytes())
            members.setdefault(key, (layout, []))[1].append(row)
    while members:
        layout, alike = members.pop(next(iter(members)))
        rows = np.array(alike, np.int64)
        words = _padded(apdus, rows, layout.length)
        yield Alike(layout, rows, _octets(words), _octets(varying(words)), is_lone=len(alike) == 1)


def runs_of(code: Places) -> list[tuple[int, Places]]:
    """Each code, ascending, with the places where it stands."""
    if len(code) and (code == code[0]).all():
        return [(int(code[0]), np.arange(len(code)))]
    return [(each, np.flatnonzero(code == each)) for each in np.unique(code).tolist()]
