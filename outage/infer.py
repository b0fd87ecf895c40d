"""From spans to incidents: the highest dark node first, then what is left below it."""

from typing import Final, NamedTuple

import numpy as np
import polars as pl

from outage.evidence import NEVER, Evidence, Spans, first_after
from outage.life import Onset, Territory, below, find_vetoes
from outage.onset import find_onsets, first_per_node
from outage.params import DetectParams
from outage.restoration import judge_restoration, optional
from outage.topology import LEVELS, NO_NODE, SCOPE_OF_LEVEL, Flags, Ints, Topology
from schemas.codes import Scope

INDIVIDUAL: Final = -1
"""Level of an incident at one service point."""

NO_INCIDENT: Final = -1

INCIDENTS: Final = pl.Schema(
    {
        "incident": pl.Int64(),
        "level": pl.Int64(),  # index into LEVELS, or INDIVIDUAL
        "node": pl.Int64(),  # node number at that level, or the customer's number
        "onset_at": pl.Int64(),
        "back_at": pl.Int64(),  # null: not restored
        "eligible": pl.Int64(),
        "needed": pl.Int64(),
        "heard": pl.Int64(),
        "living": pl.Int64(),
        "parent": pl.Int64(),  # incident in whose restoration it stayed dark, or NO_INCIDENT
    }
)

MEMBERS: Final = pl.Schema(
    {
        "incident": pl.Int64(),
        "meter": pl.Int64(),
        "span": pl.Int64(),  # null: the meter was not heard
        "start": pl.Int64(),
        "restored_at": pl.Int64(),  # null: still dark
    }
)


class Inferred(NamedTuple):
    """Incidents, and the meters that each one holds."""

    incidents: pl.DataFrame
    members: pl.DataFrame
    held: int
    """Spans that are too young to be told from a momentary."""


class _Pool(NamedTuple):
    """Spans on their way to an incident. The arrays of one pool are changed in place while it is worked off."""

    spans: Spans
    begin: Ints  # where the span begins for inference: its start, or the restoration that it survived
    below: Ints  # incidents only of a level below this
    parent: Ints
    taken: Flags


class _Dark(NamedTuple):
    """Nodes of one level found out in one round."""

    level: int
    node: Ints
    onset: Ints
    needed: Ints
    nested: Flags  # stayed dark when its surroundings returned


def infer_incidents(
    spans: Spans, evidence: Evidence, topology: Topology, eligible: Flags, params: DetectParams
) -> Inferred:
    """Assign every sustained span to the incident of the highest dark node above it.

    Args:
        spans: Sustained spans, closed or open.
        evidence: Reads and power-ups.
        topology: The tree.
        eligible: Per meter: counts for n.
        params: Shares, windows and tolerances.
    """
    count = len(spans.meter)
    pool = _Pool(
        spans, spans.start.copy(), np.full(count, len(LEVELS)), np.full(count, NO_INCIDENT), np.zeros(count, bool)
    )
    found: list[tuple[pl.DataFrame, pl.DataFrame]] = []
    number = 0
    for level in reversed(range(len(LEVELS))):
        if not count:
            break
        number = _work_off(level, pool, evidence, topology, (eligible, params, number, found))
    alone, held = _individuals(pool, evidence, topology, params, number)
    found.append(alone)
    return Inferred(
        pl.concat([incidents for incidents, _ in found]), pl.concat([members for _, members in found]), held
    )


_Rest = tuple[Flags, DetectParams, int, list[tuple[pl.DataFrame, pl.DataFrame]]]


def _work_off(level: int, pool: _Pool, evidence: Evidence, topology: Topology, rest: _Rest) -> int:
    eligible, params, number, found = rest
    node = topology.node_of[level][pool.spans.meter]
    meters = np.flatnonzero(eligible & (topology.node_of[level] != NO_NODE))
    meters = meters[np.argsort(topology.node_of[level][meters], kind="stable")]
    size = np.bincount(topology.node_of[level][meters], minlength=len(topology.names[level]))
    killed = np.zeros(len(node), bool)
    open_nodes = np.ones(len(topology.names[level]) + 1, bool)
    while True:
        active = np.flatnonzero(~pool.taken & (node != NO_NODE) & (pool.below > level) & open_nodes[node])
        dark = _dark_nodes(level, node, active, (pool, killed, size, params), open_nodes)
        if not len(dark.node):
            return number
        place, member = _members(dark, node, active, pool, params)
        territory = below(topology, level, dark.node, meters)
        onset = Onset(level, dark.onset, np.where(dark.nested, dark.onset - params.settle_s * 1_000_000, NEVER))
        lives = find_vetoes(territory, onset, pool.spans.at(active[member]), topology, evidence, params)
        vetoed = lives.last_veto >= 0
        _kill(dark, vetoed, lives.last_veto, (node, active, pool, killed, params))
        if not vetoed.all():
            heard = (active[member], place[member])
            found.append(_accept(dark, ~vetoed, territory, heard, (pool, evidence, topology, params, number)))
            number += int((~vetoed).sum())
            _take(found[-1], pool)


