"""What to cut from a message: made once for a layout and a kind of meter, it holds for every message of both.

A plan depends on structure bytes alone, never on what a slot holds. Every number of a push is a cell, an event, part
of the profile, or counted in a refusal: none vanishes.
"""

from collections.abc import Sequence
from fractions import Fraction
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from ingest.blocks import CHANNEL_CODE
from ingest.channels import ABSTRACT, Quantity, quantity_of
from ingest.dlms.cosem import DATE_TIME_OCTETS
from ingest.dlms.data import Tag
from ingest.dlms.nodes import LONE, SIGNED, UNIX_TIME, UNSIGNED, Located, Node
from ingest.enrolment import MeterKind
from ingest.event_plans import EventPlan, plan_events, tells_events
from ingest.meaning import (
    Meaning,
    Value,
    is_clock_name,
    is_event_log,
    is_load_profile,
    is_profile,
    value_name,
    with_response,
    with_templates,
)
from ingest.meter_types import MeterType, MeterTypes
from ingest.profile_plans import Profile, plan_profiles
from ingest.slots import Slots, slots_of
from ingest.spans import Flags, Places
from schemas.codes import Channel, RejectReason
from schemas.errors import ProtocolError

_NOT_CUT: Final = LONE | {Tag.BOOLEAN}
"""What a plan takes for constants where it has no place: it is read from the learned message, as structure is."""
_NO_NUMBER: Final = frozenset(
    (
        Tag.OCTET_STRING,
        Tag.VISIBLE_STRING,
        Tag.UTF8_STRING,
        Tag.BIT_STRING,
        Tag.DATE_TIME,
        Tag.DATE,
        Tag.TIME,
        UNIX_TIME,
    )
)
_NULLS: Final = frozenset((Tag.NULL, Tag.DONT_CARE))
_NO_ROWS: Final = "a buffer without a clock, or with a row that is empty, holds structures or begins with another value"
_NOT_LOAD: Final = "a row of a profile that is no load profile: nothing says what its columns are"
_INT64_MAX: Final = 2**63 - 1


class Cell(NamedTuple):
    """A read: its slot and the power of ten that makes thousandths of it; or a constant of the structure.

    `power` is None for a constant `milli`, which is None where the value was sent as null. `captured`: the date-time
    that its object says of it.
    """

    node: Node
    channel: Channel
    obis: str | None
    power: int | None
    milli: int | None = None
    captured: Node | None = None


class Cells(NamedTuple):
    """The values of a message, and what cutting them takes."""

    each: tuple[Cell, ...]
    cut: Places  # places of those that are cut from the bytes
    slots: Slots  # of those
    power: Places  # of those
    powers: tuple[int, ...]  # each of them once
    lone: tuple[tuple[int, Node, int], ...]  # cut one by one: place, slot, power
    channel: npt.NDArray[np.uint8]
    constant: Places  # by cell: its value where it is not cut and not null
    null: Flags

    @classmethod
    def of(cls, cells: Sequence[Cell]) -> "Cells":
        """These cells, in order."""
        free = [(place, cell.node, cell.power) for place, cell in enumerate(cells) if cell.power is not None]
        cut = [place for place, node, _ in free if node.tag not in LONE]
        return cls(
            tuple(cells),
            np.array(cut, np.int64),
            slots_of([cells[place].node for place in cut]),
            np.array([cells[place].power for place in cut], np.int64),
            tuple(sorted({cell.power for cell in cells if cell.power is not None and cell.node.tag not in LONE})),
            tuple((place, node, power) for place, node, power in free if node.tag in LONE),
            np.array([CHANNEL_CODE[cell.channel] for cell in cells], np.uint8),
            np.array([cell.milli or 0 for cell in cells], np.int64),
            np.array([cell.power is None and cell.milli is None for cell in cells], np.bool_),
        )


class Refusal(NamedTuple):
    """Values of every message of the layout that cannot become rows."""

    reason: RejectReason
    at: int
    values: int
    detail: str


