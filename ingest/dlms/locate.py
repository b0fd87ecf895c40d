"""Where the values of a `Data` stand in its bytes: what learning a byte layout needs, and `axdr` need not carry."""

import msgspec

from ingest.dlms.axdr import MAX_DEPTH
from ingest.dlms.compact import read_description
from ingest.dlms.cursor import Cursor
from ingest.dlms.data import WIDTH, Tag
from schemas.codes import RejectReason
from schemas.errors import ProtocolError


class Located(msgspec.Struct, frozen=True, gc=False):
    """Places of one value, counted in the bytes given.

    Attributes:
        tag: Its tag, which stands at `tag_at`.
        tag_at: Byte of the tag.
        at: First byte of the content, behind tag and length (or count, or type description).
        stop: Byte after the content.
        items: Places of the elements of an array or structure; empty for everything else. The elements of a compact
            array share its place.
    """

    tag: int
    tag_at: int
    at: int
    stop: int
    items: "tuple[Located, ...]" = ()


def locate_data(data: bytes, at: int = 0) -> Located:
    """Places of the value whose tag stands at `at`, in the shape that `axdr.decode_data` gives it.

    Raises:
        ProtocolError: Not A-XDR, cut short, or too deep.
    """
    return _locate(Cursor(data, at), 0)


def _locate(cursor: Cursor, depth: int) -> Located:
    tag_at = cursor.at
    tag = cursor.u8()
    if WIDTH[tag] >= 0:
        cursor.take(WIDTH[tag])
        return Located(tag, tag_at, tag_at + 1, cursor.at)
    if tag in (Tag.ARRAY, Tag.STRUCTURE):
        if depth >= MAX_DEPTH:
            raise ProtocolError(RejectReason.DEPTH, tag_at, f"nested deeper than {MAX_DEPTH}")
        count = cursor.length()
        if count > cursor.stop - cursor.at:
            raise ProtocolError(RejectReason.AXDR_TRUNCATED, tag_at, f"{count} elements announced")
        first = cursor.at
        items = tuple(_locate(cursor, depth + 1) for _ in range(count))
        return Located(tag, tag_at, first, cursor.at, items)
    if tag == Tag.COMPACT_ARRAY:
        first = cursor.at
        read_description(cursor)
        cursor.octets()
        return Located(tag, tag_at, first, cursor.at)
    return _locate_scalar(cursor, tag, tag_at)


def _locate_scalar(cursor: Cursor, tag: int, tag_at: int) -> Located:
    octets = 0
    if tag in (Tag.OCTET_STRING, Tag.VISIBLE_STRING, Tag.UTF8_STRING):
        octets = cursor.length()
    elif tag == Tag.BIT_STRING:
        octets = (cursor.length() + 7) // 8
    elif tag == Tag.BCD:
        octets = 1
    elif tag not in (Tag.NULL, Tag.DONT_CARE):
        raise ProtocolError(RejectReason.AXDR_TAG, tag_at, f"tag {tag}")
    at = cursor.at
    cursor.take(octets)
    return Located(tag, tag_at, at, cursor.at)
