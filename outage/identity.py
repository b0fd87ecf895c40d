"""Ids that stay: an incident keeps the one it was first reported under, whatever is learnt later."""

from hashlib import sha1
from typing import Final, NamedTuple
from uuid import UUID

import numpy as np
import polars as pl

from outage.topology import Ints
from schemas.codes import IncidentState
from schemas.frames import OUTAGES, UTC_US

INCIDENT_NAMESPACE: Final = UUID("6f1f1a52-4f0e-5f5e-9a5e-0a6f7a1c3d10")
"""Namespace of incident ids (UUIDv5); an id is a name, it opens nothing."""
_NAMESPACE_OCTETS: Final = INCIDENT_NAMESPACE.bytes
SAME_SPAN_US: Final = 3_600_000_000
"""An earlier power-down may move the start of a span by as much as belief allows: one hour."""
GONE: Final = (IncidentState.MERGED.value, IncidentState.CANCELLED.value)

ANCHORS: Final = pl.Schema(
    {"incident_id": pl.String(), "meter_id": pl.String(), "start": pl.Int64(), "received": pl.Int64()}
)


class Published(NamedTuple):
    """What has been said so far."""

    outages: pl.DataFrame  # OUTAGES: the newest version of every step
    anchors: pl.DataFrame  # ANCHORS: the spans of the incidents that are neither merged nor cancelled

    @staticmethod
    def nothing() -> "Published":
        """Nothing yet."""
        return Published(OUTAGES.empty(), ANCHORS.to_frame())


class Named(NamedTuple):
    """Ids of the incidents, and what became of ids that no incident bears any more."""

    ids: pl.DataFrame  # `incident`, `incident_id`
    lost: pl.DataFrame  # `incident_id`, `merged_into`: null where nothing is left of the incident


def name_incidents(told: pl.DataFrame, published: Published) -> Named:
    """Give every incident an id: that of the published one it goes on from, or one made of its first message.

    Of several published incidents that have become one, the first reported gives its id, the others are merged. Of
    one that has fallen apart, the part with its first message keeps the id.

    Args:
        told: `incident`, `meter`, `meter_id`, `start`, `received`, `founding`: the spans that reported each incident.
        published: What has been said so far.
    """
    seeds = _seeds(told)
    if published.anchors.is_empty():
        return Named(seeds, pl.DataFrame(schema={"incident_id": pl.String(), "merged_into": pl.String()}))
    homes = _homes(told, published.anchors)
    winners = (
        homes.filter(pl.col("founding"))
        .sort("received", "incident_id")
        .group_by("incident", maintain_order=True)
        .first()
    )
    named = seeds.join(winners.select("incident", kept="incident_id"), on="incident", how="left")
    taken = set(published.anchors["incident_id"].unique())
    ids = [
        kept or (_again(seed, incident) if seed in taken else seed)
        for incident, seed, kept in named.select("incident", "incident_id", "kept").rows()
    ]
    named = named.select("incident", incident_id=pl.Series(ids, dtype=pl.String))
    before = published.anchors.select("incident_id").unique()
    lost = (
        before.join(named, on="incident_id", how="anti")
        .join(homes.select("incident_id", "incident"), on="incident_id", how="left")
        .join(named.select("incident", merged_into="incident_id"), on="incident", how="left")
        .select("incident_id", "merged_into")
    )
    return Named(named, lost)


def anchors_of(told: pl.DataFrame, ids: pl.DataFrame) -> pl.DataFrame:
    """ANCHORS of the incidents under their ids."""
    return told.join(ids, on="incident").select(*ANCHORS)


def explain_lost(lost: pl.DataFrame, published: Published, explained: pl.DataFrame) -> pl.DataFrame:
    """The lost incidents with `cause`: why nothing is left of them; null for merged ones.

    Args:
        lost: `incident_id`, `merged_into`.
        published: What has been said so far.
        explained: `meter_id`, `start`, `cause`: spans that turned out to be no fault.
    """
    if lost.is_empty():
        return lost.with_columns(cause=pl.lit(None, pl.String))
    first = published.anchors.sort("received", "meter_id").group_by("incident_id", maintain_order=True).first()
    causes = (
        first.join(explained, on="meter_id", suffix="_now")
        .filter((pl.col("start_now") - pl.col("start")).abs() <= SAME_SPAN_US)
        .group_by("incident_id", maintain_order=True)
        .agg(pl.col("cause").first())
    )
    return lost.join(causes, on="incident_id", how="left").with_columns(
        cause=pl.when(pl.col("merged_into").is_null()).then(pl.col("cause").fill_null("disproved"))
    )


class Issued(NamedTuple):
    """Steps after comparison with what has been said."""

    changed: pl.DataFrame  # OUTAGES: new or different steps, to be said now
    outages: pl.DataFrame  # OUTAGES: everything said, in its newest version


