"""Stage `detect_outages`: events and evidence of life in, incidents out."""

from typing import Final, NamedTuple

import numpy as np
import polars as pl

from outage.evidence import NEVER, Evidence, EvidenceCounts, Spans, conform_events, place_events, read_evidence
from outage.incidents import name_incidents, render_steps
from outage.infer import infer_incidents
from outage.params import DetectParams
from outage.topology import Flags, Topology, eligible_between, read_topology
from schemas.frames import HEARD, METERS, UTC_US, conform

INTERRUPTIONS: Final = pl.Schema(
    {
        "meter_id": pl.String(),
        "service_point_id": pl.String(),
        "feeder_id": pl.String(),
        "started_at": UTC_US,
        "restored_at": UTC_US,  # null: still dark
        "incident_id": pl.String(),  # null: momentary
        "heard": pl.Boolean(),  # the meter itself reported it
        "momentary": pl.Boolean(),
    }
)
"""One row per meter and interruption: what the indices need and what the incidents were made of."""


class DetectCounts(NamedTuple):
    """What the run saw and did."""

    events: int
    power_events: int
    tests: int
    copies: int
    outranked: int
    disbelieved_time: int
    already_over: int
    spans: int
    momentary: int
    held: int
    incidents: int


class Detected(NamedTuple):
    """Incidents and what stands beside them."""

    outages: pl.DataFrame
    """OUTAGES: every step of every sustained incident, by start, incident and step."""
    interruptions: pl.DataFrame
    """`INTERRUPTIONS`: sustained ones of every member of an incident, and momentary ones."""
    disabled: tuple[str, ...]
    """Rules that could not be judged, and which column or frame was missing."""
    counts: DetectCounts


def detect_outages(events: pl.DataFrame, meters: pl.DataFrame, heard: pl.DataFrame, params: DetectParams) -> Detected:
    """Find the sustained outages that the evidence shows, each at the highest node that is wholly dark.

    The result depends on what was reported and when it happened, not on the order of the rows; ids depend on what was
    received first. Momentary interruptions are no incidents: they are in `interruptions` and in the counts.

    Args:
        events: EVENTS. `received_at` may be absent or null (a file keeps none): the event's own time then stands.
        meters: METERS. Levels without ids are left out of the tree; without any only individual outages are found.
        heard: HEARD, as many rows per meter as there are reads: evidence of life.
        params: Thresholds, and `until`, the instant whose knowledge counts.

    Raises:
        ContractError: A frame lacks a column or has one of another type.
    """
    events, meters, heard = conform_events(events), conform(meters, METERS), conform(heard, HEARD)
    topology = read_topology(meters, events["meter_id"])
    placed = place_events(events, topology, params)
    evidence = read_evidence(placed, heard, topology, params)
    sustained = _sustained(evidence, params)
    spans = evidence.spans.at(sustained)
    inferred = infer_incidents(spans, evidence, topology, _eligible(topology, evidence, params), params)
    incidents = name_incidents(inferred, spans, topology, params)
    outages = render_steps(incidents, inferred, topology, evidence.as_of, params)
    interruptions = _interruptions(incidents, inferred.members, evidence.spans.at(~sustained), topology)
    counts = _count(evidence.counts, evidence.spans, sustained, inferred.held, incidents.height)
    disabled = topology.disabled if heard.height else (*topology.disabled, "veto by life: no reads were given")
    return Detected(outages, interruptions, disabled, counts)


def _sustained(evidence: Evidence, params: DetectParams) -> Flags:
    flags: Flags = (evidence.spans.end - evidence.spans.start) > params.sustained_after_us()
    return flags


def _eligible(topology: Topology, evidence: Evidence, params: DetectParams) -> Flags:
    """Installed, and not silent for a day before the first onset, where the reads reach back that far."""
    spans = evidence.spans
    if not len(spans.start):
        return np.zeros(len(topology.customer), bool)
    first = int(spans.start.min())
    flags = eligible_between(topology, first, max(evidence.as_of, first))
    reach = first - params.heard_within_s * 1_000_000
    reads = evidence.reads
    if reads.height and int(reads["at"].to_numpy().min()) <= reach:
        spoke = np.zeros(len(flags), bool)
        spoke[reads.filter(pl.col("at") > reach)["meter"].unique().to_numpy()] = True
        flags &= spoke
    flags[spans.meter] = True
    return flags


def _interruptions(
    incidents: pl.DataFrame, members: pl.DataFrame, momentary: Spans, topology: Topology
) -> pl.DataFrame:
    known = topology.meters.select("meter", "meter_id", "service_point_id", "feeder_id")
    sustained = members.join(incidents.select("incident", "incident_id"), on="incident").select(
        "meter",
        "start",
        "restored_at",
        "incident_id",
        heard=pl.col("span").is_not_null(),
        momentary=pl.lit(value=False),
    )
    brief = pl.DataFrame(
        {"meter": momentary.meter, "start": momentary.start, "restored_at": momentary.end}
    ).with_columns(incident_id=pl.lit(None, pl.String), heard=pl.lit(value=True), momentary=pl.lit(value=True))
    return (
        pl.concat([sustained, brief.select(sustained.columns)])
        .join(known, on="meter", how="left")
        .select(
            "meter_id",
            "service_point_id",
            "feeder_id",
            started_at=pl.col("start").cast(UTC_US),
            restored_at=pl.col("restored_at").cast(UTC_US),
            incident_id="incident_id",
            heard="heard",
            momentary="momentary",
        )
        .sort("started_at", "meter_id")
    )


def _count(counts: EvidenceCounts, spans: Spans, sustained: Flags, held: int, incidents: int) -> DetectCounts:
    momentary = int((~sustained & (spans.end < NEVER)).sum())
    return DetectCounts(*counts, spans=len(spans.start), momentary=momentary, held=held, incidents=incidents)