def _dark_nodes(
    level: int, node: Ints, active: Ints, with_: tuple[_Pool, Flags, Ints, DetectParams], open_nodes: Flags
) -> _Dark:
    """Per node the first onset that is large enough and not vetoed yet; closes the nodes that have none."""
    pool, killed, size, params = with_
    trusted = active
    if SCOPE_OF_LEVEL[level] is Scope.ZONAL and params.zonal_needs_authenticated:
        trusted = active[pool.spans.authenticated[active]]
    if not len(trusted):
        none = np.empty(0, np.int64)
        return _Dark(level, none, none, none, none > 0)
    onsets = find_onsets(node[trusted], pool.begin[trusted], pool.spans.end[trusted], size, params)
    enough = onsets.enough & ~killed[trusted]
    open_nodes[:] = False
    open_nodes[node[trusted][enough]] = True
    first = first_per_node(node[trusted], pool.begin[trusted], enough)
    opening = trusted[first]
    return _Dark(level, node[opening], pool.begin[opening], onsets.needed[first], pool.parent[opening] >= 0)


def _members(dark: _Dark, node: Ints, active: Ints, pool: _Pool, params: DetectParams) -> tuple[Ints, Flags]:
    """For every active span: the place of its dark node, and whether the span belongs to that node's onset."""
    place = np.minimum(np.searchsorted(dark.node, node[active]), len(dark.node) - 1)
    inside = dark.node[place] == node[active]
    onset = dark.onset[place]
    fresh = pool.begin[active] < onset + params.fresh_s * 1_000_000
    return place, inside & fresh & (pool.spans.end[active] > onset)


def _kill(dark: _Dark, vetoed: Flags, last: Ints, with_: tuple[Ints, Ints, _Pool, Flags, DetectParams]) -> None:
    """Rule out the onsets of vetoed nodes that the same life disproves."""
    node, active, pool, killed, params = with_
    place = np.minimum(np.searchsorted(dark.node, node[active]), len(dark.node) - 1)
    until = np.maximum(dark.onset, last - params.clock_tolerance_s * 1_000_000 - 1)
    hit = (dark.node[place] == node[active]) & vetoed[place] & (pool.begin[active] <= until[place])
    killed[active[hit]] = True


def _accept(
    dark: _Dark,
    chosen: Flags,
    territory: Territory,
    heard: tuple[Ints, Ints],
    with_: tuple[_Pool, Evidence, Topology, DetectParams, int],
) -> tuple[pl.DataFrame, pl.DataFrame]:
    pool, evidence, topology, params, number = with_
    meters = _territory_frame(dark, chosen, territory, heard, (pool, evidence, topology, params))
    restoration = judge_restoration(meters, evidence.as_of, params)
    incidents = (
        pl.DataFrame(
            {"place": np.arange(len(dark.node)), "node": dark.node, "onset_at": dark.onset, "needed": dark.needed}
        )
        .filter(chosen)
        .with_columns(incident=pl.int_range(pl.len()) + number, level=pl.lit(dark.level, pl.Int64))
        .join(restoration.nodes, on="place", how="left", maintain_order="left")
        .join(
            restoration.meters.group_by("place").agg(
                eligible=pl.len(),
                heard=pl.col("heard").sum(),
                parent=pl.col("parent").max(),
            ),
            on="place",
            how="left",
            maintain_order="left",
        )
    )
    members = (
        restoration.meters.join(incidents.select("place", "incident"), on="place", how="left")
        .filter(~(pl.col("residual") & pl.col("heard")))
        .select(*MEMBERS)
    )
    left = restoration.meters.filter(pl.col("residual") & pl.col("heard")).join(
        incidents.select("place", "incident", "back_at"), on="place", how="left"
    )
    _return_to_pool(left, pool, dark.level)
    return _shaped(incidents, INCIDENTS), _shaped(members, MEMBERS)


