"""MultiSpeak 3.0 and 4.1 as an outage system sends it, read into the requests that it may make."""

from datetime import datetime
from typing import Final

from outage.messages.iec61968 import parse_instant
from outage.messages.multispeak import Account, Version
from outage.messages.multispeak_requests import (
    AffectedMeters,
    Incoming,
    MonitoringRequest,
    NodePingRequest,
    OutageChange,
    OutageStatus,
    PingRequest,
    Question,
    Said,
)
from outage.messages.xml import Element, find, local, parse_xml, text_of
from schemas.codes import RejectReason
from schemas.errors import ProtocolError

MOST_METERS: Final = 10_000
"""A request for more is a mistake or an attack: 500 meters are pinged in a minute at a large utility."""


METHODS: Final = (
    "PingURL",
    "GetMethods",
    "InitiateOutageDetectionEventRequest",
    "InitiateODEventRequestByObject",
    "InitiateODEventRequestByServiceLocation",
    "OutageEventChangedNotification",
    "CustomersAffectedByOutageNotification",
)
"""What we answer to `GetMethods`. A request for monitoring is understood, and refused with its reason."""


def parse_request(message: bytes) -> Incoming:
    """What the outage system said, from a SOAP envelope or the bare body, and the account in its header.

    Raises:
        ProtocolError: Not XML, not MultiSpeak 3.0 or 4.1, an operation that we do not serve, a field that is no
            instant or number, or more meters than anybody pings.
    """
    root = parse_xml(message)
    body = find(root, "Body") if local(root.tag) == "Envelope" else None
    request = root if body is None else next(iter(body), None)
    if request is None:
        raise ProtocolError(RejectReason.APDU_MALFORMED, 0, "SOAP body is empty")
    namespace, operation = request.tag[1:].rpartition("}")[0], local(request.tag)
    if namespace not in {version.value for version in Version}:
        raise ProtocolError(RejectReason.APDU_UNSUPPORTED, 0, "not MultiSpeak 3.0 or 4.1")
    return Incoming(operation, Version(namespace), _said(operation, request), _account(root), body is not None)


def _account(root: Element) -> Account:
    header = find(root, "Header")
    shown = None if header is None else find(header, "MultiSpeakMsgHeader")
    if shown is None:
        return Account("", "", "")
    return Account(shown.get("Company", ""), shown.get("UserID", ""), shown.get("Pwd", ""))


def _said(operation: str, request: Element) -> Said:
    if operation in ("PingURL", "GetMethods"):
        return Question(operation)
    if operation == "InitiateOutageDetectionEventRequest":
        return _ping(request)
    if operation in ("InitiateODEventRequestByObject", "InitiateODEventRequestByServiceLocation"):
        return _node_ping(request)
    if operation == "InitiateODMonitoringRequestByObject":
        return _monitoring(request)
    if operation == "OutageEventChangedNotification":
        return tuple(_change(event) for event in _items(request, "oEvents"))
    if operation == "CustomersAffectedByOutageNotification":
        return tuple(_affected(outage) for outage in _items(request, "newOutages"))
    raise ProtocolError(RejectReason.APDU_UNSUPPORTED, 0, "operation is not served")


def _items(request: Element, name: str) -> list[Element]:
    items = find(request, name)
    return [] if items is None else list(items)


def _texts(items: list[Element]) -> tuple[str, ...]:
    return tuple(item.text.strip() for item in items if item.text and item.text.strip())


def _ping(request: Element) -> PingRequest:
    listed = _items(request, "meterNos") or _items(request, "meterIDs")
    meters = tuple(name for name in map(_meter_name, listed) if name is not None)
    if not meters:
        raise ProtocolError(RejectReason.APDU_MALFORMED, 0, "neither meterNos nor meterIDs names a meter")
    if len(meters) > MOST_METERS:
        raise ProtocolError(RejectReason.WORK, 0, f"more than {MOST_METERS} meters")
    requested = text_of(request, "requestDate")
    if requested is None:
        raise ProtocolError(RejectReason.APDU_MALFORMED, 0, "requestDate is absent")
    return PingRequest(
        meters,
        parse_instant(requested),
        text_of(request, "responseURL"),
        text_of(request, "transactionID"),
        _number(request, "expirationTime"),
    )


def _node_ping(request: Element) -> NodePingRequest:
    one = text_of(request, "objectName")
    names = _texts(_items(request, "servLoc")) if one is None else (one,)
    if not names:
        raise ProtocolError(RejectReason.APDU_MALFORMED, 0, "neither objectName nor servLoc names anything")
    if len(names) > MOST_METERS:
        raise ProtocolError(RejectReason.WORK, 0, f"more than {MOST_METERS} service locations")
    return NodePingRequest(
        names, text_of(request, "responseURL"), text_of(request, "transactionID"), _number(request, "expirationTime")
    )


def _monitoring(request: Element) -> MonitoringRequest:
    name, every = text_of(request, "objectName"), _count(request, "periodicity")
    if name is None or every is None:
        raise ProtocolError(RejectReason.APDU_MALFORMED, 0, "name of the object, or periodicity, is absent")
    return MonitoringRequest(name, every, text_of(request, "transactionID"))


def _change(event: Element) -> OutageChange:
    status = text_of(event, "outageStatus") or OutageStatus.UNKNOWN.value
    known = {member.value for member in OutageStatus}
    return OutageChange(
        event.get("objectID"),
        OutageStatus(status) if status in known else OutageStatus.UNKNOWN,
        text_of(event, "isPlanned") in ("true", "1") or status == OutageStatus.SCHEDULED,
        text_of(event, "feeder"),
        text_of(event, "substationCode"),
        _device(event),
        _instant(event, "startTime"),
        _instant(event, "ETOR"),
        _count(event, "customersAffected"),
        _count(event, "customersRestored"),
    )


def _device(event: Element) -> str | None:
    """`deviceID`: text in 3.0; in 4.1 an `objectRef`, which may bear its name as an attribute alone."""
    child = find(event, "deviceID")
    if child is None:
        return None
    return text_of(event, "deviceID") or child.get("objectID") or child.get("name")


def _affected(outage: Element) -> AffectedMeters:
    """Meters by their id; a customer that is named by the service location alone is kept under that."""
    meters, points = [], []
    for affected in _items(outage, "affectedMeters"):
        meter_id = find(affected, "meterID")
        meter, point = None if meter_id is None else _meter_name(meter_id), text_of(affected, "serviceLocationID")
        if meter is not None:
            meters.append(meter)
        elif point is not None:
            points.append(point)
    return AffectedMeters(text_of(outage, "outageEventID"), tuple(meters), tuple(points))


def _meter_name(meter_id: Element) -> str | None:
    """Text in 3.0 and mostly in 4.1, where a `meterID` may bear its name in the attribute `meterNo` alone."""
    text = (meter_id.text or "").strip()
    return text or meter_id.get("meterNo") or meter_id.get("objectID") or None


def _instant(parent: Element, name: str) -> datetime | None:
    text = text_of(parent, name)
    return None if text is None else parse_instant(text)


def _number(parent: Element, name: str) -> float | None:
    text = text_of(parent, name)
    try:
        return None if text is None else float(text)
    except ValueError as error:
        raise ProtocolError(RejectReason.APDU_MALFORMED, 0, f"{name} is no number") from error


def _count(parent: Element, name: str) -> int | None:
    number = _number(parent, name)
    if number is None:
        return None
    if not number.is_integer():
        raise ProtocolError(RejectReason.APDU_MALFORMED, 0, f"{name} is no count")
    return int(number)
