"""What the outage system said, as circumstances for the next inference; and what we answer at once."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, NamedTuple

import polars as pl

from outage.messages.multispeak import od_event_notification, render_answer, render_result
from outage.messages.multispeak_in import METHODS
from outage.messages.multispeak_requests import (
    AffectedMeters,
    Incoming,
    MonitoringRequest,
    NodePingRequest,
    OutageChange,
    OutageStatus,
    PingRequest,
    Question,
)
from outage.messages.notices import notices_of_pings
from outage.messages.xml import element, leaf, render_xml
from outage.notes import NOTES, NoteKind
from schemas.codes import NodeKind

WORK_LASTS: Final = timedelta(hours=8)
"""Planned work without an estimated end: a shift."""


class Refusal(StrEnum):
    """Why something that was said is not taken; the words that the outage system is told."""

    UNKNOWN_METER = "unknown meter"
    UNKNOWN_OBJECT = "unknown object"
    UNKNOWN_PLACE = "no device, feeder or substation that is known"
    NOT_A_POINT = "NonPay is said of a meter or a service point, not of a node of the network"
    MONITORING = "not asked again and again: changes are told unasked, and one request is answered once"


class Feedback(NamedTuple):
    """NOTES without who said them, and meters to ask."""

    notes: pl.DataFrame
    """`note`, `node_kind`, `node_id`, `from`, `to`."""
    ping: tuple[str, ...]


def feedback_of(
    incoming: Incoming,
    at: datetime,
    kinds: Mapping[str, NodeKind] | None = None,
    meters_at: Mapping[str, Sequence[str]] | None = None,
) -> Feedback:
    """What a request makes known: planned work, confirmations, disconnections, restorations; and meters to ask.

    `Restored` says that a node is back: work planned there is over, a debtor is connected again, and meters without
    life are asked. `NonPay` is an order of disconnection, open until `Restored`. `Assumed` and the rest say nothing
    that we do not know better.

    Args:
        incoming: As `parse_request` gives it.
        at: When it came: what is said without a time of its own counts from then.
        kinds: What kind of node each name of the supply tree is; without it a device is taken for a transformer.
        meters_at: Meters of the service points that are named.
    """
    points = {} if meters_at is None else meters_at
    said = incoming.said
    rows: list[tuple[str, str, str, datetime, datetime | None]] = []
    for item in () if isinstance(said, Question | PingRequest | NodePingRequest | MonitoringRequest) else said:
        if isinstance(item, OutageChange):
            rows += _changed(item, at, kinds, points)
        elif isinstance(item, AffectedMeters):
            rows += [(NoteKind.CONFIRMED, NodeKind.METER, name, at, None) for name in item.meters]
            rows += [(NoteKind.CONFIRMED, NodeKind.SERVICE_POINT, name, at, None) for name in item.service_locations]
    schema = {name: NOTES.schema[name] for name in ("note", "node_kind", "node_id", "from", "to")}
    asked = said.meters if isinstance(said, PingRequest) else ()
    return Feedback(pl.DataFrame(rows, schema=schema, orient="row"), asked)


def notes_of(feedback: Feedback, said_by: str, at: datetime) -> pl.DataFrame:
    """NOTES of what the outage system said.

    Args:
        feedback: As `feedback_of` gives it.
        said_by: The counterparty's name.
        at: When it came.
    """
    told = feedback.notes.with_columns(said_by=pl.lit(said_by), said_at=pl.lit(at))
    return told.select(pl.col(name).cast(dtype) for name, dtype in NOTES.schema.items())


def refusals_of(
    incoming: Incoming, known_meters: Collection[str], kinds: Mapping[str, NodeKind] | None = None
) -> list[tuple[str, Refusal]]:
    """What of a request is not taken: the name or object id, and why.

    Args:
        incoming: As `parse_request` gives it.
        known_meters: Ids in METERS.
        kinds: As for `feedback_of`; without it no node is unknown.
    """
    said = incoming.said
    if isinstance(said, PingRequest):
        return [(name, Refusal.UNKNOWN_METER) for name in said.meters if name not in known_meters]
    if isinstance(said, MonitoringRequest):
        return [(said.name, Refusal.MONITORING)]
    if isinstance(said, Question) or kinds is None:
        return []
    if isinstance(said, NodePingRequest):
        strange = [name for name in said.names if name not in kinds and name not in known_meters]
        return [(name, Refusal.UNKNOWN_OBJECT) for name in strange]
    changes = [item for item in said if isinstance(item, OutageChange)]
    why = [(change.object_id or "", _refusal(change, kinds)) for change in changes]
    affected = [item for item in said if isinstance(item, AffectedMeters)]
    strangers = [name for item in affected for name in item.meters]
    nowhere = [name for item in affected for name in item.service_locations if name not in kinds]
    return [
        *((name, reason) for name, reason in why if reason is not None),
        *((name, Refusal.UNKNOWN_METER) for name in strangers if name not in known_meters),
        *((name, Refusal.UNKNOWN_OBJECT) for name in nowhere),
    ]


def answer_request(incoming: Incoming, refused: Sequence[tuple[str, Refusal]]) -> bytes:
    """Our answer: empty for accepted, an error for each thing that is not taken, or methods.

    Args:
        incoming: As `parse_request` gives it.
        refused: As `refusals_of` gives it.
    """
    if incoming.operation == "GetMethods":
        names = [leaf("string", name) for name in METHODS]
        answer = element("GetMethodsResponse", element("GetMethodsResult", *names), xmlns=incoming.version.value)
    else:
        errors = [(name, reason.value) for name, reason in refused]
        answer = render_result(incoming.operation, incoming.version, errors)
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


def _changed(
    change: OutageChange,
    at: datetime,
    kinds: Mapping[str, NodeKind] | None,
    meters_at: Mapping[str, Sequence[str]],
) -> Iterator[tuple[str, str, str, datetime, datetime | None]]:
    place = _place(change, kinds)
    if place is None or _refusal(change, kinds) is not None:
        return
    kind, name = place
    began = change.started_at or at
    meters = [name] if kind is NodeKind.METER else meters_at.get(name, ())
    if change.status is OutageStatus.RESTORED:
        for back in dict.fromkeys([(kind, name), *((NodeKind.METER, meter) for meter in meters)]):
            yield NoteKind.RESTORED, *back, at, None
    elif change.status is OutageStatus.NON_PAY:
        for meter in meters:
            yield NoteKind.DISCONNECT, NodeKind.METER, meter, began, None
    elif change.planned:
        yield NoteKind.PLANNED, kind, name, began, change.restoration_expected_at or began + WORK_LASTS
    elif change.status in (OutageStatus.CONFIRMED, OutageStatus.STILL_OUT):
        yield NoteKind.CONFIRMED, kind, name, at, None


def _refusal(change: OutageChange, kinds: Mapping[str, NodeKind] | None) -> Refusal | None:
    place = _place(change, kinds)
    if place is None:
        return Refusal.UNKNOWN_PLACE
    at_point = place[0] in (NodeKind.METER, NodeKind.SERVICE_POINT)
    return Refusal.NOT_A_POINT if change.status is OutageStatus.NON_PAY and not at_point else None


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
