"""APDUs that answer or report by other forms than a notification: gateways forward them beside pushes.

A short name and a get-response carry no OBIS code. A result other than success is a value that cannot be known: it
stands as null, never as zero. Their bodies are put together: the values have no places (`body_at` is 0).
"""

from typing import Final, NamedTuple

from ingest.dlms.axdr import read_data
from ingest.dlms.cosem import DateTime
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


class GetResponse(NamedTuple):
    """C4: one value, or a structure of those of a list, null where `results` says other than 0."""

    invoke_id: int
    results: tuple[int, ...]
    body: Data
    date_time: DateTime | None = None
    quirks: tuple[str, ...] = ()
    date_time_at: int | None = None
    body_at: int = 0


class AccessResponse(NamedTuple):
    """DA: a structure of values, null where `results` says other than 0.

    `logical_names` of the request where it is repeated, else empty.
    """

    long_invoke_id: int
    date_time: DateTime | None
    logical_names: tuple[bytes, ...]
    results: tuple[int, ...]
    body: Data
    quirks: tuple[str, ...] = ()
    date_time_at: int | None = None
    body_at: int = 0


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
    values = _values(cursor, quirks)
    if len(values) != len(names):
        raise ProtocolError(RejectReason.APDU_MALFORMED, at, f"{len(names)} short names, {len(values)} values")
    return InformationReport(date_time, tuple(names), Data(Tag.STRUCTURE, values))


def read_get_response(cursor: Cursor, quirks: frozenset[str]) -> GetResponse:
    """The get-response behind its tag. Raises ProtocolError; a block without the others is *incomplete*."""
    at = cursor.at
    kind = cursor.u8()
    invoke_id = cursor.u8()
    if kind == _NORMAL:
        result, value = _result(cursor, quirks)
        return GetResponse(invoke_id, (result,), value)
    if kind == _WITH_LIST:
        pairs = [_result(cursor, quirks) for _ in range(_count(cursor, 2))]
        values = tuple(value for _, value in pairs)
        return GetResponse(invoke_id, tuple(result for result, _ in pairs), Data(Tag.STRUCTURE, values))
    if kind == _WITH_DATABLOCK:
        return _single_block(cursor, invoke_id, quirks)
    raise ProtocolError(RejectReason.APDU_MALFORMED, at, f"get-response of kind {kind}")


def read_access_response(cursor: Cursor, quirks: frozenset[str]) -> AccessResponse:
    """The access-response behind its tag. Raises ProtocolError."""
    long_invoke_id = cursor.unsigned(4)
    date_time, used = read_date_time(cursor)
    at = cursor.at
    flag = cursor.u8()
    if flag > 1:
        raise ProtocolError(RejectReason.APDU_MALFORMED, at, f"request list flag {flag:02X}")
    names = tuple(_specification(cursor) for _ in range(_count(cursor, 10))) if flag else ()
    values = _values(cursor, quirks)
    at = cursor.at
    results = tuple(cursor.unsigned(2) & 0xFF for _ in range(_count(cursor, 2)))
    if len(results) != len(values) or (flag and len(names) != len(values)):
        raise ProtocolError(RejectReason.APDU_MALFORMED, at, f"{len(values)} values, {len(results)} results")
    known = tuple(
        value if result == SUCCESS else Data(Tag.NULL, None) for value, result in zip(values, results, strict=True)
    )
    return AccessResponse(long_invoke_id, date_time, names, results, Data(Tag.STRUCTURE, known), used)


def _values(cursor: Cursor, quirks: frozenset[str]) -> tuple[Data, ...]:
    return tuple(read_data(cursor, quirks) for _ in range(_count(cursor, 1)))


def _result(cursor: Cursor, quirks: frozenset[str]) -> tuple[int, Data]:
    at = cursor.at
    choice = cursor.u8()
    if choice == 0:
        return SUCCESS, read_data(cursor, quirks)
    if choice == 1:
        return cursor.u8(), Data(Tag.NULL, None)
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
    content = Cursor(cursor.data, cursor.at, cursor.at + length)
    cursor.take(length)
    value = read_data(content, quirks)
    content.finish()
    return GetResponse(invoke_id, (SUCCESS,), value)


def _specification(cursor: Cursor) -> bytes:
    at = cursor.at
    kind = cursor.u8()
    if kind not in _SPECIFICATIONS:
        raise ProtocolError(RejectReason.APDU_MALFORMED, at, f"access request of kind {kind}")
    logical_name = cursor.take(_SPECIFICATION_OCTETS)[2:8]
    if kind in _WITH_SELECTION:
        cursor.u8()
        read_data(cursor)
    return logical_name


def _count(cursor: Cursor, least_octets: int) -> int:
    at = cursor.at
    count = cursor.length()
    if count * least_octets > cursor.stop - cursor.at:
        raise ProtocolError(RejectReason.AXDR_TRUNCATED, at, f"{count} elements announced")
    return count
