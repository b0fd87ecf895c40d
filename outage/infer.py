"""From spans to incidents: the highest dark node first, then what is left below it."""

from typing import Final, NamedTuple

import numpy as np
import polars as pl

from outage.evidence import Evidence
from outage.individuals import find_individuals
from outage.life import Onset, below, find_vetoes
from outage.onset import Dark, find_onsets, first_per_node
from outage.params import DetectParams
from outage.pool import INCIDENTS, MEMBERS, NO_INCIDENT, Pool, optional, shaped
from outage.restoration import judge_restoration
from outage.rungs import SEVERAL, Phased, Rung, phase_rungs, whole_rung
from outage.spans import NEVER, Spans, joined
from outage.territory import Below, Found, meters_of
from outage.topology import LEVELS, NO_NODE, Flags, Ints, Topology

SECOND: Final = 1_000_000


class Inferred(NamedTuple):
    """Incidents, and the meters that each one holds."""

    incidents: pl.DataFrame
    members: pl.DataFrame
    spans: Spans
    """What `MEMBERS.span` points into."""
    phase: Ints
    """Per span: index into the letters ABC, or more for a meter on several phases."""
    held: int
    """Spans that are too young to be told from a momentary."""


class _Work(NamedTuple):
    evidence: Evidence
    topology: Topology
    phased: Phased
    pool: Pool
    params: DetectParams
    found: list[tuple[pl.DataFrame, pl.DataFrame]]


def infer_incidents(evidence: Evidence, topology: Topology, eligible: Flags, params: DetectParams) -> Inferred:
    """Assign every sustained span to the incident of the highest dark node above it.

    Args:
        evidence: Spans, reads and power-ups.
        topology: The tree.
        eligible: Per meter: counts for n.
        params: Shares, windows and tolerances.
    """
    phased = _phased(evidence, topology)
    count = len(phased.spans.meter)
    pool = Pool(
        phased.spans,
        phased.spans.start.copy(),
        np.full(count, len(LEVELS)),
        np.full(count, NO_INCIDENT),
        np.zeros(count, bool),
    )
    work = _Work(evidence, topology, phased, pool, params, [])
    number = 0
    for level in reversed(range(len(LEVELS))):
        number = _work_off(whole_rung(level, phased, topology, eligible), work, number)
        for rung in phase_rungs(level, phased, ~pool.taken, (topology, eligible), params.fresh_s):
            number = _work_off(rung, work, number)
    alone = find_individuals(pool, phased, topology, (evidence.as_of, number), params)
    tables = [*work.found, (alone.incidents, alone.members)]
    incidents = pl.concat([incidents for incidents, _ in tables])
    return Inferred(
        incidents,
        _without_nested(incidents, pl.concat([members for _, members in tables])),
        phased.spans,
        phased.phase,
        alone.held,
    )


def _without_nested(incidents: pl.DataFrame, members: pl.DataFrame) -> pl.DataFrame:
    """Members of nested incidents belong to those alone: nobody is dark twice."""
    inner = incidents.filter(pl.col("parent") != NO_INCIDENT).select(inner="incident", incident="parent")
    claimed = members.join(inner, left_on="incident", right_on="inner").select("meter", incident="incident_right")
    return members.join(claimed, on=["incident", "meter"], how="anti")


def _phased(evidence: Evidence, topology: Topology) -> Phased:
    spans = evidence.spans
    phase = [topology.phase[spans.meter]]
    partial = [np.zeros(len(spans.meter), bool)]
    for code, lost in enumerate(evidence.phase_spans):
        # A single-phase meter that names its own phase says no more than that it is dark.
        more = lost.at(topology.phase[lost.meter] == SEVERAL)
        spans = joined(spans, more)
        phase.append(np.full(len(more.meter), code))
        partial.append(np.ones(len(more.meter), bool))
    return Phased(spans, np.concatenate(phase), np.concatenate(partial))


def _work_off(rung: Rung, work: _Work, number: int) -> int:
    """Find every dark node of the rung, round by round: the first onset of each node that no life disproves."""
    pool, params = work.pool, work.params
    killed = np.zeros(len(rung.node), bool)
    open_nodes = np.ones(len(rung.size) + 1, bool)
    while True:
        active = np.flatnonzero(
            ~pool.taken & (rung.node != NO_NODE) & (pool.below > rung.level) & open_nodes[rung.node]
        )
        dark = _first_onsets(rung, active, killed, open_nodes, work)
        if not len(dark.node):
            return number
        place, member = _members(dark, rung, active, work)
        territory = below(rung, work.topology, dark.node)
        told = active[member]
        ups_from = np.where(dark.nested, dark.onset - params.settle_s * SECOND, NEVER)
        onset = Onset(rung.level, dark.onset, ups_from, pool.spans.meter[told])
        members = pool.spans.at(told[pool.begin[told] >= dark.onset[place[member]]])
        veto = find_vetoes(territory, onset, members, (work.topology, rung.can_live), work.evidence, params)
        refused = veto >= 0
        _kill(dark, refused, veto, (rung, active, killed), work)
        if not refused.all():
            chosen = dark._replace(territory=territory, span=active[member], place=place[member], chosen=~refused)
            number += _accept(chosen, rung, work, number)


