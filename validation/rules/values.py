"""Rules that look at each value by itself or beside its neighbours: V7, V8, V9, V14, V17."""

from typing import Final

import numpy as np

from schemas.codes import Channel, Rule, Severity
from validation.block import ABSENT, Block, Ints, Mask, Runs, find_runs
from validation.bridges import beside, over_holes
from validation.rules.definition import (
    ACCUMULATED,
    ENERGY,
    Definition,
    Findings,
    Need,
    Parameter,
    Settings,
    found,
    nothing,
)

SECONDS_A_HOUR: Final = 3600


def negative(block: Block, settings: Settings) -> Findings:
    """V14: energy below zero, for every accumulated channel counts one way; and export beyond the size of the inverter,
    by net energy, where the meter counts it, or received energy alone, which is no less. Unjudged where it counts net
    energy and the size is unknown.
    """
    low = find_runs(block.present & (block.value < -settings["allowance_milli"]))
    below = found(low, extreme_of(block, low, np.minimum), -settings["allowance_milli"])
    if block.channel is not Channel.ENERGY_RECEIVED:
        return below if len(low.row) else nothing()
    size = _scaled_limit(block.master.export, settings["inverter_percent"])[:, None]
    netted = block.around.net != ABSENT
    net = np.where(netted, block.around.net, 0)
    export = np.where(block.present, np.maximum(block.value, -net), 0)
    high = find_runs(block.present & (size != ABSENT) & (export > size))
    most = extreme_of(block._replace(value=export), high, np.maximum)
    limit = np.broadcast_to(size, block.shape)[high.row, high.start]
    both = Runs(*(np.concatenate(parts) for parts in zip(low, high, strict=True)))
    unjudged = block.present & netted & (size == ABSENT)
    return Findings(
        both, np.concatenate([below.measured, most]), np.concatenate([below.limit, limit]),
        unjudged if unjudged.any() else below.unjudged,
    )  # fmt: skip


def absolute_limit(block: Block, settings: Settings) -> Findings:
    """V9: more energy than supply voltage and fuse let through, by 25 %.

    Where one of them is unknown, more than 1.5 times the highest value of all days before, of at least a year; unjudged
    where that is unknown too.
    """
    limit = _scaled_limit(block.master.limit, settings["percent"])[:, None]
    many = len(block.days.first) - 1 + int(block.past[1].max(initial=0))
    if (limit == ABSENT).any() and many > settings["history_days"]:
        limit = np.where(limit == ABSENT, _highest_before(block, settings), limit)
    known = limit != ABSENT
    runs = find_runs(block.present & known & (block.value > limit))
    beyond = np.broadcast_to(limit, block.shape)[runs.row, runs.start]
    return found(runs, extreme_of(block, runs, np.maximum), beyond, ~known)