class Plan(NamedTuple):
    """Where everything of a message lies, and what it is.

    `stamp` is the date-time of the header, `clock` the clock register sent with the values. `captured`: reads that
    have a time of their own, each such time with them.
    """

    stamp: Node | None
    clock: Node | None
    cells: Cells
    captured: tuple[tuple[Node, Cells], ...]
    profiles: tuple[Profile, ...]
    events: EventPlan
    refusals: tuple[Refusal, ...]
    deviation_inverted: bool
    is_silent: bool  # understood, though there is nothing to cut


def make_plan(meaning: Meaning, kind: MeterKind, types: MeterTypes) -> Plan:
    """What to cut from messages of this layout when a meter of this kind sent them."""
    meter_type = type_of(meaning, kind, types)
    meaning, unread = _with_templates(with_response(meaning, meter_type), meter_type)
    named = _named(meaning, meter_type)
    events = plan_events(meaning, named, meter_type)
    profiles, unplanned = plan_profiles(
        () if meaning.rows is None else (meaning.rows, *meaning.further), kind, meter_type
    )
    is_known = meaning.unnamed is None or meaning.rows is not None
    why = "a value without a name" if is_known else "a buffer without a name, and the meter type has no response"
    periods = {id(profile.period) for profile in profiles}
    left = [each for at, each in enumerate(named) if at not in events.taken and id(each[0].node) not in periods]
    read = [_cell(value, name, meter_type, why) for value, name in left]
    cells, twice = _distinct([each for each in read if isinstance(each, Cell)])
    refusals = [*unread, *twice, *(each for each in read if isinstance(each, Refusal))]
    refusals += [Refusal(*each) for each in events.refused]
    refusals += [Refusal(RejectReason.LAYOUT_UNKNOWN, *each) for each in unplanned]
    return Plan(
        _stamp(meaning.layout.located),
        _clock(meaning, named, meter_type),
        Cells.of([cell for cell in cells if cell.captured is None]),
        _by_capture(cells),
        profiles,
        events,
        _merged(refusals),
        meter_type.deviation_inverted,
        meaning.has_no_rows,
    )


def _with_templates(meaning: Meaning, meter_type: MeterType) -> tuple[Meaning, tuple[Refusal, ...]]:
    if not meter_type.template:
        return meaning, ()
    try:
        return with_templates(meaning, meter_type), ()
    except ProtocolError as error:
        return meaning, (Refusal(error.reason, error.at, 1, error.detail),)


def type_of(meaning: Meaning, kind: MeterKind, types: MeterTypes) -> MeterType:
    """The type that a message is read by: its meter's, else that of its list id, else the default."""
    return kind.meter_type or meaning.list_type or types.default


def _named(meaning: Meaning, meter_type: MeterType) -> list[tuple[Value, bytes | None]]:
    return [(value, value_name(meaning, value, meter_type)) for value in meaning.values]


def _clock(meaning: Meaning, named: list[tuple[Value, bytes | None]], meter_type: MeterType) -> Node | None:
    entries = meter_type.list_of(meaning.sent)
    for value, name in named:
        by_place = value.obis is None and entries is not None and entries.values[value.place] == "clock"
        if value.node.is_clock and (by_place or (name is not None and is_clock_name(name))):
            return value.node
    return None


def _by_capture(cells: Sequence[Cell]) -> tuple[tuple[Node, Cells], ...]:
    by_place: dict[int, list[Cell]] = {}
    for cell in cells:
        if cell.captured is not None:
            by_place.setdefault(id(cell.captured), []).append(cell)
    return tuple((each[0].captured, Cells.of(each)) for each in by_place.values() if each[0].captured is not None)


