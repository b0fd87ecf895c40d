"""Slots cut from all messages of a layout at once: numbers of every width and sign, date-times, device names.

A slot of equal messages is a strided view of their bytes; cutting it is one pass that also turns the bytes around.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from ingest.clocks import Clocks, Micros, Zones, read_clocks
from ingest.dlms.cosem import DATE_TIME_OCTETS
from ingest.dlms.data import Tag
from ingest.dlms.layout import SIGNED, Node
from ingest.spans import Flags, Octets, Places

_INT64_MAX: Final = 2**63 - 1
_SIGNED_TAGS: Final = SIGNED | {Tag.DELTA_INT8, Tag.DELTA_INT16, Tag.DELTA_INT32}
_DATE_TIME_WORDS: Final = DATE_TIME_OCTETS // 4


class Group(NamedTuple):
    """Messages of one layout and one kind of meter."""

    message: Places  # row of the batch
    octets: Octets  # one APDU a row, rows end to end, zeros behind the last byte
    zones: Zones
    received: Micros  # `NO_TIME` where not known


class Grid(NamedTuple):
    """Slots of one type that lie at even distances: `at + row x row_step + column x column_step`."""

    at: int
    rows: int
    row_step: int
    columns: int
    column_step: int
    dtype: str  # of numpy, big-endian


def dtype_of(node: Node) -> str:
    """How numpy reads the bytes of a number."""
    return f">{'i' if node.tag in _SIGNED_TAGS else 'u'}{node.stop - node.at}"


def grid_of(rows: Sequence[Sequence[Node | None]]) -> Grid | None:
    """The grid that these nodes are; None where one is absent, unplaced, of another type or off the grid."""
    nodes = [node for row in rows for node in row if node is not None and node.placed]
    columns = len(rows[0])
    if not columns or len(nodes) != len(rows) * columns:
        return None
    at = nodes[0].at
    row_step = nodes[columns].at - at if len(rows) > 1 else 0
    column_step = nodes[1].at - at if columns > 1 else 0
    even = all(
        node.at == at + place // columns * row_step + place % columns * column_step for place, node in enumerate(nodes)
    )
    alike = len({(node.tag, node.stop - node.at) for node in nodes}) == 1
    return Grid(at, len(rows), row_step, columns, column_step, dtype_of(nodes[0])) if even and alike else None


def cut_grid(octets: Octets, grid: Grid) -> tuple[npt.NDArray[np.int64], Flags | None]:
    """The numbers of a grid by message, row and column; and which exceed 63 bits, None where none does."""
    shape = (len(octets), grid.rows, grid.columns)
    view = _view(octets, grid.at, shape, (grid.row_step, grid.column_step), grid.dtype)
    return _to_int64(view)


def cut_numbers(octets: Octets, nodes: Sequence[Node]) -> tuple[npt.NDArray[np.int64], Flags | None]:
    """The numbers in these slots by message and node; and which exceed 63 bits, None where none does."""
    numbers = np.zeros((len(octets), len(nodes)), np.int64)
    beyond: Flags | None = None
    for place, node in enumerate(nodes):
        over: Flags | bool | None
        if node.placed:
            cut, over = _to_int64(_view(octets, node.at, (len(octets),), (), dtype_of(node)))
            numbers[:, place] = cut
        else:
            value = node.value if isinstance(node.value, int) else 0
            numbers[:, place] = min(value, _INT64_MAX)
            over = True if value > _INT64_MAX else None
        if over is not None:
            beyond = np.zeros(numbers.shape, np.bool_) if beyond is None else beyond
            beyond[:, place] = over
    return numbers, beyond


def cut_clock_grid(group: Group, grid: Grid, *, inverted: bool) -> Clocks:
    """The date-times of one column of a grid, by message and row."""
    words = _view(
        group.octets, grid.at, (len(group.octets), grid.rows, _DATE_TIME_WORDS), (grid.row_step, 4), ">u4"
    ).astype(np.uint32)
    zones = Zones(np.repeat(group.zones.code, grid.rows), group.zones.names)
    clocks = read_clocks(words.reshape(-1, _DATE_TIME_WORDS), zones, inverted=inverted)
    return Clocks._make(column.reshape(len(group.octets), grid.rows) for column in clocks)


def cut_clock(group: Group, node: Node, *, inverted: bool) -> Clocks:
    """The date-time in one slot, by message."""
    if node.placed:
        words = _view(group.octets, node.at, (len(group.octets), _DATE_TIME_WORDS), (4,), ">u4").astype(np.uint32)
    else:
        octets = node.value if isinstance(node.value, bytes) else bytes(DATE_TIME_OCTETS)
        words = np.tile(np.frombuffer(octets, ">u4").astype(np.uint32), (len(group.octets), 1))
    return read_clocks(words, group.zones, inverted=inverted)


def cut_text_octets(octets: Octets, node: Node) -> Octets:
    """The octets of a string in a slot, by message."""
    if node.placed:
        return octets[:, node.at : node.stop]
    value = node.value if isinstance(node.value, bytes) else str(node.value).encode("latin-1")
    return np.tile(np.frombuffer(value, np.uint8), (len(octets), 1))


def texts_of(octets: Octets) -> pl.Series:
    """Device names: printable ASCII as it stands, padding at either end dropped, anything else in hexadecimal."""
    messages, width = octets.shape
    if not messages:
        return pl.Series([], dtype=pl.String)
    cut = np.ascontiguousarray(octets)
    odd = np.flatnonzero((((cut < 0x20) & (cut != 0)) | (cut > 0x7E)).any(axis=1))
    hexed = [cut[row].tobytes().hex() for row in odd.tolist()]
    if len(odd):
        cut = cut.copy()
        cut[odd] = 0x20
    offsets = pa.py_buffer(np.arange(messages + 1, dtype=np.int64) * width)
    array = pa.LargeStringArray.from_buffers(messages, offsets, pa.py_buffer(cut))
    names = pl.Series(pl.from_arrow(array)).str.strip_chars("\0 ")
    return names.scatter(odd, hexed) if len(odd) else names


def _view(
    octets: Octets, at: int, shape: tuple[int, ...], steps: tuple[int, ...], dtype: str
) -> npt.NDArray[np.integer]:
    """A strided view: one number of `dtype` at each place, bytes as they were sent. Rows stand end to end."""
    return np.ndarray(shape, np.dtype(dtype), octets, at, (octets.strides[0], *steps))


def _to_int64(view: npt.NDArray[np.integer]) -> tuple[npt.NDArray[np.int64], Flags | None]:
    if view.dtype.kind == "u" and view.dtype.itemsize == 8:
        unsigned = view.astype(np.uint64)
        beyond: Flags = unsigned > np.uint64(_INT64_MAX)
        return unsigned.view(np.int64), beyond if beyond.any() else None
    return view.astype(np.int64), None
