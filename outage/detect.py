"""Stage `detect_outages`: events and evidence of life in, incidents out."""

from typing import Final, NamedTuple

import numpy as np
import polars as pl

from outage.belief import conform_events, known_events
from outage.circumstances import Circumstances, circumstances
from outage.evidence import Evidence, place_reads, read_evidence
from outage.identity import Published, anchors_of, explain_lost, issue_steps, name_incidents
from outage.incidents import describe_incidents, render_steps, told_spans
from outage.infer import Inferred, infer_incidents
from outage.interruptions import interruptions_of_members
from outage.memory import DetectState, active_roots, forget, remember
from outage.notices import find_alarms, find_at_risk, is_storm
from outage.params import DetectParams
from outage.pings import request_pings
from outage.pool import INDIVIDUAL, optional
from outage.spans import NEVER
from outage.topology import Flags, Topology, numbers_of, read_topology
from schemas.frames import HEARD, METERS, UTC_US, conform

SUPPRESSED: Final = pl.Schema(
    {"meter_id": pl.String(), "started_at": UTC_US, "restored_at": UTC_US, "reason": pl.String()}
)
"""Silence that something other than a fault explains; `reason` as `SuppressedBy`."""


class DetectCounts(NamedTuple):
    """What the run saw and did. With a state the counts are those of all that it remembers."""

    events: int
    power_events: int
    tests: int
    copies: int
    outranked: int
    disbelieved_time: int
    already_over: int
    unproven: int
    sustained: int
    momentary: int
    suppressed: int
    held: int
    withheld: int
    incidents: int


class Detected(NamedTuple):
    """Incidents and what stands beside them."""

    outages: pl.DataFrame
    """OUTAGES: without a state every step of every sustained incident; with one the steps that are new or different.
    By start, incident and step."""
    interruptions: pl.DataFrame
    """`INTERRUPTIONS`: sustained ones of every member of an incident, and momentary ones."""
    suppressed: pl.DataFrame
    """`SUPPRESSED`."""
    pings: pl.DataFrame
    """`PING_REQUESTS`: meters to ask now."""
    at_risk: pl.DataFrame
    """`AT_RISK`: nodes that flicker or sag again and again."""
    alarms: pl.DataFrame
    """`ALARMS`: doubts about the feed."""
    storm: bool
    """Storm mode holds: individuals are withheld, except bellwethers and those already reported."""
    disabled: tuple[str, ...]
    """Rules that could not be judged, and which column or frame was missing."""
    counts: DetectCounts
    state: DetectState
    """For the next batch."""


class _Found(NamedTuple):
    """Incidents under their ids."""

    inferred: Inferred
    incidents: pl.DataFrame
    told: pl.DataFrame
    lost: pl.DataFrame
    withheld: int


def detect_outages(
    events: pl.DataFrame,
    meters: pl.DataFrame,
    heard: pl.DataFrame,
    params: DetectParams,
    state: DetectState | None = None,
    known: Circumstances | None = None,
) -> Detected:
    """Find the sustained outages that the evidence shows, each at the highest node that is wholly dark.

    The result depends on what was reported and when it happened, not on the order of the rows; ids depend on what was
    received first. Momentary interruptions are no incidents: they are in `interruptions` and in the counts. Batch by
    batch with the state handed on gives the same incidents, under the same ids, as the whole log at once; incidents
    that looked different meanwhile end as `merged` or `cancelled`.

    Args:
        events: EVENTS. `received_at` may be absent or null (a file keeps none): the event's own time then stands.
        meters: METERS. Levels without ids are left out of the tree; without any only individual outages are found.
        heard: HEARD, as many rows per meter as there are reads: evidence of life.
        params: Thresholds, and `until`, the instant whose knowledge counts.
        state: Of the batch before; None at the beginning.
        known: Planned work, orders, pings and the like, all that are known, not only new ones.

    Raises:
        ContractError: A frame lacks a column or has one of another type.
    """
    known = circumstances() if known is None else known
    batch, life = conform_events(events), conform(heard, HEARD)
    fleet = meters if state is not None and meters is state.meters else conform(meters, METERS)
    log, reads = remember(state, batch, life.select("meter_id", at=pl.col("read_at").to_physical()))
    topology, numbers = _numbered(state, fleet, log["meter_id"])
    placed = known_events(log.with_columns(numbers), params)
    evidence = _evidence(placed, reads, topology, known, (state, params))
    eligible = _eligible(topology, evidence, params)
    inferred = infer_incidents(evidence, topology, eligible, params)
    published = Published.nothing() if state is None else state.published
    storm = is_storm(placed, evidence.as_of, params)
    found = _name(inferred, topology, published, (storm, known), params)
    steps = render_steps(found.incidents, found.inferred, topology, known.confirmed, (evidence.as_of, params))
    lost = explain_lost(found.lost, published, _explained(evidence, topology))
    issued = issue_steps(steps, lost, published.outages, evidence.as_of)
    anchors = anchors_of(found.told, found.incidents.select("incident", "incident_id"))
    after = DetectState(fleet, topology, log, reads, Published(issued.outages, anchors), evidence.as_of)
    return Detected(
        outages=issued.changed,
        interruptions=interruptions_of_members(found.incidents, inferred.members, evidence.brief, topology),
        suppressed=_suppressed(evidence.suppressed, topology),
        pings=request_pings(inferred, found.incidents, evidence, (topology, eligible, known), params),
        at_risk=find_at_risk(evidence, placed, topology, params),
        alarms=find_alarms(evidence, placed, topology, eligible, params),
        storm=storm,
        disabled=topology.disabled if reads.height else (*topology.disabled, "veto by life: no reads were given"),
        counts=_count(evidence, found),
        state=forget(after, params),
    )


