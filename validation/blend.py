"""Blend: like days weighted by how like they are, carried to the level of the measured values around a gap.

Three ingredients, with constants fitted once on public panels of homes and shipped in `Estimation`; nothing is fitted,
tried or chosen on a meter's own history:

* a mean over the days around, weighted by distance in time, by day type and weekday, and by likeness: how close the
  hours before and after the gap came, on that day, to those of the day with the gap;
* where a register says how much energy the gap holds, days that used about as much weigh more;
* what the measured neighbours differ from such a mean of their own is carried into the gap, less with every hour
  (simple kriging); within two hours a part of the straight line is mixed in.

A blend needs ten like days of the same type for every interval of the gap: its constants hold for nothing less.
"""

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from validation.block import ABSENT, Block, Ints, Mask, Runs
from validation.params import Estimation

Reals = npt.NDArray[np.float64]
WINDOWS_H: Final = ((0, 1), (1, 3), (3, 8), (8, 24))
"""Hours before and after a gap whose means are compared."""
UNKNOWN_DISTANCE: Final = 1.0
"""Distance of a day whose window holds no value: as far as a factor of e."""
_CELLS: Final = 1_500_000
"""Cells × days worked on at once."""


class Pieces(NamedTuple):
    """Gaps, cut where a register was read inside of them."""

    runs: Runs
    energy: Ints
    """What the register leaves for the piece; ABSENT where unknown."""


class _Sums(NamedTuple):
    """Running sums of serving values and of their number, (series, intervals + 1)."""

    value: Ints
    number: Ints


class _Days(NamedTuple):
    shift: Ints
    """Days before (-) and after, without 0."""
    factor: Reals
    """(D, shifts): weight by distance in time, day type and weekday; 0 outside of the block."""
    day: Ints
    """(D, shifts): the shifted day, -1 outside of the block."""


