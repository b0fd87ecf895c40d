"""What a layout says to anyone: its values by the contract's rule, with their places, and where it names its meter."""

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from ingest.dlms.apdu import Apdu, EventNotification
from ingest.dlms.cosem import parse_obis
from ingest.dlms.data import Tag
from ingest.dlms.layout import Layout
from ingest.dlms.nodes import STRINGS, UNIX_TIME, Located, Node
from ingest.dlms.push import PushValue, apdu_values
from ingest.dlms.responses import GetResponse
from ingest.meter_types import LIST_WORDS, MeterType, MeterTypes
from ingest.names import MAX_NAME_OCTETS
from ingest.templates import (
    CLOCK_NAME,
    TEMPLATE_ID,
    UNIX_CLOCK,
    Template,
    is_compact_data,
    leaves_of,
    read_buffer,
    template_of,
)

_CLOCK_CDE: Final = b"\x01\x00\x00"
_DEVICE_NAME_CDE: Final = b"\x2a\x00\x00"
_DEVICE_ID_CD: Final = b"\x60\x01"
_OWN: Final = b"\x00\x00"
"""A and B of what a meter says of itself; with another B it speaks of a device behind it, such as a gas meter."""
_MODEL_E: Final = 7
"""0.x.96.1.7: the meter's type or model in Nordic lists, no serial number."""
_EVENT_CODE_CD: Final = b"\x60\x0b"
_EVENT_LOG_CD: Final = b"\x63\x62"
_PROFILE_C: Final = 99
_PROFILES_C: Final = (98, _PROFILE_C)
"""Lists such as those of a billing period, and profiles."""
_LOAD_PROFILES_D: Final = (1, 2)
_NULLS: Final = frozenset((Tag.NULL, Tag.DONT_CARE))
_MAX_NAMES: Final = 4
"""Strings of an event that are looked at for its meter's name: real ones have one or two."""
_TEXTS: Final = STRINGS | {Tag.UTF8_STRING}
"""What a name may be sent as. A UTF-8 string is no slot: whether its bytes are UTF-8 is read by message."""
_DEVICE_NAME_OCTETS: Final = (16, 17)
"""A logical device name has 16 octets; the equipment identifier of DSMR meters, sent in its place, 17."""


class Name(NamedTuple):
    """Where a message names its meter. `is_device_name`: it can only be the meter's own, not the serial of a part.

    `instead`: where it does if what stands here is a clock. `only_another`: it counts where it is a meter's id that the
    system title does not say already; else `instead` does.
    """

    node: Node
    is_device_name: bool
    instead: "Name | None" = None
    only_another: bool = False

    @property
    def may_be_clock(self) -> bool:
        """The string has the length of a date-time: its first octet tells, year 07xx or FFxx is no text."""
        return self.node.is_clock


class Value(NamedTuple):
    """A leaf of a push with what the push says of it.

    `place`: ordinal of the value that the leaf is (a part of). `is_value`: as in `PushValue`. `clock`: what may be a
    date-time in the same structure or array of that value: when just this was. `captured`: the date-time that another
    attribute of the object says of it. `is_part`: that value is an array or structure, of which this is one leaf.
    """

    place: int
    obis: bytes | None
    node: Node
    scaler: int | None
    unit: int | None
    is_value: bool = True
    clock: Node | None = None
    captured: Node | None = None
    is_part: bool = False


class Rows(NamedTuple):
    """Rows {clock, [status], values} behind the name of a push object, or of the load profile whose buffer they are.

    `push_object` is None in a get-response, which names nothing. `period`: what else the push says of the profile, its
    capture period.
    """

    push_object: bytes | None
    rows: tuple[tuple[Node, ...], ...]
    node: Node
    period: Node | None = None


class Meaning(NamedTuple):
    """What a layout says, whatever meter sent it."""

    layout: Layout
    values: tuple[Value, ...]
    sent: int  # values by the contract's rule; one may have several leaves
    rows: Rows | None
    list_type: MeterType | None  # the type that a list id stands for
    event_name: bytes | None  # logical name of an event-notification
    has_no_rows: bool = False  # rows are announced, and there are none
    further: tuple[Rows, ...] = ()  # buffers of load profiles behind the first
    unnamed: Rows | None = None  # the only buffer of a get-response; its numbers are among `values` as well


def understand(layout: Layout, types: MeterTypes) -> Meaning:
    """The values of a layout, each with its place in the bytes."""
    located = layout.located
    rows = _find_rows(located.body)
    pushed = apdu_values(located.apdu) if rows is None else []
    buffers: dict[int, Rows] = {}
    if rows is None:
        buffers = dict(_named_rows(located, pushed))
        rows = next(iter(buffers.values()), None)
    values = tuple(
        Value(
            place, value.obis, leaf, value.scaler, value.unit, value.is_value, clock, _captured(located, value), is_part
        )
        for place, value in enumerate(pushed)
        if place not in buffers
        for is_part in (value.data.items is not None,)
        for leaf, clock in _leaves(located.nodes[id(value.data)], None)
    )
    event_name = located.apdu.logical_name if isinstance(located.apdu, EventNotification) else None
    list_type = _list_type(located.body, types)
    unnamed = _response_rows(located)
    has_no_rows, further = _has_no_rows(located.body), tuple(buffers.values())[1:]
    return Meaning(layout, values, len(pushed), rows, list_type, event_name, has_no_rows, further, unnamed)


