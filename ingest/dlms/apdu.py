"""The APDUs that meters push: tag and fields to values, and back for those that we write.

Every other tag of the Green Book is known by name and refused as `apdu_unsupported`.
"""

from typing import Final, NamedTuple, TypeAlias

from ingest.dlms.axdr import encode_data, read_data
from ingest.dlms.cosem import DATE_TIME_OCTETS, DateTime, decode_date_time
from ingest.dlms.cursor import Cursor, encode_length
from ingest.dlms.data import Data
from schemas.codes import RejectReason
from schemas.errors import ContractError, ProtocolError

QUIRK_DATE_TIME_09_0C: Final = "date_time_09_0c"
_OCTET_STRING_TAG: Final = 0x09

DATA_NOTIFICATION: Final = 0x0F
EVENT_NOTIFICATION: Final = 0xC2

APDU_NAMES: Final[dict[int, str]] = {
    0x01: "initiate-request",
    0x08: "initiate-response",
    0x0E: "confirmed-service-error",
    0x0F: "data-notification",
    0x18: "information-report-request",
    0x21: "glo-initiate-request",
    0x28: "glo-initiate-response",
    0x38: "glo-information-report-request",
    0x41: "ded-initiate-request",
    0x48: "ded-initiate-response",
    0x58: "ded-information-report-request",
    0x60: "association-request",
    0x61: "association-response",
    0x62: "release-request",
    0x63: "release-response",
    0xC0: "get-request",
    0xC1: "set-request",
    0xC2: "event-notification",
    0xC3: "action-request",
    0xC4: "get-response",
    0xC5: "set-response",
    0xC7: "action-response",
    0xC8: "glo-get-request",
    0xC9: "glo-set-request",
    0xCA: "glo-event-notification",
    0xCB: "glo-action-request",
    0xCC: "glo-get-response",
    0xCD: "glo-set-response",
    0xCF: "glo-action-response",
    0xD0: "ded-get-request",
    0xD1: "ded-set-request",
    0xD2: "ded-event-notification",
    0xD3: "ded-action-request",
    0xD4: "ded-get-response",
    0xD5: "ded-set-response",
    0xD7: "ded-action-response",
    0xD8: "exception-response",
    0xD9: "access-request",
    0xDA: "access-response",
    0xDB: "general-glo-ciphering",
    0xDC: "general-ded-ciphering",
    0xDD: "general-ciphering",
    0xDF: "general-signing",
    0xE0: "general-block-transfer",
}
"""Every APDU tag of the Green Book that this decoder can name."""


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


Apdu: TypeAlias = DataNotification | EventNotification

_TAG_OF: Final[dict[type, int]] = {DataNotification: DATA_NOTIFICATION, EventNotification: EVENT_NOTIFICATION}


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
    if tag == DATA_NOTIFICATION:
        return _data_notification(cursor, quirks)
    if tag == EVENT_NOTIFICATION:
        return _event_notification(cursor, quirks)
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
    date_time, used = _date_time(cursor)
    body_at = cursor.at
    body = read_data(cursor, quirks)
    cursor.finish()
    date_time_at = None if date_time is None else body_at - DATE_TIME_OCTETS
    return DataNotification(long_invoke_id, date_time, body, used, date_time_at, body_at)


def _event_notification(cursor: Cursor, quirks: frozenset[str]) -> EventNotification:
    at = cursor.at
    flag = cursor.u8()
    used: tuple[str, ...] = ()
    date_time: DateTime | None = None
    date_time_at: int | None = None
    if flag not in (0, 1, _OCTET_STRING_TAG):
        raise ProtocolError(RejectReason.APDU_MALFORMED, at, f"time flag {flag:02X}")
    if flag:
        at = cursor.at
        date_time = decode_date_time(cursor.octets(), at)
        date_time_at = cursor.at - DATE_TIME_OCTETS
        used = (QUIRK_DATE_TIME_09_0C,) if flag == _OCTET_STRING_TAG else ()
    class_id = cursor.unsigned(2)
    logical_name = cursor.take(6)
    attribute = int.from_bytes(cursor.take(1), "big", signed=True)
    body_at = cursor.at
    body = read_data(cursor, quirks)
    cursor.finish()
    return EventNotification(date_time, class_id, logical_name, attribute, body, used, date_time_at, body_at)


def _date_time(cursor: Cursor) -> tuple[DateTime | None, tuple[str, ...]]:
    # An octet string: nothing, or 12 octets. "09 0C" is the tagged form of the same; nine octets are no date-time.
    at = cursor.at
    length = cursor.length()
    used: tuple[str, ...] = ()
    if length == _OCTET_STRING_TAG and cursor.at < cursor.stop and cursor.data[cursor.at] == DATE_TIME_OCTETS:
        length = cursor.u8()
        used = (QUIRK_DATE_TIME_09_0C,)
    if length == 0:
        return None, ()
    if length != DATE_TIME_OCTETS:
        raise ProtocolError(RejectReason.DATE_TIME, at, f"a date-time of {length} octets")
    return decode_date_time(cursor.take(length), cursor.at - length), used


def _check_date_time(date_time: bytes | None) -> None:
    if date_time is not None and len(date_time) != DATE_TIME_OCTETS:
        raise ContractError("a date-time has 12 octets")
