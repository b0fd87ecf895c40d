"""A-XDR data: every tag against bytes written by hand, bounds, and both ways."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.dlms.axdr import MAX_DEPTH, decode_data, encode_data
from ingest.dlms.data import Data, Tag
from ingest.dlms.locate import locate_data
from schemas.codes import RejectReason
from schemas.errors import ContractError, ProtocolError

BY_HAND = [
    ("00", Tag.NULL, None),
    ("03 01", Tag.BOOLEAN, True),
    ("04 08 A5", Tag.BIT_STRING, "10100101"),
    ("04 0B A5 60", Tag.BIT_STRING, "10100101011"),
    ("04 00", Tag.BIT_STRING, ""),
    ("05 FFFFFFFE", Tag.INT32, -2),
    ("06 FFFFFFFE", Tag.UINT32, 4294967294),
    ("09 03 010203", Tag.OCTET_STRING, b"\x01\x02\x03"),
    ("0A 02 4F4B", Tag.VISIBLE_STRING, "OK"),
    ("0C 03 6DC2B3", Tag.UTF8_STRING, "m\N{SUPERSCRIPT THREE}"),
    ("0D 12", Tag.BCD, 12),
    ("0F 80", Tag.INT8, -128),
    ("10 8000", Tag.INT16, -32768),
    ("11 FF", Tag.UINT8, 255),
    ("12 FFFF", Tag.UINT16, 65535),
    ("14 8000000000000000", Tag.INT64, -(2**63)),
    ("15 FFFFFFFFFFFFFFFF", Tag.UINT64, 2**64 - 1),
    ("16 1E", Tag.ENUM, 30),
    ("17 3F800000", Tag.FLOAT32, 1.0),
    ("18 C000000000000000", Tag.FLOAT64, -2.0),
    ("19 07E503070211262600FF8880", Tag.DATE_TIME, bytes.fromhex("07E503070211262600FF8880")),
    ("1A 07E5030702", Tag.DATE, bytes.fromhex("07E5030702")),
    ("1B 11262600", Tag.TIME, bytes.fromhex("11262600")),
    ("1C FB", Tag.DELTA_INT8, -5),
    ("1D FFFB", Tag.DELTA_INT16, -5),
    ("1E FFFFFFFB", Tag.DELTA_INT32, -5),
    ("1F FB", Tag.DELTA_UINT8, 251),
    ("20 FFFB", Tag.DELTA_UINT16, 65531),
    ("21 FFFFFFFB", Tag.DELTA_UINT32, 4294967291),
    ("FF", Tag.DONT_CARE, None),
]


@pytest.mark.parametrize(("text", "tag", "value"), BY_HAND)
def test_each_tag_reads_as_written_by_hand_and_is_written_again(text, tag, value):
    octets = bytes.fromhex(text)
    data = decode_data(octets)
    assert (data.tag, data.value) == (tag, value)
    assert type(data.value) is type(value)
    assert encode_data(data) == octets


@pytest.mark.parametrize(("text", "tag", "value"), BY_HAND)
def test_each_tag_cut_short_is_truncated_and_with_junk_behind_it_has_trailing_bytes(text, tag, value):
    octets = bytes.fromhex(text)
    for stop in range(len(octets)):
        with pytest.raises(ProtocolError) as caught:
            decode_data(octets[:stop])
        assert caught.value.reason is RejectReason.AXDR_TRUNCATED
    with pytest.raises(ProtocolError) as caught:
        decode_data(octets + b"\x00")
    assert (caught.value.reason, caught.value.at) == (RejectReason.TRAILING_BYTES, len(octets))


@pytest.mark.parametrize("tag", [7, 8, 11, 14, 34, 100, 254])
def test_an_unused_tag_is_named_with_its_byte(tag):
    with pytest.raises(ProtocolError, match=str(tag)) as caught:
        decode_data(bytes((2, 1, tag, 0, 0)))
    assert (caught.value.reason, caught.value.at) == (RejectReason.AXDR_TAG, 2)


@pytest.mark.parametrize("form", ["81 03", "82 0003", "83 000003", "84 00000003"])
def test_a_longer_length_form_than_needed_is_accepted(form):
    assert decode_data(bytes.fromhex(f"09 {form} 010203")).value == b"\x01\x02\x03"


@pytest.mark.parametrize("form", ["80", "85 0000000003", "FF"])
def test_an_indefinite_or_too_long_length_form_is_refused(form):
    with pytest.raises(ProtocolError, match="axdr_length"):
        decode_data(bytes.fromhex(f"09 {form} 010203"))
    with pytest.raises(ProtocolError, match="axdr_length"):
        decode_data(bytes.fromhex(f"09 {form}") + bytes(300))


def test_a_digit_above_nine_is_no_bcd():
    with pytest.raises(ProtocolError, match="apdu_malformed"):
        decode_data(b"\x0d\x1a")


def test_a_utf8_string_that_is_none_is_refused_and_a_visible_string_with_latin_letters_is_kept():
    with pytest.raises(ProtocolError, match="apdu_malformed"):
        decode_data(b"\x0c\x01\xe9")
    assert decode_data(b"\x0a\x01\xe9").value == "\N{LATIN SMALL LETTER E WITH ACUTE}"


def test_nesting_is_read_to_the_limit_and_not_one_deeper():
    def nested(depth):
        return b"\x02\x01" * depth + b"\x00"

    assert decode_data(nested(MAX_DEPTH)).tag == Tag.STRUCTURE
    with pytest.raises(ProtocolError) as caught:
        decode_data(nested(MAX_DEPTH + 1))
    assert (caught.value.reason, caught.value.at) == (RejectReason.DEPTH, 2 * MAX_DEPTH)
    with pytest.raises(ProtocolError, match="depth"):
        decode_data(nested(100_000))


def test_compact_array_nulls_are_bounded_by_the_size_of_the_message():
    # array of FFFF arrays of FFFF nulls, and one byte that lets the first element start
    with pytest.raises(ProtocolError, match="work"):
        decode_data(bytes.fromhex("13 02 02 01 FFFF 01 FFFF 00 11 01 00"))
    data = decode_data(bytes.fromhex("13 02 02 01 0004 00 11 01 07"))
    assert [len(item.items) for item in data.items] == [2]


def test_an_empty_compact_array_keeps_its_description():
    octets = bytes.fromhex("13 12 00")
    data = decode_data(octets)
    assert data.items == ()
    assert encode_data(data) == octets


def test_a_value_that_does_not_fit_its_tag_is_the_writers_fault():
    for data in (Data(Tag.UINT8, 256), Data(Tag.BCD, 100), Data(Tag.OCTET_STRING, "text"), Data(7, None)):
        with pytest.raises(ContractError):
            encode_data(data)


@pytest.mark.parametrize("quirk", ["obis_tag_swapped", "untagged_descriptor"])
def test_a_quirk_changes_nothing_that_is_read_without_it(quirk):
    octets = bytes.fromhex("0202 0906 0100010800FF 06 09000102")
    assert decode_data(octets, frozenset({quirk})) == decode_data(octets)


def test_a_swapped_name_is_read_only_where_the_quirk_is_named():
    octets = bytes.fromhex("0202 0609 01001F0700FF 06 000000F4")
    with pytest.raises(ProtocolError):
        decode_data(octets)
    name, value = decode_data(octets, frozenset({"obis_tag_swapped"})).items
    assert (name.value, value.value) == (bytes.fromhex("01001F0700FF"), 244)


INTEGERS = {
    Tag.INT8: (-128, 127), Tag.INT16: (-(2**15), 2**15 - 1), Tag.INT32: (-(2**31), 2**31 - 1),
    Tag.INT64: (-(2**63), 2**63 - 1), Tag.UINT8: (0, 255), Tag.UINT16: (0, 65535), Tag.UINT32: (0, 2**32 - 1),
    Tag.UINT64: (0, 2**64 - 1), Tag.ENUM: (0, 255), Tag.BCD: (0, 99), Tag.DELTA_INT8: (-128, 127),
    Tag.DELTA_UINT16: (0, 65535), Tag.DELTA_INT32: (-(2**31), 2**31 - 1),
}  # fmt: skip
SCALARS = st.one_of(
    *(st.builds(Data, st.just(tag), st.integers(*bounds)) for tag, bounds in INTEGERS.items()),
    st.builds(Data, st.sampled_from([Tag.NULL, Tag.DONT_CARE]), st.none()),
    st.builds(Data, st.just(Tag.BOOLEAN), st.booleans()),
    st.builds(Data, st.just(Tag.OCTET_STRING), st.binary(max_size=300)),
    st.builds(Data, st.just(Tag.UTF8_STRING), st.text(max_size=100)),
    st.builds(Data, st.just(Tag.VISIBLE_STRING), st.text(st.characters(max_codepoint=255), max_size=50)),
    st.builds(Data, st.just(Tag.BIT_STRING), st.text("01", max_size=40)),
    st.builds(Data, st.just(Tag.DATE_TIME), st.binary(min_size=12, max_size=12)),
    st.builds(Data, st.just(Tag.FLOAT64), st.floats(allow_nan=False)),
    st.builds(Data, st.just(Tag.FLOAT32), st.floats(width=32, allow_nan=False)),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.builds(Data, st.sampled_from([Tag.ARRAY, Tag.STRUCTURE]), st.lists(inner, max_size=6).map(tuple)),
    max_leaves=40,
).filter(lambda data: depth_of(data) <= MAX_DEPTH)


def depth_of(data):
    return 0 if data.items is None else 1 + max((depth_of(item) for item in data.items), default=0)


@given(VALUES)
def test_what_is_written_is_read_back(data):
    assert decode_data(encode_data(data)) == data


@given(VALUES)
def test_places_have_the_shape_of_the_values_and_hold_their_bytes(data):
    octets = encode_data(data)

    def check(value, place):
        assert (place.tag, octets[place.tag_at]) == (value.tag, value.tag)
        if value.items is not None:
            assert len(place.items) == len(value.items)
            for inner, at in zip(value.items, place.items, strict=True):
                check(inner, at)
        elif isinstance(value.value, bytes):
            assert octets[place.at : place.stop] == value.value
        elif type(value.value) is int and value.tag != Tag.BCD:
            signed = value.value < 0
            assert int.from_bytes(octets[place.at : place.stop], "big", signed=signed) == value.value

    place = locate_data(octets)
    assert place.stop == len(octets)
    check(data, place)


def test_a_float_that_is_no_number_is_a_value():
    assert math.isnan(decode_data(bytes.fromhex("17 7FC00000")).value)
