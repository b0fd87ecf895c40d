"""A-XDR `Data`, both ways. Bounded before anything is allocated: bytes, elements and depth."""

import struct
from collections.abc import Callable
from typing import Final

from ingest.dlms.compact import encode_compact_array, read_compact_array
from ingest.dlms.cursor import Cursor, encode_length
from ingest.dlms.data import PACKED, UNPACK, WIDTH, Data, DataValue, Tag
from ingest.dlms.scalars import encode_bcd, encode_bit_string, encode_text, read_bcd, read_bit_string, read_text
from schemas.codes import RejectReason
from schemas.errors import ContractError, ProtocolError

MAX_DEPTH: Final = 16
"""Containers within containers. Field messages nest four deep; a bound keeps a hostile one off the stack."""

MAX_GROUP_A: Final = 15
"""Blue Book 7.3: groups of media; text of six letters begins above it."""
QUIRK_OBIS_TAG_SWAPPED: Final = "obis_tag_swapped"
QUIRK_UNTAGGED_DESCRIPTOR: Final = "untagged_descriptor"

# Plain numbers: looking a member up in an enumeration costs the inner loop more than reading the value does.
_OCTET_STRING: Final = int(Tag.OCTET_STRING)
_CONTAINERS: Final = frozenset((int(Tag.ARRAY), int(Tag.STRUCTURE)))
DESCRIPTOR_OCTETS: Final = 9
"""An attribute descriptor without tags: class u16, logical name, attribute i8."""


def decode_data(data: bytes, quirks: frozenset[str] = frozenset()) -> Data:
    """One `Data` value that fills `data` to its last byte.

    Args:
        data: The bytes, tag first.
        quirks: Named departures of a meter type that may be read: `obis_tag_swapped` takes `06 09` before a
            logical name for `09 06` (L+G ZMF100); `untagged_descriptor` takes {class, logical name, attribute}
            without tags as first element of a structure of two (Sagemcom XT211).

    Raises:
        ProtocolError: Not A-XDR, cut short, too deep, too many elements, or bytes left over.
    """
    cursor = Cursor(data)
    value = read_data(cursor, quirks)
    cursor.finish()
    return value


def read_data(cursor: Cursor, quirks: frozenset[str] = frozenset()) -> Data:
    """The `Data` value at the cursor, which afterwards stands behind it. Raises as `decode_data` does."""
    return _read_items(cursor, 1, 0, quirks)[0]


def _read_items(cursor: Cursor, count: int, depth: int, quirks: frozenset[str]) -> list[Data]:
    # The inner loop of the scalar path: position in a local, fixed widths through one table.
    data, at, stop = cursor.data, cursor.at, cursor.stop
    items: list[Data] = []
    append = items.append
    swapped = QUIRK_OBIS_TAG_SWAPPED in quirks
    for _ in range(count):
        if at >= stop:
            raise ProtocolError(RejectReason.AXDR_TRUNCATED, at, "a value is missing")
        tag = data[at]
        unpack = UNPACK[tag]
        if swapped and is_swapped(data, at, stop):
            append(Data(Tag.OCTET_STRING, data[at + 2 : at + 8]))
            at += 8
        elif unpack is not None:
            after = at + 1 + WIDTH[tag]
            if after > stop:
                raise ProtocolError(RejectReason.AXDR_TRUNCATED, at, f"value of tag {tag} cut short")
            append(Data(tag, unpack(data, at + 1)[0]))
            at = after
        elif tag == _OCTET_STRING and at + 1 < stop and data[at + 1] < 0x80 and at + 2 + data[at + 1] <= stop:
            after = at + 2 + data[at + 1]
            append(Data(tag, data[at + 2 : after]))
            at = after
        else:
            cursor.at = at
            append(_read_varying(cursor, tag, depth, quirks))
            at = cursor.at
    cursor.at = at
    return items


def _read_varying(cursor: Cursor, tag: int, depth: int, quirks: frozenset[str]) -> Data:
    at = cursor.at
    cursor.at = at + 1
    if tag in _CONTAINERS:
        return _read_container(cursor, tag, depth, quirks)
    reader = _READERS.get(tag)
    if reader is None:
        raise ProtocolError(RejectReason.AXDR_TAG, at, f"tag {tag}")
    return reader(cursor)


