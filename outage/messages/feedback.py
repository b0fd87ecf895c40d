"""What the outage system said, as circumstances for the next inference; and what we answer at once."""

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Final, NamedTuple

import polars as pl

from outage.circumstances import CONFIRMED, PLANNED
from outage.messages.multispeak import od_event_notification, render_answer, render_result
from outage.messages.multispeak_in import (
    METHODS,
    AffectedMeters,
    Incoming,
    NodePingRequest,
    OutageChange,
    OutageStatus,
    PingRequest,
    Question,
)
from outage.messages.notices import notices_of_pings
from outage.messages.xml import Element, element, leaf, render_xml
from outage.notes import NOTES, NoteKind
from schemas.codes import NodeKind

WORK_LASTS: Final = timedelta(hours=8)
"""Planned work without an estimated end: a shift."""


class Feedback(NamedTuple):
    """Frames to add to the circumstances, and meters to ask."""

    planned: pl.DataFrame
    confirmed: pl.DataFrame
    ping: tuple[str, ...]


def feedback_of(incoming: Incoming, at: datetime, kinds: Mapping[str, NodeKind] | None = None) -> Feedback:
    """Planned work, confirmations and pings out of a request.

    Args:
        incoming: As `parse_request` gives it.
        at: When it came: confirmations without a time of their own count from then.
        kinds: What kind of node each name of the supply tree is; without it a device is taken for a transformer.
    """
    planned: list[dict[str, object]] = []
    confirmed: list[dict[str, object]] = []
    for item in incoming.said if not isinstance(incoming.said, (Question, PingRequest, NodePingRequest)) else ():
        if isinstance(item, OutageChange):
            _changed(item, at, kinds, planned, confirmed)
        elif isinstance(item, AffectedMeters):
            confirmed += [{"node_kind": NodeKind.METER.value, "node_id": name, "at": at} for name in item.meters]
    return Feedback(
        pl.DataFrame(planned, schema=PLANNED),
        pl.DataFrame(confirmed, schema=CONFIRMED),
        incoming.said.meters if isinstance(incoming.said, PingRequest) else (),
    )


def notes_of(feedback: Feedback, said_by: str, at: datetime) -> pl.DataFrame:
    """NOTES of what the outage system said: planned work and confirmations.

    Args:
        feedback: As `feedback_of` gives it.
        said_by: The counterparty's name.
        at: When it came.
    """
    planned = feedback.planned.with_columns(note=pl.lit(NoteKind.PLANNED.value))
    confirmed = feedback.confirmed.select("node_kind", "node_id", pl.col("at").alias("from")).with_columns(
        note=pl.lit(NoteKind.CONFIRMED.value), to=pl.lit(None, planned.schema["to"])
    )
    both = pl.concat([planned, confirmed.select(planned.columns)])
    told = both.with_columns(said_by=pl.lit(said_by), said_at=pl.lit(at))
    return told.select(pl.col(name).cast(dtype) for name, dtype in NOTES.schema.items())


def answer_request(
    incoming: Incoming, known_meters: Collection[str], kinds: Mapping[str, NodeKind] | None = None
) -> bytes:
    """Our answer: empty for accepted, an error for each meter or node that nobody knows, or methods.

    Args:
        incoming: As `parse_request` gives it.
        known_meters: Ids in METERS.
        kinds: As for `feedback_of`; without it no node is unknown.
    """
    answer = _answer(incoming, known_meters, kinds)
    return render_answer(answer) if incoming.enveloped else render_xml(answer)


def refuse_request(incoming: Incoming, name: str, reason: str) -> bytes:
    """Our answer where nothing of the request was done."""
    answer = render_result(incoming.operation, incoming.version, [(name, reason)])
    return render_answer(answer) if incoming.enveloped else render_xml(answer)


def answer_ping(incoming: Incoming, answers: pl.DataFrame) -> bytes:
    """`ODEventNotification` with the request's transaction id: on, off or no response for each meter asked.

    Args:
        incoming: The ping request.
        answers: `PINGS`: the results of these meters.
    """
    said = incoming.said
    transaction = said.transaction_id if isinstance(said, PingRequest) else None
    return render_xml(od_event_notification(notices_of_pings(answers), incoming.version, transaction))


def _answer(incoming: Incoming, known_meters: Collection[str], kinds: Mapping[str, NodeKind] | None) -> Element:
    said = incoming.said
    if incoming.operation == "GetMethods":
        names = [leaf("string", name) for name in METHODS]
        return element("GetMethodsResponse", element("GetMethodsResult", *names), xmlns=incoming.version.value)
    strangers: list[tuple[str, str]] = []
    if isinstance(said, PingRequest):
        strangers = [(name, "unknown meter") for name in said.meters if name not in known_meters]
    elif isinstance(said, NodePingRequest) and kinds is not None:
        strangers = [] if said.name in kinds or said.name in known_meters else [(said.name, "unknown object")]
    elif not isinstance(said, Question | NodePingRequest) and kinds is not None:
        strangers = [
            (item.object_id or "", "no device, feeder or substation that is known")
            for item in said
            if isinstance(item, OutageChange) and _place(item, kinds) is None
        ]
    return render_result(incoming.operation, incoming.version, strangers)


def _changed(
    change: OutageChange,
    at: datetime,
    kinds: Mapping[str, NodeKind] | None,
    planned: list[dict[str, object]],
    confirmed: list[dict[str, object]],
) -> None:
    place = _place(change, kinds)
    if place is None:
        return
    kind, name = place
    began = change.started_at or at
    if change.planned:
        end = change.restoration_expected_at or began + WORK_LASTS
        planned.append({"node_kind": kind.value, "node_id": name, "from": began, "to": end})
    elif change.status in (OutageStatus.CONFIRMED, OutageStatus.STILL_OUT):
        confirmed.append({"node_kind": kind.value, "node_id": name, "at": at})


def _place(change: OutageChange, kinds: Mapping[str, NodeKind] | None) -> tuple[NodeKind, str] | None:
    """The smallest node that the outage system names, of those that we know."""
    for kind, name in (
        (NodeKind.TRANSFORMER, change.device),
        (NodeKind.FEEDER, change.feeder),
        (NodeKind.SUBSTATION, change.substation),
    ):
        if name is not None and (kinds is None or name in kinds):
            return kind if kinds is None else kinds[name], name
    return None
