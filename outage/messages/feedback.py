"""What the outage system said, as circumstances for the next inference; and what we answer at once."""

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Final, NamedTuple

import polars as pl

from outage.circumstances import CONFIRMED, PLANNED
from outage.messages.multispeak import od_event_notification, render_result
from outage.messages.multispeak_in import (
    METHODS,
    AffectedMeters,
    Incoming,
    OutageChange,
    OutageStatus,
    PingRequest,
    Question,
)
from outage.messages.notices import notices_of_pings
from outage.messages.xml import Element, element, leaf, render_xml
from schemas.codes import NodeKind

WORK_LASTS: Final = timedelta(hours=8)
"""Planned work without an estimated end: a shift."""


class Feedback(NamedTuple):
    """Frames to add to the circumstances, and meters to ask."""

    planned: pl.DataFrame
    confirmed: pl.DataFrame
    ping: tuple[str, ...]


def feedback_of(incoming: Incoming, at: datetime) -> Feedback:
    """Planned work, confirmations and pings out of a request.

    Args:
        incoming: As `parse_request` gives it.
        at: When it came: confirmations without a time of their own count from then.
    """
    planned: list[dict[str, object]] = []
    confirmed: list[dict[str, object]] = []
    for item in incoming.said if not isinstance(incoming.said, (Question, PingRequest)) else ():
        if isinstance(item, OutageChange):
            _changed(item, at, planned, confirmed)
        elif isinstance(item, AffectedMeters):
            confirmed += [{"node_kind": NodeKind.METER.value, "node_id": name, "at": at} for name in item.meters]
    return Feedback(
        pl.DataFrame(planned, schema=PLANNED),
        pl.DataFrame(confirmed, schema=CONFIRMED),
        incoming.said.meters if isinstance(incoming.said, PingRequest) else (),
    )


def answer_request(incoming: Incoming, known_meters: Collection[str]) -> bytes:
    """The SOAP body of our answer: empty for accepted, an error per meter that nobody knows, the list of methods.

    Args:
        incoming: As `parse_request` gives it.
        known_meters: Ids in METERS.
    """
    return render_xml(_answer(incoming, known_meters))


def answer_ping(incoming: Incoming, answers: pl.DataFrame) -> bytes:
    """`ODEventNotification` with the request's transaction id: on, off or no response for each meter asked.

    Args:
        incoming: The ping request.
        answers: `PINGS`: the results of these meters.
    """
    said = incoming.said
    transaction = said.transaction_id if isinstance(said, PingRequest) else None
    return render_xml(od_event_notification(notices_of_pings(answers), incoming.version, transaction))


def _answer(incoming: Incoming, known_meters: Collection[str]) -> Element:
    if isinstance(incoming.said, PingRequest):
        strangers = [(name, "unknown meter") for name in incoming.said.meters if name not in known_meters]
        return render_result(incoming.operation, incoming.version, strangers)
    if incoming.operation == "GetMethods":
        names = [leaf("string", name) for name in METHODS]
        return element("GetMethodsResponse", element("GetMethodsResult", *names), xmlns=incoming.version.value)
    return render_result(incoming.operation, incoming.version, [])


def _changed(
    change: OutageChange, at: datetime, planned: list[dict[str, object]], confirmed: list[dict[str, object]]
) -> None:
    place = _place(change)
    if place is None:
        return
    kind, name = place
    began = change.started_at or at
    if change.planned:
        end = change.restoration_expected_at or began + WORK_LASTS
        planned.append({"node_kind": kind.value, "node_id": name, "from": began, "to": end})
    elif change.status in (OutageStatus.CONFIRMED, OutageStatus.STILL_OUT):
        confirmed.append({"node_kind": kind.value, "node_id": name, "at": at})


def _place(change: OutageChange) -> tuple[NodeKind, str] | None:
    """The smallest node that the outage system names; its device is a transformer's, as far as we can tell."""
    for kind, name in (
        (NodeKind.TRANSFORMER, change.device),
        (NodeKind.FEEDER, change.feeder),
        (NodeKind.SUBSTATION, change.substation),
    ):
        if name is not None:
            return kind, name
    return None
