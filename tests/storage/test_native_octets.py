"""Columns encoded whole are, octet by octet, what a plain writer of ClickHouse's Native format writes."""

import struct
from typing import Any

import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ingest.dlms.framing import wrap_wpdu
from ingest.kafka.records import Records, frames_of_records
from schemas.frames import UTC_US
from storage.native_columns import encode_column

FORMATS = {"Int16": "h", "Int32": "i", "Int64": "q", "UInt8": "B", "DateTime64(6, 'UTC')": "q", "Bool": "?"}
COLUMNS: list[tuple[str, pl.DataType, st.SearchStrategy[Any]]] = [
    ("Int16", pl.Int16(), st.integers(-(2**15), 2**15 - 1)),
    ("Int64", pl.Int64(), st.integers(-(2**63), 2**63 - 1)),
    ("UInt8", pl.UInt8(), st.integers(0, 255)),
    ("Bool", pl.Boolean(), st.booleans()),
    ("DateTime64(6, 'UTC')", UTC_US, st.integers(-(2**50), 2**52)),
]
STRINGS = st.one_of(
    st.lists(st.binary(max_size=200), max_size=20),
    st.integers(0, 150).flatmap(lambda octets: st.lists(st.binary(min_size=octets, max_size=octets), max_size=20)),
)
WORDS = st.lists(st.one_of(st.none(), st.sampled_from(["", "a", "ü", "x" * 130])), max_size=20)


def varint(number: int) -> bytes:
    return bytes((number,)) if number < 0x80 else bytes((number & 0x7F | 0x80,)) + varint(number >> 7)


def string(value: bytes) -> bytes:
    return varint(len(value)) + value


def written(values: pl.Series, kind: str) -> bytes:
    pieces = encode_column(values, kind)
    assert pieces is not None
    return b"".join(pieces)


def pieced(values: list[Any], dtype: pl.DataType, cuts: tuple[int, int]) -> tuple[list[Any], pl.Series]:
    """A stretch of the values, and the same as a slice of a column of two chunks."""
    one, two = sorted(min(cut, len(values)) for cut in cuts)
    of = [pl.Series("v", part, dtype=pl.Int64 if dtype == UTC_US else dtype) for part in (values[:two], values[two:])]
    column = pl.concat([part.cast(dtype) for part in of], rechunk=False)
    return values[one:], column.slice(one)


CUTS = st.tuples(st.integers(0, 10), st.integers(0, 20))


@settings(deadline=None)
@given(STRINGS, CUTS)
@example([b"x" * 127, b"y" * 127], (0, 1))
@example([b"x" * 128, b"y" * 128, b"z" * 128], (1, 2))
@example([b""] * 3, (1, 1))
@example([b"x" * 16_384] * 2, (0, 0))
@example([], (0, 0))
def test_strings_of_one_length_or_many_are_each_behind_their_length(values: list[bytes], cuts: tuple[int, int]) -> None:
    wanted, column = pieced(values, pl.Binary(), cuts)
    assert written(column, "String") == b"".join(map(string, wanted))
    nulls = [None if len(each) % 3 == 0 else each for each in wanted]
    told = bytes(each is None for each in nulls) + b"".join(string(each or b"") for each in nulls)
    assert written(pl.Series("v", nulls, dtype=pl.Binary), "Nullable(String)") == told


@pytest.mark.parametrize(("kind", "dtype", "one"), COLUMNS, ids=[kind for kind, _, _ in COLUMNS])
def test_numbers_are_little_endian_and_a_null_is_told_before_them(
    kind: str, dtype: pl.DataType, one: st.SearchStrategy[Any]
) -> None:
    @settings(deadline=None)
    @given(st.lists(st.one_of(st.none(), one), max_size=20), CUTS)
    def check(values: list[Any], cuts: tuple[int, int]) -> None:
        wanted, column = pieced(values, dtype, cuts)
        octets = b"".join(struct.pack(f"<{FORMATS[kind]}", 0 if each is None else each) for each in wanted)
        assert written(column, f"Nullable({kind})") == bytes(each is None for each in wanted) + octets
        whole, column = pieced([each for each in values if each is not None], dtype, cuts)
        assert written(column, kind) == b"".join(struct.pack(f"<{FORMATS[kind]}", each) for each in whole)

    check()


def words_of(octets: bytes, *, nullable: bool) -> list[str | None]:
    """A column of low cardinality, read as its layout says."""
    at = 0

    def number(size: int) -> int:
        nonlocal at
        at += size
        return int.from_bytes(octets[at - size : at], "little")

    def word() -> str:
        nonlocal at
        size = shift = 0
        more = True
        while more:
            octet = number(1)
            size, shift, more = size | (octet & 0x7F) << shift, shift + 7, octet >= 0x80
        at += size
        return octets[at - size : at].decode()

    version, flags = number(8), number(8)
    assert version == 1 and flags >> 8 == 0b110  # the block brings its own dictionary
    words: list[str | None] = [word() for _ in range(number(8))]
    if nullable:
        assert words[0] == ""
        words[0] = None
    keys = [number(1 << (flags & 0xFF)) for _ in range(number(8))]
    assert at == len(octets) and len(set(words)) == len(words)
    return [words[key] for key in keys]


@settings(deadline=None)
@given(WORDS, CUTS, st.sampled_from([pl.String(), pl.Enum(["x" * 130, "", "ü", "a", "unused"])]))
def test_words_of_a_dictionary_are_found_by_their_keys(
    values: list[str | None], cuts: tuple[int, int], dtype: pl.DataType
) -> None:
    wanted, column = pieced(values, dtype, cuts)
    assert words_of(written(column, "LowCardinality(Nullable(String))"), nullable=True) == wanted
    present, column = pieced([each for each in values if each is not None], dtype, cuts)
    assert words_of(written(column, "LowCardinality(String)"), nullable=False) == present


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.integers(1, 130), min_size=1, max_size=5), min_size=1, max_size=5), st.integers(0, 6))
def test_frames_of_messages_are_written_from_where_they_lie(lengths: list[list[int]], first: int) -> None:
    frames = [[wrap_wpdu(b"\x0f" * octets) for octets in message] for message in lengths]
    values = [b"".join(each) for each in frames]
    column = frames_of_records(Records("t", 0, range(len(values)), [0] * len(values), values))["payload"]
    told = [string(each) for message in frames for each in message]
    assert written(column.slice(first), "String") == b"".join(told[first:])