def _numbered(state: DetectState | None, meters: pl.DataFrame, speaking: pl.Series) -> tuple[Topology, pl.Series]:
    """The topology, that of the state where nothing about the meters has changed; and the number of each meter."""
    same = state is not None and (meters is state.meters or meters.equals(state.meters))
    topology = state.topology if same and state is not None else read_topology(meters, speaking.clear())
    numbers = numbers_of(speaking, topology)
    if not numbers.null_count():
        return topology, numbers
    strangers = read_topology(meters, speaking)
    return strangers, numbers_of(speaking, strangers)


def _evidence(
    placed: pl.DataFrame,
    reads: pl.DataFrame,
    topology: Topology,
    known: Circumstances,
    with_: tuple[DetectState | None, DetectParams],
) -> Evidence:
    state, params = with_
    placed_reads = place_reads(reads, topology, params)
    active = active_roots(placed, topology)
    near = placed_reads
    if not active.all():
        near = placed_reads.filter(pl.Series(active[placed_reads["meter"].to_numpy()], dtype=pl.Boolean))
    newest = placed_reads["at"].max()
    not_before = max(newest if isinstance(newest, int) else 0, 0 if state is None else state.as_of)
    return read_evidence(placed, near, topology, known, params, not_before)


def _eligible(topology: Topology, evidence: Evidence, params: DetectParams) -> Flags:
    """Not silent for a day before the first onset, where the reads reach back that far."""
    spans, reads = evidence.spans, evidence.reads
    flags = np.ones(len(topology.customer), bool)
    if not len(spans.start) or not len(reads.keys):
        return flags
    reach = int(spans.start.min()) - params.heard_within_s * 1_000_000
    if reads.oldest() <= reach:
        flags = reads.first_after(np.arange(len(flags)), np.full(len(flags), reach)) < NEVER
        flags[spans.meter] = True
    return flags


def _name(
    inferred: Inferred,
    topology: Topology,
    published: Published,
    storm: tuple[bool, Circumstances],
    params: DetectParams,
) -> _Found:
    told = told_spans(inferred, topology)
    named = name_incidents(told, published)
    incidents = describe_incidents(inferred, told, topology, params).join(named.ids, on="incident")
    held = incidents.clear()
    if storm[0]:
        points = topology.meters.join(storm[1].bellwethers, on="meter_id", how="semi")
        shown = pl.col("incident_id").is_in(published.anchors["incident_id"].unique().to_list()) | pl.col("node").is_in(
            points["customer"].to_list()
        )
        held = incidents.filter((pl.col("level") == INDIVIDUAL) & ~shown)
        incidents = incidents.join(held, on="incident", how="anti")
    parents = incidents.select(parent="incident", nested_in="incident_id")
    incidents = incidents.join(parents, on="parent", how="left").sort("started_at", "incident_id")
    told = told.join(held, on="incident", how="anti")
    return _Found(inferred, incidents, told, named.lost, held.height)


def _explained(evidence: Evidence, topology: Topology) -> pl.DataFrame:
    """Spans that are no sign of a sustained outage, and why."""
    brief = pl.DataFrame({"meter": evidence.brief.meter, "start": evidence.brief.start})
    both = [brief.with_columns(cause=pl.lit("momentary")), evidence.suppressed.select("meter", "start", cause="reason")]
    named = pl.concat(both).join(topology.meters.select("meter", "meter_id"), on="meter")
    return named.select("meter_id", "start", "cause").sort("meter_id", "start")


def _suppressed(rows: pl.DataFrame, topology: Topology) -> pl.DataFrame:
    return (
        rows.join(topology.meters.select("meter", "meter_id"), on="meter")
        .with_columns(
            started_at=pl.col("start").cast(UTC_US),
            restored_at=optional("end").cast(UTC_US),
        )
        .select(*SUPPRESSED)
        .sort("started_at", "meter_id")
    )


def _count(evidence: Evidence, found: _Found) -> DetectCounts:
    return DetectCounts(
        *evidence.counts,
        sustained=len(evidence.spans.start),
        momentary=len(evidence.brief.start),
        suppressed=evidence.suppressed.height,
        held=found.inferred.held,
        withheld=found.withheld,
        incidents=found.incidents.height,
    )
