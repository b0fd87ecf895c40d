"""What the control room should know besides incidents: nodes at risk, alarms about the feed, storms."""

from typing import Final

import numpy as np
import polars as pl

from outage.belief import DOWN
from outage.circumstances import Storm
from outage.evidence import Evidence
from outage.onset import Dark, find_onsets
from outage.params import DetectParams
from outage.spans import NEVER
from outage.suppress import SuppressedBy
from outage.topology import LEVELS, NO_NODE, SCOPE_OF_LEVEL, Flags, Topology
from schemas.codes import EventKind, NodeKind, Scope
from schemas.frames import NODE_KIND, UTC_US, Frame

SECOND: Final = 1_000_000
ONE_EVENT_S: Final = 60
"""Momentaries, or sags, of one node this close together have one cause."""
COPIES: Final = 6
"""A meter says the same outage at most six times (outage.md section 1); more is a flood."""

AT_RISK: Final = pl.Schema(
    {
        "node_kind": NODE_KIND,
        "node_id": pl.String(),
        "momentaries": pl.Int64(),  # events in the window
        "sags": pl.Int64(),
        "meters": pl.Int64(),  # distinct meters that told of them
        "first_at": UTC_US,
        "last_at": UTC_US,
    }
)
"""Nodes that flicker or sag again and again: an outage to come (issue: warn before it)."""

ALARMS: Final = pl.Schema(
    {
        "kind": pl.Enum(["uncorroborated", "rate", "contradicted", "unproven"]),
        "node_kind": NODE_KIND,
        "node_id": pl.String(),
        "at": UTC_US,
        "count": pl.Int64(),  # meters, or messages for `rate`
    }
)
"""Doubts about the feed. `uncorroborated`: enough of a zone to call it out, but in clear text alone; `rate`: more last
gasps in a minute than the meters below the node can send; `contradicted`: a last gasp in clear text of a meter that
went on reading; `unproven`: a power-up in clear text of a meter whose power-down was authenticated: not believed."""


WARNINGS: Final = Frame(
    "WARNINGS",
    pl.Schema(
        {
            "notice": pl.Enum(["at_risk", *ALARMS["kind"].categories]),  # type: ignore[attr-defined]
            "node_kind": NODE_KIND,
            "node_id": pl.String(),
            "first_at": UTC_US,
            "last_at": UTC_US,
            "momentaries": pl.Int64(),  # null: an alarm about the feed
            "sags": pl.Int64(),  # null: the same
            "count": pl.Int64(),  # distinct meters that told of it, or messages for `rate`
        }
    ),
    frozenset({"momentaries", "sags"}),
)
"""What a control room should know besides incidents, with its evidence: `AT_RISK` and `ALARMS` in one shape."""


def warnings_of(at_risk: pl.DataFrame, alarms: pl.DataFrame) -> pl.DataFrame:
    """WARNINGS, by node."""
    risky = at_risk.with_columns(notice=pl.lit("at_risk"), count=pl.col("meters"))
    doubtful = alarms.with_columns(
        notice=pl.col("kind").cast(pl.String), first_at="at", last_at="at", momentaries=None, sags=None
    )
    parts = [
        rows.select(pl.col(name).cast(dtype) for name, dtype in WARNINGS.schema.items()) for rows in (risky, doubtful)
    ]
    return pl.concat(parts).sort("notice", "node_kind", "node_id", "first_at")


def find_at_risk(evidence: Evidence, events: pl.DataFrame, topology: Topology, params: DetectParams) -> pl.DataFrame:
    """`AT_RISK`: transformers (or service points without one) with repeated momentaries or voltage sags.

    Args:
        evidence: Momentary spans.
        events: EVENTS with `meter`.
        topology: The tree.
        params: Window and counts.
    """
    since = evidence.as_of - params.risk_window_s * SECOND
    brief = pl.DataFrame({"meter": evidence.brief.meter, "at": evidence.brief.start}).with_columns(
        kind=pl.lit("momentary")
    )
    sags = events.filter(pl.col("event") == EventKind.VOLTAGE_SAG).select(
        "meter", at=pl.col("occurred_at").to_physical(), kind=pl.lit("sag")
    )
    told = pl.concat([brief, sags]).filter(pl.col("at") > since)
    if told.is_empty():
        return AT_RISK.to_frame()
    # A meter's number is its row.
    names = topology.meters[told["meter"]].select(
        node_kind=pl.when(pl.col("transformer_id").is_not_null())
        .then(pl.lit(NodeKind.TRANSFORMER.value))
        .when(pl.col("service_point_id").is_not_null())
        .then(pl.lit(NodeKind.SERVICE_POINT.value))
        .otherwise(pl.lit(NodeKind.METER.value)),
        node_id=pl.coalesce("transformer_id", "service_point_id", "meter_id"),
    )
    node = ["node_kind", "node_id"]
    counted = (
        pl.concat([told, names], how="horizontal")
        .sort(*node, "kind", "at")
        .with_columns(
            new=(pl.col("at") - pl.col("at").shift(1).over(*node, "kind") > ONE_EVENT_S * SECOND).fill_null(value=True)
        )
        .group_by(*node, maintain_order=True)
        .agg(
            momentaries=((pl.col("kind") == "momentary") & pl.col("new")).sum(),
            sags=((pl.col("kind") == "sag") & pl.col("new")).sum(),
            meters=pl.col("meter").n_unique(),
            first_at=pl.col("at").min(),
            last_at=pl.col("at").max(),
        )
    )
    risky = (pl.col("momentaries") >= params.risk_momentaries) | (pl.col("sags") >= params.risk_sags)
    return counted.filter(risky).select(pl.col(name).cast(dtype) for name, dtype in AT_RISK.items())


