"""Slots cut from all messages of a layout at once: numbers of every width and sign, date-times, device names.

A slot of equal messages is a strided view of their bytes; cutting it is one pass that also turns the bytes around.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from ingest.clocks import Clocks, Micros, Zones, by_reception, read_clocks
from ingest.dlms.cosem import DATE_TIME_OCTETS
from ingest.dlms.data import Tag
from ingest.dlms.layout import WORD_OCTETS
from ingest.dlms.nodes import SIGNED, UNIX_TIME, Node
from ingest.spans import Flags, Octets, Places

_INT64_MAX: Final = 2**63 - 1
_SIGNED_TAGS: Final = SIGNED | {Tag.DELTA_INT8, Tag.DELTA_INT16, Tag.DELTA_INT32}
_DATE_TIME_WORDS: Final = DATE_TIME_OCTETS // 4
_SECOND_US: Final = 1_000_000
_MANY: Final = 1 << 15
_KEPT_CLOCKS: Final = 128
"""Date-times of one message up to which what they say is kept: a day of quarters of an hour has 96."""


class Group(NamedTuple):
    """Messages of one layout and one kind of meter."""

    message: Places  # row of the batch
    octets: Octets  # one APDU a row, rows end to end, zeros behind the last byte
    varies: Octets  # by octet: the bits in which these messages may differ
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

    @property
    def most(self) -> int:
        """What none of its numbers exceeds, either way."""
        return (1 << 8 * np.dtype(self.dtype).itemsize) - 1


def dtype_of(node: Node) -> str:
    """How numpy reads the bytes of a number or boolean."""
    if node.tag == Tag.BOOLEAN:
        return "?"
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


def cut_octets(octets: Octets, grid: Grid) -> Octets:
    """The last octet of the numbers of a grid of one column, by message and row."""
    last = grid.at + np.dtype(grid.dtype).itemsize - 1
    return np.ndarray((len(octets), grid.rows), np.uint8, octets, last, (octets.strides[0], grid.row_step))


class Slots(NamedTuple):
    """Where a list of numbers lies: runs of one type at even distances, and those that are the learned message's."""

    numbers: int
    runs: tuple[tuple[int, Grid], ...]  # place of the first, and a grid of one row
    constants: tuple[tuple[int, int], ...]  # place and value

    @property
    def most(self) -> int:
        """What none of the numbers exceeds, either way."""
        return max([run.most for _, run in self.runs] + [abs(value) for _, value in self.constants], default=0)


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
    """The floats, booleans, or numbers of two BCD digits, in one slot, by message; of no place: the learned one's."""
    if not node.placed:
        return np.full(len(octets), node.value if isinstance(node.value, (int, float)) else np.nan, np.float64)
    width = node.stop - node.at
    if node.tag == Tag.BOOLEAN:
        return np.where(octets[:, node.at] != 0, 1.0, 0.0)
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
    """The date-times of one column of a grid, by message and row; those of one message where all say the same."""
    said = _clocks_of(group, (grid.at, grid.rows, grid.row_step), inverted=inverted)
    clocks = by_reception(said, group.received)
    if len(clocks.at) == len(said.at):
        return clocks
    return Clocks._make(shared(column, len(group.octets)) for column in clocks)


def cut_clock(group: Group, node: Node, *, inverted: bool) -> Clocks:
    """The date-time in one slot, by message."""
    if node.tag == UNIX_TIME:
        return _unix_clock(group, node)
    place = node.at
    if not node.placed:
        octets = node.value if isinstance(node.value, bytes) else bytes(DATE_TIME_OCTETS)
        said = np.frombuffer(octets.ljust(2 * WORD_OCTETS, b"\0"), np.uint8)
        group = group._replace(octets=np.tile(said, (len(group.octets), 1)), varies=np.zeros_like(said))
        place = 0
    clocks = by_reception(_clocks_of(group, (place, 1, 0), inverted=inverted), group.received)
    # Column by column: what was heard of an hour that occurs twice is by message where all messages say the same.
    return Clocks._make([shared(column, len(group.octets))[:, 0] for column in clocks])


