"""Outages as they truly happen: which node of the supply tree, from when to when, who is dark."""

from typing import Final, NamedTuple

import numpy as np
import polars as pl

from schemas.codes import NodeKind, Scope
from schemas.errors import ContractError
from schemas.frames import NODE_KIND, SCOPE, UTC_US
from simulator.columns import I64, US, chance
from simulator.grid import Span
from simulator.params import Incident, SimulatorParams
from simulator.spells import Spells, merge_spells
from simulator.topology import DAY_S, Fleet

NODES: Final = (NodeKind.SERVICE_POINT, NodeKind.TRANSFORMER, NodeKind.LATERAL, NodeKind.FEEDER, NodeKind.SUBSTATION)
_SCOPE: Final = {
    NodeKind.SERVICE_POINT: Scope.INDIVIDUAL,
    NodeKind.TRANSFORMER: Scope.STREET,
    NodeKind.LATERAL: Scope.STREET,
    NodeKind.FEEDER: Scope.ZONAL,
    NodeKind.SUBSTATION: Scope.ZONAL,
}
_LENGTH_S: Final = {
    NodeKind.SERVICE_POINT: (20 * 60, 5 * 3600),
    NodeKind.TRANSFORMER: (25 * 60, 4 * 3600),
    NodeKind.LATERAL: (20 * 60, 3 * 3600),
    NodeKind.FEEDER: (15 * 60, 2 * 3600),
}
_MOMENTARY_S: Final = (3, 170)
MOMENTARY_BELOW_S: Final = 300
"""IEEE 1366: an interruption of more than five minutes is sustained."""
_APART_S: Final = 2700
"""Outages that share a meter are so far apart at least: each is an incident of its own."""
_SMALLEST_STREET: Final = 3
"""A transformer with fewer meters is left to ordered outages: its darkness cannot be told from single ones."""
_TRIES: Final = 30

TRUTH_OUTAGES: Final = pl.Schema(
    {
        "incident_id": pl.String(),
        "scope": SCOPE,
        "node_kind": NODE_KIND,
        "node_id": pl.String(),
        "started_at": UTC_US,
        "restored_at": UTC_US,
        "meters_out": pl.Int32(),
        "customers_out": pl.Int32(),
        "momentary": pl.Boolean(),
        "nested_in": pl.String(),
    }
)


class Dark(NamedTuple):
    """One incident: the meters `first` to `after` - 1 are dark from `start_s` to `end_s`."""

    kind: NodeKind
    first: int
    after: int
    start_s: int
    end_s: int
    nested_in: int = -1  # index of the incident out of which this one was left


def plan_outages(params: SimulatorParams, fleet: Fleet, span: Span) -> list[Dark]:
    """The incidents of a run, ordered ones first; a nested one begins when its parent is restored."""
    rng = chance(params.seed, "outages")
    dark: list[Dark] = []
    for order in params.outages.incidents:
        dark.append(_ordered(rng, order, fleet, span))
    for kind, count, lengths in _counts(rng, params, fleet):
        for _ in range(count):
            found = _drawn(rng, kind, lengths, (fleet, span, dark))
            if found:
                dark.append(found)
                if kind is NodeKind.FEEDER and rng.random() < params.outages.nested_share:
                    dark += [left for left in _nested(rng, len(dark) - 1, found, (fleet, span)) if _is_free(left, dark)]
    return dark


def dark_spells(dark: list[Dark], fleet: Fleet) -> Spells:
    """When each meter is without supply, within its installation."""
    if not dark:
        none = np.zeros(0, dtype=np.int64)
        return Spells(none, none, none)
    meter = np.concatenate([np.arange(d.first, d.after) for d in dark])
    sizes = [d.after - d.first for d in dark]
    start = np.repeat([d.start_s for d in dark], sizes)
    end = np.repeat([d.end_s for d in dark], sizes)
    return merge_spells(meter, np.maximum(start, fleet.from_s[meter]), np.minimum(end, fleet.to_s[meter]))


def truth_outages(dark: list[Dark], fleet: Fleet) -> pl.DataFrame:
    """`TRUTH_OUTAGES`: a row per incident. A nested one has its meters from its parent's restoration on.

    `customers_out` counts accounts. Meters count where they are installed at the beginning.
    """
    accounts = fleet.meters["account_id"].to_physical()
    rows = []
    for number, d in enumerate(dark):
        there = np.arange(d.first, d.after)
        there = there[(fleet.from_s[there] <= d.start_s) & (fleet.to_s[there] > d.start_s)]
        rows.append(
            {
                "incident_id": f"T{number + 1:06d}",
                "scope": _SCOPE[d.kind].value,
                "node_kind": d.kind.value,
                "node_id": fleet.meters[f"{d.kind.value}_id"][d.first],
                "started_at": d.start_s * US,
                "restored_at": d.end_s * US,
                "meters_out": there.size,
                "customers_out": accounts.gather(there).n_unique(),
                "momentary": d.end_s - d.start_s <= MOMENTARY_BELOW_S,
                "nested_in": f"T{d.nested_in + 1:06d}" if d.nested_in >= 0 else None,
            }
        )
    instants = {"started_at": pl.Int64, "restored_at": pl.Int64}
    return pl.DataFrame(rows, schema={**TRUTH_OUTAGES, **instants}).cast({"started_at": UTC_US, "restored_at": UTC_US})


