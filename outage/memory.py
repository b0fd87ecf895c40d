"""What a state remembers between batches: enough that later evidence is judged as if all had come at once."""

from typing import Final, NamedTuple

import numpy as np
import polars as pl

from outage.belief import DOWN, UP
from outage.evidence import PHASE_DOWN, PHASE_UP
from outage.identity import Published, last_steps
from outage.params import DetectParams
from outage.suppress import TAMPERING
from outage.topology import LEVELS, NO_NODE, Flags, Ints, Topology
from schemas.codes import EventKind, IncidentState
from schemas.frames import EVENTS, UTC_US

RELEVANT: Final = (
    *DOWN, *UP, *PHASE_DOWN, *PHASE_UP, *TAMPERING, EventKind.LAST_GASP_TEST, EventKind.DISCONNECTED,
    EventKind.CONNECTED, EventKind.FIRMWARE_ACTIVATED, EventKind.VOLTAGE_SAG,
)  # fmt: skip
"""Events that inference looks at; all others are left out at the door."""
LONGEST_S: Final = 7 * 86_400
"""Reads are forgotten after a week even below an incident that never ends: a meter may be gone for good."""
OVER: Final = [IncidentState.RESTORED, IncidentState.CLOSED, IncidentState.MERGED, IncidentState.CANCELLED]


class DetectState(NamedTuple):
    """Everything that the next batch needs. A value: the next state is a new one."""

    meters: pl.DataFrame
    """METERS that `topology` was made of."""
    topology: Topology
    events: pl.DataFrame
    """EVENTS of `RELEVANT` kinds."""
    reads: pl.DataFrame
    """`meter_id`, `at` (microseconds)."""
    published: Published
    as_of: int


def remember(state: DetectState | None, events: pl.DataFrame, reads: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """EVENTS and reads of the batch together with those kept; a row delivered twice is one."""
    relevant = events.filter(pl.col("event").is_in(list(RELEVANT)))
    if state is None:
        return relevant, reads
    events = pl.concat([state.events, relevant]).unique(maintain_order=True)
    return events, pl.concat([state.reads, reads]).unique(maintain_order=True)


def active_roots(events: pl.DataFrame, topology: Topology) -> Flags:
    """Per meter: whether anything below the same root of the tree has spoken. Elsewhere reads decide nothing."""
    root = _roots(topology)
    active = np.zeros(int(root.max(initial=0)) + 1, bool)
    active[root[events["meter"].to_numpy()]] = True
    flags: Flags = active[root]
    return flags


def forget(state: DetectState, params: DetectParams) -> DetectState:
    """The state without what can no longer matter.

    Incidents that have been over for `keep_s` leave, and with them the evidence before that time, unless an incident
    that goes on needs it. Reads stay as long as events do.
    """
    horizon = state.as_of - params.keep_s * 1_000_000
    if _is_young(state, horizon) and _is_recent(state.published.outages, horizon):
        return state
    last = last_steps(state.published.outages)
    ended = pl.coalesce("restored_at", "updated_at") < pl.lit(horizon).cast(UTC_US)
    archived = last.filter(pl.col("state").is_in(OVER) & ended).select("incident_id")
    outages = state.published.outages.join(archived, on="incident_id", how="anti")
    anchors = state.published.anchors.join(archived, on="incident_id", how="anti")
    needed = anchors.group_by("meter_id").agg(since=pl.col("start").min() - params.late_s * 1_000_000)
    if archived.is_empty() and _is_young(state, horizon):
        return state
    since = pl.min_horizontal("since", pl.lit(horizon))
    events = state.events.join(needed, on="meter_id", how="left").filter(
        pl.max_horizontal("received_at", "occurred_at").to_physical() >= since
    )
    return state._replace(
        events=events.select(*EVENTS.schema),
        reads=_kept_reads(state, needed, horizon),
        published=Published(outages, anchors),
    )


def _is_young(state: DetectState, horizon: int) -> bool:
    """Whether nothing in the state is older than the horizon."""
    oldest = [state.reads["at"].min(), state.events["received_at"].to_physical().min()]
    return all(not isinstance(at, int) or at >= horizon for at in oldest)


def _is_recent(outages: pl.DataFrame, horizon: int) -> bool:
    """Whether no step of what has been said can have ended before the horizon."""
    oldest = [outages["restored_at"].to_physical().min(), outages["updated_at"].to_physical().min()]
    return all(not isinstance(at, int) or at >= horizon for at in oldest)


def _kept_reads(state: DetectState, needed: pl.DataFrame, horizon: int) -> pl.DataFrame:
    root = _roots(state.topology)
    placed = state.topology.meters.select("meter_id", root=pl.Series(root, dtype=pl.Int64))
    since = placed.join(needed, on="meter_id").group_by("root").agg(pl.col("since").min())
    oldest = max(horizon - LONGEST_S * 1_000_000, 0)
    return (
        state.reads.join(placed, on="meter_id")
        .join(since, on="root", how="left")
        .filter(pl.col("at") >= pl.max_horizontal(pl.min_horizontal("since", pl.lit(horizon)), pl.lit(oldest)))
        .select("meter_id", "at")
    )


def _roots(topology: Topology) -> Ints:
    """Number of the highest known node above each meter; meters without one share a root."""
    root = np.zeros(len(topology.customer), np.int64)
    offset = 1
    for level in range(len(LEVELS)):
        of = topology.node_of[level]
        root = np.where(of != NO_NODE, of + offset, root)
        offset += len(topology.names[level])
    return root
