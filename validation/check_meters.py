"""Check meters: their own judgement, before anything is held against them or copied from them."""

from collections.abc import Iterable

import numpy as np

from schemas.codes import Quality
from validation.around import Checks
from validation.block import ABSENT, Block, Ints, Mask
from validation.blocks import Inputs
from validation.repair import Repaired
from validation.sheet import QUALITY_CODE


def checking(source: Inputs) -> Mask:
    """(series,): the series belongs to an installation that checks another one."""
    check = source.surroundings.check
    installs = np.zeros(source.fleet.installs.height, dtype=np.bool_)
    installs[check[check >= 0]] = True
    return installs[source.layout.install]


def judged_checks(blocks: Iterable[tuple[Ints, Block, Repaired]], series: int) -> Checks:
    """What the check meters of a run measured, and their own rules, registers and edits leave valid.

    Args:
        blocks: Judged blocks of the checking series, with the series of their rows.
        series: Series of the run.
    """
    base, values, cells = np.full(series, -1), [np.empty(0, dtype=np.int64)], 0
    for numbers, block, repaired in blocks:
        result = repaired.result
        valid = block.present & (result.quality == QUALITY_CODE[Quality.VALID])
        values.append(np.where(valid, result.value, ABSENT).ravel())
        base[numbers] = cells + np.arange(len(numbers)) * block.shape[1]
        cells += block.value.size
    return Checks(base, np.concatenate(values))
