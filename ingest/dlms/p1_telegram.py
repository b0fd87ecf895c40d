"""P1 telegrams (DSMR P1 companion standard 5.0): text that some meters seal in general-glo in place of an APDU.

Read only where a meter type's switch says so (customer ports of Luxembourg): the text becomes the data-notification
that says the same, so names, scaling, identity and time are those of every push.
"""

import re
from datetime import datetime
from typing import Final, NamedTuple

from ingest.dlms.apdu import encode_data_notification
from ingest.dlms.cosem import NO_DATE_TIME, STATUS_DST, encode_date_time, encode_scaler_unit, parse_obis
from ingest.dlms.data import Data, Tag
from ingest.dlms.p1_units import NO_UNIT, unit_of
from ingest.dlms.push import Entry, encode_entry, is_name
from schemas.codes import RejectReason
from schemas.errors import ContractError, ProtocolError

MAX_LINE_OCTETS: Final = 1024
"""P1 5.2.3: a line has at most 1024 characters."""
_END: Final = re.compile(rb"\r?\n!([0-9A-Fa-f]{4})?(?:\r?\n)*\Z")
_LINE: Final = re.compile(rb"(\d{1,3}-\d{1,3}:\d{1,3}\.\d{1,3}\.\d{1,3}(?:[.*]\d{1,3})?)((?:\([^()]*\))+)")
_NUMBER: Final = re.compile(rb"(-?\d+)(?:\.(\d+))?(?:\*(.*))?")
_MAX_LONE_DIGITS: Final = 15
"""Of a number without a point or a unit; what is longer is an identifier."""
_STAMP: Final = re.compile(rb"\d{12}[SW]")
_BARE_STAMP: Final = re.compile(rb"\d{12}")
"""A time without the letter that tells summer from winter: it names no instant, and is no number either."""
_CLOCK: Final = b"\x00\x01\x00\x00"
"""A, C, D and E of the telegram's own time."""
_EXTENDED_REGISTER: Final = 4
_ATTRIBUTES: Final = (2, 3, 5)
"""Of an extended register (Blue Book 4.3.3): value, scaler and unit, capture time."""
_MAX_DIGITS: Final = 18
"""Of a number, point left out: what 64 bits hold whatever the digits. P1 5.2.2 knows no number of more than ten."""
_TEXTS: Final = (b"\x60\x01", b"\x60\x0d", b"\x2a\x00")
"""C.D of identifiers, messages and device names: strings in hexadecimal, also where all their digits are decimal."""
_LOGS: Final = (98, 99)
"""C of logs (billing periods, power failures): a line holds many rows, which stay text."""


class Notification(NamedTuple):
    """A telegram as `apdu`, a data-notification; `unread`: numbers of it that stay text there, as no unit is known."""

    apdu: bytes
    unread: int


def is_p1_telegram(octets: bytes) -> bool:
    """The octets begin and end as a telegram does."""
    return octets[:1] == b"/" and _END.search(octets, max(0, len(octets) - 16)) is not None


def as_notification(telegram: bytes) -> Notification:
    """What a telegram says, as the data-notification that says the same.

    A line with one number is a value; one with a time and one number (a meter on its M-Bus, the highest demand of a
    month) a value with a time of its own, the first of its name; one with a time alone a clock, whose zone, as that of
    all times, is the meter's; an identifier in hexadecimal a string. Logs and texts stay text. A number of a
    unit that is not known, or where no value stands, stays text as well, and is counted.

    Raises:
        ProtocolError: The checksum behind `!` is wrong, or a line is no line of a telegram; its byte.
    """
    end = _END.search(telegram, max(0, len(telegram) - 16))
    if telegram[:1] != b"/" or end is None:
        raise ProtocolError(RejectReason.APDU_MALFORMED, 0, "no P1 telegram")
    if end[1] is not None and int(end[1], 16) != _crc(telegram[: telegram.index(b"!", end.start()) + 1]):
        raise ProtocolError(RejectReason.LINK_CHECKSUM, end.start(1), "P1 checksum")
    plain: list[Data] = []
    timed: dict[bytes, tuple[Data, ...]] = {}
    unread = 0
    at = telegram.find(b"\n") + 1
    while 0 < at < end.start():
        stop = telegram.find(b"\n", at) + 1
        line = telegram[at : stop - 1].rstrip(b"\r")
        if line:
            name, groups = _parts(line, at)
            said = Data(Tag.OCTET_STRING, name)
            value = _value(name, groups, at)
            unread += 0 if value else _unread(name, groups)
            if value and len(groups) > 1 and is_name(said) and name not in timed:
                timed[name] = (*value, _captured(groups[0]))
            else:
                plain.append(Data(Tag.STRUCTURE, (said, *(value or (_text(groups),)))))
        at = stop
    body = Data(Tag.STRUCTURE, (*_listed(timed), *plain))
    return Notification(encode_data_notification(0, None, body), unread)


