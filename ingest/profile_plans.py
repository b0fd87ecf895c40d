"""How the rows of an interval or register push are read for a meter of one kind."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from ingest.blocks import CHANNEL_CODE
from ingest.channels import MILLI
from ingest.dlms.cosem import obis_text
from ingest.dlms.data import Tag
from ingest.dlms.nodes import DELTAS, SIGNED, UNSIGNED, Node
from ingest.enrolment import MeterKind
from ingest.lone_columns import CUT_ALONE, LoneColumn, lone_columns
from ingest.meaning import Rows
from ingest.meter_types import STATUS_BITS, MeterType, PushLayout
from ingest.slots import Grid, Slots, grid_of, slots_of
from ingest.status_columns import has_deltas
from schemas.codes import Channel

_STATUS_TAGS: Final = {
    "octet": frozenset((Tag.UINT8, Tag.ENUM)),
    "u16": frozenset((Tag.UINT16,)),
    "u32": frozenset((Tag.UINT32,)),
    "bits16": frozenset((Tag.BIT_STRING,)),
    "none": frozenset[Tag](),
}
"""Tags of a status by its form. A wider number has bits that the type does not tell, or is a channel of the row."""
_STATUS_WORDS: Final = {
    "octet": "clock, octet of status and numbers",
    "u16": "clock, status of 16 bits and numbers",
    "u32": "clock, status of 32 bits and numbers",
    "bits16": "clock, bit string of 16 as status and numbers",
    "none": "clock and numbers",
}
MAX_BUFFERS: Final = 8
"""Buffers of one message that are read: each is held against those before it, and meters send two or three."""
_NUMBERS: Final = UNSIGNED | SIGNED | DELTAS | CUT_ALONE
_OFF_GRID: Final = DELTAS | CUT_ALONE
_REPEATED: Final = frozenset((Tag.NULL, Tag.DONT_CARE))


class Profile(NamedTuple):
    """Rows to cut. A null (None) repeats the row above; a null clock is the clock above plus the capture period.

    The capture period is `interval_s`, with which one that is sent in the slot `period` must agree; else the one sent;
    else the smallest step between two clocks, all of which are sent then.
    """

    clocks: tuple[Node | None, ...]
    statuses: tuple[Node | None, ...]
    values: tuple[tuple[Node | None, ...], ...]  # by row, by channel
    channels: tuple[Channel, ...]
    channel: npt.NDArray[np.uint8]  # their codes
    obis: npt.NDArray[np.int32]  # of them: none
    powers: tuple[int, ...]  # by channel: value x 10^power is in thousandths
    is_intervals: bool
    stamp_is_end: bool
    interval_s: int | None  # as METERS or the meter's type say
    period: Node | None  # as the push itself says
    status_tables: tuple[npt.NDArray[np.uint32], ...]  # of each octet of the status, the lowest first
    clock_grid: Grid | None  # where every row sends its clock, at an even distance
    status_grid: Grid | None
    value_grid: Grid | None
    status_slots: Slots  # of those that are sent, in order
    value_slots: Slots  # of those that are integers or deltas
    lone: tuple[LoneColumn, ...]

    @property
    def clocked(self) -> tuple[int, ...]:
        """Rows that send their clock."""
        return tuple(row for row, clock in enumerate(self.clocks) if clock is not None)


class Unread(NamedTuple):
    """Why the rows cannot be read."""

    at: int
    values: int
    detail: str


def plan_profiles(
    buffers: Sequence[Rows], kind: MeterKind, meter_type: MeterType
) -> tuple[tuple[Profile, ...], tuple[Unread, ...]]:
    """How to cut these buffers of one message, and why others cannot be read. Beyond `MAX_BUFFERS` none is."""
    planned = [plan_profile(rows, kind, meter_type) for rows in buffers[:MAX_BUFFERS]]
    beyond = f"more buffers than {MAX_BUFFERS} in a message"
    left = [Unread(rows.node.at, _numbers(rows), beyond) for rows in buffers[MAX_BUFFERS:]]
    profiles = tuple(each for each in planned if isinstance(each, Profile))
    return profiles, (*(each for each in planned if isinstance(each, Unread)), *left)


def plan_profile(rows: Rows, kind: MeterKind, meter_type: MeterType) -> Profile | Unread:
    """How to cut these rows; `Unread` where the meter's type does not know the push, or the row is not what it says."""
    width = max(map(len, rows.rows))
    numbers = _numbers(rows)
    layout = None if rows.push_object is None else meter_type.push_of(obis_text(rows.push_object))
    if layout is None:
        return Unread(rows.node.at, numbers, f"meter type {meter_type.name} knows no such push object")
    lead = 1 if layout.status == "none" else 2
    if width < lead:
        return Unread(rows.node.at, numbers, f"a row that is not {_STATUS_WORDS[layout.status]}")
    channels = _channels(width - lead, kind, meter_type)
    if channels is None:
        return Unread(rows.node.at, numbers, f"{width - lead} values a row, other than the meter has")
    if len(set(channels)) < len(channels):  # two values of one identity would be one row in the store
        return Unread(rows.node.at, numbers, "METERS or the meter's type name a channel twice")
    scalers = layout.scalers(len(channels))
    if len(scalers) != len(channels):
        return Unread(rows.node.at, numbers, f"{len(scalers)} scalers for {len(channels)} channels")
    padded = tuple(tuple(_sent(node) for node in row) + (None,) * (width - len(row)) for row in rows.rows)
    if not all(_is_row(row, width, layout) for row in padded):
        return Unread(rows.node.at, numbers, f"a row that is not {_STATUS_WORDS[layout.status]}")
    interval_s = kind.interval_s or meter_type.interval_s
    clocks = tuple(row[0] for row in padded)
    statuses = tuple(None if lead == 1 else _as_number(row[1]) for row in padded)
    values = tuple(row[lead:] for row in padded)
    period = _period(rows, clocks, layout)
    unknown = _unknown_period(clocks, layout) if interval_s is None and period is None else None
    if unknown is not None:
        return Unread(rows.node.at, numbers, unknown)
    return Profile(
        clocks,
        statuses,
        values,
        channels,
        np.array([CHANNEL_CODE[each] for each in channels], np.uint8),
        np.full(len(channels), -1, np.int32),
        tuple(scaler + MILLI for scaler in scalers),
        layout.rows == "intervals",
        layout.stamp == "end",
        interval_s,
        period,
        tuple(np.array(table, np.uint32) for table in meter_type.status_tables(layout)),
        grid_of([row[:1] for row in padded]),
        None if has_deltas(statuses) else grid_of([(node,) for node in statuses]),
        None if any(node is not None and node.tag in _OFF_GRID for row in values for node in row) else grid_of(values),
        slots_of([node for node in statuses if node is not None]),
        slots_of([node for row in values for node in row if node is not None and node.tag not in CUT_ALONE]),
        lone_columns(values),
    )


