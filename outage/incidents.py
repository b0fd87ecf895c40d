"""From incidents to steps: places, states, blocks of restoration, and the OUTAGES frame."""

import numpy as np
import polars as pl

from outage.blocks import restored_blocks
from outage.circumstances import CONFIRMED
from outage.infer import Inferred
from outage.neighbours import TOGETHER_MS
from outage.params import DetectParams
from outage.pool import INDIVIDUAL
from outage.rungs import LETTERS
from outage.topology import LEVELS, SCOPE_OF_LEVEL, Topology
from schemas.codes import IncidentState, NodeKind, Scope
from schemas.frames import NODE_KIND, OUTAGES, SCOPE, UTC_US, conform

TOLD = pl.Schema(
    {
        "incident": pl.Int64(),
        "meter": pl.Int64(),
        "meter_id": pl.String(),
        "start": pl.Int64(),
        "received": pl.Int64(),
        "trusted": pl.Boolean(),
        "pinged_off": pl.Boolean(),
        "planned": pl.Boolean(),
        "founding": pl.Boolean(),
    }
)
"""Spans that reported an incident. `founding`: it began with others, within a minute; a meter of a dark node that had
been silent alone before, or whose clock is off, says nothing about when the node went dark, nor gives it its id."""


def told_spans(inferred: Inferred, topology: Topology) -> pl.DataFrame:
    """`TOLD`: the spans that reported each incident."""
    heard = inferred.members.filter(pl.col("span").is_not_null())
    spans = inferred.spans.at(heard["span"].to_numpy())
    return heard.with_columns(
        # A meter's number is its row.
        meter_id=topology.meters["meter_id"].gather(heard["meter"]),
        start=pl.Series(spans.start, dtype=pl.Int64),
        received=pl.Series(spans.received, dtype=pl.Int64),
        trusted=pl.Series(spans.trusted, dtype=pl.Boolean),
        pinged_off=pl.Series(spans.pinged_off, dtype=pl.Boolean),
        planned=pl.Series(spans.planned, dtype=pl.Boolean),
    ).pipe(_with_founding)


def _with_founding(told: pl.DataFrame) -> pl.DataFrame:
    incident, start = told["incident"].to_numpy(), told["start"].to_numpy()
    order = np.lexsort((told["meter"].to_numpy(), start, incident))
    incident, start = incident[order], start[order]
    near = (incident[1:] == incident[:-1]) & (start[1:] - start[:-1] <= TOGETHER_MS * 1000)
    together = np.zeros(len(order), bool)
    together[1:] |= near
    together[:-1] |= near
    several = np.bincount(incident[together], minlength=int(incident.max(initial=0)) + 1) > 0
    founding = pl.Series(together | ~several[incident], dtype=pl.Boolean)
    return told[order].with_columns(founding=founding).select(*TOLD)


def describe_incidents(
    inferred: Inferred, told: pl.DataFrame, topology: Topology, params: DetectParams
) -> pl.DataFrame:
    """The incidents with scope, node, phases, counts, confidence and the kinds of evidence they rest on."""
    places = topology.meters.select("customer", "phase")[inferred.members["meter"]].select(
        "customer", *(pl.col("phase").str.contains(letter, literal=True).alias(letter) for letter in LETTERS)
    )
    members = pl.concat([inferred.members, places], how="horizontal")
    facts = told.group_by("incident").agg(
        authenticated_share=pl.col("trusted").mean(),
        started_at=pl.col("start").filter("founding").min(),
        pinged=pl.col("pinged_off").any(),
        planned=pl.col("planned").any(),
    )
    counts = members.group_by("incident").agg(
        meters_out=pl.len(),
        all_live=pl.col("lives").all(),
        **{letter: pl.col(letter).any() for letter in LETTERS},
    )
    phases = pl.concat_str(pl.when(letter).then(pl.lit(letter)).otherwise(pl.lit("")) for letter in LETTERS)
    counts = counts.with_columns(customers_out=_customers_of(members).gather(counts["incident"]))
    described = inferred.incidents.join(facts, on="incident").join(counts, on="incident").pipe(_place, topology)
    return described.with_columns(
        confidence=_confidence(params),
        phases=pl.when(pl.col("letters") != "").then("letters").otherwise(pl.when(phases != "").then(phases)),
    ).drop(*LETTERS)


