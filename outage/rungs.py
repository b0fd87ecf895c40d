"""The order in which nodes are tried: from the substation down, each level whole and then by phase."""

from itertools import combinations
from typing import Final, NamedTuple

import numpy as np

from outage.spans import Spans
from outage.topology import LEVELS, NO_NODE, SCOPE_OF_LEVEL, Flags, Ints, Topology
from schemas.codes import Scope

LETTERS: Final = "ABC"
SEVERAL: Final = 3
"""Phase number of a meter on more than one phase, or on one that METERS does not say."""


ENOUGH: Final = 2
"""Meters that must have spoken on each phase: one alone is an individual (outage.md section 4)."""


class Phased(NamedTuple):
    """Spans of whole meters and of single phases, in one row."""

    spans: Spans
    phase: Ints  # index into LETTERS, or SEVERAL
    partial: Flags  # the meter lost this phase only


class Rung(NamedTuple):
    """Nodes of one level, of all phases or of some."""

    level: int
    letters: str  # "" for the whole node
    node: Ints  # per span; NO_NODE: the span says nothing about this rung
    meters: Ints  # eligible meters sorted by node
    size: Ints  # eligible meters per node
    can_live: Flags  # per meter: its life is life of this rung
    zonal: bool


def whole_rung(level: int, phased: Phased, topology: Topology, eligible: Flags) -> Rung:
    """The nodes of a level as they are."""
    of = topology.node_of[level]
    node = np.where(phased.partial, NO_NODE, of[phased.spans.meter])
    return _rung(level, "", node, eligible, topology, np.ones(len(of), bool))


def phase_rungs(level: int, phased: Phased, free: Flags, among: tuple[Topology, Flags], fresh_s: int) -> list[Rung]:
    """The same nodes one phase at a time, then two: a fuse clears its own phases only.

    Meters on one phase report by falling silent; those on several only if any of them is known to report phases.

    Args:
        level: Index into `LEVELS`; a substation has no fuse by phase.
        phased: All spans.
        free: Those that no incident holds yet.
        among: The tree, and the eligible meters.
        fresh_s: Length of an onset.
    """
    topology, eligible = among
    if level == len(LEVELS) - 1 or not free.any():
        return []
    asked = np.flatnonzero(free & (topology.node_of[level][phased.spans.meter] != NO_NODE))
    of = topology.node_of[level][phased.spans.meter[asked]]
    counts = _counts(asked, level, phased, topology, fresh_s * 1000)
    rungs = []
    for letters in (*LETTERS, *("".join(pair) for pair in combinations(LETTERS, 2))):
        codes = [LETTERS.index(letter) for letter in letters]
        # Silent on exactly these phases: on each of them, and on no other.
        among_codes = np.isin(np.arange(SEVERAL + 1), codes)
        fits = among_codes[phased.phase[asked]]
        for code, count in enumerate(counts):
            fits &= (count >= ENOUGH) if code in codes else (count == 0)
        if not fits.any():
            continue
        node = np.full(len(free), NO_NODE)
        node[asked[fits]] = of[fits]
        single = among_codes[topology.phase]
        several = (topology.phase == SEVERAL) & bool(phased.partial[asked[fits]].any())
        rungs.append(_rung(level, letters, node, eligible & (single | several), topology, single))
    return rungs


def _counts(asked: Ints, level: int, phased: Phased, topology: Topology, window_ms: int) -> list[Ints]:
    """Per phase number: how many spans of the same node begin within the window around each span asked for."""
    of = topology.node_of[level][phased.spans.meter]
    begin = phased.spans.start // 1000
    low = int(begin.min())
    width = int(begin.max()) - low + 2 * window_ms + 2
    key = of * width + begin - low + window_ms
    counts = []
    for code in range(len(LETTERS) + 1):
        told = np.sort(key[(phased.phase == code) & (of != NO_NODE)])
        near = np.searchsorted(told, key[asked] + window_ms, "left")
        counts.append(near - np.searchsorted(told, key[asked] - window_ms, "right"))
    return counts


def _rung(level: int, letters: str, node: Ints, counted: Flags, topology: Topology, can_live: Flags) -> Rung:
    of = topology.node_of[level]
    meters = np.flatnonzero(counted & (of != NO_NODE))
    nodes = of[meters]
    if (nodes[1:] < nodes[:-1]).any():
        meters = meters[np.argsort(nodes, kind="stable")]
    size = np.bincount(of[meters], minlength=len(topology.names[level]))
    return Rung(level, letters, node, meters, size, can_live, SCOPE_OF_LEVEL[level] is Scope.ZONAL)
