"""Rules that look at the values of a series alone: V7, V9, V14, V15, V17, V30."""

import numpy as np

from validation.block import ABSENT, Block, Ints, Mask, Runs, find_runs
from validation.rules.definition import Findings, Settings, found, nothing

SECONDS_A_HOUR = 3600
SECONDS_A_DAY = 86_400


def negative(block: Block, settings: Settings) -> Findings:
    """V14: energy below zero on a channel that counts one direction."""
    low = block.present & (block.value < -settings["allowance_milli"])
    if not low.any():
        return nothing()
    runs = find_runs(low)
    return found(runs, _extreme(block, runs, np.minimum), -settings["allowance_milli"])


def absolute_limit(block: Block, settings: Settings) -> Findings:
    """V9: more energy than supply voltage and fuse let through, by 25 %; unjudged where one of them is unknown."""
    limit = _scaled_limit(block.master.limit, settings["percent"])
    known = limit != ABSENT
    high = block.present & known[:, None] & (block.value > limit[:, None])
    runs = find_runs(high)
    return found(runs, _extreme(block, runs, np.maximum), limit[runs.row], ~known[:, None])


def _scaled_limit(limit: Ints, percent: int) -> Ints:
    return np.where(limit == ABSENT, ABSENT, limit * percent // 100)


def spike(block: Block, settings: Settings) -> Findings:
    """V7: of a local day's values, those above the third highest by more than 180 %.

    `x × 100 ≤ P3 × (100 + percent)` passes, so 280 against 100 passes and 281 does not. The day is skipped if P3 is
    below the floor, an outage touches it, or a value of it is absent and so will be estimated.
    """
    first = block.days.first
    peak = np.maximum(np.maximum.reduceat(block.value, first[:-1], axis=1), 0)
    floor = -(-settings["floor_milli_per_hour"] * block.step_s // SECONDS_A_HOUR)
    # A day whose peak is not above the limit of the smallest P3 that counts cannot fail: most days end here.
    row, day = np.nonzero(peak * 100 > floor * (100 + settings["percent"]))
    values, slots = _whole_days(block, row, day)
    if values.shape[1] < 3:
        return nothing()
    third = np.partition(values, -3, axis=1)[:, -3]
    high = (third >= floor)[:, None] & (values * 100 > third[:, None] * (100 + settings["percent"]))
    where, place = np.nonzero(high)
    start = slots[where, place]
    runs = Runs(row[where], start, start + 1)
    return found(runs, block.value[runs.row, start], third[where] * (100 + settings["percent"]) // 100)


def _whole_days(block: Block, row: Ints, day: Ints) -> tuple[Ints, Ints]:
    """Values of days, (days, longest day), and the intervals they belong to.

    All values of a day are -1 if an interval of it is absent or lies in an outage; the first interval after an outage
    takes no part, nor does what lies beyond the end of a shorter day.
    """
    first, after = block.days.first[day], block.days.first[day + 1]
    slots = first[:, None] + np.arange(int((after - first).max(initial=0)))
    inside = slots < after[:, None]
    slots = np.minimum(slots, block.shape[1] - 1)
    cell = row[:, None], slots
    values = block.value[cell]
    shape = block.shape
    spoilt = np.broadcast_to(block.supply.touched, shape)[cell] | (block.expected[cell] & (values == ABSENT))
    whole = ~(spoilt & inside).any(axis=1)
    usable = inside & whole[:, None] & ~np.broadcast_to(block.supply.restored, shape)[cell]
    return np.where(usable, values, -1), slots


def zero_on_active(block: Block, settings: Settings) -> Findings:
    """V15: nothing used for days on end, without an outage; unjudged where nothing is known of outages."""
    zero = _zero_outside_outage(block)
    runs = find_runs(zero)
    return found(runs.pick(runs.length * block.step_s >= settings["days"] * SECONDS_A_DAY), 0, 0, ~block.supply.known)


def outage_zero(block: Block, settings: Settings) -> Findings:
    """V30: a zero outside of any known outage is a finding; inside one it is an `outage` value and passes.

    Behind a generator a zero of delivered energy is normal, and is not counted.
    """
    zero = _zero_outside_outage(block) & (block.master.has_der != 1)[:, None]
    runs = find_runs(zero)
    return found(runs.pick(runs.length >= settings["intervals"]), 0, 0, ~block.supply.known)


def _zero_outside_outage(block: Block) -> Mask:
    zero: Mask = (block.value == 0) & ~block.supply.touched & block.supply.known
    return zero


def flat_line(block: Block, settings: Settings) -> Findings:
    """V17: the same value, not zero, for longer than a day."""
    same = np.zeros(block.shape, dtype=np.bool_)
    value = block.value
    same[:, 1:] = (value[:, 1:] == value[:, :-1]) & (value[:, 1:] != ABSENT) & (value[:, 1:] != 0)
    again = find_runs(same)
    long = again.pick((again.length + 1) * block.step_s > settings["hours"] * SECONDS_A_HOUR)
    runs = Runs(long.row, long.start - 1, long.stop)
    return found(runs, value[runs.row, runs.start])


def _extreme(block: Block, runs: Runs, pick: np.ufunc) -> Ints:
    """Highest or lowest value of each run."""
    if not len(runs.row):
        return runs.row
    width = block.shape[1]
    bounds = np.stack([runs.row * width + runs.start, runs.row * width + runs.stop], axis=1).ravel()
    flat = np.append(block.value.ravel(), np.int64(0))  # a run may end with the matrix
    extremes: Ints = pick.reduceat(flat, bounds)[::2]
    return extremes
