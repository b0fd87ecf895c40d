"""When the values of a push were: whose clock is believed (dlms.md section 5).

Order of belief: the clock register sent with the values, the header's date-time, the time of reception with a flag.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ingest.blocks import NO_TIME
from ingest.clocks import Clocks, Micros
from ingest.dlms.nodes import Node
from ingest.plans import Plan
from ingest.slots import Group, cut_clock
from schemas.codes import Status


class Times(NamedTuple):
    """When the values of each message were read: `NO_TIME` where nothing says it."""

    at: Micros
    status: npt.NDArray[np.uint32]
    own: Micros  # by the message's own clocks alone


def believed_times(plan: Plan, group: Group, register: Node | None, newest: Micros | None) -> Times:
    """The first clock that is to be believed, else the time of reception, flagged.

    A message received at an unknown time (a file) falls back on its own clocks: the newest of its rows, one that calls
    itself invalid, or a wall clock of unknown zone read as UTC; flagged.

    Args:
        plan: What the message is.
        group: The messages.
        register: The clock sent with the values, if any.
        newest: By message, the newest clock of its rows.
    """
    clocks = _clocks(plan, group, register)
    messages = len(group.message)
    if not clocks:
        own = np.full(messages, NO_TIME, np.int64) if newest is None else newest
        doubtful = np.full(messages, int(Status.CLOCK_DOUBTFUL), np.uint32)
        return Times(np.where(group.received == NO_TIME, own, group.received), doubtful, own)
    first = clocks[0]
    if (first.placed & ~first.invalid).all():
        return Times(first.at, first.status, first.at)
    at = np.full(messages, NO_TIME, np.int64)
    status = np.zeros(messages, np.uint32)
    flagged = np.zeros(messages, np.bool_)
    for clock in clocks:
        open_ = at == NO_TIME
        status |= np.where(open_, clock.status, np.uint32(0))
        flagged |= clock.invalid
        at = np.where(open_ & clock.placed & ~clock.invalid, clock.at, at)
    own = at
    for fallback in _fallbacks(clocks, newest):
        own = np.where(own == NO_TIME, fallback, own)
    lacking = at == NO_TIME
    if not lacking.any():
        return Times(at, status, own)
    received = np.where(group.received == NO_TIME, own, group.received)
    doubt = np.where(flagged, np.uint32(Status.CLOCK_INVALID), np.uint32(Status.CLOCK_DOUBTFUL))
    return Times(np.where(lacking, received, at), status | np.where(lacking, doubt, np.uint32(0)), own)


def captured_times(plan: Plan, group: Group, captured: Node, times: Times) -> Times:
    """When values were that an object keeps with their time, as the highest demand of a month.

    Where that names no instant or calls itself invalid, as before there was one, they are of the push's time: flagged.
    """
    clock = cut_clock(group, captured, inverted=plan.deviation_inverted)
    usable = clock.placed & ~clock.invalid
    doubt = np.where(clock.invalid, np.uint32(Status.CLOCK_INVALID), np.uint32(Status.CLOCK_DOUBTFUL))
    return Times(np.where(usable, clock.at, times.at), np.where(usable, clock.status, times.status | doubt), times.own)


def _clocks(plan: Plan, group: Group, register: Node | None) -> list[Clocks]:
    nodes = [] if register is None else [register]
    if plan.stamp is not None:
        nodes.append(plan.stamp)
    return [cut_clock(group, node, inverted=plan.deviation_inverted) for node in nodes]


def _fallbacks(clocks: Sequence[Clocks], newest: Micros | None) -> list[Micros]:
    rows = [] if newest is None else [newest]
    placed = [np.where(clock.placed, clock.at, NO_TIME) for clock in clocks]
    local = [np.where(clock.complete, clock.local, NO_TIME) for clock in clocks]
    return [*rows, *placed, *local]
