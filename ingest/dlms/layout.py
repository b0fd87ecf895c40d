"""Where each value of a message lies: the byte layout that equal pushes share.

A layout is learned from one message through the scalar decoder. Its *structure* (tags, lengths, counts, names, scalers
and units, texts that identify a list) must stand in a message byte for byte for the layout to apply; its *slots*
(numbers, clocks, device names, invoke id) are free to differ. Whatever a slot holds, the message means the same thing
in another value; so a whole batch of one layout is verified by one comparison and cut by one copy.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from ingest.dlms.apdu import Apdu, DataNotification, EventNotification, decode_apdu
from ingest.dlms.axdr import QUIRK_OBIS_TAG_SWAPPED, QUIRK_UNTAGGED_DESCRIPTOR
from ingest.dlms.compact import decode_compact_data
from ingest.dlms.cosem import DATE_TIME_OCTETS, scaler_unit
from ingest.dlms.data import Data, DataValue, Tag
from ingest.dlms.locate import Located as Place
from ingest.dlms.locate import locate_compact_data, locate_data, may_be_descriptor, may_be_swapped
from ingest.dlms.push import push_object_list
from ingest.dlms.tags import ACCESS_RESPONSE, DATA_NOTIFICATION
from schemas.errors import ProtocolError

UNSIGNED: Final = frozenset((Tag.UINT8, Tag.UINT16, Tag.UINT32, Tag.UINT64, Tag.ENUM))
SIGNED: Final = frozenset((Tag.INT8, Tag.INT16, Tag.INT32, Tag.INT64))
DELTAS: Final = frozenset(
    (Tag.DELTA_INT8, Tag.DELTA_INT16, Tag.DELTA_INT32, Tag.DELTA_UINT8, Tag.DELTA_UINT16, Tag.DELTA_UINT32)
)
LONE: Final = frozenset((Tag.FLOAT32, Tag.FLOAT64, Tag.BCD))
"""Numbers that are slots, but each cut by itself."""
STRINGS: Final = frozenset((Tag.OCTET_STRING, Tag.VISIBLE_STRING))
UNIX_TIME: Final = 256
"""No tag of A-XDR: a number of 32 bits that a template of compact data calls a clock, seconds since 1970 UTC."""
LOGICAL_NAME_OCTETS: Final = 6
WORD_OCTETS: Final = 8
_MAX_GROUP_A: Final = 15  # Blue Book 7.3: groups of media; text of six letters begins above it
_INVOKE_ID: Final = (1, 5)


class Node(NamedTuple):
    """A value and where its content lies in the APDU: `[at, stop)`, behind tag and length.

    Where not `placed`, `[at, stop)` is what it shares with others, and only `value` tells it. `inner`: what a string
    holds that is compact data.
    """

    tag: int
    at: int
    stop: int
    value: DataValue
    items: "tuple[Node, ...] | None" = None
    placed: bool = True
    inner: "Node | None" = None

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
        """An octet string of twelve octets, or a date-time under a tag that says so: it may hold a date-time."""
        if self.tag in (Tag.DATE_TIME, UNIX_TIME):
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

    def numbers(self) -> "Iterator[Node]":
        """As `leaves`, and what stands inside of compact data in place of its string."""
        for leaf in self.leaves():
            yield from (leaf.inner or leaf).leaves()


Buffers: TypeAlias = Callable[[Apdu], Mapping[int, bytes]]
"""Which values of an APDU are compact data: by identity of the `Data` the type description, empty where not known."""


class Lookalikes(NamedTuple):
    """Where a quirk may take other bytes for something else: places of tags (`locate.may_be_swapped` and so on)."""

    swapped: npt.NDArray[np.int64]
    descriptor: npt.NDArray[np.int64]


class Located(NamedTuple):
    """A decoded APDU with the places of its parts; `nodes` finds the node of a `Data` of its body by identity."""

    apdu: Apdu
    body: Node
    date_time_at: int | None
    nodes: dict[int, Node]
    lookalikes: Lookalikes | None  # None: it was read without quirks


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


def locate(apdu: bytes, quirks: frozenset[str] = frozenset(), buffers: Buffers | None = None) -> Located:
    """The APDU decoded, and every value found in its bytes.

    Args:
        apdu: The APDU in the clear.
        quirks: As for `decode_apdu`.
        buffers: Finds compact data, whose values then are found as well.

    Raises:
        ProtocolError: As `decode_apdu`.
    """
    decoded = decode_apdu(apdu, quirks)
    nodes: dict[int, Node] = {}
    placing = _Placing(apdu, nodes, {} if buffers is None else buffers(decoded))
    body, places = _body(decoded, placing, quirks)
    lookalikes = _lookalikes(places, apdu, quirks) if quirks else None
    return Located(decoded, body, decoded.date_time_at, nodes, lookalikes)


def _body(decoded: Apdu, placing: "_Placing", quirks: frozenset[str]) -> tuple[Node, list[Place]]:
    """The body's node, and the places of what was sent: of all of it, or of each value of a body put together."""
    data, whole = decoded.body, (0, len(placing.apdu))
    if decoded.body_at:
        place = locate_data(placing.apdu, decoded.body_at, quirks)
        return placing.placed(data, place), [place]
    if isinstance(decoded, (DataNotification, EventNotification)) or data.items is None:
        return _unplaced(data, whole, placing.nodes), []
    places = [locate_data(placing.apdu, at, quirks) for at in decoded.values_at if at]
    found = iter(places)
    items = tuple(
        placing.placed(item, next(found)) if at else _unplaced(item, whole, placing.nodes)
        for item, at in zip(data.items, decoded.values_at, strict=True)
    )
    body = Node(data.tag, *whole, None, items)
    placing.nodes[id(data)] = body
    return body, places


