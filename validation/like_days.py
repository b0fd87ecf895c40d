"""Days that resemble a day: nearest first, of the same type, by the wall clock."""

from typing import Final

import numpy as np

from validation.block import Block, Ints, Mask
from validation.days import Days

MOST_CANDIDATES: Final = 80
"""Nearest days looked at: four months of workdays, a year and a half of Sundays."""


def nearest_days(days: Days, *, same_kind: bool) -> Ints:
    """(D, candidates): the other days of each day, nearest first, -1 beyond the last; of two the earlier first."""
    number = np.arange(len(days.kind))
    distance = np.abs(number[:, None] - number[None, :])
    order = np.argsort(2 * distance + (number[None, :] > number[:, None]), axis=1, kind="stable")[:, 1:]
    if not same_kind:
        return order[:, :MOST_CANDIDATES]
    same = days.kind[order] == days.kind[:, None]
    widest = int(same.sum(axis=1).max(initial=0))
    sifted = np.argsort(~same, axis=1, kind="stable")[:, : min(widest, MOST_CANDIDATES)]
    picked = np.take_along_axis(order, sifted, axis=1)
    return np.where(np.take_along_axis(same, sifted, axis=1), picked, -1)


def like_values(block: Block, row: Ints, slot: Ints, serving: Mask, most: int) -> tuple[Ints, Ints]:
    """Values (cells, most) of the same slot on the nearest like days on which it serves, and how many there are."""
    picked, number = like_slots(block, (row, slot), serving, most, same_kind=True)
    values: Ints = block.value[row[:, None], picked]
    return values, number


def like_slots(
    block: Block, cells: tuple[Ints, Ints], serving: Mask, most: int, *, same_kind: bool
) -> tuple[Ints, Ints]:
    """Intervals (cells, most) of the same slot on the nearest days on which it serves, and how many there are."""
    row, slot = cells
    candidates = nearest_days(block.days, same_kind=same_kind)[block.days.of[slot]]
    like = np.where(candidates < 0, -1, block.days.at[candidates, block.days.slot[slot][:, None]])
    good = (like >= 0) & serving[row[:, None], like]
    order = np.argsort(~good, axis=1, kind="stable")[:, :most]
    return np.take_along_axis(like, order, axis=1), np.minimum(good.sum(axis=1), most)
