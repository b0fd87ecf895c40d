"""IEC 61968-9 `EndDeviceEvents` in the IEC 61968-100 envelope; order and names as in outage.md 10.1 and 10.2."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID, uuid5

import polars as pl

from outage.messages.notices import NOTICES, NoticeKind
from outage.messages.tables import CodeTable, code_table
from outage.messages.xml import Element, element, find, leaf, local, parse_xml, render_xml, text_of
from schemas.codes import EventKind, NodeKind, RejectReason
from schemas.errors import ProtocolError
from schemas.frames import UTC_US

MESSAGE: Final = "http://iec.ch/TC57/2011/schema/message"
EVENTS_NS: Final = "http://iec.ch/TC57/2011/EndDeviceEvents#"
MESSAGE_NAMESPACE: Final = UUID("5a1f6d0e-4f8b-5b8a-8a0e-4d3b2c1a0f9e")
EVENTS_PER_MESSAGE: Final = 500
"""More go into further messages, told apart by the property `MessageIndex`."""

_REASON: Final = {
    NoticeKind.OUTAGE: "Last gasp",
    NoticeKind.INFERRED: "Inferred outage",
    NoticeKind.RESTORATION: "Power restored",
    NoticeKind.INSTANTANEOUS: "Momentary interruption",
    NoticeKind.NO_RESPONSE: "No response to power status check",
    NoticeKind.POWER_ON: "Power status check: on",
    NoticeKind.POWER_OFF: "Power status check: off",
}
_SAYS_UP: Final = (NoticeKind.RESTORATION, NoticeKind.POWER_ON)

RECEIVED_EVENTS: Final = pl.Schema(
    {
        "meter_id": pl.String(),
        "event": pl.Enum([kind.value for kind in EventKind]),
        "code": pl.String(),
        "occurred_at": UTC_US,
    }
)


class Envelope(NamedTuple):
    """Who speaks, and in which context."""

    source: str = "HES"
    context: str = "PRODUCTION"
    revision: str = "1.0"


def render_end_device_events(
    notices: pl.DataFrame, envelope: Envelope | None = None, table: CodeTable | None = None
) -> Iterator[bytes]:
    """One message per `EVENTS_PER_MESSAGE` notices that the table has a code for; the same rows give the same bytes.

    Args:
        notices: `NOTICES`.
        envelope: Names in the header; the defaults of `Envelope` where None.
        table: Codes of the counterparty; CIM where None.
    """
    codes = code_table() if table is None else table
    names = Envelope() if envelope is None else envelope
    rows = [row for row in notices.select(*NOTICES).rows(named=True) if _code(row, codes) is not None]
    parts = [rows[at : at + EVENTS_PER_MESSAGE] for at in range(0, len(rows), EVENTS_PER_MESSAGE)]
    for number, part in enumerate(parts, 1):
        yield render_xml(_message(part, f"{number}/{len(parts)}", names, codes))


def parse_end_device_events(message: bytes, table: CodeTable | None = None) -> pl.DataFrame:
    """`RECEIVED_EVENTS` of an envelope or a bare `EndDeviceEvents`.

    In the field the code also turns up in `mRID` with an empty type: both are read.

    Raises:
        ProtocolError: Not XML, not such a message, or an event without time or device.
    """
    codes = code_table() if table is None else table
    root = parse_xml(message)
    events = root if local(root.tag) == "EndDeviceEvents" else next(root.iter(f"{{{EVENTS_NS}}}EndDeviceEvents"), None)
    if events is None:
        raise ProtocolError(RejectReason.APDU_MALFORMED, 0, "XML holds no EndDeviceEvents")
    return pl.DataFrame(
        [_received(event, codes) for event in events if local(event.tag) == "EndDeviceEvent"],
        schema=RECEIVED_EVENTS,
        orient="row",
    )


def _code(row: dict[str, Any], codes: CodeTable) -> str | None:
    kind = NoticeKind.RESTORATION if row["kind"] in _SAYS_UP else NoticeKind.OUTAGE
    return codes.code(kind.value, radio=row["radio"])


def _message(rows: list[dict[str, Any]], index: str, envelope: Envelope, codes: CodeTable) -> Element:
    newest: datetime = max(row["told_at"] for row in rows)
    name = str(uuid5(MESSAGE_NAMESPACE, "/".join([index, *(row["notice_id"] + str(row["told_at"]) for row in rows)])))
    header = element(
        "Header",
        leaf("Verb", "created"),
        leaf("Noun", "EndDeviceEvents"),
        leaf("Revision", envelope.revision),
        leaf("Context", envelope.context),
        leaf("Timestamp", newest),
        leaf("Source", envelope.source),
        leaf("AckRequired", True),
        leaf("MessageID", name),
        leaf("CorrelationID", name),
        element("Property", leaf("Name", "MessageIndex"), leaf("Value", index)),
    )
    events = element("m:EndDeviceEvents", *(_event(row, envelope, codes) for row in rows), **{"xmlns:m": EVENTS_NS})
    return element("EventMessage", header, element("Payload", events), xmlns=MESSAGE)


def _event(row: dict[str, Any], envelope: Envelope, codes: CodeTable) -> Element:
    meter = row["node_kind"] == NodeKind.METER
    kind = NoticeKind(row["kind"])
    return element(
        "m:EndDeviceEvent",
        leaf("m:mRID", row["notice_id"]),
        leaf("m:createdDateTime", row["at"]),
        leaf("m:issuerID", envelope.source),
        leaf("m:issuerTrackingID", row["incident_id"] or row["notice_id"]),
        leaf("m:reason", _REASON[kind]),
        leaf("m:severity", 2 if kind in _SAYS_UP else 1),
        None
        if row["node_kind"] == NodeKind.SERVICE_POINT
        else _asset(row["node_id"], meter=meter, kind=row["node_kind"]),
        *(_detail(name, value) for name, value in _details(row)),
        element("m:EndDeviceEventType", ref=_code(row, codes)),
        element("m:UsagePoint", leaf("m:mRID", row["node_id"])) if row["node_kind"] == NodeKind.SERVICE_POINT else None,
    )


def _asset(name: str, *, meter: bool, kind: str) -> Element:
    kind_of_name = "MeterUniqueID" if meter else kind
    return element(
        "m:Assets",
        leaf("m:mRID", name),
        element("m:Names", leaf("m:name", name), element("m:NameType", leaf("m:name", kind_of_name))),
    )


def _details(row: dict[str, Any]) -> Iterator[tuple[str, object]]:
    yield "receivedDateTime", row["told_at"]
    for name, value in (("phases", row["phases"]), ("confidence", row["confidence"]), ("detail", row["detail"])):
        if value is not None:
            yield name, value


def _detail(name: str, value: object) -> Element:
    return element("m:EndDeviceEventDetails", leaf("m:name", name), leaf("m:value", value))


def _received(event: Element, codes: CodeTable) -> tuple[str, str, str, datetime]:
    kind, asset = find(event, "EndDeviceEventType"), find(event, "Assets")
    code = (kind.get("ref") if kind is not None else None) or text_of(event, "mRID")
    meter = text_of(asset, "mRID") if asset is not None else None
    created = text_of(event, "createdDateTime")
    if meter is None or created is None or code is None:
        raise ProtocolError(RejectReason.APDU_MALFORMED, 0, "EndDeviceEvent without device, time or code")
    return meter, codes.event(code).value, code, parse_instant(created)


def parse_instant(text: str) -> datetime:
    """An xs:dateTime with its zone.

    Raises:
        ProtocolError: It is none, or has no zone.
    """
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise ProtocolError(RejectReason.DATE_TIME, 0, "not an xs:dateTime") from error
    if at.tzinfo is None:
        raise ProtocolError(RejectReason.DATE_TIME, 0, "xs:dateTime without a zone")
    return at
