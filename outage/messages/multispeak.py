"""MultiSpeak 3.0 and 4.1 `ODEventNotification` over SOAP; element order as in outage.md 10.3."""

from datetime import datetime
from enum import StrEnum
from typing import Any, Final, NamedTuple

import polars as pl

from outage.messages.notices import NOTICES, NoticeKind
from outage.messages.xml import Element, element, instant, leaf, render_xml
from schemas.codes import NodeKind

SOAP: Final = "http://schemas.xmlsoap.org/soap/envelope/"


class Version(StrEnum):
    """The two versions in the field; their value is the namespace."""

    V3 = "http://www.multispeak.org/Version_3.0"
    V4 = "http://www.multispeak.org/Version_4.1_Release"


class Account(NamedTuple):
    """How we introduce ourselves. The header holds the password in clear: over TLS only, never logged."""

    company: str
    user: str
    password: str

    def __repr__(self) -> str:
        return f"Account(company={self.company!r}, user={self.user!r}, password=...)"


_TYPE: Final = {
    NoticeKind.OUTAGE: "Outage",
    NoticeKind.RESTORATION: "Restoration",
    NoticeKind.INSTANTANEOUS: "Instantaneous",
    NoticeKind.INFERRED: "Inferred",
    NoticeKind.NO_RESPONSE: "NoResponse",
    NoticeKind.POWER_ON: "PowerOn",
    NoticeKind.POWER_OFF: "PowerOff",
}
_PHASES: Final = frozenset({"A", "B", "C", "AB", "AC", "BC", "ABC"})
APPLICATION: Final = "ami-headend"


def soap_action(version: Version, operation: str) -> str:
    """Namespace, slash, operation."""
    return f"{version.value}/{operation}"


def render_od_event_notification(notices: pl.DataFrame, version: Version, transaction_id: str | None = None) -> bytes:
    """The body `ODEventNotification` of all notices, in their order; the same rows give the same bytes.

    Args:
        notices: `NOTICES`.
        version: Which of the two.
        transaction_id: That of the request which this answers, if it does.
    """
    return render_xml(od_event_notification(notices, version, transaction_id))


def od_event_notification(notices: pl.DataFrame, version: Version, transaction_id: str | None = None) -> Element:
    """The same as a tree."""
    events = [_event(row, version) for row in notices.select(*NOTICES).rows(named=True)]
    return element(
        "ODEventNotification", element("ODEvents", *events), leaf("transactionID", transaction_id), xmlns=version.value
    )


def render_envelope(
    body: Element, version: Version, account: Account, message_id: str, at: datetime | None = None
) -> bytes:
    """A SOAP 1.1 message with the header that MultiSpeak demands."""
    header = element(
        "MultiSpeakMsgHeader",
        xmlns=version.value,
        **({"Version": "3.0"} if version is Version.V3 else {"MajorVersion": "4", "MinorVersion": "1"}),
        BuildString="Release",
        UserID=account.user,
        Pwd=account.password,
        AppName=APPLICATION,
        Company=account.company,
        MessageID=message_id,
        TimeStamp=None if at is None else instant(at),
    )
    return render_xml(
        element(
            "soap:Envelope",
            element("soap:Header", header),
            element("soap:Body", body),
            **{"xmlns:soap": SOAP},
        )
    )


def render_answer(body: Element) -> bytes:
    """A SOAP 1.1 message that answers a request: no header, for we owe nobody a password."""
    return render_xml(element("soap:Envelope", element("soap:Body", body), **{"xmlns:soap": SOAP}))


def render_result(operation: str, version: Version, errors: list[tuple[str, str]]) -> Element:
    """The answer to a notification or request: empty means accepted, else one `errorObject` per refused object.

    Args:
        operation: Name of the request.
        version: Which of the two.
        errors: Object id and reason of each refusal.
    """
    refused = [element("errorObject", objectID=name, errorString=reason) for name, reason in errors]
    return element(f"{operation}Response", element(f"{operation}Result", *refused), xmlns=version.value)


def _event(row: dict[str, Any], version: Version) -> Element:
    three = version is Version.V3
    single = row["node_kind"] in (NodeKind.METER, NodeKind.SERVICE_POINT)
    confidence = row["confidence"]
    return element(
        "outageDetectionEvent",
        leaf("comments", row["detail"]),
        leaf("phaseCd" if three else "phaseCode", row["phases"] if row["phases"] in _PHASES else None),
        leaf("eventTime", row["at"]),
        leaf("outageEventType", _TYPE[NoticeKind(row["kind"])]),
        leaf("outageDetectDeviceID" if three else "outageDetectionDeviceID", row["node_id"]),
        leaf("outageDetectDeviceType" if three else "outageDetectionDeviceType", "Meter" if single else "Other"),
        _location(row, three=three),
        leaf("priority", "Normal" if single else "NeedsAttention"),
        leaf("percentConfident", None if confidence is None else round(confidence * 100)),
        leaf("resolvedLevel", "Meter" if row["node_kind"] == NodeKind.METER else "Address" if single else "Unresolved"),
        objectID=row["notice_id"],
        verb="New" if row["first"] else "Change",
    )


def _location(row: dict[str, Any], *, three: bool) -> Element | None:
    name = row["node_id"]
    if row["node_kind"] == NodeKind.METER:
        meter = leaf("meterNo", name) if three else element("meterID", text=name, meterNo=name, serviceType="Electric")
        return element("outageLocation", meter)
    if row["node_kind"] == NodeKind.SERVICE_POINT:
        return element("outageLocation", leaf("servLoc" if three else "serviceLocationID", name))
    return element("outageLocation", leaf("gridLocation", name)) if three else None
