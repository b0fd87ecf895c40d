"""Statuses as numbers by row: a null repeats the row above, a delta adds to it in the column's width and wraps."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ingest.dlms.data import PACKED
from ingest.dlms.nodes import DELTAS, Node
from ingest.spans import Places


def has_deltas(statuses: Sequence[Node | None]) -> bool:
    """Some of these statuses, None for a null, are sent as what is added to the one above."""
    return any(node is not None and node.tag in DELTAS for node in statuses)


def rows_of_statuses(statuses: Sequence[Node | None]) -> Places:
    """By row the place among the statuses sent (None: none) of that which it has; -1 where nothing says one."""
    sent = [node for node in statuses if node is not None]
    whole = next((at for at, node in enumerate(sent) if node.tag not in DELTAS), len(sent))
    place = np.cumsum([node is not None for node in statuses]) - 1
    return np.where(place < whole, -1, place)  # a delta without a status above it says nothing, as a null there


def with_deltas(statuses: Sequence[Node | None], numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """By message the numbers of the statuses sent, deltas added to what stands before them."""
    if not has_deltas(statuses):
        return numbers
    moved, base = numbers.copy(), None
    for at, node in enumerate(node for node in statuses if node is not None):
        if node.tag not in DELTAS:
            base = node
        elif base is not None:
            moved[:, at] = (moved[:, at - 1] + moved[:, at]) % (1 << 8 * PACKED[base.tag].size)
    return moved
