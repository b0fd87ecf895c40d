"""APDUs that answer or report by other forms than a notification: gateways forward them beside pushes.

A short name and a get-response carry no OBIS code. A result other than success is a value that cannot be known: it
stands as null, never as zero. Bodies are put together where there are several values: `body_at` then is 0, and
`values_at` are the tags of the values, 0 for one that is not known.
"""

from typing import Final, NamedTuple

from ingest.dlms.axdr import read_data
from ingest.dlms.cosem import DATE_TIME_OCTETS, DateTime
from ingest.dlms.cursor import Cursor
from ingest.dlms.data import Data, Tag
from ingest.dlms.stamps import read_date_time, read_text_time
from schemas.codes import RejectReason
from schemas.errors import ProtocolError

SUCCESS: Final = 0

_VARIABLE_NAME: Final = 0x02
_NORMAL, _WITH_DATABLOCK, _WITH_LIST = 1, 2, 3
_SPECIFICATION_OCTETS: Final = 9  # class u16, logical name, attribute or method i8
_WITH_SELECTION: Final = frozenset((4, 5))
_SPECIFICATIONS: Final = frozenset((1, 2, 3)) | _WITH_SELECTION


class InformationReport(NamedTuple):
    """18: values of short names, in their order; `body` is a structure of them."""

    date_time: DateTime | None
    short_names: tuple[int, ...]
    body: Data
    quirks: tuple[str, ...] = ()
    date_time_at: int | None = None
    body_at: int = 0
    values_at: tuple[int, ...] = ()


class GetResponse(NamedTuple):
    """C4: one value, or a structure of those of a list, null where `results` says other than 0."""

    invoke_id: int
    results: tuple[int, ...]
    body: Data
    date_time: DateTime | None = None
    quirks: tuple[str, ...] = ()
    date_time_at: int | None = None
    body_at: int = 0
    values_at: tuple[int, ...] = ()


class AccessResponse(NamedTuple):
    """DA: a structure of values, null where `results` says other than 0.

    `requested` are the descriptors of the request where it is repeated, else empty: class, logical name, attribute (or
    method), nine octets each.
    """

    long_invoke_id: int
    date_time: DateTime | None
    requested: tuple[bytes, ...]
    results: tuple[int, ...]
    body: Data
    quirks: tuple[str, ...] = ()
    date_time_at: int | None = None
    body_at: int = 0
    values_at: tuple[int, ...] = ()


def read_information_report(cursor: Cursor, quirks: frozenset[str]) -> InformationReport:
    """The information-report behind its tag. Raises ProtocolError."""
    at = cursor.at
    flag = cursor.u8()
    if flag > 1:
        raise ProtocolError(RejectReason.APDU_MALFORMED, at, f"time flag {flag:02X}")
    date_time = read_text_time(cursor) if flag else None
    names = []
    for _ in range(_count(cursor, 3)):
        at = cursor.at
        kind = cursor.u8()
        if kind != _VARIABLE_NAME:
            raise ProtocolError(RejectReason.APDU_UNSUPPORTED, at, f"variable access of kind {kind}")
        names.append(cursor.unsigned(2))
    values, values_at = _values(cursor, quirks)
    if len(values) != len(names):
        raise ProtocolError(RejectReason.APDU_MALFORMED, at, f"{len(names)} short names, {len(values)} values")
    return InformationReport(date_time, tuple(names), Data(Tag.STRUCTURE, values), values_at=values_at)


def read_get_response(cursor: Cursor, quirks: frozenset[str]) -> GetResponse:
    """The get-response behind its tag. Raises ProtocolError; a block without the others is *incomplete*."""
    at = cursor.at
    kind = cursor.u8()
    invoke_id = cursor.u8()
    if kind == _NORMAL:
        result, value, value_at = _result(cursor, quirks)
        return GetResponse(invoke_id, (result,), value, body_at=value_at)
    if kind == _WITH_LIST:
        return _listed(cursor, invoke_id, quirks)
    if kind == _WITH_DATABLOCK:
        return _single_block(cursor, invoke_id, quirks)
    raise ProtocolError(RejectReason.APDU_MALFORMED, at, f"get-response of kind {kind}")