def _customers_of(members: pl.DataFrame) -> pl.Series:
    """Per number of an incident: how many customers its members are."""
    incident, customer = members["incident"].to_numpy(), members["customer"].to_numpy()
    width = int(customer.max(initial=0)) + 1
    return pl.Series(np.bincount(np.unique(incident * width + customer) // width).astype(np.uint32))


def render_steps(
    incidents: pl.DataFrame,
    inferred: Inferred,
    topology: Topology,
    confirmed: pl.DataFrame,
    at: tuple[int, DetectParams],
) -> pl.DataFrame:
    """OUTAGES: reported, confirmed, one step per block that came back, closed.

    Args:
        incidents: As `describe_incidents` gives them, with `incident_id` and `nested_in`.
        inferred: Their members.
        topology: Customers.
        confirmed: `CONFIRMED`: what others say is dark.
        at: Newest evidence in microseconds, and the parameters.
    """
    as_of, params = at
    blocks = restored_blocks(inferred.members, topology, params)
    spoken = _step(incidents, IncidentState.REPORTED, 0)
    sure = _step(incidents.filter(_is_confirmed(incidents, confirmed)), IncidentState.CONFIRMED, 1)
    returned = (
        incidents.drop("meters_out", "customers_out", "living")
        .join(blocks, on="incident")
        .with_columns(
            order=pl.col("block").cast(pl.Int64) + 2,
            state=pl.when("last")
            .then(pl.lit(IncidentState.RESTORED.value))
            .otherwise(pl.lit(IncidentState.PARTIALLY_RESTORED.value)),
        )
    )
    closed = _closed(returned, as_of, params)
    rows = (
        pl.concat([spoken, sure, returned.select(spoken.columns), closed.select(spoken.columns)])
        .sort("started_at", "incident_id", "order")
        .with_columns(
            step=pl.int_range(pl.len()).over("incident_id").cast(pl.Int32),
            merged_into=pl.lit(None, pl.String),
            updated_at=pl.lit(as_of).cast(UTC_US),
            cause=pl.lit(None, pl.String),
            run_id=pl.lit(params.run_id),
            predicted_device=pl.when(pl.col("level") != INDIVIDUAL).then("node_id"),
            started_at=pl.col("started_at").cast(UTC_US),
            restored_at=pl.col("restored_at").cast(UTC_US),
            meters_eligible=pl.col("eligible").cast(pl.Int32),
            meters_heard=pl.col("heard").cast(pl.Int32),
            meters_alive=pl.col("living").cast(pl.Int32),
        )
        .with_columns(meters_silent=pl.max_horizontal(pl.col("meters_eligible") - pl.col("meters_heard"), 0))
    )
    return conform(rows, OUTAGES)


def _is_confirmed(incidents: pl.DataFrame, confirmed: pl.DataFrame) -> pl.Series:
    """A ping found it dark, twice the needed meters spoke, or someone else says so."""
    many = (pl.col("level") != INDIVIDUAL) & (pl.col("heard") >= 2 * pl.col("needed"))
    own = many | pl.col("pinged")
    if confirmed.is_empty():
        return incidents.select(sure=own)["sure"]
    said = (
        incidents.select("incident", "node_kind", "node_id", "onset_at", "back_at")
        .join(confirmed.select(*CONFIRMED).with_columns(pl.col("at").to_physical()), on=["node_kind", "node_id"])
        .filter(
            (pl.col("at") >= pl.col("onset_at")) & (pl.col("back_at").is_null() | (pl.col("at") <= pl.col("back_at")))
        )
    )
    sure = own | pl.col("incident").is_in(said["incident"].unique().to_list())
    return incidents.select(sure=sure)["sure"]


def _closed(returned: pl.DataFrame, as_of: int, params: DetectParams) -> pl.DataFrame:
    if params.close_after_s is None:
        return returned.clear()
    over = pl.col("last") & pl.col("all_live") & (pl.col("restored_at") + params.close_after_s * 1_000_000 < as_of)
    return returned.filter(over).with_columns(
        pl.lit(0, pl.Int32).alias("meters_out"),
        pl.lit(0, pl.Int32).alias("customers_out"),
        order=pl.col("order") + 1,
        state=pl.lit(IncidentState.CLOSED.value),
    )


def _step(incidents: pl.DataFrame, state: IncidentState, order: int) -> pl.DataFrame:
    return incidents.select(
        "incident_id", "scope", "node_kind", "node_id", "started_at", "confidence", "level", "eligible", "heard",
        "nested_in", "authenticated_share", "phases", "planned",
        pl.col("meters_out", "customers_out").cast(pl.Int32),
        restored_at=pl.lit(None, pl.Int64),
        living=pl.lit(0, pl.Int32),
        order=pl.lit(order, pl.Int64),
        state=pl.lit(state.value),
    )  # fmt: skip


def _place(incidents: pl.DataFrame, topology: Topology) -> pl.DataFrame:
    at_point = pl.coalesce("service_point_id", "meter_id")
    points = topology.meters.filter(pl.col("customer").is_in(incidents["node"].unique().implode())).unique(
        "customer", keep="first", maintain_order=True
    )
    alone = points.select(
        level=pl.lit(INDIVIDUAL, pl.Int64),
        node=pl.col("customer"),
        scope=pl.lit(Scope.INDIVIDUAL.value),
        node_kind=pl.when(pl.col("service_point_id").is_null())
        .then(pl.lit(NodeKind.METER.value))
        .otherwise(pl.lit(NodeKind.SERVICE_POINT.value)),
        node_id=at_point,
    )
    nodes = [
        pl.DataFrame({"node": numbers}, schema={"node": pl.Int64}).select(
            pl.lit(level, pl.Int64).alias("level"),
            "node",
            pl.lit(SCOPE_OF_LEVEL[level].value).alias("scope"),
            pl.lit(LEVELS[level].value).alias("node_kind"),
            pl.Series("node_id", [topology.names[level][number] for number in numbers], dtype=pl.String),
        )
        for level in range(len(LEVELS))
        for numbers in [incidents.filter(pl.col("level") == level)["node"].unique().to_list()]
    ]
    return incidents.join(
        pl.concat([alone, *nodes]).with_columns(pl.col("scope").cast(SCOPE), pl.col("node_kind").cast(NODE_KIND)),
        on=["level", "node"],
        how="left",
        maintain_order="left",
    )


def _confidence(params: DetectParams) -> pl.Expr:
    """From one half at the bare threshold to one when every meter spoke; clear text alone never above its cap."""
    share = (pl.col("heard") / pl.col("eligible")).clip(0, 1)
    known = pl.when(pl.col("level") == INDIVIDUAL).then(0.6).otherwise(0.5 + 0.5 * share)
    sure = pl.when(pl.col("pinged")).then(pl.max_horizontal(known, pl.lit(0.9))).otherwise(known)
    return (
        pl.when(pl.col("authenticated_share") > 0)
        .then(sure)
        .otherwise(pl.min_horizontal(sure, pl.lit(params.unauthenticated_confidence)))
    )