def _numbers(rows: Rows) -> int:
    return sum(len(row) - 1 for row in rows.rows)


def _channels(values: int, kind: MeterKind, meter_type: MeterType) -> tuple[Channel, ...] | None:
    if kind.channels:
        return kind.channels if len(kind.channels) == values else None
    return meter_type.channels if 0 < len(meter_type.channels) == values else None


def _unknown_period(clocks: tuple[Node | None, ...], layout: PushLayout) -> str | None:
    """Why the rows cannot be placed where nobody says the period."""
    if sum(clock is not None for clock in clocks) < 2 and layout.rows == "intervals":
        return "the capture period is not known"
    return "null clocks, and the capture period is not known" if None in clocks else None


def _period(rows: Rows, clocks: tuple[Node | None, ...], layout: PushLayout) -> Node | None:
    """The slot of the capture period, where it says something of these rows: of reads only between null clocks."""
    period = rows.period
    if period is None or not (period.tag in UNSIGNED or period.tag in SIGNED):
        return None
    return period if layout.rows == "intervals" or None in clocks else None


def _sent(node: Node) -> Node | None:
    return None if node.tag in _REPEATED else node


def _as_number(status: Node | None) -> Node | None:
    """A bit string as the number whose highest bit is the first one sent."""
    if status is None or not isinstance(status.value, str):
        return status
    return status._replace(value=int(status.value, 2))


def _is_row(row: tuple[Node | None, ...], width: int, layout: PushLayout) -> bool:
    """A row of that width, with a status behind its clock where the layout has one."""
    clock, lead = row[0], 1 if layout.status == "none" else 2
    if len(row) != width or (clock is not None and not clock.is_clock):
        return False
    if not all(node is None or _is_status(node, layout) for node in row[1:lead]):
        return False
    return all(node is None or node.tag in _NUMBERS for node in row[lead:])


def _is_status(node: Node, layout: PushLayout) -> bool:
    bits = STATUS_BITS[layout.status]
    if node.tag in DELTAS:
        return layout.status != "bits16"  # to bits nothing is added
    return node.tag in _STATUS_TAGS[layout.status] and (not isinstance(node.value, str) or len(node.value) == bits)
