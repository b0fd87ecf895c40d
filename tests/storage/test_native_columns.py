"""Columns encoded whole mean to an engine what they meant to us."""

from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.frames import UTC_US
from storage.embedded import EmbeddedEngine
from storage.native_columns import encode_column
from storage.queries import Query

TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=300).filter(lambda text: "\0" not in text)
MICROS = st.integers(-(2**50), 2**52)
COLOURS = pl.Enum(["red", "", "grün", "blue"])
KINDS: list[tuple[str, pl.DataType, st.SearchStrategy[Any]]] = [
    ("Int8", pl.Int8(), st.integers(-128, 127)),
    ("Int32", pl.Int32(), st.integers(-(2**31), 2**31 - 1)),
    ("Int64", pl.Int64(), st.integers(-(2**63), 2**63 - 1)),
    ("UInt8", pl.UInt8(), st.integers(0, 255)),
    ("UInt32", pl.UInt32(), st.integers(0, 2**32 - 1)),
    ("UInt64", pl.UInt64(), st.integers(0, 2**64 - 1)),
    ("Float64", pl.Float64(), st.floats(allow_nan=False)),
    ("Bool", pl.Boolean(), st.booleans()),
    ("String", pl.String(), TEXT),
    ("DateTime64(6, 'UTC')", UTC_US, MICROS),
    ("LowCardinality(String)", pl.String(), st.sampled_from(["", "a", "ü", "x" * 200])),
    ("LowCardinality(String)", COLOURS, st.sampled_from(COLOURS.categories.to_list())),
    ("String", COLOURS, st.sampled_from(COLOURS.categories.to_list())),
]
NULLABLE = [
    (f"LowCardinality(Nullable({kind[15:-1]}))" if kind.startswith("Low") else f"Nullable({kind})", dtype, one)
    for kind, dtype, one in KINDS
]


def varint(number: int) -> bytes:
    head = b""
    while number >= 0x80:
        head += bytes([number & 0x7F | 0x80])
        number >>= 7
    return head + bytes([number])


def through_engine(engine: EmbeddedEngine, values: pl.Series, kind: str) -> pl.Series:
    """The column as the engine reads it from a block."""
    encoded = encode_column(values, kind)
    assert encoded is not None
    block = varint(1) + varint(len(values)) + b"\x01v" + varint(len(kind)) + kind.encode() + b"".join(encoded)
    engine.execute("DROP TABLE IF EXISTS encoded")
    engine.execute(f"CREATE TABLE encoded (v {kind}) ENGINE = Memory")
    with engine._session.send_insert("INSERT INTO encoded (v)", "Native") as inserter:
        inserter.append(block)
        inserter.finish()
    return engine.select(Query("SELECT v FROM encoded", {}, pl.Schema({"v": values.dtype})))["v"]


@pytest.mark.parametrize(("kind", "dtype", "one"), KINDS + NULLABLE, ids=[kind for kind, _, _ in KINDS + NULLABLE])
def test_an_engine_reads_what_was_encoded(engine: EmbeddedEngine, kind: str, dtype: pl.DataType, one) -> None:
    element = one if "Nullable" not in kind else st.one_of(st.none(), one)

    @settings(max_examples=12, deadline=None)
    @given(st.lists(element, min_size=1, max_size=30))
    def check(values: list[Any]) -> None:
        column = pl.Series("v", values, dtype=pl.Int64 if dtype == UTC_US else dtype).cast(dtype)
        assert through_engine(engine, column, kind).to_list() == column.to_list()

    check()


def test_bytes_that_are_no_text_and_strings_of_every_length_of_head_are_encoded(engine: EmbeddedEngine) -> None:
    column = pl.Series("v", [b"\xff\x00", b"x" * 127, b"x" * 128, b"x" * 16_383, b"x" * 16_384, b""], dtype=pl.Binary)
    assert through_engine(engine, column, "String").to_list() == column.to_list()


def test_a_dictionary_of_more_than_256_words_has_wider_keys(engine: EmbeddedEngine) -> None:
    for count in (255, 256, 257, 70_000):
        column = pl.Series("v", [f"w{i}" for i in range(count)] * 2)
        for kind in ("LowCardinality(String)", "LowCardinality(Nullable(String))"):
            assert through_engine(engine, column, kind).equals(column)


@pytest.mark.parametrize("dtype", [pl.String(), COLOURS])
def test_a_column_without_a_value_has_no_words(engine: EmbeddedEngine, dtype: pl.DataType) -> None:
    column = pl.Series("v", [None] * 300, dtype=dtype)
    kind = "LowCardinality(Nullable(String))"
    assert through_engine(engine, column, kind).to_list() == [None] * 300
    assert b"".join(encode_column(column, kind) or ()).endswith(bytes(300))


def test_a_slice_of_a_column_is_encoded_as_itself(engine: EmbeddedEngine) -> None:
    column = pl.Series("v", [f"word {i}" for i in range(100)]).slice(40, 7)
    assert through_engine(engine, column, "String").to_list() == column.to_list()


def test_types_that_are_not_known_are_left_to_the_driver() -> None:
    assert encode_column(pl.Series([["a"]]), "Array(String)") is None
    assert encode_column(pl.Series([1]), "Decimal(18, 6)") is None
