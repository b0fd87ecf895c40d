"""The values of a message as a tree of nodes that know their bytes: what layouts are learned from and plans cut."""

from collections.abc import Callable, Iterator, Mapping
from typing import Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from ingest.dlms.apdu import Apdu, DataNotification, EventNotification, decode_apdu
from ingest.dlms.axdr import MAX_GROUP_A, QUIRK_OBIS_TAG_SWAPPED, QUIRK_UNTAGGED_DESCRIPTOR
from ingest.dlms.compact import decode_compact_data
from ingest.dlms.cosem import DATE_TIME_OCTETS
from ingest.dlms.data import Data, DataValue, Tag
from ingest.dlms.locate import Located as Place
from ingest.dlms.locate import locate_compact_data, locate_data, may_be_descriptor, may_be_swapped
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
# Plain numbers, as in `axdr`: every value of a message that is like no other passes here.
_OCTET_STRING: Final = int(Tag.OCTET_STRING)
_CLOCKS: Final = frozenset((int(Tag.DATE_TIME), UNIX_TIME))
_NUMBERS: Final = frozenset(map(int, UNSIGNED | SIGNED | DELTAS))


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
            self.tag == _OCTET_STRING
            and isinstance(value, bytes)
            and len(value) == LOGICAL_NAME_OCTETS
            and value[0] <= MAX_GROUP_A
        )

    @property
    def is_clock(self) -> bool:
        """An octet string of twelve octets, or a date-time under a tag that says so: it may hold a date-time."""
        if self.tag in _CLOCKS:
            return True
        return self.tag == _OCTET_STRING and self.stop - self.at == DATE_TIME_OCTETS

    @property
    def is_number(self) -> bool:
        """An integer or enum, sent by itself or as a delta."""
        return self.tag in _NUMBERS

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
