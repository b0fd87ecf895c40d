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

from ingest.dlms.cosem import DATE_TIME_OCTETS, scaler_unit
from ingest.dlms.data import Data, Tag
from ingest.dlms.nodes import DELTAS, LOGICAL_NAME_OCTETS, LONE, SIGNED, STRINGS, UNSIGNED, Located, Node
from ingest.dlms.push import push_object_list
from ingest.dlms.tags import ACCESS_RESPONSE, DATA_NOTIFICATION

WORD_OCTETS: Final = 8
_SLOTS: Final = UNSIGNED | SIGNED | DELTAS | LONE | {Tag.DATE_TIME, Tag.BIT_STRING, Tag.BOOLEAN}
_INVOKE_ID: Final = (1, 5)


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
    if node.tag in _SLOTS:
        return True
    return node.tag in STRINGS and node.stop - node.at != LOGICAL_NAME_OCTETS and apdu[node.at : node.stop] not in fixed


def is_scaler_unit(node: Node) -> bool:
    """The node is structure{i8 scaler, enum unit}."""
    items = node.items
    if items is None or len(items) != 2 or any(item.items is not None for item in items):
        return False
    return scaler_unit(Data(node.tag, tuple(Data(item.tag, item.value) for item in items))) is not None