def learn(apdu: bytes, located: Located, fixed: frozenset[bytes]) -> Layout:
    """The layout of a message.

    Args:
        apdu: The message.
        located: `locate` of it.
        fixed: Texts that tell lists apart: where a string holds one of them it is structure.
    """
    free = np.zeros(len(apdu), np.bool_)
    if apdu[0] in (DATA_NOTIFICATION, ACCESS_RESPONSE):
        free[_INVOKE_ID[0] : _INVOKE_ID[1]] = True
    if located.date_time_at is not None:
        free[located.date_time_at : located.date_time_at + DATE_TIME_OCTETS] = True
    for at, stop in _slots(located.body, apdu, fixed):
        free[at:stop] = True
    entries = _push_object_list(located)
    if entries is not None:  # its numbers say what the values are
        free[entries.at : entries.stop] = False
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
    digits = np.array([node.at for node in located.body.numbers() if node.tag == Tag.BCD and node.placed], np.int64)
    return Layout(len(apdu), structure, octets[structure], located, *words, names, digits)


def _push_object_list(located: Located) -> Node | None:
    items, sent = located.body.items, located.apdu.body.items
    return items[0] if items and sent and push_object_list(sent[0]) is not None else None


def _lookalikes(places: list[Place], apdu: bytes, quirks: frozenset[str]) -> Lookalikes:
    swapped = [at for place in places for at in may_be_swapped(place, apdu)]
    descriptor = [at for place in places for at in may_be_descriptor(place, apdu)]
    return Lookalikes(
        np.array(swapped if QUIRK_OBIS_TAG_SWAPPED in quirks else [], np.int64),
        np.array(descriptor if QUIRK_UNTAGGED_DESCRIPTOR in quirks else [], np.int64),
    )


class _Placing(NamedTuple):
    """An APDU whose values become nodes; `buffers` as `Buffers` gives them."""

    apdu: bytes
    nodes: dict[int, Node]
    buffers: Mapping[int, bytes]

    def placed(self, data: Data, place: Place) -> Node:
        items = data.items
        if items is None:
            node = self._leaf(data, place)
        else:
            inner = tuple(self.placed(item, at) for item, at in zip(items, place.items, strict=True))
            node = Node(data.tag, place.at, place.stop, None, inner)
        self.nodes[id(data)] = node
        return node

    def _leaf(self, data: Data, place: Place) -> Node:
        node = Node(data.tag, place.at, place.stop, data.value)
        description = self.buffers.get(id(data))
        if description is None or not isinstance(data.value, bytes):
            return node
        inner = self._inner(data.value, place, description) if description else None
        return node._replace(placed=inner is not None, inner=inner)

    def _inner(self, buffer: bytes, place: Place, description: bytes) -> Node | None:
        """What the buffer holds; None where it is not what its template says, which the plan finds as well."""
        try:
            values = decode_compact_data(description, buffer)
        except ProtocolError:
            return None
        inside = locate_compact_data(self.apdu, place.at, place.stop, description)
        return _Placing(self.apdu, {}, {}).placed(Data(Tag.STRUCTURE, values), inside)


def _unplaced(data: Data, place: tuple[int, int], nodes: dict[int, Node]) -> Node:
    """Values that share a place are read from the learned message and are structure: never cut from another."""
    items = data.items
    inner = None if items is None else tuple(_unplaced(item, place, nodes) for item in items)
    node = Node(data.tag, *place, None if inner is not None else data.value, inner, placed=False)
    nodes[id(data)] = node
    return node


def _slots(node: Node, apdu: bytes, fixed: frozenset[bytes]) -> Iterator[tuple[int, int]]:
    if not node.placed or is_scaler_unit(node):
        return
    if node.items is not None:
        for item in node.items:
            yield from _slots(item, apdu, fixed)
    elif node.inner is not None and apdu[node.at : node.stop] not in fixed:
        for leaf in node.inner.leaves():
            if leaf.at != node.at and _is_slot(leaf, apdu, frozenset()):  # the first names the template
                yield leaf.at, leaf.stop
    elif _is_slot(node, apdu, fixed):
        yield node.at, node.stop


def _is_slot(node: Node, apdu: bytes, fixed: frozenset[bytes]) -> bool:
    if node.is_number or node.tag in LONE or node.tag in (Tag.DATE_TIME, Tag.BIT_STRING):
        return True
    return node.tag in STRINGS and node.stop - node.at != LOGICAL_NAME_OCTETS and apdu[node.at : node.stop] not in fixed


def is_scaler_unit(node: Node) -> bool:
    """The node is structure{i8 scaler, enum unit}."""
    items = node.items
    if items is None or len(items) != 2 or any(item.items is not None for item in items):
        return False
    return scaler_unit(Data(node.tag, tuple(Data(item.tag, item.value) for item in items))) is not None
