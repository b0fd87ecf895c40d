"""Slots cut from all messages of a layout at once: numbers of every width and sign, date-times, device names.

A slot of equal messages is a strided view of their bytes; cutting it is one pass that also turns the bytes around.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from ingest.clocks import Clocks, Micros, Zones, by_reception, read_clocks
from ingest.dlms.cosem import DATE_TIME_OCTETS
from ingest.dlms.data import Tag
from ingest.dlms.nodes import SIGNED, UNIX_TIME, Node
from ingest.spans import Flags, Octets, Places

_INT64_MAX: Final = 2**63 - 1
_SIGNED_TAGS: Final = SIGNED | {Tag.DELTA_INT8, Tag.DELTA_INT16, Tag.DELTA_INT32}
_DATE_TIME_WORDS: Final = DATE_TIME_OCTETS // 4
_SECOND_US: Final = 1_000_000


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


class Slots(NamedTuple):
    """Where a list of numbers lies: runs of one type at even distances, and those that are the learned message's."""

    numbers: int
    runs: tuple[tuple[int, Grid], ...]  # place of the first, and a grid of one row
    constants: tuple[tuple[int, int], ...]  # place and value


def slots_of(nodes: Sequence[Node]) -> Slots:
    """The slots of these numbers."""
    runs: list[tuple[int, Grid]] = []
    constants: list[tuple[int, int]] = []
    for place, node in enumerate(nodes):
        if not node.placed:
            constants.append((place, node.value if isinstance(node.value, int) else 0))
            continue
        first, run = runs[-1] if runs else (0, None)
        step = 0 if run is None else node.at - (run.at + (run.columns - 1) * run.column_step)
        follows = run is not None and first + run.columns == place and dtype_of(node) == run.dtype
        if run is not None and follows and (run.columns == 1 or step == run.column_step):
            runs[-1] = (first, run._replace(columns=run.columns + 1, column_step=step))
        else:
            runs.append((place, Grid(node.at, 1, 0, 1, 0, dtype_of(node))))
    return Slots(len(nodes), tuple(runs), tuple(constants))


def cut_numbers(octets: Octets, slots: Slots) -> tuple[npt.NDArray[np.int64], Flags | None]:
    """The numbers in these slots by message and place; and which exceed 63 bits, None where none does."""
    if len(slots.runs) == 1 and not slots.constants:
        whole, over = cut_grid(octets, slots.runs[0][1])
        return whole[:, 0, :], None if over is None else over[:, 0, :]
    numbers = np.zeros((len(octets), slots.numbers), np.int64)
    beyond = np.zeros(numbers.shape, np.bool_)
    for place, run in slots.runs:
        columns = slice(place, place + run.columns)
        cut, over = cut_grid(octets, run)
        numbers[:, columns] = cut[:, 0, :]
        if over is not None:
            beyond[:, columns] = over[:, 0, :]
    for place, value in slots.constants:
        numbers[:, place], beyond[:, place] = min(value, _INT64_MAX), value > _INT64_MAX
    return numbers, beyond if beyond.any() else None


def cut_lone(octets: Octets, node: Node) -> npt.NDArray[np.float64]:
    """The floats, or numbers of two BCD digits, in one slot, by message."""
    width = node.stop - node.at
    if node.tag == Tag.BCD:
        tens, ones = np.divmod(octets[:, node.at].astype(np.float64), 16)
        return 10 * tens + ones
    sent: npt.NDArray[np.float64] = np.ndarray((len(octets),), f">f{width}", octets, node.at, (octets.strides[0],))
    with np.errstate(invalid="ignore"):  # a signalling NaN is one like any other
        return sent.astype(np.float64)


def cut_bits(octets: Octets, node: Node, bits: int) -> npt.NDArray[np.uint8]:
    """The bits of a bit string in a slot, by message, the first sent first."""
    if node.placed:
        return np.unpackbits(np.ascontiguousarray(octets[:, node.at : node.stop]), axis=1)[:, :bits]
    digits = np.frombuffer(str(node.value).encode("ascii"), np.uint8) - ord("0")
    return np.tile(digits, (len(octets), 1))


def cut_clock_grid(group: Group, grid: Grid, *, inverted: bool) -> Clocks:
    """The date-times of one column of a grid, by message and row."""
    shape, steps = (len(group.octets), grid.rows, _DATE_TIME_WORDS), (grid.row_step, 4)
    clocks = _clocks_of(_view(group.octets, grid.at, shape, steps, ">u4"), group.zones, inverted=inverted)
    return by_reception(clocks, group.received)


def cut_clock(group: Group, node: Node, *, inverted: bool) -> Clocks:
    """The date-time in one slot, by message."""
    if node.tag == UNIX_TIME:
        return _unix_clock(group, node)
    if node.placed:
        words = _view(group.octets, node.at, (len(group.octets), 1, _DATE_TIME_WORDS), (0, 4), ">u4")
    else:
        octets = node.value if isinstance(node.value, bytes) else bytes(DATE_TIME_OCTETS)
        words = np.broadcast_to(np.frombuffer(octets, ">u4"), (len(group.octets), 1, _DATE_TIME_WORDS))
    clocks = by_reception(_clocks_of(words, group.zones, inverted=inverted), group.received)
    return Clocks._make(column[:, 0] for column in clocks)


def _unix_clock(group: Group, node: Node) -> Clocks:
    seconds = np.ndarray((len(group.octets),), ">u4", group.octets, node.at, (group.octets.strides[0],))
    at, always = seconds.astype(np.int64) * _SECOND_US, np.ones(len(seconds), np.bool_)
    return Clocks(at, always, at, always, ~always, np.zeros(len(seconds), np.uint32), at)


def _clocks_of(words: npt.NDArray[np.integer], zones: Zones, *, inverted: bool) -> Clocks:
    """Date-times by message and row. Where all messages say the same, as a fleet's that push on the hour, read once."""
    messages, rows, _ = words.shape
    raw = words.view(words.dtype.newbyteorder("="))
    alike = messages > 1 and (raw == raw[:1]).all() and (zones.code == zones.code[0]).all()
    first = slice(0, 1) if alike else slice(None)
    sent = words[first].astype(np.uint32).reshape(-1, _DATE_TIME_WORDS)
    clocks = read_clocks(sent, Zones(np.repeat(zones.code[first], rows), zones.names), inverted=inverted)
    if not alike:
        return Clocks._make(column.reshape(messages, rows) for column in clocks)
    # The one row for every message: what `broadcast_to` does, at a tenth of its price.
    return Clocks._make(
        np.ndarray((messages, rows), column.dtype, column, 0, (0, column.itemsize)) for column in clocks
    )


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
