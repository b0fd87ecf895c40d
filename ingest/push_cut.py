"""Everything that a plan finds in its messages: reads here, rows of profiles and events beside."""

from collections.abc import Sequence

import numpy as np

from ingest.blocks import CHANNEL_CODE, NO_TIME, Cut, Quantities, Refused, Texts
from ingest.event_cut import cut_events, quiet_alarms, untimed
from ingest.faults import REASON_CODE
from ingest.plans import Cell, Plan
from ingest.profile_cut import cut_profile
from ingest.scaling import to_milli
from ingest.slots import Group, cut_numbers
from ingest.spans import Flags
from ingest.times import Times, believed_times
from schemas.codes import Channel, RejectReason


def cut_push(plan: Plan, group: Group, texts: Texts) -> Cut:
    """Every row that the plan finds in these messages, and what could not become one."""
    intervals: list[Quantities] = []
    reads: list[Quantities] = []
    refused = [_refused(each.reason, each.at, each.detail, group, each.values) for each in plan.refusals]
    newest = None
    if plan.profile is not None:
        profile = cut_profile(plan.profile, group, inverted=plan.deviation_inverted)
        (intervals if plan.profile.is_intervals else reads).append(profile.quantities)
        refused += profile.refused
        newest = profile.newest
    times = believed_times(plan, group, plan.clock, newest)
    if plan.cells:
        block, inexact = cut_reads(plan.cells, group, times, texts)
        reads.append(block)
        refused += inexact
    for alarm in plan.events.alarms:
        quiet = quiet_alarms(alarm, group)
        zero = Cell(alarm.node, Channel.OTHER, alarm.obis, None, 0)
        reads.append(cut_reads((zero,), group, times, texts)[0].take(quiet))
    events, lost = cut_events(plan, group, newest) if plan.events.any else ([], [])
    timed = [_timed(block, refused) for block in reads]
    return Cut(tuple(intervals), tuple(timed), tuple(events), (*refused, *lost), group.message, times.own)


def cut_reads(cells: Sequence[Cell], group: Group, times: Times, texts: Texts) -> tuple[Quantities, list[Refused]]:
    """The reads of these cells, and how many of each message are no whole thousandths."""
    shape = (len(group.message), len(cells))
    milli = np.zeros(shape, np.int64)
    inexact: Flags | None = None
    cut = [place for place, cell in enumerate(cells) if cell.power is not None]
    numbers, beyond = cut_numbers(group.octets, [cells[place].node for place in cut])
    powers = np.array([cells[place].power for place in cut], np.int64)
    for power in np.unique(powers).tolist():
        columns = np.flatnonzero(powers == power)
        places = np.array(cut)[columns]
        milli[:, places], wrong = to_milli(numbers[:, columns], power)
        if wrong is not None:
            inexact = np.zeros(shape, np.bool_) if inexact is None else inexact
            inexact[:, places] = wrong
    if beyond is not None:
        inexact = np.zeros(shape, np.bool_) if inexact is None else inexact
        inexact[:, cut] |= beyond
    for place, cell in enumerate(cells):
        if cell.power is None:
            milli[:, place] = cell.milli or 0
    block = Quantities(
        group.message,
        times.at[:, None],
        times.status[:, None],
        np.zeros(len(group.message), np.int32),
        milli[:, None, :],
        np.array([CHANNEL_CODE[cell.channel] for cell in cells], np.uint8),
        np.array([texts.code(cell.obis) for cell in cells], np.int32),
        _unknown(cells, shape),
        None if inexact is None else ~inexact[:, None, :],
    )
    if inexact is None:
        return block, []
    at, detail = cells[0].node.at, "not a whole number of thousandths in 63 bits"
    wrong_values = inexact.sum(axis=1)
    rows = np.flatnonzero(wrong_values)
    reason = REASON_CODE[RejectReason.SCALING]
    return block, [Refused(group.message[rows], reason, at, wrong_values[rows], detail)]


def _unknown(cells: Sequence[Cell], shape: tuple[int, int]) -> Flags | None:
    nulls = np.array([cell.power is None and cell.milli is None for cell in cells])
    return np.broadcast_to(nulls, shape)[:, None, :] if nulls.any() else None


def _refused(reason: RejectReason, at: int, detail: str, group: Group, values: int) -> Refused:
    return Refused(group.message, REASON_CODE[reason], at, np.full(len(group.message), values), detail)


def _timed(block: Quantities, refused: list[Refused]) -> Quantities:
    """The reads of messages that were at a known time; the others are refused."""
    lacking = (block.at == NO_TIME).any(axis=1)
    if not lacking.any():
        return block
    kept = block.take(lacking)
    cells = kept.milli.shape[1] * kept.milli.shape[2]
    values = np.full(len(kept.message), cells) if kept.kept is None else kept.kept.sum(axis=(1, 2))
    refused.append(untimed(np.repeat(kept.message, values)))
    return block.take(~lacking)
