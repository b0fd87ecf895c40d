"""Evidence of life under a dark node: what vetoes it, and what is its restoration."""

from typing import NamedTuple

import numpy as np

from outage.evidence import Evidence
from outage.params import DetectParams
from outage.rungs import Rung
from outage.spans import NEVER, Spans
from outage.topology import NO_NODE, Flags, Ints, Topology


class Territory(NamedTuple):
    """The eligible meters below some nodes of one level, node by node."""

    meter: Ints
    place: Ints  # index of the node in the list asked for


class Onset(NamedTuple):
    """Nodes of one level asked for, and what counts as life below them."""

    level: int
    start: Ints
    ups_from: Ints
    """A power-up since then is life: where the node stayed dark when its surroundings returned. Else `NEVER`."""
    told: Ints
    """Meters that reported one of the onsets, or were dark before it."""


def below(rung: Rung, topology: Topology, nodes: Ints) -> Territory:
    """The meters that count for each of the nodes, grouped by node.

    Args:
        rung: The rung of the nodes.
        topology: The tree.
        nodes: Node numbers, each once.
    """
    of = topology.node_of[rung.level][rung.meters]
    first, after = np.searchsorted(of, nodes, "left"), np.searchsorted(of, nodes, "right")
    count = after - first
    place = np.repeat(np.arange(len(nodes)), count)
    offset = np.arange(int(count.sum())) - np.repeat(np.cumsum(count) - count, count)
    return Territory(rung.meters[np.repeat(first, count) + offset], place)


def find_vetoes(
    territory: Territory,
    onset: Onset,
    members: Spans,
    among: tuple[Topology, Flags],
    evidence: Evidence,
    params: DetectParams,
) -> Ints:
    """Per node the last moment of life that vetoes it, -1 where there is none: any life below vetoes the node.

    Life is a read after the onset by a meter that did not report it. A read is restoration, not life, once a node
    around the meter has begun to come back; before that it proves that the meter never was dark, unless the meter has
    missed reads meanwhile by its own record. A meter that says itself, before it is read, that it is back had been
    dark: only neighbours that are known to have come back later make it life.

    Args:
        territory: The meters below each node; `place` indexes `onset.start`.
        onset: The nodes.
        members: Spans that began with the onsets. The return of what was dark before says nothing of theirs.
        among: The tree, and per meter whether its life counts.
        evidence: Reads and power-ups.
        params: `clock_tolerance_s`.
    """
    topology, can_live = among
    other = ~np.isin(territory.meter, onset.told) & can_live[territory.meter]
    silent, place = territory.meter[other], territory.place[other]
    returning = _first_return(silent, members, topology, onset.level)
    since = onset.start[place] + params.clock_tolerance_s * 1_000_000
    read = evidence.reads.first_after(silent, since)
    up = evidence.ups.first_after(silent, onset.ups_from[place] - 1)
    # A read too close to the onset to be life is still one of the meter's usual reads.
    before = evidence.reads.last_until(silent, since)
    missed = (before >= 0) & (read - before > evidence.reads.overdue(silent))
    first = np.minimum(np.where(missed, NEVER, read), up)
    # Clocks differ: a meter that says a moment before its neighbours that power is back came back with them.
    tolerance = params.clock_tolerance_s * 1_000_000
    lives = first < returning - tolerance
    said = evidence.own_ups.first_after(silent, onset.start[place] + params.sustained_after_us())
    dark_before = np.flatnonzero((said <= read) & (onset.ups_from[place] == NEVER))
    if len(dark_before):
        known = members.at(~members.by_read & (members.end < NEVER))
        later = _first_return(silent[dark_before], known, topology, onset.level)
        lives[dark_before] &= (later < NEVER) & (said[dark_before] < later - tolerance)
    last = evidence.reads.last_until(silent[lives], returning[lives] - 1)
    veto = np.full(len(onset.start), -1)
    np.maximum.at(veto, place[lives], np.maximum(last, first[lives]))
    return veto


def _first_return(meter: Ints, members: Spans, topology: Topology, level: int) -> Ints:
    """When the nodes around each meter that reported the onset begin to come back, the earliest of them."""
    returning = np.full(len(meter), NEVER)
    for rung in range(level + 1):
        node_of = topology.node_of[rung]
        earliest = np.full(len(topology.names[rung]) + 1, NEVER)
        np.minimum.at(earliest, node_of[members.meter], members.end)
        node = node_of[meter]
        known = node != NO_NODE
        returning[known] = np.minimum(returning[known], earliest[node[known]])
    return returning
