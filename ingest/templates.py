"""COSEM compact data (class 62): octet strings whose values only the meter's template can name.

A buffer begins with its template id; types, names and order are agreed beforehand and kept with the meter's type.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec

from ingest.dlms.compact import decode_compact_data, read_description
from ingest.dlms.cosem import encode_date_time, parse_obis
from ingest.dlms.cursor import Cursor
from ingest.dlms.data import Data, Tag
from schemas.codes import RejectReason
from schemas.errors import ContractError, ProtocolError

TEMPLATE_ID: Final = "template_id"
UNIX_CLOCK: Final = "clock"
_COMPACT_DATA_CD: Final = b"\x42\x00"
"""0-b:66.0.e.255 names the compact data objects (Blue Book, class 62)."""
_CLOCK_NAME: Final = parse_obis("0-0:1.0.0.255")


class Template(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One template of a meter type.

    `id` is the first octet of its buffers; `description` the type description in hexadecimal, a flat structure
    `02 count types…`; `values` names each element: an OBIS code, `template_id` for the first, or `clock` for a u32 of
    seconds since 1970 UTC.
    """

    id: int
    description: str
    values: tuple[str, ...]


def check_template(template: Template, where: str) -> None:
    """The template can be used.

    Raises:
        ContractError: No type description, not one name an element, or a name that means nothing.
    """
    try:
        cursor = Cursor(bytes.fromhex(template.description))
        tag, _, inner = read_description(cursor)
        cursor.finish()
    except (ValueError, ProtocolError) as error:
        raise ContractError(f"{where}: no type description: {error}") from error
    flat = all(each[0] not in (Tag.ARRAY, Tag.STRUCTURE) for each in inner)
    if tag != Tag.STRUCTURE or not flat or len(inner) != len(template.values) or not 0 <= template.id <= 255:
        raise ContractError(
            f"{where}: a flat structure with a name for each element, and an id of one octet, is needed"
        )
    for name in template.values:
        if name not in (TEMPLATE_ID, UNIX_CLOCK):
            parse_obis(name)


def is_compact_data(name: bytes | None) -> bool:
    """The logical name is that of a compact data object."""
    return name is not None and name[0] == 0 and name[2:4] == _COMPACT_DATA_CD


def read_buffer(buffer: bytes, templates: Iterable[Template]) -> list[tuple[bytes, Data]]:
    """The named values of a buffer, in their order; a `clock` as date-time under the clock's name.

    Raises:
        ProtocolError: No template has its id (`layout_unknown`), or it is not what its template describes.
    """
    template = next((each for each in templates if buffer[:1] == bytes((each.id,))), None)
    if template is None:
        raise ProtocolError(RejectReason.LAYOUT_UNKNOWN, 0, "compact data of a template that the meter type lacks")
    found = decode_compact_data(bytes.fromhex(template.description), buffer)
    return _named(found, template.values)


def _named(found: Sequence[Data], names: Sequence[str]) -> list[tuple[bytes, Data]]:
    values = []
    for each, name in zip(found, names, strict=True):
        if name == UNIX_CLOCK and isinstance(each.value, int):
            at = datetime.fromtimestamp(each.value % 2**32, UTC)
            values.append((_CLOCK_NAME, Data(Tag.DATE_TIME, encode_date_time(at, 0))))
        elif name != TEMPLATE_ID:
            values.append((parse_obis(name), each))
    return values
