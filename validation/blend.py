"""Blend: like days weighted by how like they are, carried to the level of the measured values around a gap.

Four ingredients, with constants fitted once on public panels of homes and shipped in `Estimation`; nothing is fitted,
tried or chosen on a meter's own history:

* a mean over the days around, weighted by distance in time, by day type and weekday, and by likeness: how close the
  hours before and after the gap came, on that day, to those of the day with the gap;
* where a register says how much energy the gap holds, days that used about as much weigh more;
* what the measured neighbours differ from such a mean of their own is carried into the gap, less with every hour
  (simple kriging); within two hours a part of the straight line is mixed in;
* most of the result has the shape of one quantile of the like days instead of their mean, with the same energy, or with
  that of the register (`validation.quantile_profile`).

A blend needs ten like days of the same type for every interval of the gap: its constants hold for nothing less.
"""

from typing import Final, NamedTuple

import numpy as np

from validation.block import ABSENT, Block, Ints, Mask, Runs
from validation.like_weights import (
    DayFactors,
    Reals,
    Sums,
    by_energy,
    day_factors,
    distances,
    likeness_scale,
    running_sums,
)
from validation.params import BlendConstants, Estimation
from validation.quantile_profile import quantile_profile

_CELLS: Final = 1_500_000
"""Cells × days worked on at once."""


class Pieces(NamedTuple):
    """Gaps, cut where a register was read inside of them."""

    runs: Runs
    energy: Ints
    """What the register leaves for the piece; ABSENT where unknown."""


