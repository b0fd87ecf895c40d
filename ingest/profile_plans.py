"""How the rows of an interval or register push are read for a meter of one kind."""

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from ingest.channels import MILLI
from ingest.dlms.cosem import obis_text
from ingest.dlms.data import Tag
from ingest.dlms.nodes import DELTAS, SIGNED, UNSIGNED, Node
from ingest.enrolment import MeterKind
from ingest.meaning import Rows
from ingest.meter_types import MeterType
from ingest.slots import Grid, Slots, grid_of, slots_of
from schemas.codes import Channel

_OCTET: Final = frozenset((Tag.UINT8, Tag.ENUM))
"""Tags of a status. A wider number has bits that no octet's table tells, or is a channel of a row without status."""
_REPEATED: Final = frozenset((Tag.NULL, Tag.DONT_CARE))


class Profile(NamedTuple):
    """Rows to cut. A null (None) repeats the row above; a null clock is the clock above plus the capture period."""

    clocks: tuple[Node | None, ...]
    statuses: tuple[Node | None, ...]
    values: tuple[tuple[Node | None, ...], ...]  # by row, by channel
    channels: tuple[Channel, ...]
    power: int  # value x 10^power is in thousandths
    is_intervals: bool
    stamp_is_end: bool
    interval_s: int | None  # None: the smallest step between two clocks, all of which are sent then
    status_of_octet: npt.NDArray[np.uint32]
    clock_grid: Grid | None  # where every row sends its clock, at an even distance
    status_grid: Grid | None
    value_grid: Grid | None
    status_slots: Slots  # of those that are sent, in order
    value_slots: Slots

    @property
    def clocked(self) -> tuple[int, ...]:
        """Rows that send their clock."""
        return tuple(row for row, clock in enumerate(self.clocks) if clock is not None)


class Unread(NamedTuple):
    """Why the rows cannot be read."""

    at: int
    values: int
    detail: str


def plan_profile(rows: Rows, kind: MeterKind, meter_type: MeterType) -> Profile | Unread:
    """How to cut these rows; `Unread` where the meter's type does not know the push, or the row is not what it says."""
    width = len(rows.rows[0])
    numbers = sum(len(row) - 1 for row in rows.rows)
    layout = meter_type.push_of(obis_text(rows.push_object))
    if layout is None:
        return Unread(rows.node.at, numbers, f"meter type {meter_type.name} knows no such push object")
    lead = 1 if layout.status == "none" else 2
    channels = _channels(width - lead, kind, meter_type)
    if channels is None:
        return Unread(rows.node.at, numbers, f"{width - lead} values a row, other than the meter has")
    if len(set(channels)) < len(channels):  # two values of one identity would be one row in the store
        return Unread(rows.node.at, numbers, "METERS or the meter's type name a channel twice")
    padded = tuple(tuple(_sent(node) for node in row) + (None,) * (width - len(row)) for row in rows.rows)
    if not all(_is_row(row, width, lead) for row in padded):
        named = "clock and numbers" if lead == 1 else "clock, octet of status and numbers"
        return Unread(rows.node.at, numbers, f"a row that is not {named}")
    interval_s = kind.interval_s or meter_type.interval_s
    clocks = tuple(row[0] for row in padded)
    statuses = tuple(None if lead == 1 else row[1] for row in padded)
    values = tuple(row[lead:] for row in padded)
    if interval_s is None and sum(clock is not None for clock in clocks) < 2 and layout.rows == "intervals":
        return Unread(rows.node.at, numbers, "the capture period is not known")
    if interval_s is None and None in clocks:
        return Unread(rows.node.at, numbers, "null clocks, and the capture period is not known")
    return Profile(
        clocks,
        statuses,
        values,
        channels,
        layout.scaler + MILLI,
        layout.rows == "intervals",
        layout.stamp == "end",
        interval_s,
        np.array(meter_type.status_of_octet(), np.uint32),
        grid_of([row[:1] for row in padded]),
        grid_of([(node,) for node in statuses]),
        None if any(node is not None and node.tag in DELTAS for row in values for node in row) else grid_of(values),
        slots_of([node for node in statuses if node is not None]),
        slots_of([node for row in values for node in row if node is not None]),
    )


def _channels(values: int, kind: MeterKind, meter_type: MeterType) -> tuple[Channel, ...] | None:
    if kind.channels:
        return kind.channels if len(kind.channels) == values else None
    return meter_type.channels if 0 < len(meter_type.channels) == values else None


def _sent(node: Node) -> Node | None:
    return None if node.tag in _REPEATED else node


def _is_row(row: tuple[Node | None, ...], width: int, lead: int) -> bool:
    """A row of that width: `lead` is 2 where a status stands behind its clock, else 1."""
    clock, status = row[0], row[1:lead]
    if len(row) != width or (clock is not None and not clock.is_clock):
        return False
    if any(node is not None and node.tag not in _OCTET for node in status):
        return False
    values = row[lead:]
    return all(node is None or node.tag in UNSIGNED or node.tag in SIGNED or node.tag in DELTAS for node in values)
