"""Everything that a plan finds in its messages: reads here, rows of profiles and events beside."""

from typing import Final

import numpy as np
import numpy.typing as npt

from ingest.blocks import NO_TIME, Cut, Quantities, Refused, Texts, once
from ingest.event_cut import also_reads, cut_events, quiet_words, untimed
from ingest.faults import REASON_CODE
from ingest.plans import Cells, Plan
from ingest.profiles_cut import cut_profiles
from ingest.scaling import floats_to_milli, to_milli
from ingest.slots import Group, cut_lone, cut_numbers, shared
from ingest.spans import Flags
from ingest.times import Times, believed_times, captured_times
from schemas.codes import RejectReason

_NO_INTERVAL: Final = np.zeros(1, np.int32)
_INEXACT: Final = "not a whole number of thousandths in 63 bits"


def cut_push(plan: Plan, group: Group, texts: Texts) -> Cut:
    """Every row that the plan finds in these messages, and what could not become one."""
    profiles = cut_profiles(plan.profiles, group, inverted=plan.deviation_inverted)
    reads = list(profiles.reads)
    refused = [_refused(each.reason, each.at, each.detail, group, each.values) for each in plan.refusals]
    refused += profiles.refused
    newest = profiles.newest
    times = believed_times(plan, group, plan.clock, newest)
    own = [(cells, captured_times(plan, group, captured, times)) for captured, cells in plan.captured]
    for cells, when in ((plan.cells, times), *own) if plan.cells.each else own:
        block, inexact = cut_reads(cells, group, when, texts)
        reads.append(block)
        refused += inexact
    for cells, messages in also_reads(plan.events, group) if plan.events.any else ():
        block, inexact = cut_reads(cells, group, times, texts)
        reads.append(block.take(messages))
        refused += inexact  # only what is wide is
    events, lost = cut_events(plan, group, newest) if plan.events.any else ([], [])
    timed = [_timed(block, refused) for block in reads]
    silent = group.message if plan.is_silent else quiet_words(plan.events, group)
    return Cut(profiles.intervals, tuple(timed), tuple(events), (*refused, *lost), group.message, times.own, silent)


def cut_reads(cells: Cells, group: Group, times: Times, texts: Texts) -> tuple[Quantities, list[Refused]]:
    """The reads of these cells, and how many of each message are no whole thousandths, the first where it stands."""
    milli, inexact = _millis(cells, group)
    block = Quantities(
        group.message,
        times.at[:, None],
        times.status[:, None],
        shared(_NO_INTERVAL, len(group.message)),
        milli[:, None, :],
        cells.channel,
        texts.codes([cell.obis for cell in cells.each]),
        np.broadcast_to(cells.null, milli.shape)[:, None, :] if cells.null.any() else None,
        None if inexact is None else ~inexact[:, None, :],
    )
    if inexact is None:
        return block, []
    wrong_values = inexact.sum(axis=1)
    rows = np.flatnonzero(wrong_values)
    first = inexact[rows].argmax(axis=1)
    refused = []
    for place in np.unique(first).tolist():
        lacking = rows[first == place]
        at, reason = cells.each[place].node.at, REASON_CODE[RejectReason.SCALING]
        refused.append(Refused(group.message[lacking], reason, at, wrong_values[lacking], _INEXACT))
    return block, refused


def _millis(cells: Cells, group: Group) -> tuple[npt.NDArray[np.int64], Flags | None]:
    """Thousandths by message and cell, and where they are not exact: None where they are everywhere."""
    numbers, beyond = cut_numbers(group.octets, cells.slots)
    powers = cells.powers
    if len(powers) == 1 and len(cells.cut) == len(cells.each):
        milli, wrong = to_milli(numbers, powers[0], cells.slots.most)
        if beyond is None:
            return milli, wrong
        return milli, beyond if wrong is None else beyond | wrong
    milli = np.tile(cells.constant, (len(group.message), 1))
    inexact = np.zeros(milli.shape, np.bool_)
    for power in powers:
        columns = np.flatnonzero(cells.power == power)
        places = cells.cut[columns]
        milli[:, places], wrong = to_milli(numbers[:, columns], power)
        if wrong is not None:
            inexact[:, places] = wrong
    for place, node, power in cells.lone:
        milli[:, place], inexact[:, place] = floats_to_milli(cut_lone(group.octets, node), power)
    if beyond is not None:
        inexact[:, cells.cut] |= beyond
    return milli, inexact if inexact.any() else None


def _refused(reason: RejectReason, at: int, detail: str, group: Group, values: int) -> Refused:
    return Refused(group.message, REASON_CODE[reason], at, np.full(len(group.message), values), detail)


def _timed(block: Quantities, refused: list[Refused]) -> Quantities:
    """The reads of messages that were at a known time; the others are refused."""
    if not (once(block.at) == NO_TIME).any():
        return block
    lacking = (block.at == NO_TIME).any(axis=1)
    kept = block.take(lacking)
    cells = kept.milli.shape[1] * kept.milli.shape[2]
    values = np.full(len(kept.message), cells) if kept.kept is None else kept.kept.sum(axis=(1, 2))
    refused.append(untimed(np.repeat(kept.message, values)))
    return block.take(~lacking)