def issue_steps(steps: pl.DataFrame, lost: pl.DataFrame, published: pl.DataFrame, as_of: int) -> Issued:
    """Compare the steps with the published ones: equal ones keep their version, others are said anew.

    (incident_id, step) is the identity of a row and `updated_at` its version: a step about which more is known is
    said again under the same number. Where fewer steps are left than had been said, the superfluous ones repeat the
    last state with nobody in them. Lost incidents end in a step `merged` or `cancelled`.
    """
    wanted = pl.concat([steps, _superfluous(steps, published), _ends(lost, published)]) if published.height else steps
    compared = [name for name in OUTAGES.schema if name not in ("updated_at", "run_id")]
    same = wanted.join(published, on=compared, how="semi", nulls_equal=True) if published.height else published
    changed = wanted.join(same, on=["incident_id", "step"], how="anti").with_columns(
        updated_at=pl.lit(as_of).cast(UTC_US)
    )
    kept = published.join(changed, on=["incident_id", "step"], how="anti")
    everything = pl.concat([kept, changed]).sort("started_at", "incident_id", "step")
    return Issued(changed.sort("started_at", "incident_id", "step"), everything)


def last_steps(outages: pl.DataFrame) -> pl.DataFrame:
    """The last step of every incident: its state."""
    return (
        outages.sort("incident_id", "step").group_by("incident_id", maintain_order=True).last().select(*OUTAGES.schema)
    )


def _seeds(told: pl.DataFrame) -> pl.DataFrame:
    first = told[_first_told(told)]
    ids = [_uuid5(f"{meter}/{at}") for meter, at in first.select("meter_id", "received").rows()]
    return first.select("incident", incident_id=pl.Series(ids, dtype=pl.String))


def _first_told(told: pl.DataFrame) -> Ints:
    """Per incident the row of its first message: by reception, then meter, then start."""
    order = np.argsort(told["incident"].to_numpy(), kind="stable")
    incident, received = told["incident"].to_numpy()[order], told["received"].to_numpy()[order]
    begins = np.flatnonzero(np.r_[True, incident[1:] != incident[:-1]][: len(order)])
    if not len(begins):
        return order
    # Few messages of an incident are received at the very first moment: only those are put in order.
    earliest = np.repeat(np.minimum.reduceat(received, begins), np.diff(np.r_[begins, len(order)]))
    order = order[received == earliest]
    rows = told.select("incident", "meter", "start")[order]
    incident = rows["incident"].to_numpy()
    order = order[np.lexsort((rows["start"].to_numpy(), rows["meter"].to_numpy(), incident))]
    firsts: Ints = order[np.r_[True, incident[1:] != incident[:-1]]]
    return firsts


def _again(seed: str, incident: int) -> str:
    return _uuid5(f"{seed}/{incident}")


def _uuid5(name: str) -> str:
    """The UUIDv5 of a name (RFC 9562 section 5.5), several times faster than `uuid.uuid5` makes it."""
    text = sha1(_NAMESPACE_OCTETS + name.encode(), usedforsecurity=False).hexdigest()
    variant = "89ab"[int(text[16], 16) & 3]
    return f"{text[:8]}-{text[8:12]}-5{text[13:16]}-{variant}{text[17:20]}-{text[20:32]}"


def _homes(told: pl.DataFrame, anchors: pl.DataFrame) -> pl.DataFrame:
    """For every published id that lives on: the incident with its first message, or with most of its spans."""
    first = anchors.sort("received", "meter_id").group_by("incident_id", maintain_order=True).first()
    marked = anchors.join(
        first.select("incident_id", "meter_id", "start", first=pl.lit(value=True)),
        on=["incident_id", "meter_id", "start"],
        how="left",
    )
    shared = (
        told.select("incident", "meter_id", "founding", now="start")
        .join(marked, on="meter_id")
        .filter((pl.col("now") - pl.col("start")).abs() <= SAME_SPAN_US)
        .group_by("incident_id", "incident")
        .agg(pl.col("founding").any(), count=pl.len(), first=pl.col("first").any())
        .sort("first", "count", "incident", descending=[True, True, False], nulls_last=True)
        .group_by("incident_id", maintain_order=True)
        .first()
    )
    return shared.join(first.select("incident_id", "received"), on="incident_id").select(
        "incident_id", "incident", "received", "founding"
    )


def _superfluous(steps: pl.DataFrame, published: pl.DataFrame) -> pl.DataFrame:
    last = last_steps(steps)
    more = (
        published.select("incident_id", said="step")
        .join(last, on="incident_id")
        .filter(pl.col("said") > pl.col("step"))
    )
    return more.with_columns(
        pl.lit(0, pl.Int32).alias("meters_out"), pl.lit(0, pl.Int32).alias("customers_out"), step="said"
    ).select(*OUTAGES.schema)


def _ends(lost: pl.DataFrame, published: pl.DataFrame) -> pl.DataFrame:
    ends = last_steps(published).drop("merged_into", "cause").join(lost, on="incident_id")
    return (
        ends.filter(~pl.col("state").is_in(list(GONE)))
        .with_columns(
            pl.col("step") + 1,
            pl.lit(0, pl.Int32).alias("meters_out"),
            pl.lit(0, pl.Int32).alias("customers_out"),
            pl.lit(None, UTC_US).alias("restored_at"),
            state=pl.when(pl.col("merged_into").is_null())
            .then(pl.lit(IncidentState.CANCELLED.value))
            .otherwise(pl.lit(IncidentState.MERGED.value))
            .cast(OUTAGES.schema["state"]),
        )
        .select(*OUTAGES.schema)
    )
