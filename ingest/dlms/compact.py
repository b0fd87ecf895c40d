"""Values without tags of their own: compact arrays (A-XDR tag 19) and COSEM compact data (class 62)."""

import struct
from collections.abc import Callable
from typing import Final, NamedTuple, TypeAlias

from ingest.dlms.cursor import Cursor, encode_length
from ingest.dlms.data import PACKED, UNPACK, WIDTH, Data, DataValue, Tag
from ingest.dlms.scalars import encode_bcd, encode_bit_string, encode_text, read_bcd, read_bit_string, read_text
from schemas.codes import RejectReason
from schemas.errors import ContractError, ProtocolError

MAX_DESCRIPTION_DEPTH: Final = 16
ELEMENTS_PER_BYTE: Final = 4
"""Nulls take no bytes, so the number of elements needs a bound of its own; a number in three structures takes four."""

TypeDescription: TypeAlias = "tuple[int, int, tuple[TypeDescription, ...]]"
"""Tag; element count of an array, else 0; descriptions of the elements: one for an array, each for a structure."""


class Work:
    """Elements that may still be made; a bound on work where elements take no bytes."""

    __slots__ = ("left",)

    def __init__(self, octets: int, cursor: Cursor) -> None:
        self.left = min(ELEMENTS_PER_BYTE * octets + 64, cursor.elements)

    def spend(self, at: int) -> None:
        """One element more is about to be made.

        Raises:
            ProtocolError: More than its message may ask for.
        """
        self.left -= 1
        if self.left < 0:
            raise ProtocolError(RejectReason.WORK, at, "more elements than the message may ask for")


class OpenArray(NamedTuple):
    """A compact array whose elements are about to be read: what each is, and a cursor before the first."""

    kind: TypeDescription
    description: bytes
    contents: Cursor
    work: Work


def read_compact_array(cursor: Cursor) -> Data:
    """The compact array at the cursor, which stands behind its tag.

    The elements carry their tags again as if each had been sent by itself; `description` keeps the type description.

    Raises:
        ProtocolError: A bad description, contents that do not fit it, or too many elements.
    """
    first = cursor.at
    array = open_compact_array(cursor)
    granted = array.work.left
    elements: list[Data] = []
    while array.contents.at < array.contents.stop:
        elements.append(_read_described(array.contents, array.kind, array.work))
    cursor.spend(granted - array.work.left, first)
    return Data(Tag.COMPACT_ARRAY, tuple(elements), array.description)


def open_compact_array(cursor: Cursor) -> OpenArray:
    """The compact array at the cursor, which stands behind its tag and afterwards behind the array.

    Raises:
        ProtocolError: A bad description, or elements that take no bytes.
    """
    first = cursor.at
    kind = read_description(cursor)
    description = cursor.data[first : cursor.at]
    length = cursor.length()
    start = cursor.at
    cursor.take(length)
    if not _takes_octets(kind):
        raise ProtocolError(RejectReason.WORK, first, "elements that take no bytes cannot be counted")
    contents = Cursor(cursor.data, start, cursor.at)
    return OpenArray(kind, description, contents, Work(contents.stop - first, cursor))


def decode_compact_data(template: bytes, buffer: bytes) -> tuple[Data, ...]:
    """Values of a class 62 buffer by its meter's template description.

    Args:
        template: `02 count descriptions…`, the structure that the meter's template describes, the template id first.
        buffer: Octets as sent; the first value is the template id.

    Raises:
        ProtocolError: The buffer is not what the template describes, to the last byte.
    """
    kind = read_description(Cursor(template))
    cursor = Cursor(buffer)
    value = _read_described(cursor, kind, Work(len(buffer), cursor))
    cursor.finish()
    return value.items if value.items is not None else (value,)


