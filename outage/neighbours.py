"""A meter that says nothing after its last gasp is judged by those that fell silent with it."""

from typing import Final, NamedTuple

import numpy as np

from outage.params import DetectParams
from outage.spans import NEVER, Spans
from outage.topology import LEVELS, NO_NODE, Flags, Ints, Topology

TOGETHER_MS: Final = 60_000
"""Meters of one node whose power-downs lie this close fell silent by one cause."""
WITNESSES: Final = 2


class Presumed(NamedTuple):
    """Spans of which some are presumed to have ended with their neighbours'."""

    spans: Spans
    presumed: Flags


def return_with_neighbours(spans: Spans, topology: Topology, params: DetectParams) -> Presumed:
    """End the spans without a power-up of their own where most of the node came back as from a momentary.

    Its own power-up may be lost; without this one lost message in a hundred makes an outage of hours out of a
    momentary. The smallest node with two witnesses decides; a meter that a ping found dark is left alone.
    """
    exact = ~spans.by_read & (spans.end < NEVER)
    brief = exact & (spans.end - spans.start <= params.sustained_after_us())
    open_ = ~exact & ~spans.pinged_off
    presumed = np.zeros(len(spans.meter), bool)
    if not open_.any() or brief.sum() < WITNESSES:
        return Presumed(spans, presumed)
    end = spans.end.copy()
    for level in range(len(LEVELS) - 1):
        of = topology.node_of[level][spans.meter]
        asked = np.flatnonzero(open_ & (of != NO_NODE))
        key = _keys(of, spans.start)
        back, back_at = _near(key, asked, np.flatnonzero(brief & (of != NO_NODE)), spans.end)
        longer, _ = _near(key, asked, np.flatnonzero(exact & ~brief & (of != NO_NODE)), spans.end)
        silent, _ = _near(key, asked, np.flatnonzero(~exact & (of != NO_NODE)), spans.end)
        decided = back + longer >= WITNESSES
        most = back * 10 >= params.restored_tenths * (back + longer + silent)
        returns = decided & (back >= WITNESSES) & most
        told = asked[returns]
        end[told] = np.clip(back_at[returns], spans.start[told] + 1, end[told])
        presumed[told] = True
        open_[asked[decided]] = False
    return Presumed(spans._replace(end=end, by_read=spans.by_read | presumed), presumed)


def _keys(of: Ints, start: Ints) -> Ints:
    begin = start // 1000
    low = int(begin.min())
    width = int(begin.max()) - low + 2 * TOGETHER_MS + 2
    keys: Ints = of * width + begin - low + TOGETHER_MS
    return keys


def _near(key: Ints, asked: Ints, witnesses: Ints, end: Ints) -> tuple[Ints, Ints]:
    """How many witnesses fell silent with each span asked for, and the mean of their ends."""
    order = witnesses[np.argsort(key[witnesses], kind="stable")]
    first = np.searchsorted(key[order], key[asked] - TOGETHER_MS, "left")
    after = np.searchsorted(key[order], key[asked] + TOGETHER_MS, "right")
    low = int(end[order].min(initial=NEVER))
    total = np.append(0, np.cumsum((end[order] - low) // 1000))
    count = after - first
    mean = low + 1000 * ((total[after] - total[first]) // np.maximum(count, 1))
    return count, mean
