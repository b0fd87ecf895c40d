"""Time-of-use registers: which of them counts an interval."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from schemas.timegrid import DayType
from validation.block import Block, Ints
from validation.params import TouPeriod
from validation.reads import TOU_OF

_KIND: Final = tuple(DayType)


def registers_of(block: Block, periods: Sequence[TouPeriod]) -> Ints | None:
    """Number of the register, 0 to 3, that counts each interval of the block, -1 for none; None without a calendar.

    An interval belongs to the period in which it starts.
    """
    registers = TOU_OF.get(block.channel, ())
    mine = [one for one in periods if one.register in registers and one.rate_class in (None, block.rate_class)]
    if not mine:
        return None
    second = block.days.slot * block.step_s
    kind = block.days.kind[block.days.of]
    number = np.full(block.shape[1], -1, dtype=np.int64)
    for period in reversed(mine):
        inside = (second >= period.start_s) & (second < period.end_s)
        inside &= np.isin(kind, [_KIND.index(day) for day in period.days])
        number[inside] = registers.index(period.register)
    return number
