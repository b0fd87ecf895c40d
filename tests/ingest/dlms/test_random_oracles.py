"""Random messages of every A-XDR type, nested, against two independent decoders and against what was written.

The bytes are written here from the table of types, by none of the three. What the two others cannot read, or read
wrongly, is named below with the reason; those types are left out of their messages, or the fault is undone.
"""

import struct
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.dlms.apdu import DataNotification, decode_apdu
from ingest.dlms.data import Data, Tag
from ingest.dlms.responses import GetResponse

gurux = pytest.importorskip("gurux_dlms.internal._GXCommon", reason="gurux-dlms is not installed")
gurux_info = pytest.importorskip("gurux_dlms.internal._GXDataInfo", reason="gurux-dlms is not installed")
gurux_buffer = pytest.importorskip("gurux_dlms.GXByteBuffer", reason="gurux-dlms is not installed")
cosem = pytest.importorskip("dlms_cosem.utils", reason="dlms-cosem is not installed")
cosem_notification = pytest.importorskip("dlms_cosem.protocol.xdlms.data_notification", reason="not installed")
cosem_get = pytest.importorskip("dlms_cosem.protocol.xdlms.get", reason="dlms-cosem is not installed")


class Written(NamedTuple):
    """A value and its bytes: tag, and what stands behind the tag."""

    value: Any
    tag: int
    content: bytes

    @property
    def octets(self) -> bytes:
        return bytes((self.tag,)) + self.content


COSEM_LACKS = {
    Tag.BIT_STRING: "no conversion from bytes",
    Tag.UTF8_STRING: "no conversion from bytes",
    Tag.BCD: "no conversion from bytes",
    Tag.FLOAT32: "no conversion from bytes",
    Tag.FLOAT64: "no conversion from bytes",
    Tag.COMPACT_ARRAY: "no conversion from bytes",
    Tag.DONT_CARE: "no conversion from bytes",
    Tag.DATE_TIME: "wildcards are errors, hundredths and weekday lost: octets cannot be compared",
    Tag.DATE: "as date-time",
    Tag.TIME: "as date-time",
    **dict.fromkeys(range(Tag.DELTA_INT8, Tag.DELTA_UINT32 + 1), "unknown tag"),
}
"""dlms-cosem: types that it does not read."""
GURUX_LACKS = {
    Tag.DONT_CARE: "unknown tag",
    Tag.DATE_TIME: "becomes an instant in a zone of its own: octets cannot be compared",
    Tag.DATE: "as date-time",
    Tag.TIME: "as date-time",
    **dict.fromkeys(range(Tag.DELTA_INT8, Tag.DELTA_UINT32 + 1), "unknown tag"),
}
"""gurux-dlms: types that it does not read."""
GURUX_FAULTS: dict[int, Callable[[Any, Any], Any]] = {
    Tag.BCD: lambda _, octet: int(f"{int(octet):02x}"),  # the octet as a binary number
    Tag.UTF8_STRING: lambda text, found: text if found == text.encode().hex(" ").upper() else found,  # beyond ASCII
    Tag.BIT_STRING: lambda _, bits: str(bits),
}
"""gurux-dlms: types that it reads otherwise, and how that is undone."""
FORMS = (0, 1, 2, 3, 4)
"""Octets behind the first one of a length; 0 is the short form."""
GURUX_FORMS = (0, 1, 2, 4)
"""gurux-dlms refuses 83 and three octets, which is legal."""

PACKED = {
    Tag.BOOLEAN: (">?", st.booleans()),
    Tag.FLOAT32: (">f", st.floats(width=32, allow_nan=False)),
    Tag.FLOAT64: (">d", st.floats(allow_nan=False)),
} | {
    tag: (form, st.integers(low, high))
    for tag, form, low, high in (
        (Tag.INT8, ">b", -(2**7), 2**7 - 1), (Tag.INT16, ">h", -(2**15), 2**15 - 1),
        (Tag.INT32, ">i", -(2**31), 2**31 - 1), (Tag.INT64, ">q", -(2**63), 2**63 - 1),
        (Tag.UINT8, ">B", 0, 2**8 - 1), (Tag.UINT16, ">H", 0, 2**16 - 1), (Tag.UINT32, ">I", 0, 2**32 - 1),
        (Tag.UINT64, ">Q", 0, 2**64 - 1), (Tag.ENUM, ">B", 0, 2**8 - 1),
        (Tag.DELTA_INT8, ">b", -(2**7), 2**7 - 1), (Tag.DELTA_INT16, ">h", -(2**15), 2**15 - 1),
        (Tag.DELTA_INT32, ">i", -(2**31), 2**31 - 1), (Tag.DELTA_UINT8, ">B", 0, 2**8 - 1),
        (Tag.DELTA_UINT16, ">H", 0, 2**16 - 1), (Tag.DELTA_UINT32, ">I", 0, 2**32 - 1),
    )
}  # fmt: skip
WIDTHS = {Tag.DATE_TIME: 12, Tag.DATE: 5, Tag.TIME: 4}
TEXTS = {
    Tag.OCTET_STRING: st.binary(max_size=200),
    Tag.VISIBLE_STRING: st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=150),
    Tag.UTF8_STRING: st.text(st.characters(exclude_categories=["Cs"]), max_size=60),
}


@st.composite
def length(draw: st.DrawFn, number: int, forms: tuple[int, ...]) -> bytes:
    """A length or count: the short form, or one of so many octets, which may be longer than needed."""
    least = 0 if number < 128 else (number.bit_length() + 7) // 8
    longer = draw(st.sampled_from([octets for octets in forms if octets >= least]))
    return bytes((number,)) if longer == 0 else bytes((0x80 | longer,)) + number.to_bytes(longer, "big")


