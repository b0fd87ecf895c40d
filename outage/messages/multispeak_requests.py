"""What an outage system may say to us in MultiSpeak, as values: pings, planned work, incidents that it confirms."""

from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from outage.messages.multispeak import Account, Version


class OutageStatus(StrEnum):
    """What the outage system thinks of its incident."""

    ASSUMED = "Assumed"
    CONFIRMED = "Confirmed"
    RESTORED = "Restored"
    SCHEDULED = "Scheduled"
    STILL_OUT = "StillOut"
    NON_PAY = "NonPay"
    OTHER = "Other"
    UNKNOWN = "Unknown"


class PingRequest(NamedTuple):
    """`InitiateOutageDetectionEventRequest`: tell the power status of these meters."""

    meters: tuple[str, ...]
    requested_at: datetime
    response_url: str | None
    transaction_id: str | None
    expires_min: float | None
    """`expirationTime` as sent; the standard leaves the unit open, the products that send it mean minutes."""


class NodePingRequest(NamedTuple):
    """`InitiateODEventRequestByObject` or `…ByServiceLocation`: tell the status of what hangs there."""

    names: tuple[str, ...]
    """One object, or service locations."""
    response_url: str | None
    transaction_id: str | None
    expires_min: float | None


class MonitoringRequest(NamedTuple):
    """`InitiateODMonitoringRequestByObject` (3.0): ask what hangs on a node again and again."""

    name: str
    periodicity: int
    transaction_id: str | None


class OutageChange(NamedTuple):
    """One `outageEvent` of `OutageEventChangedNotification`."""

    object_id: str | None
    status: OutageStatus
    planned: bool
    feeder: str | None
    substation: str | None
    device: str | None
    started_at: datetime | None
    restoration_expected_at: datetime | None
    customers_affected: int | None
    customers_restored: int | None


class AffectedMeters(NamedTuple):
    """`CustomersAffectedByOutageNotification` (4.1): meters that the outage system counts to its incident."""

    outage_event_id: str | None
    meters: tuple[str, ...]
    service_locations: tuple[str, ...] = ()
    """Of customers whose meter is not named."""


class Question(NamedTuple):
    """`PingURL` or `GetMethods`: is anybody there, and what can they do."""

    operation: str


Said = (
    PingRequest | NodePingRequest | MonitoringRequest | tuple[OutageChange, ...] | tuple[AffectedMeters, ...] | Question
)


class Incoming(NamedTuple):
    """A request, the version it spoke, what it said, and who says that it is."""

    operation: str
    version: Version
    said: Said
    account: Account = Account("", "", "")
    """Of the header; its text never shows the password."""
    enveloped: bool = False
    """It came in a SOAP envelope, and so does its answer."""


def names_in(said: Said) -> list[str]:
    """Every meter and node that was named."""
    if isinstance(said, Question):
        return []
    if isinstance(said, PingRequest):
        return list(said.meters)
    if isinstance(said, NodePingRequest):
        return list(said.names)
    if isinstance(said, MonitoringRequest):
        return [said.name]
    names: list[str] = []
    for item in said:
        if isinstance(item, AffectedMeters):
            names += [*item.meters, *item.service_locations]
        else:
            names += [name for name in (item.device, item.feeder, item.substation) if name is not None]
    return names