def _territory_frame(
    dark: _Dark,
    chosen: Flags,
    territory: Territory,
    heard: tuple[Ints, Ints],
    with_: tuple[_Pool, Evidence, Topology, DetectParams],
) -> pl.DataFrame:
    """One row per meter below the chosen nodes, with its evidence after the onset."""
    pool, evidence, topology, params = with_
    keep = chosen[territory.place]
    meter, place = territory.meter[keep], territory.place[keep]
    onset = dark.onset[place]
    span = np.full(len(topology.customer), -1)
    latest = np.lexsort((-pool.begin[heard[0]],))
    span[pool.spans.meter[heard[0][latest]]] = heard[0][latest]
    span = span[meter]
    told = span >= 0
    own_end = pool.spans.end[span]
    up = np.where(told, np.where(pool.spans.by_read[span], NEVER, own_end), first_after(evidence.ups, meter, onset))
    read = first_after(evidence.reads, meter, onset + params.clock_tolerance_s * 1_000_000)
    read = np.where(told, np.where(pool.spans.by_read[span], own_end, NEVER), read)
    unit = topology.node_of[0][meter]
    return pl.DataFrame(
        {
            "place": place,
            "meter": meter,
            "unit": np.where(unit == NO_NODE, -2 - meter, unit),
            "span": np.where(told, span, -1),
            "heard": told,
            "start": np.where(told, pool.spans.start[span], onset),
            "parent": np.where(told, pool.parent[span], NO_INCIDENT),
            "up": up,
            "read": read,
        }
    ).with_columns(pl.when("heard").then("span").alias("span"), up_at=optional("up"), read_at=optional("read"))


def _return_to_pool(left: pl.DataFrame, pool: _Pool, level: int) -> None:
    """What stayed dark when its node came back begins anew at that moment, and below that node."""
    span = left["span"].to_numpy()
    pool.begin[span] = np.maximum(pool.begin[span], left["back_at"].to_numpy())
    pool.below[span] = level
    pool.parent[span] = left["incident"].to_numpy()


def _take(found: tuple[pl.DataFrame, pl.DataFrame], pool: _Pool) -> None:
    pool.taken[found[1]["span"].drop_nulls().to_numpy()] = True


def _individuals(
    pool: _Pool, evidence: Evidence, topology: Topology, params: DetectParams, number: int
) -> tuple[tuple[pl.DataFrame, pl.DataFrame], int]:
    """One incident per service point and stretch of time without supply; young open spans are held back."""
    rest = np.flatnonzero(~pool.taken)
    young = (pool.spans.end[rest] == NEVER) & (evidence.as_of - pool.begin[rest] <= params.sustained_after_us())
    rest = rest[~young]
    meter = pool.spans.meter[rest]
    members = (
        pl.DataFrame(
            {
                "span": rest,
                "meter": meter,
                "node": topology.customer[meter],
                "parent": pool.parent[rest],
                "begin": pool.begin[rest],
                "start": pool.spans.start[rest],
                "end": pool.spans.end[rest],
            },
            schema_overrides={"span": pl.Int64},
        )
        .sort("node", "begin", "meter")
        .with_columns(dark_until=pl.col("end").cum_max().over("node"), restored_at=optional("end"))
        .with_columns(new=(pl.col("begin") > pl.col("dark_until").shift(1).over("node")).fill_null(value=True))
        .with_columns(incident=pl.col("new").cum_sum().cast(pl.Int64) - 1 + number)
    )
    size = np.bincount(topology.customer)
    incidents = (
        members.group_by("incident", maintain_order=True)
        .agg(
            pl.col("node").first(),
            pl.col("parent").max(),
            onset_at=pl.col("start").min(),
            back_at=pl.when(pl.col("end").max() < NEVER).then(pl.col("end").max()),
            heard=pl.col("meter").n_unique(),
            living=pl.col("restored_at").is_not_null().sum(),
        )
        .with_columns(level=pl.lit(INDIVIDUAL, pl.Int64), needed=pl.lit(1, pl.Int64))
    )
    incidents = incidents.with_columns(eligible=pl.Series(size[incidents["node"].to_numpy()], dtype=pl.Int64))
    return (_shaped(incidents, INCIDENTS), _shaped(members, MEMBERS)), int(young.sum())


def _shaped(rows: pl.DataFrame, schema: pl.Schema) -> pl.DataFrame:
    return rows.select(pl.col(name).cast(dtype) for name, dtype in schema.items())