class Like(NamedTuple):
    """What like days say of pieces of one length."""

    mean: Reals
    """(pieces, cells and `level_hours` on both sides); NaN where nothing serves; all NaN where too few days do."""
    value: Reals
    """(pieces, cells, shifts)"""
    share: Reals
    """Weight of each of them."""
    day: Ints
    """(pieces, cells, shifts): the day of the block that each is of; -1 outside."""


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
    days = day_factors(block, settings)
    if len(block.days.kind) <= settings.like_days:
        return result  # no day of so few has enough like days
    sums = running_sums(block, serving)
    reach = settings.level_hours * 3600 // block.step_s
    for size in np.unique(length):
        members = np.flatnonzero(length == size)
        matrix = _carry(int(size), reach, block.step_s, settings.blend(block.step_s))
        batch = max(1, _CELLS // (len(days.shift) * (int(size) + 2 * reach)))
        for first in range(0, len(members), batch):
            some = members[first : first + batch]
            part = Pieces(pieces.runs.pick(some), pieces.energy[some])
            like = like_of(block, part, (serving, sums), days, settings)
            values = _finished(block, part, like, serving, (matrix, settings))
            result[before[some][:, None] + np.arange(size)] = values
    return result


def like_of(block: Block, pieces: Pieces, source: tuple[Mask, Sums], days: DayFactors, settings: Estimation) -> Like:
    """What like days say of pieces of one length."""
    runs, energy = pieces
    serving, sums = source
    reach = settings.level_hours * 3600 // block.step_s
    size = int(runs.length[0])
    distance = distances(block, runs, sums, days)
    nearest = distance.min(axis=1, keepdims=True)
    scale = likeness_scale(size * block.step_s, settings.blend(block.step_s), settings)
    weight = np.exp(-(distance - np.where(np.isinf(nearest), 0, nearest)) / scale)
    slot = runs.start[:, None] + np.arange(-reach, size + reach)
    inside = (slot >= 0) & (slot < block.shape[1])
    slot = np.clip(slot, 0, block.shape[1] - 1)
    day = block.days.of[slot]
    shifted = days.day[day]
    like = block.days.at[shifted, block.days.slot[slot][:, :, None]]
    good = (like >= 0) & (shifted >= 0) & serving[runs.row[:, None, None], like] & inside[:, :, None]
    value = np.where(good, block.value[runs.row[:, None, None], like], 0).astype(np.float64)
    own = slice(reach, reach + size)
    if size * block.step_s >= settings.energy_gap_s:
        weight = weight * by_energy(value[:, own], good[:, own], energy, settings)
    share = weight[:, None, :] * days.factor[day] * good
    total = share.sum(axis=2)
    mean = np.where(total > 0, (share * value).sum(axis=2) / np.where(total > 0, total, 1.0), np.nan)
    same = block.days.kind[shifted[:, own]] == block.days.kind[day[:, own]][:, :, None]
    enough = (good[:, own] & same).sum(axis=2).min(axis=1) >= settings.like_days
    mean[~enough | np.isnan(mean[:, own]).any(axis=1)] = np.nan
    return Like(mean, value[:, own], share[:, own], shifted[:, own])


def _carry(size: int, reach: int, step_s: int, constants: BlendConstants) -> Reals:
    """(2 × reach, size): how much of each neighbour's residual every cell of a gap takes over (simple kriging).

    The covariance of residuals is a quick part, a slow part and a part of each interval's own.
    """
    around = np.concatenate([np.arange(-reach, 0), np.arange(size, size + reach)]) * (step_s / 3600)
    inside = np.arange(size) * (step_s / 3600)

    def covariance(hours: Reals) -> Reals:
        far = np.abs(hours)
        slow = 1.0 - constants.quick_share - constants.own_share
        both: Reals = constants.quick_share * np.exp(-far / constants.quick_hours) + slow * np.exp(
            -far / constants.slow_hours
        )
        return both

    if not reach:
        return np.zeros((0, size))
    among = covariance(around[:, None] - around[None, :]) + constants.own_share * np.eye(len(around))
    return np.linalg.solve(among, covariance(around[:, None] - inside[None, :])).astype(np.float64)


def _finished(block: Block, pieces: Pieces, like: Like, serving: Mask, how: tuple[Reals, Estimation]) -> Ints:
    """The estimates of pieces of one length: smoothed, carried to their neighbours' level, shaped, rounded."""
    matrix, settings = how
    runs, constants = pieces.runs, settings.blend(block.step_s)
    size = int(runs.length[0])
    reach = (like.mean.shape[1] - size) // 2
    smooth = _smoothed(like.mean, constants.smoothing)
    slot = runs.start[:, None] + np.concatenate([np.arange(-reach, 0), np.arange(size, size + reach)])
    inside = (slot >= 0) & (slot < block.shape[1])
    cell = runs.row[:, None], np.clip(slot, 0, block.shape[1] - 1)
    around = np.concatenate([smooth[:, :reach], smooth[:, reach + size :]], axis=1)
    usable = inside & serving[cell] & ~np.isnan(around)
    residual = np.where(usable, np.where(usable, block.value[cell], 0) - np.where(usable, around, 0.0), 0.0)
    result = smooth[:, reach : reach + size].copy()
    for neighbour in range(len(matrix)):
        result += residual[:, neighbour : neighbour + 1] * matrix[neighbour]
    estimate = np.maximum(result, 0.0)
    short = size * block.step_s <= settings.linear_limit_s
    if short:
        estimate = _with_line(block, runs, estimate, serving, constants.line_share)
    estimate = _shaped(
        estimate, like, pieces.energy, constants.quantile_share_short if short else constants.quantile_share
    )
    lost = np.isnan(estimate)
    return np.where(lost, ABSENT, np.rint(np.where(lost, 0.0, estimate)).astype(np.int64))


def _smoothed(mean: Reals, side: float) -> Reals:
    padded = np.concatenate([mean[:, :1], mean, mean[:, -1:]], axis=1)
    left, right = (np.where(np.isnan(part), mean, part) for part in (padded[:, :-2], padded[:, 2:]))
    smooth: Reals = side * left + (1 - 2 * side) * mean + side * right
    return smooth


def _shaped(estimate: Reals, like: Like, energy: Ints, part: float) -> Reals:
    """The estimates with the shape of one quantile of the like days mixed in; their sum stays, or is the register's."""
    some = np.flatnonzero(~np.isnan(estimate).any(axis=1))
    if part <= 0 or not len(some):
        return estimate
    total = np.where(energy[some] > 0, energy[some], estimate[some].sum(axis=1))
    shaped = estimate.copy()
    shaped[some] = part * quantile_profile(like.value[some], like.share[some], total) + (1 - part) * estimate[some]
    return shaped


def _with_line(block: Block, runs: Runs, estimate: Reals, serving: Mask, share: float) -> Reals:
    """Short gaps take a part of the straight line between their neighbours."""
    size = estimate.shape[1]
    before, after = np.maximum(runs.start - 1, 0), np.minimum(runs.stop, block.shape[1] - 1)
    ends = (runs.start > 0) & (runs.stop < block.shape[1]) & serving[runs.row, before] & serving[runs.row, after]
    one, other = (np.where(ends, block.value[runs.row, end], 0)[:, None] for end in (before, after))
    line = one + (other - one) * np.arange(1, size + 1) / (size + 1)
    part = np.where(ends, share, 0.0)[:, None]
    mixed: Reals = part * line + (1 - part) * estimate
    return mixed