def blend(block: Block, pieces: Pieces, serving: Mask, settings: Estimation) -> Ints:
    """An estimate for every cell of every piece, piece by piece; ABSENT throughout pieces with too few like days.

    Args:
        block: The block.
        pieces: Gaps; a cell belongs to one piece at most.
        serving: Values that may serve an estimate.
        settings: Constants of the method.
    """
    length = pieces.runs.length
    before = np.cumsum(length) - length
    result = np.full(int(length.sum()), ABSENT)
    days = _days(block, settings)
    if len(block.days.kind) <= settings.like_days:
        return result  # no day of so few has enough like days
    sums = _running_sums(block, serving)
    reach = settings.level_hours * 3600 // block.step_s
    for size in np.unique(length):
        members = np.flatnonzero(length == size)
        matrix = _carry(int(size), reach, block.step_s, settings)
        batch = max(1, _CELLS // (len(days.shift) * (int(size) + 2 * reach)))
        for first in range(0, len(members), batch):
            some = members[first : first + batch]
            estimates = _estimate(block, (pieces.runs.pick(some), pieces.energy[some]), (serving, sums), days, settings)
            values = _finished(block, pieces.runs.pick(some), estimates, serving, (matrix, settings))
            result[before[some][:, None] + np.arange(size)] = values
    return result


def _days(block: Block, settings: Estimation) -> _Days:
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
    return _Days(shift, factor, np.where(outside, -1, day))


def _running_sums(block: Block, serving: Mask) -> _Sums:
    rows, width = block.shape
    value, count = (np.zeros((rows, width + 1), dtype=np.int64) for _ in range(2))
    np.cumsum(np.where(serving, block.value, 0), axis=1, out=value[:, 1:])
    np.cumsum(serving, axis=1, out=count[:, 1:])
    return _Sums(value, count)


def _means(sums: _Sums, row: Ints, start: Ints, stop: Ints) -> tuple[Reals, Ints]:
    """Mean and number of the serving values of windows, as far as they lie in the block."""
    width = sums.value.shape[1] - 1
    start, stop = np.clip(start, 0, width), np.clip(stop, 0, width)
    count = sums.number[row, stop] - sums.number[row, start]
    total = sums.value[row, stop] - sums.value[row, start]
    return total / np.maximum(count, 1), count


def _likeness(block: Block, runs: Runs, sums: _Sums, days: _Days) -> Reals:
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


def _estimate(
    block: Block, what: tuple[Runs, Ints], source: tuple[Mask, _Sums], days: _Days, settings: Estimation
) -> Reals:
    """(pieces, cells and `level_hours` on both sides): means of like days; NaN where nothing serves or too little."""
    runs, energy = what
    serving, sums = source
    reach = settings.level_hours * 3600 // block.step_s
    size = int(runs.length[0])
    distance = _likeness(block, runs, sums, days)
    nearest = distance.min(axis=1, keepdims=True)
    scale = settings.likeness if size * block.step_s <= settings.long_gap_s else settings.likeness_long
    weight = np.exp(-(distance - np.where(np.isinf(nearest), 0, nearest)) / scale)
    slot = runs.start[:, None] + np.arange(-reach, size + reach)
    inside = (slot >= 0) & (slot < block.shape[1])
    slot = np.clip(slot, 0, block.shape[1] - 1)
    day = block.days.of[slot]
    like = block.days.at[days.day[day], block.days.slot[slot][:, :, None]]
    good = (like >= 0) & (days.day[day] >= 0) & serving[runs.row[:, None, None], like] & inside[:, :, None]
    value = np.where(good, block.value[runs.row[:, None, None], like], 0)
    own = slice(reach, reach + size)
    weight = weight * _by_energy(value[:, own], good[:, own], energy, settings)
    share = weight[:, None, :] * days.factor[day] * good
    total = share.sum(axis=2)
    mean = np.where(total > 0, (share * value).sum(axis=2) / np.where(total > 0, total, 1.0), np.nan)
    same = block.days.kind[days.day[day[:, own]]] == block.days.kind[day[:, own]][:, :, None]
    enough = (good[:, own] & same).sum(axis=2).min(axis=1) >= settings.like_days
    mean[~enough | np.isnan(mean[:, own]).any(axis=1)] = np.nan
    return mean


def _by_energy(value: Ints, good: Mask, energy: Ints, settings: Estimation) -> Reals:
    """(pieces, shifts): weight of days by the energy that they used in the slots of the gap, where it is known."""
    size = value.shape[1]
    known = energy > 0
    count = good.sum(axis=1)
    theirs = value.sum(axis=1) / np.maximum(count, 1)
    ours = np.where(known, energy, size) / size
    apart = np.abs(np.log(np.maximum(theirs, 1.0) / np.maximum(ours, 1.0)[:, None]))
    weight = np.exp(-np.where(count * 10 > 3 * size, apart, 5.0) / settings.energy_likeness)
    return np.where(known[:, None], weight, 1.0)


def _carry(size: int, reach: int, step_s: int, settings: Estimation) -> Reals:
    """(2 × reach, size): how much of each neighbour's residual every cell of a gap takes over (simple kriging).

    The covariance of residuals is a quick part, a slow part and a part of each interval's own.
    """
    around = np.concatenate([np.arange(-reach, 0), np.arange(size, size + reach)]) * (step_s / 3600)
    inside = np.arange(size) * (step_s / 3600)

    def covariance(hours: Reals) -> Reals:
        far = np.abs(hours)
        slow = 1.0 - settings.quick_share - settings.own_share
        both: Reals = settings.quick_share * np.exp(-far / settings.quick_hours) + slow * np.exp(
            -far / settings.slow_hours
        )
        return both

    if not reach:
        return np.zeros((0, size))
    among = covariance(around[:, None] - around[None, :]) + settings.own_share * np.eye(len(around))
    return np.linalg.solve(among, covariance(around[:, None] - inside[None, :])).astype(np.float64)


def _finished(block: Block, runs: Runs, mean: Reals, serving: Mask, how: tuple[Reals, Estimation]) -> Ints:
    """The estimates of pieces of one length: smoothed, carried to their neighbours' level, never negative, rounded."""
    matrix, settings = how
    size = int(runs.length[0])
    reach = (mean.shape[1] - size) // 2
    side = settings.smoothing
    padded = np.concatenate([mean[:, :1], mean, mean[:, -1:]], axis=1)
    left, right = (np.where(np.isnan(part), mean, part) for part in (padded[:, :-2], padded[:, 2:]))
    smooth: Reals = side * left + (1 - 2 * side) * mean + side * right
    slot = runs.start[:, None] + np.concatenate([np.arange(-reach, 0), np.arange(size, size + reach)])
    inside = (slot >= 0) & (slot < block.shape[1])
    cell = runs.row[:, None], np.clip(slot, 0, block.shape[1] - 1)
    around = np.concatenate([smooth[:, :reach], smooth[:, reach + size :]], axis=1)
    usable = inside & serving[cell] & ~np.isnan(around)
    residual = np.where(usable, np.where(usable, block.value[cell], 0) - np.where(usable, around, 0.0), 0.0)
    result = smooth[:, reach : reach + size].copy()
    for neighbour in range(len(matrix)):
        result += residual[:, neighbour : neighbour + 1] * matrix[neighbour]
    estimate = _with_line(block, runs, np.maximum(result, 0.0), serving, settings)
    lost = np.isnan(estimate)
    return np.where(lost, ABSENT, np.rint(np.where(lost, 0.0, estimate)).astype(np.int64))


def _with_line(block: Block, runs: Runs, estimate: Reals, serving: Mask, settings: Estimation) -> Reals:
    """Short gaps take a part of the straight line between their neighbours."""
    size = estimate.shape[1]
    if size * block.step_s > settings.linear_limit_s:
        return estimate
    before, after = np.maximum(runs.start - 1, 0), np.minimum(runs.stop, block.shape[1] - 1)
    ends = (runs.start > 0) & (runs.stop < block.shape[1]) & serving[runs.row, before] & serving[runs.row, after]
    one, other = (np.where(ends, block.value[runs.row, end], 0)[:, None] for end in (before, after))
    line = one + (other - one) * np.arange(1, size + 1) / (size + 1)
    part = np.where(ends, settings.line_share, 0.0)[:, None]
    mixed: Reals = part * line + (1 - part) * estimate
    return mixed
