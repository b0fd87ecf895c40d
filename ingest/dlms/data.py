"""COSEM `Data`: a value with the tag it was sent under (Green Book, A-XDR)."""

import struct
from collections.abc import Callable
from enum import IntEnum
from typing import Any, Final, TypeAlias

import msgspec


class Tag(IntEnum):
    """Tag of a `Data` value. The deltas came with the tenth edition of the Green Book; 7, 8, 11, 14 are unused."""

    NULL = 0
    ARRAY = 1
    STRUCTURE = 2
    BOOLEAN = 3
    BIT_STRING = 4
    INT32 = 5
    UINT32 = 6
    OCTET_STRING = 9
    VISIBLE_STRING = 10
    UTF8_STRING = 12
    BCD = 13
    INT8 = 15
    INT16 = 16
    UINT8 = 17
    UINT16 = 18
    COMPACT_ARRAY = 19
    INT64 = 20
    UINT64 = 21
    ENUM = 22
    FLOAT32 = 23
    FLOAT64 = 24
    DATE_TIME = 25
    DATE = 26
    TIME = 27
    DELTA_INT8 = 28
    DELTA_INT16 = 29
    DELTA_INT32 = 30
    DELTA_UINT8 = 31
    DELTA_UINT16 = 32
    DELTA_UINT32 = 33
    DONT_CARE = 255


DataValue: TypeAlias = "bool | int | float | str | bytes | tuple[Data, ...] | None"


class Data(msgspec.Struct, frozen=True, gc=False):
    """One value and its tag.

    `value` is None (null, don't care), bool, int (integers, enum, BCD, deltas as sent), float, str (visible and
    UTF-8 strings; a bit string as its digits "0101"), bytes (octet string, date-time, date, time) or a tuple of
    `Data` (array, structure, compact array).
    `description` is the type description of a compact array, which its empty form needs, or the class and attribute
    of an untagged attribute descriptor; else empty.
    """

    tag: int
    value: DataValue
    description: bytes = b""

    @property
    def items(self) -> "tuple[Data, ...] | None":
        """Elements of an array, structure or compact array; None for everything else."""
        value = self.value
        return value if isinstance(value, tuple) else None


PACKED: Final[dict[int, struct.Struct]] = {
    Tag.BOOLEAN: struct.Struct(">?"),
    Tag.INT32: struct.Struct(">i"),
    Tag.UINT32: struct.Struct(">I"),
    Tag.INT8: struct.Struct(">b"),
    Tag.INT16: struct.Struct(">h"),
    Tag.UINT8: struct.Struct(">B"),
    Tag.UINT16: struct.Struct(">H"),
    Tag.INT64: struct.Struct(">q"),
    Tag.UINT64: struct.Struct(">Q"),
    Tag.ENUM: struct.Struct(">B"),
    Tag.FLOAT32: struct.Struct(">f"),
    Tag.FLOAT64: struct.Struct(">d"),
    Tag.DATE_TIME: struct.Struct("12s"),
    Tag.DATE: struct.Struct("5s"),
    Tag.TIME: struct.Struct("4s"),
    Tag.DELTA_INT8: struct.Struct(">b"),
    Tag.DELTA_INT16: struct.Struct(">h"),
    Tag.DELTA_INT32: struct.Struct(">i"),
    Tag.DELTA_UINT8: struct.Struct(">B"),
    Tag.DELTA_UINT16: struct.Struct(">H"),
    Tag.DELTA_UINT32: struct.Struct(">I"),
}
"""Fixed-width types: how their bytes are packed."""

Unpack: TypeAlias = Callable[[bytes, int], tuple[Any, ...]]
WIDTH: Final = tuple(PACKED[tag].size if tag in PACKED else -1 for tag in range(256))
UNPACK: Final[tuple[Unpack | None, ...]] = tuple(
    PACKED[tag].unpack_from if tag in PACKED else None for tag in range(256)
)
"""By tag, for the inner loop: bytes after the tag (-1 where that varies) and their reader."""
