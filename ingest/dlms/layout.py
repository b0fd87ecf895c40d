"""Where each value of a message lies: the byte layout that equal pushes share.

A layout is learned from one message through the scalar decoder. Its *structure* (tags, lengths, counts, names, scalers
and units, texts that identify a list) must stand in a message byte for byte for the layout to apply; its *slots*
(numbers, clocks, device names, invoke id) are free to differ. Whatever a slot holds, the message means the same thing
in another value; so a whole batch of one layout is verified by one comparison and cut by one copy.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from ingest.dlms.apdu import Apdu, decode_apdu
from ingest.dlms.cosem import DATE_TIME_OCTETS, scaler_unit
from ingest.dlms.data import Data, DataValue, Tag
from ingest.dlms.locate import Located as Place
from ingest.dlms.locate import locate_data
from ingest.dlms.tags import DATA_NOTIFICATION

UNSIGNED: Final = frozenset((Tag.UINT8, Tag.UINT16, Tag.UINT32, Tag.UINT64, Tag.ENUM))
SIGNED: Final = frozenset((Tag.INT8, Tag.INT16, Tag.INT32, Tag.INT64))
DELTAS: Final = frozenset(
    (Tag.DELTA_INT8, Tag.DELTA_INT16, Tag.DELTA_INT32, Tag.DELTA_UINT8, Tag.DELTA_UINT16, Tag.DELTA_UINT32)
)
LONE: Final = frozenset((Tag.FLOAT32, Tag.FLOAT64, Tag.BCD))
"""Numbers that are slots, but each cut by itself."""
STRINGS: Final = frozenset((Tag.OCTET_STRING, Tag.VISIBLE_STRING))
LOGICAL_NAME_OCTETS: Final = 6
WORD_OCTETS: Final = 8
_MAX_GROUP_A: Final = 15  # Blue Book 7.3: groups of media; text of six letters begins above it
_INVOKE_ID: Final = (1, 5)


class Node(NamedTuple):
    """A value and where its content lies in the APDU: `[at, stop)`, behind tag and length.

    Where not `placed`, `[at, stop)` is what it shares with others, and only `value` tells it.
    """

    tag: int
    at: int
    stop: int
    value: DataValue
    items: "tuple[Node, ...] | None" = None
    placed: bool = True

    @property
    def is_name(self) -> bool:
        """An octet string of six octets of which the first names a medium: how a message names an object."""
        value = self.value
        return (
            self.tag == Tag.OCTET_STRING
            and isinstance(value, bytes)
            and len(value) == LOGICAL_NAME_OCTETS
            and value[0] <= _MAX_GROUP_A
        )

    @property
    def is_clock(self) -> bool:
        """An octet string of twelve octets, or a date-time under its own tag: it may hold a date-time."""
        if self.tag == Tag.DATE_TIME:
            return True
        return self.tag == Tag.OCTET_STRING and self.stop - self.at == DATE_TIME_OCTETS

    @property
    def is_number(self) -> bool:
        """An integer or enum, sent by itself or as a delta."""
        return self.tag in UNSIGNED or self.tag in SIGNED or self.tag in DELTAS

    def leaves(self) -> "Iterator[Node]":
        """Every value below, in the order sent; the node itself where it is no container."""
        if self.items is None:
            yield self
            return
        for item in self.items:
            yield from item.leaves()


class Located(NamedTuple):
    """A decoded APDU with the places of its parts; `nodes` finds the node of a `Data` of its body by identity."""

    apdu: Apdu
    body: Node
    date_time_at: int | None
    nodes: dict[int, Node]


class Layout(NamedTuple):
    """What equal messages share: a length, and which bytes must stand as they are."""

    length: int
    structure: npt.NDArray[np.int64]  # ascending places of the structure bytes
    octets: npt.NDArray[np.uint8]  # what stands there
    located: Located  # the message from which it was learned
    wanted: npt.NDArray[np.uint64]  # the same as words of a padded message, zeros elsewhere
    relevant: npt.NDArray[np.uint64]  # the bits of those words that are structure
    names: tuple[Node, ...]  # strings of a length of `fixed` that are slots: with another text it is another layout
    digits: npt.NDArray[np.int64]  # places of BCD octets: with a digit above 9 it is refused


def locate(apdu: bytes, quirks: frozenset[str] = frozenset()) -> Located:
    """The APDU decoded, and every value found in its bytes.

    Args:
        apdu: The APDU in the clear.
        quirks: As for `decode_apdu`. A message that may depart from A-XDR is read, but nothing of it is placed.

    Raises:
        ProtocolError: As `decode_apdu`.
    """
    decoded = decode_apdu(apdu, quirks)
    data, at = decoded.body, decoded.body_at
    nodes: dict[int, Node] = {}
    # the bodies of responses are put together: their values have no places
    placed = bool(at) and not quirks
    body = _placed(data, locate_data(apdu, at), nodes) if placed else _unplaced(data, (at, len(apdu)), nodes)
    return Located(decoded, body, decoded.date_time_at, nodes)


def learn(apdu: bytes, located: Located, fixed: frozenset[bytes]) -> Layout:
    """The layout of a message.

    Args:
        apdu: The message.
        located: `locate` of it.
        fixed: Texts that tell lists apart: where a string holds one of them it is structure.
    """
    free = np.zeros(len(apdu), np.bool_)
    if apdu[0] == DATA_NOTIFICATION:
        free[_INVOKE_ID[0] : _INVOKE_ID[1]] = True
    if located.date_time_at is not None:
        free[located.date_time_at : located.date_time_at + DATE_TIME_OCTETS] = True
    for at, stop in _slots(located.body, apdu, fixed):
        free[at:stop] = True
    octets = np.frombuffer(apdu, np.uint8)
    structure = np.flatnonzero(~free)
    width = max(-(-len(apdu) // WORD_OCTETS), 1) * WORD_OCTETS
    wanted, relevant = np.zeros(width, np.uint8), np.zeros(width, np.uint8)
    wanted[structure], relevant[structure] = octets[structure], 0xFF
    lengths = {len(text) for text in fixed}
    names = tuple(
        node for node in located.body.leaves() if node.tag in STRINGS and node.placed and node.stop - node.at in lengths
    )
    words = (wanted.view(np.uint64), relevant.view(np.uint64))
    digits = np.array([node.at for node in located.body.leaves() if node.tag == Tag.BCD and node.placed], np.int64)
    return Layout(len(apdu), structure, octets[structure], located, *words, names, digits)


def _placed(data: Data, place: Place, nodes: dict[int, Node]) -> Node:
    items = data.items
    if data.tag == Tag.COMPACT_ARRAY:
        return _unplaced(data, (place.at, place.stop), nodes)
    if items is None:
        node = Node(data.tag, place.at, place.stop, data.value)
    else:
        inner = tuple(_placed(item, at, nodes) for item, at in zip(items, place.items, strict=True))
        node = Node(data.tag, place.at, place.stop, None, inner)
    nodes[id(data)] = node
    return node


def _unplaced(data: Data, place: tuple[int, int], nodes: dict[int, Node]) -> Node:
    """Values that share a place are read from the learned message and are structure: never cut from another."""
    items = data.items
    inner = None if items is None else tuple(_unplaced(item, place, nodes) for item in items)
    node = Node(data.tag, *place, None if inner is not None else data.value, inner, placed=False)
    nodes[id(data)] = node
    return node


def _slots(node: Node, apdu: bytes, fixed: frozenset[bytes]) -> Iterator[tuple[int, int]]:
    if not node.placed:
        return
    if node.items is None:
        if _is_slot(node, apdu, fixed):
            yield node.at, node.stop
        return
    if is_scaler_unit(node):
        return
    for item in node.items:
        yield from _slots(item, apdu, fixed)


def _is_slot(node: Node, apdu: bytes, fixed: frozenset[bytes]) -> bool:
    if node.is_number or node.tag in LONE or node.tag == Tag.DATE_TIME:
        return True
    return node.tag in STRINGS and node.stop - node.at != LOGICAL_NAME_OCTETS and apdu[node.at : node.stop] not in fixed


def is_scaler_unit(node: Node) -> bool:
    """The node is structure{i8 scaler, enum unit}."""
    items = node.items
    if items is None or len(items) != 2 or any(item.items is not None for item in items):
        return False
    return scaler_unit(Data(node.tag, tuple(Data(item.tag, item.value) for item in items))) is not None
