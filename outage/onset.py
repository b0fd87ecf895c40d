"""Where enough of a node's meters fall silent together: the share rule of outage.md section 4, in integers."""

from typing import NamedTuple

import numpy as np

from outage.params import DetectParams
from outage.topology import Flags, Ints


class Onsets(NamedTuple):
    """Per span of the pool: what an onset that begins with it amounts to in its node."""

    fresh: Ints  # distinct power-downs of the node within `fresh_s`
    needed: Ints  # max(2, ⌈r·n⌉) of the meters that were not dark before
    enough: Flags


def find_onsets(node: Ints, begin: Ints, end: Ints, size: Ints, params: DetectParams) -> Onsets:
    """Count, for every span, the power-downs of its node in the window that begins with it.

    Args:
        node: Number of each span's node; any order.
        begin: Start of each span in microseconds.
        end: End of each span.
        size: Eligible meters by node number.
        params: `fresh_s` and `share_tenths`.

    A meter that is dark already cannot gasp again: it is taken off n, so that a second fault behind the first, or the
    third street of a storm, is measured against the meters that still had supply.
    """
    low = int(begin.min()) // 1000
    width = int(begin.max()) // 1000 - low + params.fresh_s * 1000 + 2
    opened = node * width + begin // 1000 - low
    closed = node * width + np.clip(end // 1000 - low, 0, width - 1)
    starts, ends = np.sort(opened), np.sort(closed)
    first = np.searchsorted(starts, node * width)
    before = np.searchsorted(starts, opened, "left")
    fresh = np.searchsorted(starts, opened + params.fresh_s * 1000, "left") - before
    over = np.searchsorted(ends, opened, "right") - np.searchsorted(ends, node * width)
    needed = needed_of(size[node] - np.maximum(before - first - over, 0), params.share_tenths)
    return Onsets(fresh, needed, fresh >= needed)


def needed_of(meters: Ints, share_tenths: int) -> Ints:
    """max(2, ⌈r·n⌉), never in floats."""
    needed: Ints = np.maximum(2, -(-share_tenths * meters // 10))
    return needed


def first_per_node(node: Ints, begin: Ints, chosen: Flags) -> Ints:
    """Place of the earliest chosen span of every node that has one, ascending by node."""
    place = np.flatnonzero(chosen)
    order = place[np.lexsort((begin[place], node[place]))]
    if not len(order):
        return order
    firsts: Ints = order[np.r_[True, node[order][1:] != node[order][:-1]]]
    return firsts