def _cell(value: Value, name: bytes | None, meter_type: MeterType, nameless: str) -> Cell | Refusal | None:
    """A read, a refusal, or None for what is no quantity: text, names, clocks, and nulls without a name."""
    node = value.node
    is_null = node.tag in _NULLS
    if node.tag in _NO_NUMBER or (is_null and name is None):
        return None
    if name is None:
        return Refusal(RejectReason.LAYOUT_UNKNOWN, node.at, 1, nameless)
    quantity = quantity_of(name, value.scaler, value.unit, meter_type)
    is_counted = name[0] == ABSTRACT and quantity.channel is Channel.OTHER and not tells_events(name)
    is_quantity = value.is_value or is_counted
    if is_null:
        is_known = is_quantity and quantity.channel is not Channel.OTHER
        return Cell(node, quantity.channel, quantity.obis, None, None, value.captured) if is_known else None
    if value.is_part and is_event_log(name):
        return Refusal(RejectReason.LAYOUT_UNKNOWN, node.at, 1, "a number beside the code in a row of an event log")
    is_row = value.is_part and is_profile(name)  # whose time that of the header is not
    if is_row and value.is_value:
        return Refusal(RejectReason.LAYOUT_UNKNOWN, node.at, 1, _NO_ROWS if is_load_profile(name) else _NOT_LOAD)
    if is_row or not is_quantity:
        return Refusal(RejectReason.LAYOUT_UNKNOWN, node.at, 1, "another attribute of an object than its value")
    number = _number(node, quantity)
    return number._replace(captured=value.captured) if isinstance(number, Cell) else number


def _number(node: Node, quantity: Quantity) -> Cell | Refusal:
    """A read of a number that is a quantity, or why it cannot be one."""
    if quantity.power is None:
        return Refusal(RejectReason.SCALING, node.at, 1, "no scaler is sent, and the meter type names none")
    if node.tag in UNSIGNED or node.tag in SIGNED or (node.tag in _NOT_CUT and node.placed):
        return Cell(node, quantity.channel, quantity.obis, quantity.power)
    if node.tag not in _NOT_CUT:
        return Refusal(RejectReason.LAYOUT_UNKNOWN, node.at, 1, "a delta without a value before it")
    milli = _exact_milli(node, quantity.power)
    if milli is None:
        return Refusal(RejectReason.SCALING, node.at, 1, "not a whole number of thousandths")
    return Cell(node, quantity.channel, quantity.obis, None, milli)


def _distinct(cells: Sequence[Cell]) -> tuple[list[Cell], list[Refusal]]:
    """The first read of each name, and the refusal of others: a message says one value of an object at one instant.

    A null gives way to a number. Two reads of one identity would be one row in the store, and either might be gone.
    """
    first: dict[tuple[Channel, str | None], Cell] = {}
    refused: list[Refusal] = []
    for cell in sorted(cells, key=_is_null):
        kept = first.setdefault((cell.channel, cell.obis), cell)
        if kept is not cell and not _is_null(cell):
            refused.append(Refusal(RejectReason.LAYOUT_UNKNOWN, cell.node.at, 1, "another value of the same name"))
    kept_cells = {id(cell) for cell in first.values()}
    return [cell for cell in cells if id(cell) in kept_cells], refused


def _is_null(cell: Cell) -> bool:
    return cell.power is None and cell.milli is None


def _exact_milli(node: Node, power: int) -> int | None:
    value = node.value
    if not isinstance(value, (int, float)) or value != value or value in (float("inf"), float("-inf")):
        return None
    scaled = Fraction(value) * Fraction(10) ** power
    fits = scaled.denominator == 1 and abs(scaled.numerator) <= _INT64_MAX
    return scaled.numerator if fits else None


def _stamp(located: Located) -> Node | None:
    """The header's date-time; one that was sent as text is structure, the same in every message of the layout."""
    at, said = located.date_time_at, located.apdu.date_time
    if at is not None:
        return Node(Tag.DATE_TIME, at, at + DATE_TIME_OCTETS, None)
    return None if said is None else Node(Tag.DATE_TIME, 0, 0, said.octets, placed=False)


def _merged(refusals: list[Refusal]) -> tuple[Refusal, ...]:
    """One refusal a reason: where the first value stands, and how many there are."""
    by_reason: dict[RejectReason, list[Refusal]] = {}
    for each in refusals:
        by_reason.setdefault(each.reason, []).append(each)
    return tuple(alike[0]._replace(values=sum(each.values for each in alike)) for alike in by_reason.values())
