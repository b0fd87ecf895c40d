"""Estimators, and the fixed order in which they are tried (vee.md section 3).

The order depends on the length of a gap and on the inputs at hand, never on how well an estimator did on the meter's
own history. Every estimator draws on `serving` values alone: measured, valid, outside of outages and of the first
interval after one, and never on an estimate.
"""

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from schemas.codes import Method
from validation.block import ABSENT, Block, Ints, Mask, Runs, find_runs
from validation.like_days import nearest_days
from validation.params import VeeParams

METHODS: Final = tuple(Method)
METHOD_CODE: Final = {method: number for number, method in enumerate(METHODS)}
NO_METHOD: Final = 255
_BATCH: Final = 1_000_000


class Estimates(NamedTuple):
    """One element an estimated interval, series by series, ascending in time."""

    row: Ints
    slot: Ints
    value: Ints
    """Thousandths, unscaled; ABSENT where no estimator had an input."""
    method: npt.NDArray[np.uint8]


def estimate(block: Block, gaps: Mask, serving: Mask, params: VeeParams) -> Estimates:
    """An estimate for every cell of `gaps` that any estimator can give one."""
    settings = params.estimation
    runs = find_runs(gaps)
    length = runs.length
    place = np.arange(int(length.sum())) - np.repeat(np.cumsum(length) - length, length)
    row, slot = np.repeat(runs.row, length), np.repeat(runs.start, length) + place
    value, method = np.full(len(row), ABSENT), np.full(len(row), NO_METHOD, dtype=np.uint8)
    on_line, line = _linear(block, runs, serving, settings.linear_limit_s)
    value[on_line], method[on_line] = line[on_line], METHOD_CODE[Method.LINEAR]
    for same_kind in (True, False):
        open_cells = np.flatnonzero(method == NO_METHOD)
        mean = _like_days(block, (row[open_cells], slot[open_cells]), serving, settings.like_days, same_kind=same_kind)
        given = mean != ABSENT
        value[open_cells[given]], method[open_cells[given]] = mean[given], METHOD_CODE[Method.MEAN_LIKE_DAY]
    open_cells = np.flatnonzero(method == NO_METHOD)
    flat = _flat(block, row[open_cells], serving)
    given = flat != ABSENT
    value[open_cells[given]], method[open_cells[given]] = flat[given], METHOD_CODE[Method.FLAT]
    return Estimates(row, slot, value, method)


def forward(block: Block, estimates: Estimates, measured: Mask, anchored: Mask) -> Estimates:
    """E13: the same estimates, those after a series' last measured value and not met by a register as `forward`.

    They are sent again when actual values come. A series without any measured value has none.
    """
    some = measured.any(axis=1)
    last = np.where(some, block.shape[1] - 1 - measured[:, ::-1].argmax(axis=1), block.shape[1])
    beyond = (estimates.slot > last[estimates.row]) & ~anchored & (estimates.method != NO_METHOD)
    return estimates._replace(method=np.where(beyond, METHOD_CODE[Method.FORWARD], estimates.method).astype(np.uint8))


def _linear(block: Block, runs: Runs, serving: Mask, limit_s: int) -> tuple[Mask, Ints]:
    """E2: y_k = a + (b - a) k / (n + 1), rounded half up, where both neighbours serve and the gap is short."""
    width = block.shape[1]
    before, after = np.maximum(runs.start - 1, 0), np.minimum(runs.stop, width - 1)
    short = (
        (runs.length * block.step_s <= limit_s)
        & (runs.start > 0)
        & (runs.stop < width)
        & serving[runs.row, before]
        & serving[runs.row, after]
    )
    length = runs.length
    one, other = (np.where(short, block.value[runs.row, end], 0) for end in (before, after))
    k = np.arange(int(length.sum())) - np.repeat(np.cumsum(length) - length, length) + 1
    parts = np.repeat(length + 1, length)
    rise = np.repeat(other - one, length) * k
    return np.repeat(short, length), np.repeat(one, length) + (2 * rise + parts) // (2 * parts)


def _like_days(block: Block, cells: tuple[Ints, Ints], serving: Mask, most: int, *, same_kind: bool) -> Ints:
    """E3: mean of the same slot on the nearest days (of the same day type) on which it serves, at most `most`.

    Of two days equally near the earlier comes first. Rounded half up; ABSENT where no such day is at hand.
    """
    row, slot = cells
    nearest = nearest_days(block.days, same_kind=same_kind)
    result = np.full(len(row), ABSENT)
    if not nearest.shape[1]:
        return result
    batch = max(1, _BATCH // nearest.shape[1])
    for first in range(0, len(row), batch):
        cut = slice(first, first + batch)
        candidates = nearest[block.days.of[slot[cut]]]
        like = np.where(candidates < 0, -1, block.days.at[candidates, block.days.slot[slot[cut]][:, None]])
        good = (like >= 0) & serving[row[cut, None], like]
        good &= np.cumsum(good, axis=1) <= most
        count = good.sum(axis=1)
        total = np.where(good, block.value[row[cut, None], like], 0).sum(axis=1)
        mean = (2 * total + count) // np.maximum(2 * count, 1)
        result[cut] = np.where(count > 0, mean, ABSENT)
    return result


def _flat(block: Block, row: Ints, serving: Mask) -> Ints:
    """E8: the mean of the series' serving values; ABSENT where it has none."""
    which, back = np.unique(row, return_inverse=True)
    good = serving[which]
    count = good.sum(axis=1)
    total = np.where(good, block.value[which], 0).sum(axis=1)
    return np.where(count > 0, (2 * total + count) // np.maximum(2 * count, 1), ABSENT)[back]