def read_description(cursor: Cursor, depth: int = 0) -> TypeDescription:
    """A type description: a tag; for an array count and description; for a structure count and descriptions."""
    at = cursor.at
    tag = cursor.u8()
    if depth >= MAX_DESCRIPTION_DEPTH:
        raise ProtocolError(RejectReason.DEPTH, at, f"type description deeper than {MAX_DESCRIPTION_DEPTH}")
    if tag == Tag.ARRAY:
        return tag, cursor.unsigned(2), (read_description(cursor, depth + 1),)
    if tag == Tag.STRUCTURE:
        count = cursor.length()
        if count > cursor.stop - cursor.at:
            raise ProtocolError(RejectReason.AXDR_TRUNCATED, at, "type description cut short")
        return tag, 0, tuple(read_description(cursor, depth + 1) for _ in range(count))
    if UNPACK[tag] is None and tag not in _READERS:  # a compact array may not hold another
        raise ProtocolError(RejectReason.AXDR_TAG, at, f"tag {tag} in a type description")
    return tag, 0, ()


def _read_described(cursor: Cursor, kind: TypeDescription, work: Work) -> Data:
    tag, count, inner = kind
    work.spend(cursor.at)
    unpack = UNPACK[tag]
    if unpack is not None:
        at = cursor.at
        cursor.take(WIDTH[tag])
        return Data(tag, unpack(cursor.data, at)[0])
    if tag == Tag.ARRAY:
        return Data(tag, tuple(_read_described(cursor, inner[0], work) for _ in range(count)))
    if tag == Tag.STRUCTURE:
        return Data(tag, tuple(_read_described(cursor, each, work) for each in inner))
    return Data(tag, _READERS[tag](cursor))


def _takes_octets(kind: TypeDescription) -> bool:
    # An element without bytes leaves the number of elements open: three counts of FFFF would ask for 2^48 of them.
    tag, count, inner = kind
    if tag == Tag.ARRAY:
        return count > 0 and _takes_octets(inner[0])
    if tag == Tag.STRUCTURE:
        return any(_takes_octets(each) for each in inner)
    return tag not in (Tag.NULL, Tag.DONT_CARE)


def _read_nothing(_: Cursor) -> None:
    return None


_READERS: Final[dict[int, Callable[[Cursor], DataValue]]] = {
    Tag.NULL: _read_nothing,
    Tag.DONT_CARE: _read_nothing,
    Tag.OCTET_STRING: Cursor.octets,
    Tag.VISIBLE_STRING: lambda cursor: read_text(cursor, "latin-1"),
    Tag.UTF8_STRING: lambda cursor: read_text(cursor, "utf-8"),
    Tag.BIT_STRING: read_bit_string,
    Tag.BCD: read_bcd,
}


def encode_compact_array(data: Data) -> bytes:
    """Type description and contents of a compact array, without its tag.

    Raises:
        ContractError: No description, or elements that do not fit it.
    """
    kind = read_description(Cursor(data.description))
    out = bytearray()
    for item in data.items or ():
        _encode_described(item, kind, out)
    return data.description + encode_length(len(out)) + bytes(out)


def _encode_described(data: Data, kind: TypeDescription, out: bytearray) -> None:
    tag, count, inner = kind
    if data.tag != tag:
        raise ContractError(f"element of tag {data.tag} in a compact array of tag {tag}")
    if tag in (Tag.ARRAY, Tag.STRUCTURE):
        items = data.items or ()
        kinds = inner * count if tag == Tag.ARRAY else inner
        if len(items) != len(kinds):
            raise ContractError("a compact array's element has another count than its description")
        for item, each in zip(items, kinds, strict=True):
            _encode_described(item, each, out)
    elif tag in PACKED:
        try:
            out += PACKED[tag].pack(data.value)
        except struct.error as error:
            raise ContractError(f"value does not fit tag {tag}: {error}") from error
    else:
        out += _encode_scalar(tag, data.value)


def _encode_scalar(tag: int, value: DataValue) -> bytes:
    match tag, value:
        case Tag.OCTET_STRING, bytes():
            return encode_length(len(value)) + value
        case ((Tag.VISIBLE_STRING | Tag.UTF8_STRING), str()):
            return encode_text(value, "utf-8" if tag == Tag.UTF8_STRING else "latin-1")
        case Tag.BIT_STRING, str():
            return encode_bit_string(value)
        case Tag.BCD, int():
            return encode_bcd(value)
        case ((Tag.NULL | Tag.DONT_CARE), None):
            return b""
        case _:
            raise ContractError(f"tag {tag} does not hold {type(value).__name__}")