def _highest_before(block: Block, settings: Settings) -> Ints:
    """1.5 times the highest value of the days before an interval's own, ABSENT where those are too few.

    What lies before the block counts with its maximum and its days. The day's own values do not raise it: a burst of
    several false ones fails whole.
    """
    past, days = (one[:, None] for one in block.past)
    peak = np.maximum.reduceat(block.value, block.days.first[:-1], axis=1)
    highest = np.maximum.accumulate(np.concatenate([past, peak[:, :-1]], axis=1), axis=1)
    before = np.concatenate([np.zeros_like(days), np.cumsum(peak != ABSENT, axis=1)[:, :-1]], axis=1)
    limit = _scaled_limit(highest, settings["maximum_percent"])
    enough = days + before >= settings["history_days"]
    return np.where(enough, limit, ABSENT)[:, block.days.of]


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
    unjudged = _skipped_days(block)
    if values.shape[1] < 3:
        return nothing(unjudged=unjudged)
    third = np.partition(values, -3, axis=1)[:, -3]
    high = (third >= floor)[:, None] & (values * 100 > third[:, None] * (100 + settings["percent"]))
    where, place = np.nonzero(high)
    start = slots[where, place]
    runs = Runs(row[where], start, start + 1)
    return found(runs, block.value[runs.row, start], third[where] * (100 + settings["percent"]) // 100, unjudged)


def _skipped_days(block: Block) -> Mask:
    """The days that V7 skips because something of them is absent or without supply."""
    spoilt = block.supply.touched | (block.expected & ~block.present)
    rows, slots = np.nonzero(spoilt)
    if not len(rows):
        return np.zeros((1, 1), dtype=np.bool_)
    skipped = np.zeros((block.shape[0], len(block.days.first) - 1), dtype=np.bool_)
    skipped[rows, block.days.of[slots]] = True
    return skipped[:, block.days.of]


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


def flat_line(block: Block, settings: Settings) -> Findings:
    """V17: the same value, not zero, for longer than a day; unjudged where that is so only with the holes in it."""
    same = np.zeros(block.shape, dtype=np.bool_)
    value = block.value
    same[:, 1:] = (value[:, 1:] == value[:, :-1]) & (value[:, 1:] != ABSENT) & (value[:, 1:] != 0)
    again = find_runs(same)
    long = again.pick((again.length + 1) * block.step_s > settings["hours"] * SECONDS_A_HOUR)
    runs = Runs(long.row, long.start - 1, long.stop)
    least = settings["hours"] * SECONDS_A_HOUR // block.step_s + 1
    open_runs = over_holes(block, (value != ABSENT) & (value != 0), least)
    return found(runs, value[runs.row, runs.start], unjudged=beside(open_runs, runs))


def step_change(block: Block, settings: Settings) -> Findings:
    """V8: a value that differs from the one before it by more than 500 % of that one; unjudged after a hole, and where
    one of the two is the part of an interval that an exchange left.

    A step to a value below the floor is household life and passes, as does a step from 0, which has no percentage. A
    fall is judged by percentages below 100: more than all of it cannot be lost.
    """
    value = block.value
    last, here = value[:, :-1], value[:, 1:]
    floor = settings["floor_milli_per_hour"] * block.step_s // SECONDS_A_HOUR
    far = last * settings["percent"] // 100
    steps = (here >= floor) & (last > 0) & ((here > last + far) | (here < last - far))
    unjudged = np.zeros(block.shape, dtype=np.bool_)
    unjudged[:, 1:] = (last == ABSENT) & (here != ABSENT)
    unjudged[:, 0] = value[:, 0] != ABSENT
    for at in (block.parts.slot, block.parts.slot + 1):
        inside = at < block.shape[1]
        part = block.parts.row[inside], at[inside]
        unjudged[part] = value[part] != ABSENT
    row, slot = np.nonzero(steps & ~unjudged[:, 1:])
    runs = Runs(row, slot + 1, slot + 2)
    before, after = value[row, slot], value[row, slot + 1]
    by = before * settings["percent"] // 100
    return found(runs, after, np.where(after > before, before + by, before - by), unjudged)


def extreme_of(block: Block, runs: Runs, pick: np.ufunc) -> Ints:
    """Highest or lowest value of each run."""
    if not len(runs.row):
        return runs.row
    width = block.shape[1]
    bounds = np.stack([runs.row * width + runs.start, runs.row * width + runs.stop], axis=1).ravel()
    flat = np.append(block.value.ravel(), np.int64(0))  # a run may end with the matrix
    extremes: Ints = pick.reduceat(flat, bounds)[::2]
    return extremes


VALUE_RULES: Final = (
    Definition(
        Rule.SPIKE,
        Severity.ERROR,
        "V7 spike",
        "(P1 - P3) / P3 > 180 % in a local day; skipped if P3 < 0.5 kWh/h, on an outage, or with an estimate",
        ACCUMULATED,
        spike,
        (Need.WHOLE_DAY,),
        parameters=(
            Parameter("percent", 180, "%", "highest value above the third highest"),
            Parameter("floor_milli_per_hour", 500_000, "mWh/h", "smallest third peak that counts"),
        ),
        doubts=True,
        beside=True,
    ),
    Definition(
        Rule.STEP_CHANGE,
        Severity.WARNING,
        "V8 step change",
        "abs(x - last valid) / last valid > 500 %, to a value of at least the floor",
        ACCUMULATED,
        step_change,
        (Need.VALUE_BEFORE,),
        parameters=(
            Parameter("percent", 500, "%", "difference from the value before"),
            Parameter("floor_milli_per_hour", 500_000, "mWh/h", "smallest value that counts"),
        ),
        repeats=True,
        beside=True,
    ),
    Definition(
        Rule.ABSOLUTE_LIMIT,
        Severity.ERROR,
        "V9 absolute limit",
        "x per hour > 1.25 x V x fuse A x k, k = 1 single phase, sqrt 3 with line voltage; fuse unknown: x > 1.5 x the "
        "highest value of all days before, of at least a year",
        ENERGY,
        absolute_limit,
        (Need.FUSE,),
        (
            Parameter("percent", 125, "%", "of what supply and fuse let through"),
            Parameter("maximum_percent", 150, "%", "of the highest value before, where the fuse is unknown"),
            Parameter("history_days", 365, "d", "days with values before, fewer of which tell no all-time maximum"),
        ),
        repeats=True,
    ),
    Definition(
        Rule.NEGATIVE,
        Severity.ERROR,
        "V14 negative",
        "x < 0 on a channel that counts one direction; received energy, or net energy below zero, beyond the size of "
        "the inverter (METERS: inverter_w) x length",
        ACCUMULATED,
        negative,
        (Need.INVERTER,),
        (
            Parameter("allowance_milli", 0, "mWh", "what may lie below zero"),
            Parameter("inverter_percent", 100, "%", "of what the inverter gives at most"),
        ),
        repeats=True,
    ),
    Definition(
        Rule.FLAT_LINE,
        Severity.WARNING,
        "V17 flat line",
        "the same non-zero value for longer than 24 h",
        ACCUMULATED,
        flat_line,
        (Need.WHOLE_RUN,),
        parameters=(Parameter("hours", 24, "h", "longest run that passes"),),
        beside=True,
    ),
)
