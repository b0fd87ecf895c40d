"""Estimators, and the fixed order in which they are tried (vee.md section 3).

The order depends on the length of a gap and on the inputs at hand, never on how well an estimator did on the meter's
own history. Every estimator draws on `serving` values alone: measured, valid, outside of outages and of the first
interval after one, and never on an estimate.
"""

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from schemas.codes import Method
from validation.blend import Pieces, blend
from validation.block import ABSENT, Block, Ints, Mask, Runs, cells_of, find_runs, sums_of
from validation.like_days import nearest_days
from validation.params import VeeParams
from validation.profiles import profile_values

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


def estimate(block: Block, gaps: Mask, serving: Mask, known: Ints, params: VeeParams) -> Estimates:
    """An estimate for every cell of `gaps` that any estimator can give one, in the fixed order:

    check meter (E1); line for one interval (E2); blend, where ten like days of the same type are at hand, which beyond
    two hours is called a mean of like days (E3); line within two hours (E2); mean of like days (E3), or one like day
    (E4); mean of days of another type; class profile (E7); the series' own average (E8). All but what a check meter
    measured is of an interval of the grid's length, and is carried to the time that an odd one lasts.

    Args:
        block: The block.
        gaps: Cells to estimate.
        serving: Values that estimates may draw on.
        known: What is known of every cell, 0 elsewhere: tells what a register leaves for a gap.
        params: Limits, constants and class profiles.
    """
    pieces = pieces_of(block, gaps, known)
    length = pieces.runs.length
    place = np.arange(int(length.sum())) - np.repeat(np.cumsum(length) - length, length)
    row, slot = np.repeat(pieces.runs.row, length), np.repeat(pieces.runs.start, length) + place
    draft = Estimates(row, slot, np.full(len(row), ABSENT), np.full(len(row), NO_METHOD, dtype=np.uint8))
    if block.around.checked.any():
        _fill(draft, _check_values(block, draft), Method.CHECK_METER)
    line = _linear(block, find_runs(gaps), serving, params.estimation.linear_limit_s)
    runs = find_runs(gaps).length
    _fill(draft, np.where(np.repeat(runs, runs) == 1, line, ABSENT), Method.LINEAR)
    short = np.repeat(length * block.step_s <= params.estimation.linear_limit_s, length)
    mixed = blend(block, pieces, serving, params.estimation)
    _fill(draft, np.where(short, mixed, ABSENT), Method.BLEND)
    _fill(draft, np.where(short, ABSENT, mixed), Method.MEAN_LIKE_DAY)
    _fill(draft, line, Method.LINEAR)
    for same_kind in (True, False):
        mean, count = _like_days(block, draft, serving, params.estimation.like_days, same_kind=same_kind)
        _fill(draft, np.where(count == 1, mean, ABSENT), Method.LIKE_DAY)
        _fill(draft, mean, Method.MEAN_LIKE_DAY)
    _fill(draft, profile_values(block, (row, slot), serving, params.profiles), Method.PROFILE)
    _fill(draft, _flat(block, draft, serving), Method.FLAT)
    _shorten(block, draft)
    return _as_long_as_they_last(block, draft, params.odd_cells)


def _as_long_as_they_last(block: Block, draft: Estimates, odd_cells: tuple[tuple[int, int], ...]) -> Estimates:
    """The same estimates; those of odd intervals in proportion to the seconds that they last, rounded half up."""
    if not odd_cells:
        return draft
    begins, seconds = np.array(odd_cells, dtype=np.int64).T
    start = block.start_us(draft.slot)
    place = np.minimum(np.searchsorted(begins, start), len(begins) - 1)
    measured = draft.method == METHOD_CODE[Method.CHECK_METER]
    odd = (begins[place] == start) & (draft.value != ABSENT) & ~measured
    value = (2 * np.where(odd, draft.value, 0) * seconds[place] + block.step_s) // (2 * block.step_s)
    return draft._replace(value=np.where(odd, value, draft.value))


def _shorten(block: Block, draft: Estimates) -> None:
    """Of an interval in which the meter was exchanged the part that it was there for, in place."""
    for row, slot, seconds in zip(*block.parts[:3], strict=True):
        mine = (draft.row == row) & (draft.slot == slot) & (draft.value != ABSENT)
        draft.value[mine] = draft.value[mine] * seconds // block.step_s


def _fill(draft: Estimates, value: Ints, method: Method) -> None:
    """Enter values, ABSENT for none, where no earlier estimator gave one."""
    given = (draft.method == NO_METHOD) & (value != ABSENT)
    draft.value[given], draft.method[given] = value[given], METHOD_CODE[method]


