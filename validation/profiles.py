"""Class profiles (E7): the shape of an average customer of a rate class, for series without history of their own."""

from collections.abc import Sequence

import numpy as np

from validation.block import ABSENT, Block, Ints, Mask
from validation.params import ClassProfile


def profile_values(block: Block, cells: tuple[Ints, Ints], serving: Mask, profiles: Sequence[ClassProfile]) -> Ints:
    """The class shape times the series' own usage factor, one element a cell; ABSENT without a profile of the class.

    The usage factor is the series' serving energy over the profile's in the same intervals, 1 where nothing serves.
    """
    row, slot = cells
    result = np.full(len(row), ABSENT)
    mine = next((one for one in profiles if _fits(block, one)), None)
    if mine is None or not len(row):
        return result
    by_kind = np.array([mine.workday, mine.saturday, mine.sunday, mine.sunday], dtype=np.int64)
    shape = by_kind[block.days.kind[block.days.of], block.days.slot]
    used = np.where(serving, block.value, 0).sum(axis=1)
    expected = np.where(serving, shape, 0).sum(axis=1)
    factor = np.where(expected > 0, used / np.maximum(expected, 1), 1.0)
    result[:] = np.rint(shape[slot] * factor[row]).astype(np.int64)
    return result


def _fits(block: Block, profile: ClassProfile) -> bool:
    slots = 86_400 // block.step_s
    return (
        profile.channel is block.channel
        and profile.rate_class == block.rate_class
        and len(profile.workday) == len(profile.saturday) == len(profile.sunday) == slots
    )
