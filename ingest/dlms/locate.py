"""Where the values of a `Data` stand in its bytes: what learning a byte layout needs, and `axdr` need not carry."""

from collections.abc import Iterator
from typing import Final

import msgspec

from ingest.dlms.axdr import (
    DESCRIPTOR_OCTETS,
    MAX_DEPTH,
    QUIRK_OBIS_TAG_SWAPPED,
    QUIRK_UNTAGGED_DESCRIPTOR,
    is_descriptor,
    is_swapped,
)
from ingest.dlms.compact import TypeDescription, Work, open_compact_array, read_description
from ingest.dlms.cursor import Cursor
from ingest.dlms.data import WIDTH, Tag
from schemas.codes import RejectReason
from schemas.errors import ProtocolError

_NO_QUIRKS: frozenset[str] = frozenset()
# Plain numbers, as in `axdr`: looking a member up in an enumeration costs more than reading the value does.
_CONTAINERS: Final = frozenset((int(Tag.ARRAY), int(Tag.STRUCTURE)))
_STRINGS: Final = frozenset((int(Tag.OCTET_STRING), int(Tag.VISIBLE_STRING), int(Tag.UTF8_STRING)))
_EMPTY: Final = frozenset((int(Tag.NULL), int(Tag.DONT_CARE)))
_COMPACT_ARRAY: Final = int(Tag.COMPACT_ARRAY)


class Located(msgspec.Struct, frozen=True, gc=False):
    """Places of one value, counted in the bytes given.

    Attributes:
        tag: Its tag, which stands at `tag_at`; elements of compact arrays and compact data have none there.
        tag_at: Byte of the tag; of an element without one, its first byte.
        at: First byte of the content, behind tag and length (or count, or type description).
        stop: Byte after the content.
        items: Places of the elements of an array, structure or compact array; empty for everything else.
    """

    tag: int
    tag_at: int
    at: int
    stop: int
    items: "tuple[Located, ...]" = ()


def locate_data(data: bytes, at: int = 0, quirks: frozenset[str] = _NO_QUIRKS) -> Located:
    """Places of the value whose tag stands at `at`, in the shape that `axdr.decode_data` gives it.

    Raises:
        ProtocolError: Not A-XDR, cut short, too deep, or too many elements.
    """
    return _locate(Cursor(data, at), 0, quirks)


def locate_compact_data(data: bytes, at: int, stop: int, description: bytes) -> Located:
    """Places of the values of a class 62 buffer `[at, stop)` of `data`, in the shape of `decode_compact_data`.

    Raises:
        ProtocolError: The buffer is not what the description says.
    """
    cursor = Cursor(data, at, stop)
    place = _locate_described(cursor, read_description(Cursor(description)), Work(stop - at, cursor))
    cursor.finish()
    return place


def may_be_swapped(place: Located, data: bytes) -> Iterator[int]:
    """Tags of 32-bit numbers which `obis_tag_swapped` takes for a logical name if certain bytes stand behind them."""
    for item in _tagged(place):
        if item.tag == Tag.UINT32 and item.tag_at + 8 <= len(data):
            yield item.tag_at


def may_be_descriptor(place: Located, data: bytes) -> Iterator[int]:
    """Nulls which `untagged_descriptor` takes for an attribute descriptor if certain bytes stand behind them."""
    for item in _tagged(place):
        if item.tag in (Tag.ARRAY, Tag.STRUCTURE) and len(item.items) == 2:
            first = item.items[0]
            if first.tag == Tag.NULL and first.tag_at + DESCRIPTOR_OCTETS < len(data):
                yield first.tag_at


def _tagged(place: Located) -> Iterator[Located]:
    yield place
    if place.tag != Tag.COMPACT_ARRAY:
        for item in place.items:
            yield from _tagged(item)


def _locate(cursor: Cursor, depth: int, quirks: frozenset[str]) -> Located:
    tag_at = cursor.at
    if quirks and QUIRK_OBIS_TAG_SWAPPED in quirks and is_swapped(cursor.data, tag_at, cursor.stop):
        cursor.take(8)
        return Located(Tag.OCTET_STRING, tag_at, tag_at + 2, cursor.at)
    tag = cursor.u8()
    if WIDTH[tag] >= 0:
        cursor.take(WIDTH[tag])
        return Located(tag, tag_at, tag_at + 1, cursor.at)
    if tag in _EMPTY:
        return Located(tag, tag_at, tag_at + 1, cursor.at)
    if tag in _CONTAINERS:
        return _locate_items(cursor, tag, depth, quirks)
    if tag == _COMPACT_ARRAY:
        array = open_compact_array(cursor)
        items = []
        while array.contents.at < array.contents.stop:
            items.append(_locate_described(array.contents, array.kind, array.work))
        return Located(tag, tag_at, tag_at + 1, cursor.at, tuple(items))
    return _locate_scalar(cursor, tag, tag_at)


def _locate_items(cursor: Cursor, tag: int, depth: int, quirks: frozenset[str]) -> Located:
    tag_at = cursor.at - 1
    if depth >= MAX_DEPTH:
        raise ProtocolError(RejectReason.DEPTH, tag_at, f"nested deeper than {MAX_DEPTH}")
    count = cursor.length()
    if count > cursor.stop - cursor.at:
        raise ProtocolError(RejectReason.AXDR_TRUNCATED, tag_at, f"{count} elements announced")
    first = cursor.at
    items: list[Located] = []
    if quirks and count == 2 and QUIRK_UNTAGGED_DESCRIPTOR in quirks and is_descriptor(cursor):
        cursor.take(DESCRIPTOR_OCTETS)
        items.append(Located(Tag.OCTET_STRING, first, first + 2, cursor.at - 1))
    while len(items) < count:
        items.append(_locate(cursor, depth + 1, quirks))
    return Located(tag, tag_at, first, cursor.at, tuple(items))


def _locate_scalar(cursor: Cursor, tag: int, tag_at: int) -> Located:
    octets = 0
    if tag in _STRINGS:
        octets = cursor.length()
    elif tag == Tag.BIT_STRING:
        octets = (cursor.length() + 7) // 8
    elif tag == Tag.BCD:
        octets = 1
    elif tag not in _EMPTY:
        raise ProtocolError(RejectReason.AXDR_TAG, tag_at, f"tag {tag}")
    at = cursor.at
    cursor.take(octets)
    return Located(tag, tag_at, at, cursor.at)


def _locate_described(cursor: Cursor, kind: TypeDescription, work: Work) -> Located:
    tag, count, inner = kind
    first = cursor.at
    work.spend(first)
    if WIDTH[tag] >= 0:
        cursor.take(WIDTH[tag])
        return Located(tag, first, first, cursor.at)
    if tag in (Tag.ARRAY, Tag.STRUCTURE):
        kinds = inner * count if tag == Tag.ARRAY else inner
        items = tuple(_locate_described(cursor, each, work) for each in kinds)
        return Located(tag, first, first, cursor.at, items)
    return _locate_scalar(cursor, tag, first)