def _unix_clock(group: Group, node: Node) -> Clocks:
    seconds = np.ndarray((len(group.octets),), ">u4", group.octets, node.at, (group.octets.strides[0],))
    at, always = seconds.astype(np.int64) * _SECOND_US, np.ones(len(seconds), np.bool_)
    return Clocks(at, always, at, always, ~always, np.zeros(len(seconds), np.uint32), at)


def _clocks_of(group: Group, slots: tuple[int, int, int], *, inverted: bool) -> Clocks:
    """Date-times by message and row. Where all messages say the same, as a fleet's that push on the hour, read once.

    Args:
        group: The messages.
        slots: Where the first date-time stands, how many there are, and how far apart.
        inverted: As the meter's type says.
    """
    at, rows, step = slots
    messages, zone = len(group.octets), group.zones.code
    alike = (zone == zone[:1]).all() and _are_alike(group.varies, slots)
    first = slice(0, 1) if alike else slice(None)
    words = _view(group.octets[first], at, (1 if alike else messages, rows, _DATE_TIME_WORDS), (step, 4), ">u4")
    if alike and rows <= _KEPT_CLOCKS:
        return _said(words.tobytes(), group.zones.names[zone[0]] if zone[0] >= 0 else None, inverted=inverted)
    code = zone[first] if rows == 1 else zone[first].repeat(rows)
    return _read(words, Zones(code, group.zones.names), inverted=inverted)


def _are_alike(varies: Octets, slots: tuple[int, int, int]) -> bool:
    at, rows, step = slots
    return not np.ndarray((rows, DATE_TIME_OCTETS), np.uint8, varies, at, (step, 1)).any()


def _read(words: npt.NDArray[np.integer], zones: Zones, *, inverted: bool) -> Clocks:
    messages, rows, _ = words.shape
    columns = words.transpose(2, 0, 1).astype(np.uint32, order="C").reshape(_DATE_TIME_WORDS, -1)
    clocks = read_clocks(columns.T, zones, inverted=inverted)
    return Clocks._make([column.reshape(messages, rows) for column in clocks])


@lru_cache(maxsize=1024)
def _said(octets: bytes, zone: str | None, *, inverted: bool) -> Clocks:
    """The date-times of one message, by row: an hour's push says the same in every batch of that hour. Not writable."""
    words = np.frombuffer(octets, ">u4").reshape(1, -1, _DATE_TIME_WORDS)
    zones = Zones(np.full(words.shape[1], -1 if zone is None else 0, np.int32), () if zone is None else (zone,))
    clocks = _read(words, zones, inverted=inverted)
    for column in clocks:
        column.flags.writeable = False
    return clocks


def shared(column: npt.NDArray[Any], messages: int) -> npt.NDArray[Any]:
    """The first entry of a column for so many messages, where it has but one; what `broadcast_to` does, dearer."""
    if len(column) == messages:
        return column
    return np.ndarray((messages, *column.shape[1:]), column.dtype, column, 0, (0, *column.strides[1:]))


def cut_text_octets(octets: Octets, node: Node) -> Octets:
    """The octets of a string in a slot, by message."""
    if node.placed:
        return octets[:, node.at : node.stop]
    coding = "utf-8" if node.tag == Tag.UTF8_STRING else "latin-1"
    value = node.value if isinstance(node.value, bytes) else str(node.value).encode(coding)
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
    if view.dtype.kind == "b":  # of other octets than 0 and 1 numpy does not say what number they are
        return (view.view(np.uint8) != 0).astype(np.int64), None
    if view.dtype.kind == "u" and view.dtype.itemsize == 8:
        unsigned = view.astype(np.uint64)
        beyond: Flags = unsigned > np.uint64(_INT64_MAX)
        return unsigned.view(np.int64), beyond if beyond.any() else None
    if view.size >= _MANY and view.dtype.itemsize > 1:
        view = view.astype(view.dtype.newbyteorder("="))  # bytes first, width second: both at once take longer
    return view.astype(np.int64), None