@st.composite
def leaf(draw: st.DrawFn, without: frozenset[int], forms: tuple[int, ...]) -> Written:
    tags = {Tag.NULL, Tag.DONT_CARE, Tag.BIT_STRING, Tag.BCD, *PACKED, *WIDTHS, *TEXTS} - without
    return draw(content_of(draw(st.sampled_from(sorted(tags))), forms))


@st.composite
def content_of(draw: st.DrawFn, tag: int, forms: tuple[int, ...] = FORMS) -> Written:
    if tag in PACKED:
        form, values = PACKED[Tag(tag)]
        value = draw(values)
        return Written(value, tag, struct.pack(form, value))
    if tag in WIDTHS:
        octets = draw(st.binary(min_size=WIDTHS[Tag(tag)], max_size=WIDTHS[Tag(tag)]))
        return Written(octets, tag, octets)
    if tag in TEXTS:
        value = draw(TEXTS[Tag(tag)])
        octets = value if isinstance(value, bytes) else value.encode()
        return Written(value, tag, draw(length(len(octets), forms)) + octets)
    if tag == Tag.BIT_STRING:
        digits = draw(st.text("01", max_size=70))
        filled = digits.ljust((len(digits) + 7) // 8 * 8, "0")
        octets = bytes(int(filled[at : at + 8], 2) for at in range(0, len(filled), 8))
        return Written(digits, tag, draw(length(len(digits), forms)) + octets)
    if tag == Tag.BCD:
        number = draw(st.integers(0, 99))
        return Written(number, tag, bytes((number // 10 << 4 | number % 10,)))
    return Written(None, tag, b"")


@st.composite
def compact(draw: st.DrawFn, forms: tuple[int, ...]) -> Written:
    """A compact array of numbers, or of structures of numbers."""
    tags = draw(
        st.lists(st.sampled_from([Tag.UINT8, Tag.INT16, Tag.UINT32, Tag.INT64, Tag.ENUM]), min_size=1, max_size=4)
    )
    structured = draw(st.booleans())
    tags = tags if structured else tags[:1]
    rows = [[draw(content_of(tag)) for tag in tags] for _ in range(draw(st.integers(1, 6)))]
    contents = b"".join(each.content for row in rows for each in row)
    description = bytes((Tag.STRUCTURE, len(tags), *tags)) if structured else bytes(tags)
    value = [[each.value for each in row] if structured else row[0].value for row in rows]
    return Written(value, Tag.COMPACT_ARRAY, description + draw(length(len(contents), forms)) + contents)


@st.composite
def container(draw: st.DrawFn, inside: st.SearchStrategy[Written], forms: tuple[int, ...]) -> Written:
    items = draw(st.lists(inside, max_size=6))
    tag = draw(st.sampled_from([Tag.ARRAY, Tag.STRUCTURE]))
    return Written(items, tag, draw(length(len(items), forms)) + b"".join(each.octets for each in items))


def nested(lacking: dict[Any, str], forms: tuple[int, ...] = FORMS) -> st.SearchStrategy[Written]:
    """Values of every type but those, alone or in arrays and structures of each other."""
    leaves = leaf(frozenset(map(int, lacking)), forms)
    base = leaves if Tag.COMPACT_ARRAY in lacking else leaves | compact(forms)
    return st.recursive(base, lambda inside: container(inside, forms), max_leaves=25)


def bare(data: Data) -> Any:
    """Our value, in lists."""
    return data.value if data.items is None else [bare(item) for item in data.items]


def same(written: Written, found: Any, faults: dict[int, Callable[[Any, Any], Any]] | None = None) -> bool:
    """What was found is what was written, to the last element."""
    if written.tag in (Tag.ARRAY, Tag.STRUCTURE):
        return len(found) == len(written.value) and all(map(same, written.value, found, [faults] * len(found)))
    undone = faults[written.tag](written.value, found) if faults and written.tag in faults else found
    if isinstance(undone, bytearray):
        undone = bytes(undone)
    return bool(undone == written.value) and isinstance(undone, bytes) == isinstance(written.value, bytes)


def in_notification(body: bytes) -> bytes:
    return b"\x0f\x40\x00\x00\x07\x00" + body


def in_response(body: bytes) -> bytes:
    return b"\xc4\x01\x41\x00" + body


def ours(apdu: bytes) -> Any:
    read = decode_apdu(apdu)
    assert isinstance(read, DataNotification | GetResponse)
    return bare(read.body)


@settings(max_examples=200, deadline=None)
@given(nested({}))
def test_what_is_written_is_what_is_read(written: Written) -> None:
    assert same(written, ours(in_notification(written.octets)))
    assert same(written, ours(in_response(written.octets)))


@settings(max_examples=200, deadline=None)
@given(nested(COSEM_LACKS))
def test_dlms_cosem_reads_the_same(written: Written) -> None:
    push = in_notification(written.octets)
    theirs = cosem_notification.DataNotification.from_bytes(push)
    found = cosem.parse_as_dlms_data(theirs.body)
    assert same(written, found) and same(written, ours(push))
    response = in_response(written.octets)
    found = cosem.parse_as_dlms_data(cosem_get.GetResponseNormal.from_bytes(response).data)
    assert same(written, found) and same(written, ours(response))


@settings(max_examples=200, deadline=None)
@given(nested(GURUX_LACKS, GURUX_FORMS))
def test_gurux_reads_the_same(written: Written) -> None:
    buffer = gurux_buffer.GXByteBuffer(bytearray(written.octets))
    found = gurux._GXCommon.getData(None, buffer, gurux_info._GXDataInfo())
    assert buffer.position == len(written.octets)
    assert same(written, found, GURUX_FAULTS) and same(written, ours(in_notification(written.octets)))