def _captured(located: Located, value: PushValue) -> Node | None:
    node = None if value.captured is None else located.nodes[id(value.captured)]
    return node if node is not None and node.is_clock else None


def _leaves(node: Node, clock: Node | None) -> Iterator[tuple[Node, Node | None]]:
    """Every value below, in the order sent, with the clock that stands beside it."""
    if node.items is None:
        yield node, clock
        return
    beside = next((item for item in node.items if item.is_clock), None)
    for item in node.items:
        yield from _leaves(item, beside)


def value_name(meaning: Meaning, value: Value, meter_type: MeterType) -> bytes | None:
    """The logical name of a value: sent with it, else that of its place in the type's list."""
    if value.obis is not None:
        return value.obis
    entries = meter_type.list_of(meaning.sent)
    if entries is None or entries.values[value.place] in LIST_WORDS:
        return None
    return parse_obis(entries.values[value.place])


def with_templates(meaning: Meaning, meter_type: MeterType) -> Meaning:
    """The same with each octet string of a compact data object replaced by the values that its template names.

    Values of a string that was not found to be compact data while the layout was learned are its own, without places.

    Raises:
        ProtocolError: No template of the type describes such a string.
    """
    values: list[Value] = []
    for value in meaning.values:
        node = value.node
        if not isinstance(node.value, bytes) or not is_compact_data(value_name(meaning, value, meter_type)):
            values.append(value)
        elif node.inner is not None:
            values += _templated(value, node.inner, template_of(node.value, meter_type.template))
        else:
            for name, data in read_buffer(node.value, meter_type.template):
                inner = Node(data.tag, node.at, node.stop, data.value, placed=False)
                values.append(Value(value.place, name, inner, None, None))
    return meaning._replace(values=tuple(values))


def _templated(value: Value, inner: Node, template: Template | None) -> Iterator[Value]:
    for name, leaf in zip(() if template is None else template.values, inner.leaves(), strict=True):
        if name == UNIX_CLOCK:
            yield Value(value.place, CLOCK_NAME, leaf._replace(tag=UNIX_TIME), None, None)
        elif name != TEMPLATE_ID:
            yield Value(value.place, parse_obis(name), leaf, None, None)


def buffers_of(apdu: Apdu, meter_type: MeterType) -> dict[int, bytes]:
    """Values of an APDU that are compact data, by identity: the description of their template, empty without one."""
    pushed = apdu_values(apdu)
    entries = meter_type.list_of(len(pushed))
    found: dict[int, bytes] = {}
    for place, value in enumerate(pushed):
        listed = None if entries is None or entries.values[place] in LIST_WORDS else parse_obis(entries.values[place])
        if is_compact_data(listed if value.obis is None else value.obis):
            for data in leaves_of((value.data,)):
                if isinstance(data.value, bytes):
                    template = template_of(data.value, meter_type.template)
                    found[id(data)] = b"" if template is None else bytes.fromhex(template.description)
    return found


def find_name(meaning: Meaning, meter_type: MeterType) -> Name | None:
    """Where the message names its meter: as logical device name, else where its type says, else as a serial number."""
    first = _leading_text(meaning.layout.located.body, meter_type)
    if first is None:
        return _name_within(meaning, meter_type)
    if first.stop - first.at in _DEVICE_NAME_OCTETS:
        return Name(first, True)
    return Name(first, False, _name_within(meaning, meter_type), only_another=True)


def _name_within(meaning: Meaning, meter_type: MeterType) -> Name | None:
    """The name that stands among the values."""
    named = [value for value in meaning.values if value.obis is not None and value.node.tag in _TEXTS]
    if meaning.event_name is not None:
        # A string of twelve octets is a clock or a name (`Name.may_be_clock`); one of another length is no clock.
        name: Name | None = None
        texts = [value for value in named if not is_compact_data(value.obis) and not value.node.is_name]
        for value in sorted(texts, key=lambda value: value.node.is_clock)[:_MAX_NAMES][::-1]:
            name = Name(value.node, False, name)  # or what the event is about, in words
        return name
    by_type = frozenset(parse_obis(name) for name in meter_type.names)
    rules: tuple[tuple[Callable[[bytes], bool], bool], ...] = (
        (_is_device_name, True),
        (by_type.__contains__, True),
        (_is_serial, False),
    )
    for wanted, is_own in rules:
        for value in named:
            if value.obis is not None and wanted(value.obis):
                return Name(value.node, is_own)
    return _positional_name(meaning, meter_type)


def is_event_code(name: bytes | None) -> bool:
    """The logical name of an event code, 0.b.96.11.e."""
    return name is not None and name[0] == 0 and name[2:4] == _EVENT_CODE_CD


def is_event_log(name: bytes | None) -> bool:
    """The logical name of a log of events, 0.b.99.98.e: rows of a clock and an event code (Blue Book 7.4)."""
    return name is not None and name[0] == 0 and name[2:4] == _EVENT_LOG_CD