def pieces_of(block: Block, gaps: Mask, known: Ints) -> Pieces:
    """Gaps cut at register reads; the energy of those that are the only one of their stretch."""
    span, width = block.stretches.span, block.shape[1]
    cut = np.zeros((block.shape[0], width + 1), dtype=np.bool_)
    cut[span.row, span.start] = True
    cut[span.row, span.stop] = True
    runs = find_runs(gaps)
    cells = cells_of(runs, width)
    row, slot = cells // width, cells % width
    begins = (
        np.flatnonzero(np.append(True, (np.diff(cells) != 1) | (slot[1:] == 0) | cut[row[1:], slot[1:]]))
        if len(cells)
        else cells
    )
    start, stop = slot[begins], slot[np.append(begins[1:], len(cells)) - 1] + 1 if len(cells) else cells
    pieces = Runs(row[begins], start, stop)
    energy = np.full(len(begins), ABSENT)
    if not len(span.row) or not len(begins):
        return Pieces(pieces, energy)
    at = np.searchsorted(span.row * width + span.start, pieces.row * width + start, side="right") - 1
    at = np.maximum(at, 0)
    inside = (span.row[at] == pieces.row) & (span.start[at] <= start) & (stop <= span.stop[at])
    alone = inside & (np.bincount(at[inside], minlength=len(span.row))[at] == 1)
    rest = block.stretches.advance - sums_of(known, span)
    return Pieces(pieces, np.where(alone, rest[at], ABSENT))


def _check_values(block: Block, draft: Estimates) -> Ints:
    """E1: what the check meter measured."""
    return block.around.check[draft.row, draft.slot]


def forward(block: Block, estimates: Estimates, measured: Mask, anchored: Mask) -> Estimates:
    """E13: the same estimates, those after a series' last measured value and not met by a register as `forward`.

    They are sent again when actual values come. A series without any measured value has none.
    """
    some = measured.any(axis=1)
    last = np.where(some, block.shape[1] - 1 - measured[:, ::-1].argmax(axis=1), block.shape[1])
    beyond = (estimates.slot > last[estimates.row]) & ~anchored & (estimates.method != NO_METHOD)
    return estimates._replace(method=np.where(beyond, METHOD_CODE[Method.FORWARD], estimates.method).astype(np.uint8))


def _linear(block: Block, runs: Runs, serving: Mask, limit_s: int) -> Ints:
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
    line = np.repeat(one, length) + (2 * rise + parts) // (2 * parts)
    return np.where(np.repeat(short, length), line, ABSENT)


def _like_days(block: Block, draft: Estimates, serving: Mask, most: int, *, same_kind: bool) -> tuple[Ints, Ints]:
    """E3: mean of the same slot on the nearest days (of the same day type) on which it serves, and their number.

    At most `most` days count; of two equally near the earlier comes first. Rounded half up; ABSENT where no such day
    is at hand or an earlier estimator has spoken.
    """
    mean, count = np.full(len(draft.row), ABSENT), np.zeros(len(draft.row), dtype=np.int64)
    nearest = nearest_days(block.days, same_kind=same_kind)
    if not nearest.shape[1]:
        return mean, count
    which = np.flatnonzero(draft.method == NO_METHOD)
    batch = max(1, _BATCH // nearest.shape[1])
    for first in range(0, len(which), batch):
        cut = which[first : first + batch]
        row, slot = draft.row[cut], draft.slot[cut]
        candidates = nearest[block.days.of[slot]]
        like = np.where(candidates < 0, -1, block.days.at[candidates, block.days.slot[slot][:, None]])
        good = (like >= 0) & serving[row[:, None], like]
        good &= np.cumsum(good, axis=1) <= most
        count[cut] = number = good.sum(axis=1)
        total = np.where(good, block.value[row[:, None], like], 0).sum(axis=1)
        mean[cut] = np.where(number > 0, (2 * total + number) // np.maximum(2 * number, 1), ABSENT)
    return mean, count


def _flat(block: Block, draft: Estimates, serving: Mask) -> Ints:
    """E8: the mean of the series' serving values; ABSENT where it has none or an earlier estimator has spoken."""
    flat = np.full(len(draft.row), ABSENT)
    open_cells = np.flatnonzero(draft.method == NO_METHOD)
    which, back = np.unique(draft.row[open_cells], return_inverse=True)
    good = serving[which]
    count = good.sum(axis=1)
    total = np.where(good, block.value[which], 0).sum(axis=1)
    flat[open_cells] = np.where(count > 0, (2 * total + count) // np.maximum(2 * count, 1), ABSENT)[back]
    return flat
