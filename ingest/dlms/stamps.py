"""The date-times of APDU headers: an octet string, a tagged one (a quirk that cannot be mistaken), or a text."""

import re
from datetime import datetime
from typing import Final

from ingest.dlms.cosem import DATE_TIME_OCTETS, MAX_DEVIATION_MIN, DateTime, decode_date_time, encode_date_time
from ingest.dlms.cursor import Cursor
from schemas.codes import RejectReason
from schemas.errors import ProtocolError

QUIRK_DATE_TIME_09_0C: Final = "date_time_09_0c"
OCTET_STRING_TAG: Final = 0x09
_GENERALIZED_TIME: Final = re.compile(rb"(\d{14})(?:[.,]\d{1,6})?(?:(Z)|([+-])(\d\d)(\d\d)?)?")


def read_date_time(cursor: Cursor) -> tuple[DateTime | None, tuple[str, ...]]:
    """A date-time sent as octet string, nothing or 12 octets, and the quirk that was needed to read it.

    `09 0C` is the tagged form of `0C`: no date-time has nine octets, so it cannot be mistaken (Kaifa).

    Raises:
        ProtocolError: Another length, or no date-time.
    """
    at = cursor.at
    length = cursor.length()
    used: tuple[str, ...] = ()
    if length == OCTET_STRING_TAG and cursor.at < cursor.stop and cursor.data[cursor.at] == DATE_TIME_OCTETS:
        length = cursor.u8()
        used = (QUIRK_DATE_TIME_09_0C,)
    if length == 0:
        return None, ()
    if length != DATE_TIME_OCTETS:
        raise ProtocolError(RejectReason.DATE_TIME, at, f"a date-time of {length} octets")
    return decode_date_time(cursor.take(length), cursor.at - length), used


def read_text_time(cursor: Cursor) -> DateTime | None:
    """A GeneralizedTime (X.680 46): length and "YYYYMMDDhhmmss", then a fraction, "Z" or an offset; nothing is None.

    Raises:
        ProtocolError: Another form, or a day that does not exist.
    """
    at = cursor.at
    text = cursor.octets()
    if not text:
        return None
    found = _GENERALIZED_TIME.fullmatch(text)
    if found is None:
        raise ProtocolError(RejectReason.DATE_TIME, at, "no generalized time")
    digits, zulu, sign, hours, minutes = found.groups()
    deviation = 0 if zulu else None
    if sign:
        ahead = 60 * int(hours) + int(minutes or 0)
        deviation = -ahead if sign == b"+" else ahead
    try:
        local = datetime.strptime(digits.decode("ascii"), "%Y%m%d%H%M%S")
    except ValueError as error:
        raise ProtocolError(RejectReason.DATE_TIME, at, "no such day") from error
    if deviation is not None and abs(deviation) > MAX_DEVIATION_MIN:
        raise ProtocolError(RejectReason.DATE_TIME, at, "an offset beyond fourteen hours")
    return decode_date_time(encode_date_time(local, deviation, 0xFF), at)
