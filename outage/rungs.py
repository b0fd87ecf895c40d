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


def phase_rungs(level: int, phased: Phased, topology: Topology, eligible: Flags) -> list[Rung]:
    """The same nodes one phase at a time, then two: a fuse clears its own phases only.

    Meters on one phase report by falling silent; those on several only if any of them is known to report phases.
    """
    if SCOPE_OF_LEVEL[level] is Scope.ZONAL and LEVELS[level] == LEVELS[-1]:
        return []
    of = topology.node_of[level]
    rungs = []
    for letters in (*LETTERS, *("".join(pair) for pair in combinations(LETTERS, 2))):
        codes = [LETTERS.index(letter) for letter in letters]
        here = np.isin(phased.phase, codes)
        if not here.any():
            continue
        single = np.isin(topology.phase, codes)
        several = (topology.phase == SEVERAL) & bool((phased.partial & here).any())
        node = np.where(here, of[phased.spans.meter], NO_NODE)
        rungs.append(_rung(level, letters, node, eligible & (single | several), topology, single))
    return rungs


def contrasts(rung: Rung, node: Ints, onset: Ints, phased: Phased, topology: Topology, window: int) -> Flags:
    """Which nodes have fallen silent on exactly the phases of the rung: on each of them, and on no other."""
    if not rung.letters:
        return np.ones(len(node), bool)
    of = topology.node_of[rung.level][phased.spans.meter]
    place = np.minimum(np.searchsorted(node, of), max(len(node) - 1, 0))
    begin = phased.spans.start
    here = (node[place] == of) & (np.abs(begin - onset[place]) < window) if len(node) else np.zeros(len(of), bool)
    fits = np.ones(len(node), bool)
    for code in range(len(LETTERS) + 1):
        count = np.bincount(place[here & (phased.phase == code)], minlength=len(node))
        wanted = code < len(LETTERS) and LETTERS[code] in rung.letters
        fits &= (count >= ENOUGH) if wanted else (count == 0)
    return fits


def _rung(level: int, letters: str, node: Ints, counted: Flags, topology: Topology, can_live: Flags) -> Rung:
    of = topology.node_of[level]
    meters = np.flatnonzero(counted & (of != NO_NODE))
    meters = meters[np.argsort(of[meters], kind="stable")]
    size = np.bincount(of[meters], minlength=len(topology.names[level]))
    return Rung(level, letters, node, meters, size, can_live, SCOPE_OF_LEVEL[level] is Scope.ZONAL)