def _node_column(fleet: Fleet, kind: NodeKind) -> I64:
    return {
        NodeKind.SERVICE_POINT: fleet.service_point,
        NodeKind.TRANSFORMER: fleet.transformer,
        NodeKind.LATERAL: fleet.lateral,
        NodeKind.FEEDER: fleet.feeder,
        NodeKind.SUBSTATION: fleet.substation,
    }[kind]


def _counts(
    rng: np.random.Generator, params: SimulatorParams, fleet: Fleet
) -> list[tuple[NodeKind, int, tuple[int, int]]]:
    told = params.outages
    rates = (
        (NodeKind.FEEDER, told.feeder_rate),
        (NodeKind.LATERAL, told.lateral_rate),
        (NodeKind.TRANSFORMER, told.transformer_rate),
        (NodeKind.SERVICE_POINT, told.individual_rate),
    )
    counts = []
    for kind, rate in rates:
        nodes = int(_node_column(fleet, kind)[-1]) + 1
        count = int(rng.poisson(rate * nodes * params.days))
        if told.at_least_one_each and kind is not NodeKind.LATERAL:
            count = max(count, 1)
        # One that holds the whole fleet has no sibling that lives: nothing could tell it from silence.
        counts.append((kind, count if nodes > 1 else 0, _LENGTH_S[kind]))
    momentary = int(rng.poisson(told.momentary_rate * (fleet.lateral[-1] + 1) * params.days))
    return [*counts, (NodeKind.LATERAL, momentary, _MOMENTARY_S)]


def _drawn(
    rng: np.random.Generator,
    kind: NodeKind,
    lengths_s: tuple[int, int],
    among: tuple[Fleet, Span, list[Dark]],
) -> Dark | None:
    fleet, span, dark = among
    column = _node_column(fleet, kind)
    length = span.end_s - span.start_s
    for _ in range(_TRIES):
        lasts = min(int(rng.integers(*lengths_s)), length // 6)
        start = span.start_s + int(rng.uniform(0.12, 0.75) * length)
        found = _of_node(column, int(rng.integers(0, column[-1] + 1)), Dark(kind, 0, 0, start, start + lasts))
        large_enough = kind is not NodeKind.TRANSFORMER or found.after - found.first >= _SMALLEST_STREET
        if large_enough and _is_free(found, dark):
            return found
    return None


def _of_node(column: I64, node: int, found: Dark) -> Dark:
    first, after = np.searchsorted(column, [node, node + 1])
    return found._replace(first=int(first), after=int(after))


def _is_free(found: Dark, dark: list[Dark]) -> bool:
    return not any(_meet(found, other) for at, other in enumerate(dark) if at != found.nested_in)


def _meet(one: Dark, other: Dark) -> bool:
    apart = one.start_s >= other.end_s + _APART_S or other.start_s >= one.end_s + _APART_S
    return one.first < other.after and other.first < one.after and not apart


def _nested(rng: np.random.Generator, parent_at: int, parent: Dark, place: tuple[Fleet, Span]) -> list[Dark]:
    fleet, span = place
    node = int(fleet.transformer[rng.integers(parent.first, parent.after)])
    end = min(parent.end_s + int(rng.integers(20 * 60, 150 * 60)), span.end_s - DAY_S // 24)
    if end - parent.end_s <= MOMENTARY_BELOW_S:
        return []
    left = Dark(NodeKind.TRANSFORMER, 0, 0, parent.end_s, end, parent_at)
    return [_of_node(fleet.transformer, node, left)]


def _ordered(rng: np.random.Generator, order: Incident, fleet: Fleet, span: Span) -> Dark:
    kind = NodeKind(order.node_kind)
    column = _node_column(fleet, kind)
    if order.node_id is None:
        node = int(rng.integers(0, column[-1] + 1))
    else:
        rows = np.flatnonzero((fleet.meters[f"{kind.value}_id"] == order.node_id).to_numpy())
        if not rows.size:
            raise ContractError(f"simulation: outages.incidents: there is no {kind.value} {order.node_id!r}")
        node = int(column[rows[0]])
    start = span.start_s + round(order.after_h * 3600)
    return _of_node(column, node, Dark(kind, 0, 0, start, start + order.duration_s))