def _first_onsets(rung: Rung, active: Ints, killed: Flags, open_nodes: Flags, work: _Work) -> Found:
    """Per node the first onset that is large enough and not refused yet; closes the nodes that have none."""
    pool, params, quiet = work.pool, work.params, work.evidence.quiet
    trusted = active
    if rung.zonal and params.zonal_needs_authenticated:
        trusted = active[pool.spans.trusted[active]]
    if not len(trusted):
        return Found.none()
    node = rung.node[trusted]
    of = work.topology.node_of[rung.level][quiet.meter]
    there = of != NO_NODE
    onsets = find_onsets(
        Dark(node, pool.begin[trusted], pool.spans.end[trusted]),
        Dark(of[there], quiet.start[there], quiet.end[there]),
        rung.size,
        params,
    )
    enough = onsets.enough & ~killed[trusted]
    open_nodes[:] = False
    open_nodes[node[enough]] = True
    first = first_per_node(node, pool.begin[trusted], enough)
    opening = trusted[first]
    return Found.at(node[first], pool.begin[opening], onsets.needed[first], pool.parent[opening] != NO_INCIDENT)


def _members(dark: Found, rung: Rung, active: Ints, work: _Work) -> tuple[Ints, Flags]:
    """For every active span: the place of its dark node, and whether the span belongs to that node's onset."""
    pool = work.pool
    place = np.minimum(np.searchsorted(dark.node, rung.node[active]), len(dark.node) - 1)
    onset = dark.onset[place]
    fresh = pool.begin[active] < onset + work.params.fresh_s * SECOND
    return place, (dark.node[place] == rung.node[active]) & fresh & (pool.spans.end[active] > onset)


def _kill(dark: Found, refused: Flags, veto: Ints, with_: tuple[Rung, Ints, Flags], work: _Work) -> None:
    """Rule out the onsets that the same life disproves."""
    rung, active, killed = with_
    place = np.minimum(np.searchsorted(dark.node, rung.node[active]), len(dark.node) - 1)
    until = np.maximum(dark.onset, veto - work.params.clock_tolerance_s * SECOND - 1)
    hit = (dark.node[place] == rung.node[active]) & refused[place] & (work.pool.begin[active] <= until[place])
    killed[active[hit]] = True


def _accept(dark: Found, rung: Rung, work: _Work, number: int) -> int:
    pool, count = work.pool, len(dark.node)
    meters = meters_of(dark, pool, work.evidence, work.topology, work.params)
    found = judge_restoration(meters, count, work.evidence.as_of, work.params)
    chosen = np.flatnonzero(dark.chosen)
    incident = np.full(count, NO_INCIDENT)
    incident[chosen] = np.arange(len(chosen)) + number
    parent = np.full(count, NO_INCIDENT)
    np.maximum.at(parent, meters.place, meters.parent)
    incidents = pl.DataFrame(
        {
            "incident": incident[chosen],
            "level": np.full(len(chosen), rung.level),
            "node": dark.node[chosen],
            "letters": pl.repeat(rung.letters, len(chosen), dtype=pl.String, eager=True),
            "onset_at": dark.onset[chosen],
            "back_at": found.back[chosen],
            "eligible": np.bincount(meters.place, minlength=count)[chosen],
            "needed": dark.needed[chosen],
            "heard": np.bincount(meters.place[meters.heard], minlength=count)[chosen],
            "living": found.living[chosen],
            "parent": parent[chosen],
        }
    ).with_columns(back_at=optional("back_at"))
    stays = found.residual & meters.heard
    pool.take(meters.span[meters.heard & ~stays])
    pool.take(_told_again(dark, meters, found.back, rung, work))
    left = meters.place[stays]
    pool.give_back(meters.span[stays], found.back[left], incident[left], rung.level)
    members = pl.DataFrame(
        {
            "incident": incident[meters.place],
            "meter": meters.meter,
            "span": meters.span,
            "start": meters.start,
            "restored_at": found.restored,
            "lives": found.lives,
            "heard": meters.heard,
        }
    ).filter(pl.Series(~stays, dtype=pl.Boolean))
    told = members.with_columns(span=pl.when("heard").then("span"), restored_at=optional("restored_at"))
    work.found.append((shaped(incidents, INCIDENTS), shaped(told, MEMBERS)))
    return len(chosen)


def _told_again(dark: Found, meters: Below, back: Ints, rung: Rung, work: _Work) -> Ints:
    """Spans of meters that were not heard at the onset and fell silent, by their word, while their node was dark.

    They are inside the incident already (outage.md section 3): late word, a wrong clock, or nobody's word at all.
    """
    pool, silent = work.pool, ~meters.heard
    since = np.full(len(work.topology.customer), NEVER)
    until = np.zeros(len(since), np.int64)
    since[meters.meter[silent]] = dark.onset[meters.place[silent]]
    until[meters.meter[silent]] = back[meters.place[silent]]
    free = np.flatnonzero(~pool.taken & (rung.node != NO_NODE) & (pool.below > rung.level))
    meter, begin = pool.spans.meter[free], pool.begin[free]
    return free[(begin >= since[meter]) & (begin < until[meter])]