def is_profile(name: bytes) -> bool:
    """The logical name of an object that holds rows, C = 98 or 99, other than a log of events."""
    return name[2] in _PROFILES_C and not is_event_log(name)


def is_load_profile(name: bytes) -> bool:
    """The logical name of a load profile, 1.b.99.1.e and 1.b.99.2.e."""
    return name[0] == 1 and name[2] == _PROFILE_C and name[3] in _LOAD_PROFILES_D


def is_clock_name(name: bytes) -> bool:
    """The logical name of a clock, 0.b.1.0.0 (some meters send A = 0 or 1)."""
    return name[0] <= 1 and name[2:5] == _CLOCK_CDE


def _is_device_name(name: bytes) -> bool:
    return name[:2] == _OWN and name[2:5] == _DEVICE_NAME_CDE


def _is_serial(name: bytes) -> bool:
    return name[:2] == _OWN and name[2:4] == _DEVICE_ID_CD and name[4] != _MODEL_E


def _leading_text(body: Node, meter_type: MeterType) -> Node | None:
    """The string that leads a push, before the name of the push object or of its first value, and is no list id."""
    items = body.items
    if not items or len(items) < 2 or items[0].tag not in _TEXTS or not items[1].is_name:
        return None
    octets = items[0].stop - items[0].at
    return None if not 0 < octets <= MAX_NAME_OCTETS or items[0].value in _list_ids(meter_type) else items[0]


def _list_ids(meter_type: MeterType) -> tuple[str | bytes, ...]:
    return (*meter_type.list_ids, *(text.encode("latin-1") for text in meter_type.list_ids))


def _positional_name(meaning: Meaning, meter_type: MeterType) -> Name | None:
    entries = meter_type.list_of(meaning.sent)
    if entries is None or "meter_id" not in entries.values:
        return None
    place = entries.values.index("meter_id")
    found = (value.node for value in meaning.values if value.place == place and value.node.tag in _TEXTS)
    node = next(found, None)
    return None if node is None else Name(node, True)


def _list_type(body: Node, types: MeterTypes) -> MeterType | None:
    for node in body.leaves():
        if node.tag in STRINGS:
            octets = node.value if isinstance(node.value, bytes) else str(node.value).encode("latin-1")
            if octets in types.by_list_id:
                return types.by_list_id[octets]
    return None


def _find_rows(body: Node) -> Rows | None:
    items = body.items
    if not items or len(items) != 3 or items[0].tag not in _TEXTS or not items[1].is_name:
        return None
    push_object, rows = items[1].value, items[2]
    if not isinstance(push_object, bytes) or is_event_log(push_object) or is_event_code(push_object):
        return None
    return _rows_behind(push_object, rows)


def _has_no_rows(body: Node) -> bool:
    """A push of rows of which there are none: nothing was captured since the last one, or was asked for."""
    items = body.items
    if not items or len(items) != 3 or items[0].tag not in _TEXTS or not items[1].is_name:
        return False
    return items[2].tag == Tag.ARRAY and not items[2].items


def _named_rows(located: Located, pushed: list[PushValue]) -> Iterator[tuple[int, Rows]]:
    """The buffers of load profiles that are sent as values among others, each by its place."""
    for place, value in enumerate(pushed):
        if value.obis is not None and value.is_value and is_load_profile(value.obis):
            rows = _rows_behind(value.obis, located.nodes[id(value.data)])
            if rows is not None:
                period = None if value.period is None else located.nodes[id(value.period)]
                yield place, rows._replace(period=period)


def with_response(meaning: Meaning, meter_type: MeterType) -> Meaning:
    """The same with the buffer of a get-response under the name that the type knows for it."""
    rows = meaning.unnamed
    if rows is None or meaning.rows is not None or meter_type.response is None:
        return meaning
    outside = tuple(value for value in meaning.values if not rows.node.at <= value.node.at < rows.node.stop)
    return meaning._replace(values=outside, rows=rows._replace(push_object=parse_obis(meter_type.response)))


def _response_rows(located: Located) -> Rows | None:
    if not isinstance(located.apdu, GetResponse):
        return None
    listed = located.apdu.values_at != ()
    found = [_rows_behind(None, node) for node in (located.body.items or () if listed else (located.body,))]
    buffers = [rows for rows in found if rows is not None]
    return buffers[0] if len(buffers) == 1 else None


def _rows_behind(name: bytes | None, rows: Node) -> Rows | None:
    """Those below this node. The first clocks may be null: their rows are of an instant that nobody knows."""
    cells = tuple(_cells(rows))
    if not cells or len(cells) != len(rows.items or ()) or not all(cells):
        return None
    clocks = [row[0] for row in cells]
    sent = next((clock for clock in clocks if clock.tag not in _NULLS), None)
    return None if sent is None or not sent.is_clock else Rows(name, cells, rows)


def _cells(rows: Node) -> Iterator[tuple[Node, ...]]:
    for row in rows.items or ():
        if row.items is not None and all(item.items is None for item in row.items):
            yield row.items
