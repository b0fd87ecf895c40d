"""How much each day around a gap counts for its blend: by time, by type, by likeness around the gap, by energy."""

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from validation.block import Block, Ints, Mask, Runs
from validation.params import BlendConstants, Estimation

Reals = npt.NDArray[np.float64]
WINDOWS_H: Final = ((0, 1), (1, 3), (3, 8), (8, 24))
"""Hours before and after a gap whose means are compared."""
UNKNOWN_DISTANCE: Final = 1.0
"""Distance of a day whose window holds no value: as far as a factor of e."""


class Sums(NamedTuple):
    """Running sums of serving values and of their number, (series, intervals + 1)."""

    value: Ints
    number: Ints


class DayFactors(NamedTuple):
    shift: Ints
    """Days before (-) and after, without 0."""
    factor: Reals
    """(D, shifts): weight by distance in time, day type and weekday; 0 outside of the block."""
    day: Ints
    """(D, shifts): the shifted day, -1 outside of the block."""


def day_factors(block: Block, settings: Estimation) -> DayFactors:
    count = len(block.days.kind)
    reach = min(settings.like_reach_days, count - 1)
    shift = np.array([k for k in range(-reach, reach + 1) if k], dtype=np.int64)
    day = np.arange(count)[:, None] + shift
    outside = (day < 0) | (day >= count)
    day = np.where(outside, 0, day)
    kind, weekday = block.days.kind, block.days.weekday
    factor = np.exp(-np.abs(shift) / settings.like_decay_days) * np.where(outside, 0.0, 1.0)
    factor = factor * np.where(kind[day] == kind[:, None], 1.0, settings.other_type_weight)
    factor = factor * np.where(weekday[day] == weekday[:, None], settings.same_weekday_weight, 1.0)
    return DayFactors(shift, factor, np.where(outside, -1, day))


def running_sums(block: Block, serving: Mask) -> Sums:
    rows, width = block.shape
    value, count = (np.zeros((rows, width + 1), dtype=np.int64) for _ in range(2))
    np.cumsum(np.where(serving, block.value, 0), axis=1, out=value[:, 1:])
    np.cumsum(serving, axis=1, out=count[:, 1:])
    return Sums(value, count)


def _means(sums: Sums, row: Ints, start: Ints, stop: Ints) -> tuple[Reals, Ints]:
    """Mean and number of the serving values of windows, as far as they lie in the block."""
    width = sums.value.shape[1] - 1
    start, stop = np.clip(start, 0, width), np.clip(stop, 0, width)
    count = sums.number[row, stop] - sums.number[row, start]
    total = sums.value[row, stop] - sums.value[row, start]
    return total / np.maximum(count, 1), count


def distances(block: Block, runs: Runs, sums: Sums, days: DayFactors) -> Reals:
    """(pieces, shifts): distance of the hours around the gap between its day and the shifted ones."""
    hour = max(3600 // block.step_s, 1)
    last = runs.stop - 1
    of, slot, at = block.days.of, block.days.slot, block.days.at
    start = at[days.day[of[runs.start]], slot[runs.start][:, None]]
    stop = at[days.day[of[last]], slot[last][:, None]] + 1
    gone = (start < 0) | (stop <= 0) | (days.day[of[runs.start]] < 0) | (days.day[of[last]] < 0)
    row = runs.row
    level, _ = _means(sums, row, runs.start - 24 * hour, runs.start)
    after, _ = _means(sums, row, runs.stop, runs.stop + 24 * hour)
    floor = (0.1 * (level + after) + 1.0)[:, None]
    distance = np.zeros(start.shape)
    for near, far in WINDOWS_H:
        for edge, one, sign in ((start, runs.start, -1), (stop, runs.stop, 1)):
            low, high = sorted((sign * near * hour, sign * far * hour))
            theirs, known = _means(sums, row[:, None], edge + low, edge + high)
            ours, mine = _means(sums, row, one + low, one + high)
            apart = np.abs(np.log((np.maximum(theirs, 0) + floor) / (np.maximum(ours, 0)[:, None] + floor)))
            distance += np.where((known > 0) & (mine > 0)[:, None], apart, UNKNOWN_DISTANCE)
    distance /= 2 * len(WINDOWS_H)
    return np.where(gone, np.inf, distance)


def by_energy(value: Reals, good: Mask, energy: Ints, settings: Estimation) -> Reals:
    """(pieces, shifts): weight of days by the energy that they used in the slots of the gap, where it is known."""
    size = value.shape[1]
    known = energy > 0
    count = good.sum(axis=1)
    theirs = value.sum(axis=1) / np.maximum(count, 1)
    ours = np.where(known, energy, size) / size
    apart = np.abs(np.log(np.maximum(theirs, 1.0) / np.maximum(ours, 1.0)[:, None]))
    weight = np.exp(-np.where(count * 10 > 3 * size, apart, 5.0) / settings.energy_likeness)
    return np.where(known[:, None], weight, 1.0)


def likeness_scale(length_s: int, constants: BlendConstants, settings: Estimation) -> float:
    if length_s <= settings.linear_limit_s:
        return constants.likeness
    return constants.likeness_day if length_s <= settings.long_gap_s else constants.likeness_long
