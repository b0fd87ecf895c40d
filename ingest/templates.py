"""COSEM compact data (class 62): octet strings whose values only the meter's template can name.

A buffer begins with its template id; types, names and order are agreed beforehand and kept with the meter's type.
"""

import itertools
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Final

import msgspec

from ingest.dlms.compact import TypeDescription, decode_compact_data, read_description
from ingest.dlms.cosem import encode_date_time, parse_obis
from ingest.dlms.cursor import Cursor
from ingest.dlms.data import Data, Tag
from schemas.codes import RejectReason
from schemas.errors import ContractError, ProtocolError

TEMPLATE_ID: Final = "template_id"
UNIX_CLOCK: Final = "clock"
_COMPACT_DATA_CD: Final = b"\x42\x00"
"""0-b:66.0.e.255 names the compact data objects (Blue Book, class 62)."""
CLOCK_NAME: Final = parse_obis("0-0:1.0.0.255")
_MAX_VALUES: Final = 4096
"""Values of one template: far more than a meter captures, few enough to be counted before they are made."""


class Template(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One template of a meter type.

    `id` is the first octet of its buffers; `description` the type description in hexadecimal, a structure
    `02 count types…`; `values` names each value in the order sent, those within arrays and structures too: an OBIS
    code, `template_id` for the first, or `clock` for a u32 of seconds since 1970 UTC.
    """

    id: int
    description: str
    values: tuple[str, ...]


def check_template(template: Template, where: str) -> None:
    """The template can be used.

    Raises:
        ContractError: No type description, not one name a value, or a name that means nothing.
    """
    try:
        cursor = Cursor(bytes.fromhex(template.description))
        kind = read_description(cursor)
        cursor.finish()
    except (ValueError, ProtocolError) as error:
        raise ContractError(f"{where}: no type description: {error}") from error
    if _has_empty_elements(kind):
        raise ContractError(f"{where}: an array of elements that hold no value is described")
    tags = list(itertools.islice(_leaf_tags(kind), _MAX_VALUES + 1))
    if kind[0] != Tag.STRUCTURE or len(tags) != len(template.values) or not 0 <= template.id <= 255:
        raise ContractError(f"{where}: a structure with a name for each value, and an id of one octet, is needed")
    for name, tag in zip(template.values, tags, strict=True):
        if name == UNIX_CLOCK and tag != Tag.UINT32:
            raise ContractError(f"{where}: a clock is a u32 of seconds, tag {tag} is described")
        if name not in (TEMPLATE_ID, UNIX_CLOCK):
            check_obis(name, f"{where}, values")


def check_obis(text: str, where: str) -> None:
    """The text is an OBIS code.

    Raises:
        ContractError: It is not; said with where it stands.
    """
    try:
        parse_obis(text)
    except ContractError as error:
        raise ContractError(f"{where}: {error}") from error


def _has_empty_elements(kind: TypeDescription) -> bool:
    # No value bounds the walk through such an array: three counts of FFFF are 2^48 elements.
    tag, count, inner = kind
    if tag == Tag.ARRAY and count and not _values_of(inner[0]):
        return True
    return any(_has_empty_elements(each) for each in inner)


def _values_of(kind: TypeDescription) -> int:
    tag, count, inner = kind
    if tag not in (Tag.ARRAY, Tag.STRUCTURE):
        return 1
    return (count if tag == Tag.ARRAY else 1) * sum(map(_values_of, inner))


def _leaf_tags(kind: TypeDescription) -> Iterator[int]:
    tag, count, inner = kind
    if tag not in (Tag.ARRAY, Tag.STRUCTURE):
        yield tag
    for each in inner * count if tag == Tag.ARRAY else inner:
        yield from _leaf_tags(each)


def is_compact_data(name: bytes | None) -> bool:
    """The logical name is that of a compact data object."""
    return name is not None and name[0] == 0 and name[2:4] == _COMPACT_DATA_CD


def template_of(buffer: bytes, templates: Iterable[Template]) -> Template | None:
    """The template that the buffer names; None where there is none."""
    return next((each for each in templates if buffer[:1] == bytes((each.id,))), None)


def read_buffer(buffer: bytes, templates: Iterable[Template]) -> list[tuple[bytes, Data]]:
    """The named values of a buffer, in their order; a `clock` as date-time under the clock's name.

    Raises:
        ProtocolError: No template has its id (`layout_unknown`), or it is not what its template describes.
    """
    template = template_of(buffer, templates)
    if template is None:
        raise ProtocolError(RejectReason.LAYOUT_UNKNOWN, 0, "compact data of a template that the meter type lacks")
    found = decode_compact_data(bytes.fromhex(template.description), buffer)
    values = []
    for each, name in zip(leaves_of(found), template.values, strict=True):
        if name == UNIX_CLOCK and isinstance(each.value, int):
            at = datetime.fromtimestamp(each.value, UTC)
            values.append((CLOCK_NAME, Data(Tag.DATE_TIME, encode_date_time(at, 0))))
        elif name != TEMPLATE_ID:
            values.append((parse_obis(name), each))
    return values


def leaves_of(values: Iterable[Data]) -> Iterator[Data]:
    """The values without items among these and in them, in the order sent."""
    for each in values:
        items = each.items
        if items is None:
            yield each
        else:
            yield from leaves_of(items)