def read_access_response(cursor: Cursor, quirks: frozenset[str]) -> AccessResponse:
    """The access-response behind its tag. Raises ProtocolError."""
    long_invoke_id = cursor.unsigned(4)
    date_time, used = read_date_time(cursor)
    flag_at = cursor.at
    flag = cursor.u8()
    if flag > 1:
        raise ProtocolError(RejectReason.APDU_MALFORMED, flag_at, f"request list flag {flag:02X}")
    names = tuple(_specification(cursor) for _ in range(_count(cursor, 10))) if flag else ()
    values, values_at = _values(cursor, quirks)
    at = cursor.at
    results = tuple(cursor.unsigned(2) & 0xFF for _ in range(_count(cursor, 2)))
    if len(results) != len(values) or (flag and len(names) != len(values)):
        raise ProtocolError(RejectReason.APDU_MALFORMED, at, f"{len(values)} values, {len(results)} results")
    known = tuple(
        value if result == SUCCESS else Data(Tag.NULL, None) for value, result in zip(values, results, strict=True)
    )
    known_at = tuple(at if result == SUCCESS else 0 for at, result in zip(values_at, results, strict=True))
    date_time_at = None if date_time is None else flag_at - DATE_TIME_OCTETS
    body = Data(Tag.STRUCTURE, known)
    return AccessResponse(long_invoke_id, date_time, names, results, body, used, date_time_at, 0, known_at)


def _values(cursor: Cursor, quirks: frozenset[str]) -> tuple[tuple[Data, ...], tuple[int, ...]]:
    values, places = [], []
    for _ in range(_count(cursor, 1)):
        places.append(cursor.at)
        values.append(read_data(cursor, quirks))
    return tuple(values), tuple(places)


def _result(cursor: Cursor, quirks: frozenset[str]) -> tuple[int, Data, int]:
    """Result, value, and the byte of its tag; 0 where none was sent."""
    at = cursor.at
    choice = cursor.u8()
    if choice == 0:
        at = cursor.at
        return SUCCESS, read_data(cursor, quirks), at
    if choice == 1:
        return cursor.u8(), Data(Tag.NULL, None), 0
    raise ProtocolError(RejectReason.APDU_MALFORMED, at, f"result of kind {choice}")


def _single_block(cursor: Cursor, invoke_id: int, quirks: frozenset[str]) -> GetResponse:
    # Blocks are joined where the frames are; one by itself is whole only if it is the first and the last.
    at = cursor.at
    last, number = cursor.u8(), cursor.unsigned(4)
    choice = cursor.u8()
    if choice:
        return GetResponse(invoke_id, (cursor.u8(),), Data(Tag.NULL, None))
    if not last or number != 1:
        raise ProtocolError(RejectReason.BLOCK_TRANSFER_INCOMPLETE, at, f"block {number} by itself")
    length = cursor.length()
    content_at = cursor.at
    cursor.take(length)
    content = Cursor(cursor.data, content_at, cursor.at)
    try:
        value = read_data(content, quirks)
        content.finish()
    except ProtocolError as error:
        single = error
    else:
        return GetResponse(invoke_id, (SUCCESS,), value, body_at=content_at)
    # Blocks do not say what they answer. A list of results is no value: behind its count stands 00 or 01, which as
    # elements of the array or structure that the count would be leave bytes over.
    content = Cursor(cursor.data, content_at, cursor.at)
    try:
        listed = _listed(content, invoke_id, quirks)
        content.finish()
    except ProtocolError:
        raise single from None
    return listed


def _listed(cursor: Cursor, invoke_id: int, quirks: frozenset[str]) -> GetResponse:
    found = [_result(cursor, quirks) for _ in range(_count(cursor, 2))]
    results, values, values_at = zip(*found, strict=True) if found else ((), (), ())
    return GetResponse(invoke_id, results, Data(Tag.STRUCTURE, values), values_at=values_at)


def _specification(cursor: Cursor) -> bytes:
    at = cursor.at
    kind = cursor.u8()
    if kind not in _SPECIFICATIONS:
        raise ProtocolError(RejectReason.APDU_MALFORMED, at, f"access request of kind {kind}")
    descriptor = cursor.take(_SPECIFICATION_OCTETS)
    if kind in _WITH_SELECTION:
        cursor.u8()
        read_data(cursor)
    return descriptor


def _count(cursor: Cursor, least_octets: int) -> int:
    at = cursor.at
    count = cursor.length()
    if count * least_octets > cursor.stop - cursor.at:
        raise ProtocolError(RejectReason.AXDR_TRUNCATED, at, f"{count} elements announced")
    return count
