"""Reads and events of a push cut into columns, and when they were: whose clock is believed (dlms.md section 5).

Order of belief: the clock register sent with the values, the header's date-time, the time of reception with a flag.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ingest.blocks import (
    CHANNEL_CODE,
    KIND_CODE,
    NO_NUMBER,
    NO_TIME,
    ORIGIN_CODE,
    Cut,
    Events,
    Instants,
    Quantities,
    Refused,
    Texts,
)
from ingest.clocks import Clocks, Micros
from ingest.dlms.cosem import DATE_TIME_OCTETS
from ingest.dlms.data import Tag
from ingest.dlms.layout import Node
from ingest.event_plans import AlarmSlot, EventPlan
from ingest.faults import REASON_CODE
from ingest.plans import Cell, Plan
from ingest.profile_cut import cut_profile
from ingest.scaling import to_milli
from ingest.slots import Group, cut_clocks, cut_numbers
from ingest.spans import Flags, Places
from schemas.codes import Channel, EventKind, Origin, RejectReason, Status


class _Times(NamedTuple):
    """When the values of each message were read: `NO_TIME` where nothing says it."""

    at: Micros
    status: npt.NDArray[np.uint32]
    own: Micros  # by the message's own clocks alone


def cut_push(plan: Plan, group: Group, texts: Texts) -> Cut:
    """Every row that the plan finds in these messages, and what could not become one."""
    profile = None
    if plan.profile is not None:
        profile = cut_profile(plan.profile, group, inverted=plan.deviation_inverted)
    newest = None if profile is None else profile.newest
    times = _times(_clocks(plan, group, plan.clock), group, newest)
    reads, refused = _reads(plan.cells, group, times, texts)
    quiet, events = _alarms(plan, group, times, texts)
    reads.extend(quiet)
    events += _codes(plan, group, newest)
    events += _fixed(plan, group, newest)
    refused += [
        Refused(group.message, REASON_CODE[each.reason], each.at, np.full(len(group.message), each.values), each.detail)
        for each in plan.refusals
    ]
    instants = [Instants(group.message, times.at, np.zeros(len(group.message), np.int64))] if reads else []
    timed, untimed = _split_timed(reads)
    refused += untimed
    intervals: list[Quantities] = []
    if plan.profile is not None and profile is not None:
        refused += profile.refused
        (intervals if plan.profile.is_intervals else timed).append(profile.quantities)
        instants.append(profile.instants)
    events, lost = _timed_events(events)
    return Cut(
        tuple(intervals), tuple(timed), tuple(instants), tuple(events), (*refused, *lost), group.message, times.own
    )


def _clocks(plan: Plan, group: Group, register: Node | None) -> list[Clocks]:
    nodes = [] if register is None else [register]
    if plan.date_time_at is not None:
        nodes.append(Node(Tag.DATE_TIME, plan.date_time_at, plan.date_time_at + DATE_TIME_OCTETS, b""))
    return cut_clocks(group, nodes, inverted=plan.deviation_inverted)


def _times(clocks: Sequence[Clocks], group: Group, newest: Micros | None) -> _Times:
    """The first clock that is to be believed, else the time of reception, flagged.

    A message received at an unknown time (a file) falls back on its own clocks: one that calls itself invalid, or a
    wall clock of unknown zone read as UTC; both flagged.
    """
    messages = len(group.message)
    at = np.full(messages, NO_TIME, np.int64)
    status = np.zeros(messages, np.uint32)
    flagged = np.zeros(messages, np.bool_)
    for clock in clocks:
        status |= np.where(at == NO_TIME, clock.status, np.uint32(0))
        believed = (at == NO_TIME) & clock.placed & ~clock.invalid
        flagged |= clock.invalid
        at = np.where(believed, clock.at, at)
    own = at
    for fallback in _own_fallbacks(clocks, newest):
        own = np.where(own == NO_TIME, fallback, own)
    lacking = at == NO_TIME
    received = np.where(group.received == NO_TIME, own, group.received)
    doubt = np.where(flagged, np.uint32(Status.CLOCK_INVALID), np.uint32(Status.CLOCK_DOUBTFUL))
    return _Times(np.where(lacking, received, at), status | np.where(lacking, doubt, np.uint32(0)), own)


def _own_fallbacks(clocks: Sequence[Clocks], newest: Micros | None) -> list[Micros]:
    believed = [] if newest is None else [newest]
    placed = [np.where(clock.placed, clock.at, NO_TIME) for clock in clocks]
    local = [np.where(clock.complete, clock.local, NO_TIME) for clock in clocks]
    return [*believed, *placed, *local]


def _reads(cells: Sequence[Cell], group: Group, times: _Times, texts: Texts) -> tuple[list[Quantities], list[Refused]]:
    messages = len(group.message)
    if not cells:
        return [], []
    cut = [place for place, cell in enumerate(cells) if cell.power is not None]
    milli = np.zeros((messages, len(cells)), np.int64)
    exact = np.ones((messages, len(cells)), np.bool_)
    known = np.ones((messages, len(cells)), np.bool_)
    numbers, beyond = cut_numbers(group.octets, [cells[place].node for place in cut])
    powers = np.array([cells[place].power for place in cut], np.int64)
    for power in np.unique(powers).tolist():
        columns = np.flatnonzero(powers == power)
        places = np.array(cut)[columns]
        milli[:, places], fits = to_milli(numbers[:, columns], power)
        exact[:, places] = fits & ~beyond[:, columns]
    for place, cell in enumerate(cells):
        if cell.power is None:
            known[:, place] = cell.milli is not None
            milli[:, place] = cell.milli or 0
    shape = (messages, len(cells))
    whole = Quantities(
        np.broadcast_to(group.message[:, None], shape).reshape(-1),
        np.broadcast_to(np.array([CHANNEL_CODE[cell.channel] for cell in cells], np.int16), shape).reshape(-1),
        np.broadcast_to(np.array([texts.code(cell.obis) for cell in cells], np.int32), shape).reshape(-1),
        np.broadcast_to(times.at[:, None], shape).reshape(-1),
        milli.reshape(-1),
        known.reshape(-1),
        np.broadcast_to(times.status[:, None], shape).reshape(-1),
        np.zeros(messages * len(cells), np.int32),
    )
    if exact.all():
        return [whole], []
    wrong = (~exact).sum(axis=1)
    rows = np.flatnonzero(wrong)
    refused = Refused(
        group.message[rows],
        REASON_CODE[RejectReason.SCALING],
        cells[0].node.at,
        wrong[rows],
        "not a whole number of thousandths in 63 bits",
    )
    return [whole.take(exact.reshape(-1))], [refused]


def _split_timed(reads: Sequence[Quantities]) -> tuple[list[Quantities], list[Refused]]:
    timed, refused = [], []
    for each in reads:
        lacking = each.at == NO_TIME
        timed.append(each.take(~lacking) if lacking.any() else each)
        if lacking.any():
            refused.append(_untimed(each.message[lacking]))
    return timed, refused


def _untimed(messages: Places) -> Refused:
    unique, counts = np.unique(messages, return_counts=True)
    return Refused(unique, REASON_CODE[RejectReason.DATE_TIME], 0, counts, "nothing says when")


def _event_times(plan: Plan, group: Group, clock: Node | None, newest: Micros | None) -> Micros:
    register = clock or plan.clock or plan.events.clock
    return _times(_clocks(plan, group, register), group, newest).at


def _codes(plan: Plan, group: Group, newest: Micros | None) -> list[Events]:
    events = []
    for slot in plan.events.codes:
        code = cut_numbers(group.octets, [slot.node])[0][:, 0]
        at = _event_times(plan, group, slot.clock, newest)
        events.append(_events(group.message, _kinds(plan.events, code), code, Origin.METER, at))
    return events


def _kinds(events: EventPlan, code: npt.NDArray[np.int64]) -> npt.NDArray[np.int16]:
    kinds = np.full(len(code), KIND_CODE[EventKind.OTHER], np.int16)
    for known in np.unique(code).tolist():
        if known in events.code_table:
            kinds[code == known] = KIND_CODE[events.code_table[known]]
    return kinds


def _fixed(plan: Plan, group: Group, newest: Micros | None) -> list[Events]:
    events = []
    for each in plan.events.fixed:
        at = _event_times(plan, group, None, newest)
        kinds = np.full(len(group.message), KIND_CODE[each.kind], np.int16)
        code = np.full(len(group.message), NO_NUMBER if each.code is None else each.code, np.int64)
        events.append(_events(group.message, kinds, code, each.origin, at))
    return events


def _events(
    message: Places, kinds: npt.NDArray[np.int16], code: npt.NDArray[np.int64], origin: Origin, at: Micros
) -> Events:
    return Events(message, kinds, code, np.full(len(message), ORIGIN_CODE[origin], np.int16), at)


def _alarms(plan: Plan, group: Group, times: _Times, texts: Texts) -> tuple[list[Quantities], list[Events]]:
    """An event for each bit that is set; a register without any is a read of zero, so that no number vanishes."""
    reads: list[Quantities] = []
    events: list[Events] = []
    for slot in plan.events.alarms:
        register = cut_numbers(group.octets, [slot.node])[0][:, 0]
        quiet = register == 0
        at = _event_times(plan, group, None, None)
        events += _alarm_events(slot, group, register, at)
        if quiet.any():
            cell = Cell(slot.node, Channel.OTHER, slot.obis, None, 0)
            reads += [each.take(quiet) for each in _reads([cell], group, times, texts)[0]]
    return reads, events


def _alarm_events(slot: AlarmSlot, group: Group, register: npt.NDArray[np.int64], at: Micros) -> list[Events]:
    events = []
    rest = register.copy()
    for bit, kind in slot.bits.items():
        raised = np.flatnonzero(register >> bit & 1)
        rest &= ~(1 << bit)
        kinds = np.full(len(raised), KIND_CODE[kind], np.int16)
        events.append(_events(group.message[raised], kinds, register[raised], Origin.METER, at[raised]))
    unknown = np.flatnonzero(rest)
    kinds = np.full(len(unknown), KIND_CODE[EventKind.OTHER], np.int16)
    events.append(_events(group.message[unknown], kinds, register[unknown], Origin.METER, at[unknown]))
    return events


def _timed_events(events: Sequence[Events]) -> tuple[list[Events], list[Refused]]:
    timed, refused = [], []
    for each in events:
        lacking: Flags = each.at == NO_TIME
        kept = ~lacking
        timed.append(Events._make(column[kept] for column in each) if lacking.any() else each)
        if lacking.any():
            refused.append(_untimed(each.message[lacking]))
    return timed, refused