def find_alarms(
    evidence: Evidence, events: pl.DataFrame, topology: Topology, eligible: Flags, params: DetectParams
) -> pl.DataFrame:
    """`ALARMS`: what in the feed cannot be trusted.

    Args:
        evidence: Spans.
        events: EVENTS with `meter`.
        topology: The tree.
        eligible: Per meter: counts for n.
        params: Shares and windows.
    """
    parts = [_uncorroborated(level, evidence, topology, eligible, params) for level in range(len(LEVELS))]
    parts += [
        _rate(events, topology),
        _contradicted(evidence, topology),
        _of_meters("unproven", evidence.unproven, topology),
    ]
    return pl.concat(parts).sort("kind", "at", "node_id")


def is_storm(events: pl.DataFrame, as_of: int, params: DetectParams) -> bool:
    """Whether storm mode holds at the newest evidence.

    Args:
        events: EVENTS.
        as_of: Microseconds.
        params: Rates, or the word of a person.
    """
    if params.storm is not Storm.AUTO:
        return params.storm is Storm.ON
    down = events.select("event", "received_at").filter(pl.col("event").is_in(list(DOWN)))
    minute = down["received_at"].to_physical().to_numpy() // (60 * SECOND)
    if len(minute) < params.storm_enter_per_min:
        return False
    minute.sort()
    begins = np.flatnonzero(np.r_[True, minute[1:] != minute[:-1]])
    minutes, counts = minute[begins], np.diff(np.r_[begins, len(minute)])
    hot = minutes[counts >= params.storm_enter_per_min]
    if not len(hot):
        return False
    warm = minutes[(counts >= params.storm_leave_per_min) & (minutes >= hot[-1])]
    calm = params.storm_calm_s // 60
    pauses = np.diff(np.append(warm, as_of // (60 * SECOND)))
    return bool((pauses <= calm).all())


def _uncorroborated(
    level: int, evidence: Evidence, topology: Topology, eligible: Flags, params: DetectParams
) -> pl.DataFrame:
    spans = evidence.spans
    of = topology.node_of[level]
    if SCOPE_OF_LEVEL[level] is not Scope.ZONAL or not params.zonal_needs_authenticated:
        return ALARMS.to_frame()
    node = of[spans.meter]
    size = np.bincount(of[eligible & (of != NO_NODE)], minlength=len(topology.names[level]))
    trusted = np.bincount(node[spans.trusted & (node != NO_NODE)], minlength=len(size))
    placed = np.flatnonzero(node != NO_NODE)
    said = spans.at(placed[trusted[node[placed]] == 0])
    if not len(said.meter):
        return ALARMS.to_frame()
    none = np.empty(0, np.int64)
    doubtful = find_onsets(Dark(of[said.meter], said.start, said.end), Dark(none, none, none), size, params).enough
    rows = pl.DataFrame({"node": of[said.meter][doubtful], "at": said.start[doubtful]})
    found = rows.group_by("node").agg(pl.col("at").min(), count=pl.len()).sort("node")
    return _alarms(
        "uncorroborated",
        [LEVELS[level].value] * found.height,
        [topology.names[level][node] for node in found["node"]],
        found,
    )


def _rate(events: pl.DataFrame, topology: Topology) -> pl.DataFrame:
    gasps = events.select("event", "meter", "received_at").filter(pl.col("event").is_in(list(DOWN)))
    of = topology.node_of[0]
    below = np.bincount(of[of != NO_NODE], minlength=len(topology.names[0]))
    node = of[gasps["meter"].to_numpy()]
    minute = gasps["received_at"].to_physical().to_numpy() // (60 * SECOND)
    first, placed = int(minute.min(initial=NEVER)), node != NO_NODE
    span = int(minute.max(initial=0)) - first + 1 if len(minute) else 1
    key, count = np.unique(node[placed] * span + minute[placed] - first, return_counts=True)
    many = count > COPIES * below[key // span] if len(key) else np.zeros(0, bool)
    found = (
        pl.DataFrame(
            {"node": key[many] // span, "minute": key[many] % span + first, "count": count[many]},
            schema={"node": pl.Int64, "minute": pl.Int64, "count": pl.Int64},
        )
        .sort("minute", "node")
        .with_columns(at=pl.col("minute") * 60 * SECOND)
    )
    names = [topology.names[0][number] for number in found["node"]]
    return _alarms("rate", [NodeKind.TRANSFORMER.value] * found.height, names, found)


def _contradicted(evidence: Evidence, topology: Topology) -> pl.DataFrame:
    refuted = evidence.suppressed.filter(pl.col("reason") == SuppressedBy.CONTRADICTED)
    parts = [refuted.select("meter", at="end")]
    for spans in (evidence.spans, evidence.brief):
        lied = spans.by_read & ~spans.trusted
        parts.append(pl.DataFrame({"meter": spans.meter[lied], "at": spans.end[lied]}))
    return _of_meters("contradicted", pl.concat(parts), topology)


def _of_meters(kind: str, told: pl.DataFrame, topology: Topology) -> pl.DataFrame:
    found = told.select("meter", "at").unique().sort("meter", "at").with_columns(count=pl.lit(1))
    names = topology.meters["meter_id"].gather(found["meter"]).to_list()
    return _alarms(kind, [NodeKind.METER.value] * found.height, names, found)


def _alarms(kind: str, node_kinds: list[str], names: list[str], found: pl.DataFrame) -> pl.DataFrame:
    rows = found.with_columns(
        kind=pl.lit(kind), node_kind=pl.Series(node_kinds, dtype=pl.String), node_id=pl.Series(names, dtype=pl.String)
    )
    return rows.select(pl.col(name).cast(dtype) for name, dtype in ALARMS.items())
