"""Where enough of a node's meters fall silent together: the share rule of outage.md section 4, in integers."""

from typing import NamedTuple

import numpy as np

from outage.params import DetectParams
from outage.topology import Flags, Ints


class Dark(NamedTuple):
    """Stretches in which meters of some nodes are known to be dark. Times in microseconds."""

    node: Ints
    begin: Ints
    end: Ints


class Onsets(NamedTuple):
    """Per span: what an onset that begins with it amounts to in its node."""

    needed: Ints  # max(2, ⌈r·n⌉) of the meters that were not dark before
    enough: Flags


def find_onsets(spans: Dark, quiet: Dark, size: Ints, params: DetectParams) -> Onsets:
    """Count, for every span, the power-downs of its node in the window that begins with it.

    Args:
        spans: The power-downs that may count; any order.
        quiet: Stretches of expected silence: planned work, suppressed meters.
        size: Eligible meters by node number.
        params: `fresh_s` and `share_tenths`.

    A meter that is dark already cannot gasp again: it is taken off n, so that a second fault behind the first, or the
    third street of a storm, is measured against the meters that still had supply.
    """
    node, begin = spans.node, spans.begin
    low = int(begin.min()) // 1000
    width = int(begin.max()) // 1000 - low + params.fresh_s * 1000 + 2
    opened = node * width + begin // 1000 - low
    starts = np.sort(opened)
    before = np.searchsorted(starts, opened, "left")
    fresh = np.searchsorted(starts, opened + params.fresh_s * 1000, "left") - before
    earlier = before - np.searchsorted(starts, node * width)
    dark = earlier - _closed(spans, opened, node, (low, width)) + _dark_at(quiet, opened, node, (low, width))
    needed = needed_of(np.maximum(size[node] - np.maximum(dark, 0), 0), params.share_tenths)
    return Onsets(needed, fresh >= needed)


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


def _closed(spans: Dark, instant: Ints, node: Ints, axis: tuple[int, int]) -> Ints:
    """How many of the node's spans have ended by each instant (keys of the axis)."""
    low, width = axis
    ends = np.sort(spans.node * width + np.clip(spans.end // 1000 - low, 0, width - 1))
    closed: Ints = np.searchsorted(ends, instant, "right") - np.searchsorted(ends, node * width)
    return closed


def _dark_at(quiet: Dark, instant: Ints, node: Ints, axis: tuple[int, int]) -> Ints:
    """How many of the node's quiet stretches hold each instant."""
    if not len(quiet.node):
        return np.zeros(len(instant), np.int64)
    low, width = axis
    begins = np.sort(quiet.node * width + np.clip(quiet.begin // 1000 - low, 0, width - 1))
    opened: Ints = np.searchsorted(begins, instant, "right") - np.searchsorted(begins, node * width)
    return opened - _closed(quiet, instant, node, axis)
