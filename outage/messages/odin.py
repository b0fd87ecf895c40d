"""DOE ODIN: the current state of every incident (IEC 61968-3 profile; fields of outage.md 10.4).

No schema of it is public; names and meanings are those of the published profile, their order ours.
"""

from collections.abc import Mapping
from typing import Any, Final

import polars as pl

from outage.messages.xml import Element, element, leaf, render_xml
from schemas.codes import IncidentState
from schemas.frames import OUTAGES, conform

NAMESPACE: Final = "http://iec.ch/TC57/2014/FROutages#"
VERIFIED: Final = [
    IncidentState.CONFIRMED.value,
    IncidentState.PARTIALLY_RESTORED.value,
    IncidentState.RESTORED.value,
    IncidentState.CLOSED.value,
]
GONE: Final = [IncidentState.MERGED.value, IncidentState.CANCELLED.value]


def render_odin(
    outages: pl.DataFrame,
    communities: Mapping[str, str] | None = None,
    disclaimer: str | None = None,
    *,
    with_gone: bool = False,
) -> bytes:
    """One `Outage` per incident that is neither merged nor cancelled, by start and id.

    Args:
        outages: OUTAGES, all steps.
        communities: FIPS code of the community by node; where a node has none it is left out.
        disclaimer: The utility's words.
        with_gone: Merged and cancelled incidents too, as over with no meter affected: for who heard of them before.
    """
    places = {} if communities is None else communities
    states = _states(outages)
    incidents = (states if with_gone else states.filter(~pl.col("state").is_in(GONE))).rows(named=True)
    return render_xml(
        element(
            "Outages", *(_outage(row, places.get(row["node_id"]), disclaimer) for row in incidents), xmlns=NAMESPACE
        )
    )


def _states(outages: pl.DataFrame) -> pl.DataFrame:
    steps = conform(outages, OUTAGES).sort("incident_id", "step")
    block = pl.col("restored_at").is_not_null() & (pl.col("state") != IncidentState.CLOSED)
    return (
        steps.group_by("incident_id", maintain_order=True)
        .agg(
            pl.col("state", "scope", "node_kind", "node_id", "started_at", "restored_at", "cause", "updated_at").last(),
            verified=pl.col("state").is_in(VERIFIED).any(),
            original_meters=pl.col("meters_out").first(),
            original_customers=pl.col("customers_out").first(),
            meters_back=pl.col("meters_out").filter(block).sum(),
            customers_back=pl.col("customers_out").filter(block).sum(),
        )
        .sort("started_at", "incident_id")
    )


def _outage(row: dict[str, Any], community: str | None, disclaimer: str | None) -> Element:
    gone = row["state"] in GONE
    over = row["state"] in (IncidentState.RESTORED, IncidentState.CLOSED)
    end = row["restored_at"] if over else row["updated_at"] if gone else None
    period = [leaf("start", row["started_at"]), leaf("end", end)]
    return element(
        "Outage",
        leaf("mRID", row["incident_id"]),
        leaf("communityDescriptor", community),
        leaf("metersAffected", 0 if gone else max(0, row["original_meters"] - row["meters_back"])),
        leaf("originalMetersAffected", row["original_meters"]),
        leaf("originalCustomersServed", row["original_customers"]),
        leaf("customersRestored", row["customers_back"]),
        leaf("outageKind", "verified" if row["verified"] else "estimated"),
        leaf("reportedStartTime", row["started_at"]),
        element("actualPeriod", *period),
        leaf("cause", row["cause"]),
        leaf("utilityDisclaimer", disclaimer),
        element("Incident", leaf("mRID", row["incident_id"]), leaf("scope", row["scope"])),
        element("Names", leaf("name", row["node_id"]), element("NameType", leaf("name", row["node_kind"]))),
        element("OutageArea", leaf("mRID", row["node_id"]), leaf("outageAreaKind", row["node_kind"])),
    )
