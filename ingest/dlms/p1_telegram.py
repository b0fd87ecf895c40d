"""P1 telegrams (DSMR P1 companion standard 5.0): text that some meters seal in general-glo in place of an APDU.

Read only where a meter type's switch says so (customer ports of Luxembourg): the text becomes the data-notification
that says the same, so names, scaling, identity and time are those of every push.
"""

import re
from datetime import datetime
from typing import Final

from ingest.dlms.apdu import encode_data_notification
from ingest.dlms.cosem import STATUS_DST, encode_date_time, encode_scaler_unit, parse_obis
from ingest.dlms.data import Data, Tag
from schemas.codes import RejectReason
from schemas.errors import ContractError, ProtocolError

MAX_LINE_OCTETS: Final = 1024
"""P1 5.2.3: a line has at most 1024 characters."""
_END: Final = re.compile(rb"\r?\n!([0-9A-Fa-f]{4})?(?:\r?\n)*\Z")
_LINE: Final = re.compile(rb"(\d{1,3}-\d{1,3}:\d{1,3}\.\d{1,3}\.\d{1,3}(?:[.*]\d{1,3})?)((?:\([^()]*\))+)")
_NUMBER: Final = re.compile(rb"(-?\d{1,15})(?:\.(\d{1,9}))?(?:\*([A-Za-z0-9]+))?")
_STAMP: Final = re.compile(rb"\d{12}[SW]")
_MAX_DIGITS: Final = 18
"""Of a number, point left out: what 64 bits hold whatever the digits. P1 5.2.2 knows no number of more than ten."""
_TEXTS: Final = (b"\x60\x01", b"\x60\x0d", b"\x2a\x00")
"""C.D of identifiers, messages and device names: strings in hexadecimal, also where all their digits are decimal."""
_UNITS: Final = {
    b"Wh": (0, 30), b"kWh": (3, 30), b"W": (0, 27), b"kW": (3, 27), b"varh": (0, 32), b"kvarh": (3, 32),
    b"var": (0, 29), b"kvar": (3, 29), b"VAh": (0, 31), b"kVAh": (3, 31), b"VA": (0, 28), b"kVA": (3, 28),
    b"V": (0, 35), b"A": (0, 33), b"Hz": (0, 44), b"m3": (0, 13), b"GJ": (9, 25), b"s": (0, 7), None: (0, 255),
}  # fmt: skip
"""Unit as written: power of ten, and Blue Book code of the unit."""


def is_p1_telegram(octets: bytes) -> bool:
    """The octets begin and end as a telegram does."""
    return octets[:1] == b"/" and _END.search(octets, max(0, len(octets) - 16)) is not None


def as_notification(telegram: bytes) -> bytes:
    """What a telegram says, as the data-notification that says the same.

    A line with one number, or with a time and one number (a meter on its M-Bus), is a value; one with a time alone a
    clock whose zone is the meter's; an identifier in hexadecimal a string. Logs and texts stay text.

    Raises:
        ProtocolError: The checksum behind `!` is wrong, or a line is no line of a telegram; its byte.
    """
    end = _END.search(telegram, max(0, len(telegram) - 16))
    if telegram[:1] != b"/" or end is None:
        raise ProtocolError(RejectReason.APDU_MALFORMED, 0, "no P1 telegram")
    if end[1] is not None and int(end[1], 16) != _crc(telegram[: telegram.index(b"!", end.start()) + 1]):
        raise ProtocolError(RejectReason.LINK_CHECKSUM, end.start(1), "P1 checksum")
    rows = []
    at = telegram.find(b"\n") + 1
    while 0 < at < end.start():
        stop = telegram.find(b"\n", at) + 1
        line = telegram[at : stop - 1].rstrip(b"\r")
        if line:
            rows.append(_row(line, at))
        at = stop
    return encode_data_notification(0, None, Data(Tag.ARRAY, tuple(rows)))


def _row(line: bytes, at: int) -> Data:
    found = _LINE.fullmatch(line) if len(line) <= MAX_LINE_OCTETS else None
    if found is None:
        raise ProtocolError(RejectReason.APDU_MALFORMED, at, "no line of a P1 telegram")
    try:
        name = parse_obis(found[1].decode("ascii"))
    except ContractError as error:
        raise ProtocolError(RejectReason.APDU_MALFORMED, at, "a name that is no OBIS code") from error
    groups = found[2][1:-1].split(b")(")
    value = (_text(groups),) if name[2:4] in _TEXTS else _value(groups, at)
    return Data(Tag.STRUCTURE, (Data(Tag.OCTET_STRING, name), *value))


def _value(groups: list[bytes], at: int) -> tuple[Data, ...]:
    stamped = _STAMP.fullmatch(groups[0]) is not None
    if stamped and len(groups) == 1:
        return (_clock(groups[0], at),)
    number = _NUMBER.fullmatch(groups[-1]) if len(groups) == 1 + stamped else None
    if number is not None and number[3] in _UNITS and (number[3] or len(groups[-1]) < 16):
        power, unit = _UNITS[number[3]]
        decimals = number[2] or b""
        if len(number[1].lstrip(b"-0") + decimals) > _MAX_DIGITS:
            raise ProtocolError(RejectReason.APDU_MALFORMED, at, f"a number of more than {_MAX_DIGITS} digits")
        return Data(Tag.INT64, int(number[1] + decimals)), encode_scaler_unit(power - len(decimals), unit)
    return (_text(groups),)


def _text(groups: list[bytes]) -> Data:
    text = b")(".join(groups)
    try:
        return Data(Tag.OCTET_STRING, bytes.fromhex(text.decode("ascii")))
    except ValueError:  # not hexadecimal: it is the text itself
        return Data(Tag.OCTET_STRING, text)


def _clock(text: bytes, at: int) -> Data:
    # Wall clock of the meter; S and W tell summer from winter time, the zone stands nowhere.
    try:
        local = datetime.strptime(text[:12].decode("ascii"), "%y%m%d%H%M%S")
    except ValueError as error:
        raise ProtocolError(RejectReason.DATE_TIME, at, "a time that does not exist") from error
    return Data(Tag.OCTET_STRING, encode_date_time(local, None, STATUS_DST if text[12:] == b"S" else 0))


def _crc(octets: bytes) -> int:
    # CRC-16/ARC, P1 6.2: polynomial x16+x15+x2+1, least significant bit first.
    register = 0
    for octet in octets:
        register ^= octet
        for _ in range(8):
            register = register >> 1 ^ (0xA001 if register & 1 else 0)
    return register