def _listed(timed: dict[bytes, tuple[Data, ...]]) -> list[Data]:
    """Values with times of their own as extended registers behind a push object list, by which a push tells the same.

    Nothing where there are none: an empty list would be none.
    """
    if not timed:
        return []
    entries = [encode_entry(Entry(_EXTENDED_REGISTER, name, number)) for name in timed for number in _ATTRIBUTES]
    return [Data(Tag.ARRAY, tuple(entries)), *(each for attributes in timed.values() for each in attributes)]


def _parts(line: bytes, at: int) -> tuple[bytes, list[bytes]]:
    found = _LINE.fullmatch(line) if len(line) <= MAX_LINE_OCTETS else None
    if found is None:
        raise ProtocolError(RejectReason.APDU_MALFORMED, at, "no line of a P1 telegram")
    try:
        name = parse_obis(found[1].decode("ascii"))
    except ContractError as error:
        raise ProtocolError(RejectReason.APDU_MALFORMED, at, "a name that is no OBIS code") from error
    return name, found[2][1:-1].split(b")(")


def _value(name: bytes, groups: list[bytes], at: int) -> tuple[Data, ...] | None:
    """A clock, or a number with its scaler and unit; None for text."""
    if name[2:4] in _TEXTS or _has_bare_time(name, groups):
        return None
    stamped = _STAMP.fullmatch(groups[0]) is not None
    if stamped and len(groups) == 1:
        return (_clock(groups[0], at),)
    number = _number(groups[-1]) if len(groups) == 1 + stamped else None
    unit = None if number is None else NO_UNIT if number[3] is None else unit_of(number[3])
    if number is None or unit is None:
        return None
    decimals = number[2] or b""
    if len(number[1].lstrip(b"-0") + decimals) > _MAX_DIGITS:
        raise ProtocolError(RejectReason.APDU_MALFORMED, at, f"a number of more than {_MAX_DIGITS} digits")
    return Data(Tag.INT64, int(number[1] + decimals)), encode_scaler_unit(unit.power - len(decimals), unit.code)


def _unread(name: bytes, groups: list[bytes]) -> int:
    """How many numbers stand in a line that holds no value."""
    if name[2:4] in _TEXTS or name[2] in _LOGS:
        return 0
    return sum(_number(group) is not None for group in groups[_has_bare_time(name, groups) :])


def _has_bare_time(name: bytes, groups: list[bytes]) -> bool:
    """The first is one: ahead of others, or as the telegram's clock. Elsewhere so many digits alone are a number."""
    return _BARE_STAMP.fullmatch(groups[0]) is not None and (len(groups) > 1 or name[:1] + name[2:5] == _CLOCK)


def _number(group: bytes) -> re.Match[bytes] | None:
    """Its digits, decimals and unit: the last two None where it has none."""
    found = _NUMBER.fullmatch(group)
    if found is None or (found[2] is None and found[3] is None and len(group) > _MAX_LONE_DIGITS):
        return None
    return found


def _text(groups: list[bytes]) -> Data:
    text = b")(".join(groups)
    try:
        return Data(Tag.OCTET_STRING, bytes.fromhex(text.decode("ascii")))
    except ValueError:  # not hexadecimal: it is the text itself
        return Data(Tag.OCTET_STRING, text)


def _clock(text: bytes, at: int) -> Data:
    try:
        return _date_time(text)
    except ValueError as error:
        raise ProtocolError(RejectReason.DATE_TIME, at, "a time that does not exist") from error


def _captured(text: bytes) -> Data:
    # Meters write 632525252525S beside a value that was never captured: a time that nobody knows.
    try:
        return _date_time(text)
    except ValueError:
        return Data(Tag.OCTET_STRING, NO_DATE_TIME)


def _date_time(text: bytes) -> Data:
    # Wall clock of the meter; S and W tell summer from winter time, the zone stands nowhere.
    local = datetime.strptime(text[:12].decode("ascii"), "%y%m%d%H%M%S")
    return Data(Tag.OCTET_STRING, encode_date_time(local, None, STATUS_DST if text[12:] == b"S" else 0))


def _crc(octets: bytes) -> int:
    # CRC-16/ARC, P1 6.2: polynomial x16+x15+x2+1, least significant bit first.
    register = 0
    for octet in octets:
        register ^= octet
        for _ in range(8):
            register = register >> 1 ^ (0xA001 if register & 1 else 0)
    return register
