"""What is told to an outage system, before any format: one row per thing said."""

from enum import StrEnum
from typing import Final
from uuid import UUID, uuid5

import polars as pl

from outage.circumstances import PINGS, PingAnswer
from schemas.codes import EventKind, IncidentState, NodeKind, Origin
from schemas.frames import EVENTS, NODE_KIND, OUTAGES, UTC_US, conform

NOTICE_NAMESPACE: Final = UUID("0d2f6a3e-93f5-5d43-9c6e-6f9f2f6d5b21")


class NoticeKind(StrEnum):
    """What is said; the words of MultiSpeak's outageEventType in our spelling."""

    OUTAGE = "outage"
    RESTORATION = "restoration"
    INSTANTANEOUS = "instantaneous"
    INFERRED = "inferred"
    NO_RESPONSE = "no_response"
    POWER_ON = "power_on"
    POWER_OFF = "power_off"


NOTICES: Final = pl.Schema(
    {
        "notice_id": pl.String(),  # stable UUID: the same thing said again has the same id
        "kind": pl.Enum([kind.value for kind in NoticeKind]),
        "at": UTC_US,  # when it happened
        "told_at": UTC_US,  # when we knew it
        "node_kind": NODE_KIND,
        "node_id": pl.String(),
        "radio": pl.Boolean(),  # the radio spoke, not the meter
        "first": pl.Boolean(),  # nothing was said about it before
        "confidence": pl.Float64(),  # null: not judged
        "phases": pl.String(),  # null: not known
        "incident_id": pl.String(),  # null: the meter's own word
        "detail": pl.String(),  # null, or a few words for a person
    }
)


def notices_of_outages(outages: pl.DataFrame) -> pl.DataFrame:
    """`NOTICES` of incidents: one per step, `inferred` for nodes and `outage` for single points, `restoration` after.

    Merged and cancelled incidents are told as restored by their `detail`: the outage system must let go of them.
    """
    rows = conform(outages, OUTAGES)
    single = pl.col("node_kind").is_in([NodeKind.METER.value, NodeKind.SERVICE_POINT.value])
    gone = pl.col("state").is_in([IncidentState.MERGED.value, IncidentState.CANCELLED.value])
    over = pl.col("restored_at").is_not_null() | gone
    kind = (
        pl.when(over)
        .then(pl.lit(NoticeKind.RESTORATION.value))
        .when(single)
        .then(pl.lit(NoticeKind.OUTAGE.value))
        .otherwise(pl.lit(NoticeKind.INFERRED.value))
    )
    told = rows.with_columns(
        kind=kind,
        at=pl.coalesce("restored_at", pl.when(gone).then("updated_at"), "started_at"),
        told_at=pl.col("updated_at"),
        radio=pl.lit(value=False),
        first=pl.col("step") == 0,
        detail=pl.format(
            "{} {}; meters {}, customers {}",
            "scope",
            pl.coalesce("cause", pl.col("state").cast(pl.String)),
            "meters_out",
            "customers_out",
        ),
    )
    return _identified(told, pl.format("{}/{}", "incident_id", "step"))


def notices_of_events(events: pl.DataFrame) -> pl.DataFrame:
    """`NOTICES` of single meters: last gasps and power-downs, first breaths and power-ups; other events say nothing."""
    down, up = [EventKind.POWER_DOWN, EventKind.LAST_GASP], [EventKind.POWER_UP, EventKind.FIRST_BREATH]
    rows = conform(events, EVENTS).filter(pl.col("event").is_in([*down, *up]))
    inferred = pl.col("origin") == Origin.CONCENTRATOR.value
    told = rows.with_columns(
        kind=pl.when(pl.col("event").is_in(up))
        .then(pl.lit(NoticeKind.RESTORATION.value))
        .when(inferred)
        .then(pl.lit(NoticeKind.INFERRED.value))
        .otherwise(pl.lit(NoticeKind.OUTAGE.value)),
        at=pl.col("occurred_at"),
        told_at=pl.col("received_at"),
        node_kind=pl.lit(NodeKind.METER.value),
        node_id=pl.col("meter_id"),
        radio=pl.col("origin") == Origin.NIC.value,
        first=pl.lit(value=True),
    )
    return _identified(told, pl.format("{}/{}/{}", "meter_id", "kind", pl.col("at").to_physical()))


def notices_of_interruptions(interruptions: pl.DataFrame) -> pl.DataFrame:
    """`NOTICES` of momentary interruptions (`instantaneous`); sustained ones are told by their incidents."""
    told = interruptions.filter(pl.col("momentary")).with_columns(
        kind=pl.lit(NoticeKind.INSTANTANEOUS.value),
        at=pl.col("started_at"),
        told_at=pl.coalesce("restored_at", "started_at"),
        node_kind=pl.lit(NodeKind.METER.value),
        node_id=pl.col("meter_id"),
        radio=pl.lit(value=False),
        first=pl.lit(value=True),
    )
    return _identified(told, pl.format("{}/{}/{}", "meter_id", "kind", pl.col("at").to_physical()))


def notices_of_pings(answers: pl.DataFrame) -> pl.DataFrame:
    """`NOTICES` of power-status checks: on, off, or no response."""
    kinds = {
        PingAnswer.ON.value: NoticeKind.POWER_ON.value,
        PingAnswer.OFF.value: NoticeKind.POWER_OFF.value,
    }
    told = answers.select(pl.col(name).cast(dtype) for name, dtype in PINGS.items()).with_columns(
        kind=pl.col("answer").cast(pl.String).replace_strict(kinds, default=NoticeKind.NO_RESPONSE.value),
        at=pl.col("answered_at"),
        told_at=pl.col("answered_at"),
        node_kind=pl.lit(NodeKind.METER.value),
        node_id=pl.col("meter_id"),
        radio=pl.lit(value=False),
        first=pl.lit(value=True),
    )
    return _identified(told, pl.format("{}/{}/{}", "meter_id", "answer", pl.col("at").to_physical()))


def _identified(told: pl.DataFrame, name: pl.Expr) -> pl.DataFrame:
    names = told.select(name=name)["name"].to_list()
    ids = pl.Series([str(uuid5(NOTICE_NAMESPACE, text)) for text in names], dtype=pl.String)
    whole = told.with_columns(notice_id=ids)
    absent = [pl.lit(None, dtype).alias(column) for column, dtype in NOTICES.items() if column not in whole.columns]
    return whole.with_columns(absent).select(pl.col(column).cast(dtype) for column, dtype in NOTICES.items())