def _read_container(cursor: Cursor, tag: int, depth: int, quirks: frozenset[str]) -> Data:
    at = cursor.at - 1
    if depth >= MAX_DEPTH:
        raise ProtocolError(RejectReason.DEPTH, at, f"nested deeper than {MAX_DEPTH}")
    count = cursor.length()
    if count > cursor.stop - cursor.at:  # each element takes a byte at least
        raise ProtocolError(
            RejectReason.AXDR_TRUNCATED, at, f"{count} elements announced, {cursor.stop - cursor.at} bytes there"
        )
    cursor.spend(count, at)
    if quirks and count == 2 and QUIRK_UNTAGGED_DESCRIPTOR in quirks and is_descriptor(cursor):
        descriptor = cursor.take(DESCRIPTOR_OCTETS)
        name = Data(Tag.OCTET_STRING, descriptor[2:8], descriptor[:2] + descriptor[8:])
        return Data(tag, (name, *_read_items(cursor, 1, depth + 1, quirks)))
    return Data(tag, tuple(_read_items(cursor, count, depth + 1, quirks)))


def is_swapped(data: bytes, at: int, stop: int) -> bool:
    """Bytes that `obis_tag_swapped` takes for a logical name."""
    # 06 09 A..F: as a 32-bit number this would leave "E F" behind, and F = FF makes it a logical name.
    return (
        at + 8 <= stop
        and data[at] == 0x06
        and data[at + 1] == 0x09
        and data[at + 2] <= MAX_GROUP_A
        and data[at + 7] == 0xFF
    )


def is_descriptor(cursor: Cursor) -> bool:
    """Bytes that `untagged_descriptor` takes for class, logical name and attribute."""
    # Class below 256, group A of a logical name, group F = FF: no tagged element of a pair reads like that.
    data, at = cursor.data, cursor.at
    return (
        at + DESCRIPTOR_OCTETS < cursor.stop and data[at] == 0 and data[at + 2] <= MAX_GROUP_A and data[at + 7] == 0xFF
    )


def _read_null(_: Cursor) -> Data:
    return Data(Tag.NULL, None)


def _read_dont_care(_: Cursor) -> Data:
    return Data(Tag.DONT_CARE, None)


_READERS: Final[dict[int, Callable[[Cursor], Data]]] = {
    Tag.NULL: _read_null,
    Tag.DONT_CARE: _read_dont_care,
    Tag.OCTET_STRING: lambda cursor: Data(Tag.OCTET_STRING, cursor.octets()),
    Tag.BIT_STRING: lambda cursor: Data(Tag.BIT_STRING, read_bit_string(cursor)),
    Tag.VISIBLE_STRING: lambda cursor: Data(Tag.VISIBLE_STRING, read_text(cursor, "latin-1")),
    Tag.UTF8_STRING: lambda cursor: Data(Tag.UTF8_STRING, read_text(cursor, "utf-8")),
    Tag.BCD: lambda cursor: Data(Tag.BCD, read_bcd(cursor)),
    Tag.COMPACT_ARRAY: read_compact_array,
}


def encode_data(data: Data) -> bytes:
    """The bytes of a value, tag first, lengths in their shortest form.

    Raises:
        ContractError: The value does not fit its tag.
    """
    out = bytearray()
    _encode(data, out)
    return bytes(out)


def _encode(data: Data, out: bytearray) -> None:
    tag, value = data.tag, data.value
    packed = PACKED.get(tag)
    out.append(tag)
    if packed is not None:
        try:
            out += packed.pack(value)
        except struct.error as error:
            raise ContractError(f"value does not fit tag {tag}: {error}") from error
    elif tag in (Tag.ARRAY, Tag.STRUCTURE):
        items = data.items or ()
        out += encode_length(len(items))
        for item in items:
            _encode(item, out)
    elif tag == Tag.COMPACT_ARRAY:
        out += encode_compact_array(data)
    else:
        out += _encode_varying(tag, value)


def _encode_varying(tag: int, value: DataValue) -> bytes:
    match tag, value:
        case ((Tag.NULL | Tag.DONT_CARE), None):
            return b""
        case Tag.OCTET_STRING, bytes():
            return encode_length(len(value)) + value
        case Tag.VISIBLE_STRING, str():
            return encode_text(value, "latin-1")
        case Tag.UTF8_STRING, str():
            return encode_text(value, "utf-8")
        case Tag.BIT_STRING, str():
            return encode_bit_string(value)
        case Tag.BCD, int():
            return encode_bcd(value)
        case _:
            raise ContractError(f"tag {tag} does not hold {type(value).__name__}")
