"""Columns as the native protocol carries them, made from whole columns at once. Pure.

Layouts are those of ClickHouse's Native format: numbers little-endian; a string is its length as a varint and its
bytes; Nullable is a map of one byte a row before the values; LowCardinality is a dictionary and keys into it.
"""

from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from storage.runs import at_rows, run_lengths, run_starts

_NUMBERS: Final = {
    "Int8": "<i1", "Int16": "<i2", "Int32": "<i4", "Int64": "<i8",
    "UInt8": "<u1", "UInt16": "<u2", "UInt32": "<u4", "UInt64": "<u8", "Float64": "<f8", "Bool": "<u1",
}  # fmt: skip
_KEYS_VERSION: Final = (1).to_bytes(8, "little")
_DICTIONARY_WITH_KEYS: Final = 1 << 9 | 1 << 10
"""The block brings its own dictionary (additional keys), which replaces any before it."""
_VARINT_BITS: Final = 7

_FEW_RUNS: Final = 2
"""A column has few runs of one text where it has so many rows a run: each run is then written once and repeated."""

Octets = npt.NDArray[np.uint8]
Places = npt.NDArray[np.int32]
Piece = bytes | memoryview


def encode_column(values: pl.Series, kind: str) -> list[Piece] | None:
    """The column's bytes in a block, in pieces one behind the other, or nothing for a type that is not known here.

    Numbers are pieces of the column's own memory: nothing is copied for them.

    Args:
        values: Numbers, instants (sent as microseconds), Booleans, text, bytes or an enum (sent as its text); nulls
            only where `kind` allows them.
        kind: The server's type: `Nullable(Int64)`, `LowCardinality(Nullable(String))`, `DateTime64(6, 'UTC')` ...
    """
    if kind.startswith("LowCardinality("):
        inner = kind[15:-1]
        return _low_cardinality(values, nullable=True) if inner == "Nullable(String)" else (
            _low_cardinality(values, nullable=False) if inner == "String" else None
        )  # fmt: skip
    if isinstance(values.dtype, pl.Enum):
        values = values.cast(pl.String)
    if kind.startswith("Nullable("):
        body = encode_column(values.fill_null(_default(values)), kind[9:-1])
        return None if body is None else [_piece(values.is_null().cast(pl.UInt8).to_numpy()), *body]
    if kind == "String":
        return [_piece(_strings(values))]
    number = "<i8" if kind.startswith("DateTime64(6") else _NUMBERS.get(kind)
    return None if number is None else [_piece(values.to_physical().to_numpy().astype(number, copy=False))]


def _piece(numbers: npt.NDArray[np.generic]) -> Piece:
    """Their octets as they lie in memory."""
    return np.ascontiguousarray(numbers).data.cast("B") if len(numbers) else b""


def _default(values: pl.Series) -> object:
    """What stands under a null: a value of the type that the server never shows."""
    if values.dtype == pl.String():
        return ""
    if values.dtype == pl.Binary():
        return b""
    if values.dtype == pl.Boolean():
        return False
    return pl.Series([0]).cast(values.dtype)[0]


def _strings(values: pl.Series) -> Octets:
    """Every string with its length before it."""
    starts = run_starts(values)
    if len(starts) * _FEW_RUNS <= len(values):
        octets, width = _written(at_rows(values, starts))
        if width:
            return np.repeat(octets.view(f"V{width}"), run_lengths(starts, len(values))).view(np.uint8)
    return _written(values)[0]


def _written(values: pl.Series) -> tuple[Octets, int]:
    """See `_strings`; and how many octets each takes, 0 where they differ."""
    arrow = values.cast(pl.Binary).to_arrow()
    offset_width = np.dtype(np.int64)
    _, offsets_buffer, data = arrow.buffers()
    offsets = np.frombuffer(offsets_buffer, offset_width)[arrow.offset : arrow.offset + len(arrow) + 1]
    octets = np.frombuffer(data, np.uint8) if data is not None else np.zeros(0, np.uint8)
    lengths = np.diff(offsets)
    if len(lengths) and (lengths == lengths[0]).all():  # as names mostly are, and messages of a batch often
        head, _ = _varints(lengths[:1])
        rows = np.empty((len(lengths), len(head) + lengths[0]), np.uint8)
        rows[:, : len(head)] = head
        rows[:, len(head) :] = octets[offsets[0] : offsets[-1]].reshape(len(lengths), lengths[0])
        return rows.reshape(-1), rows.shape[1]
    heads, counts = _varints(lengths)
    return np.insert(octets[offsets[0] : offsets[-1]], np.repeat(offsets[:-1] - offsets[0], counts), heads), 0


def _varints(numbers: npt.NDArray[np.int64]) -> tuple[Octets, npt.NDArray[np.int64]]:
    """Seven bits an octet, low ones first, the high bit set but in the last; and how many octets each number takes."""
    counts = np.ones(len(numbers), np.int64)
    rest = numbers >> _VARINT_BITS
    while rest.any():
        counts += rest > 0
        rest = rest >> _VARINT_BITS
    at = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    bits = np.repeat(numbers, counts) >> (_VARINT_BITS * at) & 0x7F
    last = at == np.repeat(counts, counts) - 1
    return np.where(last, bits, bits | 0x80).astype(np.uint8), counts


def _low_cardinality(values: pl.Series, *, nullable: bool) -> list[Piece]:
    if nullable and values.null_count() == len(values):
        distinct, keys = pl.Series([], dtype=pl.String), np.broadcast_to(np.int32(-1), len(values))
    else:
        distinct, keys = _dictionary(values)
    if nullable:
        # The first entry of the dictionary is the null.
        distinct, keys = pl.concat([pl.Series(distinct.name, [""]), distinct]), keys + 1
    width = 0 if len(distinct) <= 1 << 8 else 1 if len(distinct) <= 1 << 16 else 2
    head = (
        _KEYS_VERSION,
        (_DICTIONARY_WITH_KEYS | width).to_bytes(8, "little"),
        len(distinct).to_bytes(8, "little"),
        _strings(distinct).tobytes(),
        len(values).to_bytes(8, "little"),
    )
    return [b"".join(head), _piece(keys.astype(("<u1", "<u2", "<u4")[width]))]


def _dictionary(values: pl.Series) -> tuple[pl.Series, Places]:
    """The texts of a column, each once, and where each row's stands among them; that of a null is -1."""
    dtype = values.dtype
    if len(values) == 1 and not values.null_count():
        return values.cast(pl.String), np.zeros(1, np.int32)
    if not isinstance(dtype, pl.Enum):
        starts = np.zeros(0, np.int64) if values.null_count() else run_starts(values)
        if 0 < len(starts) * _FEW_RUNS <= len(values):  # topics mostly are one
            distinct, keys = _dictionary(at_rows(values, starts))
            return distinct, np.repeat(keys, run_lengths(starts, len(values)))
        dtype = pl.Enum(values.drop_nulls().unique(maintain_order=True))
    categories, codes = dtype.categories, values.cast(dtype).to_physical()
    used = np.bincount(codes.drop_nulls().to_numpy(), minlength=len(categories) + 1) > 0
    place = (np.cumsum(used) - 1).astype(np.int32)
    keys = place[codes.fill_null(0).to_numpy()]
    if values.null_count():
        keys = np.where(values.is_null().to_numpy(), np.int32(-1), keys)
    return categories.filter(pl.Series(used[:-1])).alias(values.name), keys
