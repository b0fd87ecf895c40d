"""Columns of rows in which floats, BCD digits or booleans stand: cut one by one, as those of registers are."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from ingest.dlms.data import Tag
from ingest.dlms.nodes import DELTAS, LONE, Node
from ingest.scaling import floats_to_milli
from ingest.slots import cut_lone
from ingest.spans import Flags, Octets, Places

CUT_ALONE: Final = LONE | {Tag.BOOLEAN}
"""Numbers of a row that no integer slot holds."""
_INTEGERS: Final = -2
_NO_INTEGER: Final = -1


class LoneColumn(NamedTuple):
    """Cells of one column: what `rows` say stands in `nodes`; a null repeats what stands above it.

    `source`: of each of `rows` the place among `nodes`; -1 of a delta, which adds to integers alone (`dlms.profile`).
    """

    column: int
    nodes: tuple[Node, ...]
    rows: Places
    source: Places

    @property
    def baseless(self) -> Flags:
        """Of `rows` those in which such a delta stands, or a null below it."""
        flags: Flags = self.source == _NO_INTEGER
        return flags


def lone_columns(values: Sequence[Sequence[Node | None]]) -> tuple[LoneColumn, ...]:
    """The columns of these rows, None for a null, in which such numbers stand."""
    found = (_lone_column(column, nodes) for column, nodes in enumerate(zip(*values, strict=True)))
    return tuple(each for each in found if each.nodes)


def _lone_column(column: int, cells: Sequence[Node | None]) -> LoneColumn:
    nodes: list[Node] = []
    sources: list[int] = []
    said = _INTEGERS
    for node in cells:
        if node is not None and node.tag in CUT_ALONE:
            said = len(nodes)
            nodes.append(node)
        elif node is not None and (node.tag not in DELTAS or said == _INTEGERS):
            said = _INTEGERS
        elif node is not None:
            said = _NO_INTEGER
        sources.append(said)
    source = np.array(sources, np.int64)
    rows = np.flatnonzero(source != _INTEGERS)
    return LoneColumn(column, tuple(nodes), rows, source[rows])


def cut_lone_column(octets: Octets, lone: LoneColumn, power: int) -> tuple[npt.NDArray[np.int64], Flags]:
    """Thousandths by message and row of `lone.rows`, and where they are not exact: 0 in the first there."""
    numbers = np.stack([cut_lone(octets, node) for node in lone.nodes], axis=1)
    milli, wrong = floats_to_milli(numbers.reshape(-1), power)
    milli, wrong = milli.reshape(numbers.shape), wrong.reshape(numbers.shape)
    return np.where(lone.baseless, 0, milli[:, lone.source]), wrong[:, lone.source] | lone.baseless
