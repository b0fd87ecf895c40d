"""Slots cut from all messages of a layout at once: numbers of every width and sign, octets, device names."""

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

_WORD: Final = {1: ">u1", 2: ">u2", 4: ">u4", 8: ">u8"}
_SIGNED_WORD: Final = {1: ">i1", 2: ">i2", 4: ">i4", 8: ">i8"}
_INT64_MAX: Final = np.uint64(2**63 - 1)
_SIGNED_TAGS: Final = SIGNED | {Tag.DELTA_INT8, Tag.DELTA_INT16, Tag.DELTA_INT32}


class Group(NamedTuple):
    """Messages of one layout and one kind of meter."""

    message: Places  # row of the batch
    octets: Octets  # one APDU a row
    zones: Zones
    received: Micros  # `NO_TIME` where not known


def cut_numbers(octets: Octets, nodes: Sequence[Node]) -> tuple[npt.NDArray[np.int64], Flags]:
    """The numbers in these slots: (messages x nodes), and which of them exceed 63 bits."""
    messages = len(octets)
    numbers = np.zeros((messages, len(nodes)), np.int64)
    beyond = np.zeros((messages, len(nodes)), np.bool_)
    by_shape: dict[tuple[int, bool], list[int]] = {}
    for place, node in enumerate(nodes):
        if node.placed:
            by_shape.setdefault((node.stop - node.at, node.tag in _SIGNED_TAGS), []).append(place)
        elif isinstance(node.value, int):
            beyond[:, place] = node.value > int(_INT64_MAX)
            numbers[:, place] = min(node.value, int(_INT64_MAX))
    for (width, signed), places in by_shape.items():
        columns = np.concatenate([np.arange(nodes[place].at, nodes[place].stop) for place in places])
        words = np.ascontiguousarray(octets[:, columns])
        cut = words.view((_SIGNED_WORD if signed else _WORD)[width])
        if width == 8 and not signed:
            beyond[:, places] = cut > _INT64_MAX
        numbers[:, places] = cut.astype(np.int64)
    return numbers, beyond


def cut_clocks(group: Group, nodes: Sequence[Node], *, inverted: bool) -> list[Clocks]:
    """The date-times in these slots, one entry a node."""
    if not nodes:
        return []
    messages = len(group.message)
    stacked = np.empty((len(nodes), messages, DATE_TIME_OCTETS), np.uint8)
    for place, node in enumerate(nodes):
        if node.placed:
            stacked[place] = group.octets[:, node.at : node.stop]
        else:
            stacked[place] = np.frombuffer(node.value if isinstance(node.value, bytes) else b"", np.uint8)
    zones = Zones(np.tile(group.zones.code, len(nodes)), group.zones.names)
    clocks = read_clocks(stacked.reshape(-1, DATE_TIME_OCTETS), zones, inverted=inverted)
    shape = (len(nodes), messages)
    return [Clocks(*(column.reshape(shape)[place] for column in clocks)) for place in range(len(nodes))]


def cut_texts(octets: Octets, node: Node) -> pl.Series:
    """The device name in a slot: printable ASCII as it stands, padding dropped, anything else in hexadecimal."""
    messages, width = len(octets), node.stop - node.at
    if node.placed:
        cut = np.ascontiguousarray(octets[:, node.at : node.stop])
    else:
        value = node.value if isinstance(node.value, bytes) else str(node.value).encode("latin-1")
        width = len(value)
        cut = np.tile(np.frombuffer(value, np.uint8), (messages, 1))
    odd = ((cut < 0x20) & (cut != 0)) | (cut > 0x7E)
    hexed = np.flatnonzero(odd.any(axis=1))
    if len(hexed):
        cut = cut.copy()
        hex_texts = [cut[row].tobytes().hex() for row in hexed.tolist()]
        cut[hexed] = 0x20
    offsets = pa.py_buffer(np.arange(messages + 1, dtype=np.int64) * width)
    array = pa.LargeStringArray.from_buffers(messages, offsets, pa.py_buffer(cut))
    names = pl.Series(pl.from_arrow(array)).str.strip_chars("\0 ")
    return names.scatter(hexed, hex_texts) if len(hexed) else names
