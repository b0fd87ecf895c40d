"""From incidents to steps: ids, states, blocks of restoration, and the OUTAGES frame."""

from typing import Final
from uuid import UUID, uuid5

import polars as pl

from outage.evidence import Spans
from outage.infer import INDIVIDUAL, Inferred
from outage.params import DetectParams
from outage.restoration import number_blocks
from outage.topology import LEVELS, SCOPE_OF_LEVEL, Topology
from schemas.codes import IncidentState, NodeKind, Scope
from schemas.frames import NODE_KIND, OUTAGES, SCOPE, UTC_US, conform

INCIDENT_NAMESPACE: Final = UUID("6f1f1a52-4f0e-5f5e-9a5e-0a6f7a1c3d10")
"""Namespace of incident ids (UUIDv5); an id is a name, it opens nothing."""


def name_incidents(inferred: Inferred, spans: Spans, topology: Topology, params: DetectParams) -> pl.DataFrame:
    """The incidents with `incident_id`, `scope`, `node_kind`, `node_id`, counts and `confidence`.

    An id is made of the first message about the incident in order of reception: later evidence, an earlier start or
    a larger node never changes it.
    """
    members = inferred.members.join(topology.meters.select("meter", "meter_id", "customer"), on="meter", how="left")
    told = members.filter(pl.col("span").is_not_null())
    span = told["span"].to_numpy()
    told = told.with_columns(
        received=pl.Series(spans.received[span], dtype=pl.Int64),
        authenticated=pl.Series(spans.authenticated[span], dtype=pl.Boolean),
    )
    first = told.sort("received", "meter_id").group_by("incident").first()
    ids = [
        str(uuid5(INCIDENT_NAMESPACE, f"{m}/{r}")) for m, r in zip(first["meter_id"], first["received"], strict=True)
    ]
    facts = told.group_by("incident").agg(
        authenticated_share=pl.col("authenticated").mean(), started_at=pl.col("start").min()
    )
    counts = members.group_by("incident").agg(meters_out=pl.len(), customers_out=pl.col("customer").n_unique())
    return (
        inferred.incidents.join(first.select("incident", incident_id=pl.Series(ids, dtype=pl.String)), on="incident")
        .join(facts, on="incident")
        .join(counts, on="incident")
        .pipe(_place, topology)
        .with_columns(confidence=_confidence(params))
        .sort("started_at", "incident_id")
    )


def render_steps(
    incidents: pl.DataFrame, inferred: Inferred, topology: Topology, as_of: int, params: DetectParams
) -> pl.DataFrame:
    """OUTAGES: reported, confirmed where twice the needed meters spoke, then one step per block that came back."""
    blocks = _blocks(inferred.members, topology, params)
    spoken = _step(incidents, IncidentState.REPORTED, 0)
    confirmed = _step(
        incidents.filter((pl.col("level") != INDIVIDUAL) & (pl.col("heard") >= 2 * pl.col("needed"))),
        IncidentState.CONFIRMED,
        1,
    )
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
    names = incidents.select(parent="incident", nested_in="incident_id")
    rows = (
        pl.concat([spoken, confirmed, returned.select(spoken.columns)])
        .join(names, on="parent", how="left")
        .sort("started_at", "incident_id", "order")
        .with_columns(
            step=pl.int_range(pl.len()).over("incident_id").cast(pl.Int32),
            merged_into=pl.lit(None, pl.String),
            updated_at=pl.lit(as_of).cast(UTC_US),
            phases=pl.lit(None, pl.String),
            planned=pl.lit(value=False),
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


def _step(incidents: pl.DataFrame, state: IncidentState, order: int) -> pl.DataFrame:
    return incidents.select(
        "incident_id", "scope", "node_kind", "node_id", "started_at", "confidence", "level", "eligible", "heard",
        "parent", "authenticated_share",
        pl.col("meters_out", "customers_out").cast(pl.Int32),
        restored_at=pl.lit(None, pl.Int64),
        living=pl.lit(0, pl.Int32),
        order=pl.lit(order, pl.Int64),
        state=pl.lit(state.value),
    )  # fmt: skip


def _blocks(members: pl.DataFrame, topology: Topology, params: DetectParams) -> pl.DataFrame:
    """Per incident and block: when it came back, its meters and customers, and whether nothing stays dark after it."""
    numbered = number_blocks(members, params).join(topology.meters.select("meter", "customer"), on="meter", how="left")
    # A customer with several meters is back with the last of them.
    customers = numbered.group_by("incident", "customer").agg(
        block=pl.when(pl.col("block").null_count() == 0).then(pl.col("block").max())
    )
    return (
        numbered.filter(pl.col("block").is_not_null())
        .group_by("incident", "block")
        .agg(restored_at=pl.col("block_at").first(), meters_out=pl.len().cast(pl.Int32))
        .join(
            customers.group_by("incident", "block").agg(customers_out=pl.len().cast(pl.Int32)),
            on=["incident", "block"],
            how="left",
        )
        .with_columns(pl.col("customers_out").fill_null(0))
        .join(numbered.group_by("incident").agg(dark=pl.col("block").null_count()), on="incident")
        .sort("incident", "block")
        .with_columns(
            living=pl.col("meters_out").cum_sum().over("incident"),
            last=(pl.col("block") == pl.col("block").max().over("incident")) & (pl.col("dark") == 0),
        )
        .select("incident", "block", "restored_at", "meters_out", "customers_out", "living", "last")
    )


def _place(incidents: pl.DataFrame, topology: Topology) -> pl.DataFrame:
    level, node = incidents["level"].to_numpy(), incidents["node"].to_numpy()
    customers = topology.meters.unique("customer", keep="first", maintain_order=True).sort("customer")
    point = customers["service_point_id"].to_list()
    meter = customers["meter_id"].to_list()
    kinds, ids, scopes = [], [], []
    for rung, number in zip(level, node, strict=True):
        if rung == INDIVIDUAL:
            kinds.append((NodeKind.SERVICE_POINT if point[number] is not None else NodeKind.METER).value)
            ids.append(point[number] if point[number] is not None else meter[number])
            scopes.append(Scope.INDIVIDUAL.value)
        else:
            kinds.append(LEVELS[rung].value)
            ids.append(topology.names[rung][number])
            scopes.append(SCOPE_OF_LEVEL[rung].value)
    return incidents.with_columns(
        scope=pl.Series(scopes, dtype=SCOPE),
        node_kind=pl.Series(kinds, dtype=NODE_KIND),
        node_id=pl.Series(ids, dtype=pl.String),
    )


def _confidence(params: DetectParams) -> pl.Expr:
    """From one half at the bare threshold to one when every meter spoke; clear text alone never above its cap."""
    share = (pl.col("heard") / pl.col("eligible")).clip(0, 1)
    known = pl.when(pl.col("level") == INDIVIDUAL).then(0.6).otherwise(0.5 + 0.5 * share)
    return (
        pl.when(pl.col("authenticated_share") > 0)
        .then(known)
        .otherwise(pl.min_horizontal(known, pl.lit(params.unauthenticated_confidence)))
    )
