"""The APDUs that meters push: tag and fields to values, and back for those that we write.

Every other tag of the Green Book is known by name and refused as `apdu_unsupported`.
"""

from collections.abc import Callable
from typing import Final, NamedTuple, TypeAlias

from ingest.dlms.axdr import encode_data, read_data
from ingest.dlms.cosem import DATE_TIME_OCTETS, DateTime, decode_date_time
from ingest.dlms.cursor import Cursor, encode_length
from ingest.dlms.data import Data
from ingest.dlms.responses import (
    AccessResponse,
    GetResponse,
    InformationReport,
    read_access_response,
    read_get_response,
    read_information_report,
)
from ingest.dlms.stamps import OCTET_STRING_TAG, QUIRK_DATE_TIME_09_0C, read_date_time
from ingest.dlms.tags import (
    ACCESS_RESPONSE,
    APDU_NAMES,
    DATA_NOTIFICATION,
    EVENT_NOTIFICATION,
    GET_RESPONSE,
    INFORMATION_REPORT,
)
from schemas.codes import RejectReason
from schemas.errors import ContractError, ProtocolError


class DataNotification(NamedTuple):
    """0F. `long_invoke_id` as sent: bits 0-23 id, 28 self-descriptive, 29 break on error, 30 confirmed, 31 priority.

    `date_time_at` and `body_at` are where the 12 octets and the body's tag stand in the APDU.
    """

    long_invoke_id: int
    date_time: DateTime | None
    body: Data
    quirks: tuple[str, ...] = ()
    date_time_at: int | None = None
    body_at: int = 0


class EventNotification(NamedTuple):
    """C2: one attribute of one object. `logical_name` is its six octets; places as in `DataNotification`."""

    date_time: DateTime | None
    class_id: int
    logical_name: bytes
    attribute: int
    value: Data
    quirks: tuple[str, ...] = ()
    date_time_at: int | None = None
    body_at: int = 0

    @property
    def body(self) -> Data:
        """The value: what a notification body is to a data-notification."""
        return self.value


Apdu: TypeAlias = DataNotification | EventNotification | InformationReport | GetResponse | AccessResponse
"""Each has `date_time` (None where it carries none), `body` and `quirks`."""


def decode_apdu(apdu: bytes, quirks: frozenset[str] = frozenset()) -> Apdu:
    """The APDU in the clear that `apdu` is, to its last byte.

    Args:
        apdu: Tag and fields; ciphered ones are undone before (`security.unprotect`).
        quirks: Named departures of a meter type, see `axdr.decode_data`.

    Raises:
        ProtocolError: Anything else, with the byte of `apdu`.
    """
    cursor = Cursor(apdu)
    if not apdu:
        raise ProtocolError(RejectReason.APDU_MALFORMED, 0, "no APDU")
    tag = cursor.u8()
    reader = _READERS.get(tag)
    if reader is not None:
        decoded = reader(cursor, quirks)
        cursor.finish()
        return decoded
    if tag in APDU_NAMES:
        raise ProtocolError(RejectReason.APDU_UNSUPPORTED, 0, APDU_NAMES[tag])
    raise ProtocolError(RejectReason.UNKNOWN_APDU, 0, f"tag {tag:02X}")


def name_of(apdu: Apdu) -> str:
    """Name of a decoded APDU, as in `APDU_NAMES`."""
    return APDU_NAMES[_TAG_OF[type(apdu)]]


def encode_data_notification(long_invoke_id: int, date_time: bytes | None, body: Data) -> bytes:
    """A data-notification.

    Args:
        long_invoke_id: 32 bits, see `DataNotification`.
        date_time: 12 octets (`cosem.encode_date_time`), or None.
        body: The notification body.
    """
    _check_date_time(date_time)
    head = bytes((DATA_NOTIFICATION,)) + long_invoke_id.to_bytes(4, "big")
    stamp = b"\x00" if date_time is None else encode_length(len(date_time)) + date_time
    return head + stamp + encode_data(body)


def encode_event_notification(
    date_time: bytes | None, class_id: int, logical_name: bytes, attribute: int, value: Data
) -> bytes:
    """An event-notification; its time, when there is one, flagged `01 0C` as the standard has it."""
    _check_date_time(date_time)
    if len(logical_name) != 6:
        raise ContractError("a logical name has six octets")
    stamp = b"\x00" if date_time is None else b"\x01\x0c" + date_time
    return b"".join(
        (
            bytes((EVENT_NOTIFICATION,)),
            stamp,
            class_id.to_bytes(2, "big"),
            logical_name,
            attribute.to_bytes(1, "big", signed=True),
            encode_data(value),
        )
    )


def _data_notification(cursor: Cursor, quirks: frozenset[str]) -> DataNotification:
    long_invoke_id = cursor.unsigned(4)
    date_time, used = read_date_time(cursor)
    body_at = cursor.at
    body = read_data(cursor, quirks)
    date_time_at = None if date_time is None else body_at - DATE_TIME_OCTETS
    return DataNotification(long_invoke_id, date_time, body, used, date_time_at, body_at)


def _event_notification(cursor: Cursor, quirks: frozenset[str]) -> EventNotification:
    at = cursor.at
    flag = cursor.u8()
    used: tuple[str, ...] = ()
    date_time: DateTime | None = None
    date_time_at: int | None = None
    if flag not in (0, 1, OCTET_STRING_TAG):
        raise ProtocolError(RejectReason.APDU_MALFORMED, at, f"time flag {flag:02X}")
    if flag:
        at = cursor.at
        date_time = decode_date_time(cursor.octets(), at)
        date_time_at = cursor.at - DATE_TIME_OCTETS
        used = (QUIRK_DATE_TIME_09_0C,) if flag == OCTET_STRING_TAG else ()
    class_id = cursor.unsigned(2)
    logical_name = cursor.take(6)
    attribute = int.from_bytes(cursor.take(1), "big", signed=True)
    body_at = cursor.at
    body = read_data(cursor, quirks)
    return EventNotification(date_time, class_id, logical_name, attribute, body, used, date_time_at, body_at)


def _check_date_time(date_time: bytes | None) -> None:
    if date_time is not None and len(date_time) != DATE_TIME_OCTETS:
        raise ContractError("a date-time has 12 octets")


_READERS: Final[dict[int, Callable[[Cursor, frozenset[str]], Apdu]]] = {
    DATA_NOTIFICATION: _data_notification,
    EVENT_NOTIFICATION: _event_notification,
    INFORMATION_REPORT: read_information_report,
    GET_RESPONSE: read_get_response,
    ACCESS_RESPONSE: read_access_response,
}
_TAG_OF: Final[dict[type, int]] = {
    DataNotification: DATA_NOTIFICATION,
    EventNotification: EVENT_NOTIFICATION,
    InformationReport: INFORMATION_REPORT,
    GetResponse: GET_RESPONSE,
    AccessResponse: ACCESS_RESPONSE,
}
