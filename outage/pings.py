"""Which meters to ask for their power status, where evidence is thin."""

from typing import Final

import numpy as np
import polars as pl

from outage.circumstances import Circumstances
from outage.evidence import Evidence
from outage.infer import Inferred
from outage.onset import needed_of
from outage.params import DetectParams
from outage.pool import INDIVIDUAL
from outage.spans import NEVER
from outage.topology import LEVELS, NO_NODE, Flags, Ints, Topology, meters_below
from schemas.frames import NODE_KIND, UTC_US

PING_REQUESTS: Final = pl.Schema(
    {
        "meter_id": pl.String(),
        "node_kind": NODE_KIND,  # the node that the answer decides about
        "node_id": pl.String(),
        "reason": pl.Enum(["undecided", "nested"]),
        "asked_at": UTC_US,
    }
)
"""Power-status checks to send. `undecided`: some meters of the node fell silent, too few to call it out;
`nested`: the node is back, by its meters or by what a crew or the outage system says, and this meter has shown no
life."""
_NONE: Final = PING_REQUESTS.to_frame().drop("asked_at").cast({"reason": pl.String})


def request_pings(
    inferred: Inferred,
    incidents: pl.DataFrame,
    evidence: Evidence,
    among: tuple[Topology, Flags, Circumstances],
    params: DetectParams,
) -> pl.DataFrame:
    """`PING_REQUESTS`: up to `pings_per_node` meters a node, those that read most regularly, spread over its children.

    Args:
        inferred: Incidents and members.
        incidents: The same, described.
        evidence: Spans, reads, power-ups.
        among: The tree, the eligible meters, and the answers so far.
        params: Limits.
    """
    topology, eligible, known = among
    rows = [
        *(_undecided(level, inferred, evidence, topology, eligible, params) for level in range(len(LEVELS))),
        _nested(inferred, incidents, evidence, topology, params),
        _verified(inferred, incidents, evidence, (topology, known), params),
    ]
    asked = pl.concat(rows).unique("meter_id", keep="first", maintain_order=True)
    lately = known.pings.filter(
        pl.col("answered_at").to_physical() > evidence.as_of - params.ping_again_s * 1_000_000
    ).select("meter_id")
    return (
        asked.join(lately.unique(), on="meter_id", how="anti")
        .with_columns(asked_at=pl.lit(evidence.as_of).cast(UTC_US))
        .select(pl.col(name).cast(dtype) for name, dtype in PING_REQUESTS.items())
    )


def _undecided(
    level: int, inferred: Inferred, evidence: Evidence, topology: Topology, eligible: Flags, params: DetectParams
) -> pl.DataFrame:
    spans = inferred.spans
    # A node that is dark on a phase may be dark on all: too few have told it.
    whole = (pl.col("letters") == "") | (pl.col("level") != level)
    in_nodes = inferred.incidents.filter(whole, pl.col("level") != INDIVIDUAL)["incident"].to_numpy()
    # Incidents are numbered without a gap.
    decides = np.zeros(inferred.incidents.height, bool)
    decides[in_nodes] = True
    members = inferred.members.filter(pl.Series(decides[inferred.members["incident"].to_numpy()], dtype=pl.Boolean))
    settled = members["span"].drop_nulls().to_numpy()
    free = (spans.end == NEVER) & (spans.start > evidence.as_of - params.ping_within_s * 1_000_000)
    free[settled] = False
    of = topology.node_of[level]
    free &= of[spans.meter] != NO_NODE
    size = np.bincount(of[eligible & (of != NO_NODE)], minlength=len(topology.names[level]))
    heard = np.bincount(of[spans.meter[free]], minlength=len(size))
    thin = np.flatnonzero((heard > 0) & (heard < needed_of(size, params.share_tenths)))
    if not len(thin):
        return _NONE
    since = np.full(len(size), NEVER)
    np.minimum.at(since, of[spans.meter[free]], spans.start[free])
    # The last place is that of meters without a node.
    asked = np.zeros(len(size) + 1, bool)
    asked[thin] = True
    silent = np.zeros(len(of), bool)
    silent[spans.meter[free]] = True
    meter = np.flatnonzero(eligible & asked[of] & ~silent)
    lives = evidence.reads.first_after(meter, since[of[meter]] + params.clock_tolerance_s * 1_000_000) < NEVER
    # A node in which a neighbour lives is decided: it is not out.
    decided = np.zeros(len(size), bool)
    decided[of[meter[lives]]] = True
    meter = _spread(meter[~decided[of[meter]]], level, evidence, topology, params)
    return _requests(level, meter, of[meter], topology, "undecided")


def _spread(meter: Ints, level: int, evidence: Evidence, topology: Topology, params: DetectParams) -> Ints:
    """The best readers of each node, one child after the other."""
    child = topology.node_of[level - 1] if level else topology.customer
    reads = evidence.reads.counts(meter)
    ranked = (
        pl.DataFrame({"meter": meter, "node": topology.node_of[level][meter], "child": child[meter], "reads": reads})
        .sort("reads", "meter", descending=[True, False])
        .with_columns(turn=pl.int_range(pl.len()).over("node", "child"))
        .sort("node", "turn", "reads", "meter", descending=[False, False, True, False])
        .group_by("node", maintain_order=True)
        .head(params.pings_per_node)
    )
    return ranked["meter"].to_numpy()


def _nested(
    inferred: Inferred, incidents: pl.DataFrame, evidence: Evidence, topology: Topology, params: DetectParams
) -> pl.DataFrame:
    lately = pl.col("back_at") > evidence.as_of - params.ping_within_s * 1_000_000
    back = incidents.filter(lately & (pl.col("level") != INDIVIDUAL)).select("incident", "node_kind", "node_id")
    if back.is_empty():
        return _NONE
    return (
        inferred.members.filter(~pl.col("lives"))
        .join(back, on="incident")
        .join(topology.meters.select("meter", "meter_id"), on="meter")
        .sort("incident", "meter_id")
        .select("meter_id", "node_kind", "node_id", reason=pl.lit("nested"))
    )


def _verified(
    inferred: Inferred,
    incidents: pl.DataFrame,
    evidence: Evidence,
    among: tuple[Topology, Circumstances],
    params: DetectParams,
) -> pl.DataFrame:
    """Meters of incidents below a node that somebody says is restored, as far as they have shown no life."""
    topology, known = among
    if known.restored.is_empty():
        return _NONE
    at = pl.col("at").to_physical()
    lately = known.restored.filter(at > evidence.as_of - params.ping_within_s * 1_000_000)
    told = meters_below(lately, topology).group_by("meter").agg(at.max())
    return (
        inferred.members.filter(~pl.col("lives"))
        .join(told, on="meter")
        .filter(pl.col("at") > pl.col("start"))
        .join(incidents.select("incident", "node_kind", "node_id"), on="incident")
        .join(topology.meters.select("meter", "meter_id"), on="meter")
        .sort("incident", "meter_id")
        .select("meter_id", "node_kind", "node_id", reason=pl.lit("nested"))
    )


def _requests(level: int, meter: Ints, node: Ints, topology: Topology, reason: str) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "meter_id": topology.meters["meter_id"].gather(meter),
            "node_kind": pl.Series([LEVELS[level].value] * len(meter), dtype=NODE_KIND),
            "node_id": pl.Series([topology.names[level][n] for n in node], dtype=pl.String),
            "reason": pl.Series([reason] * len(meter), dtype=pl.String),
        }
    )
