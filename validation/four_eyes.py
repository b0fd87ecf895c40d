"""Four eyes: edits that change more energy than the limit need the approval of another person than their author.

What counts is the result: how far the finals with the edits are from those without the ones that nobody approved,
summed over each edit, and over each series, author and local day, so that a change is not told in small parts. Of a
measured value that a person takes out the value counts at least, whatever is estimated in its place.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np

from schemas.codes import Quality
from validation.block import ABSENT, Block, Ints
from validation.desk import Desk, Instruction
from validation.edit import MOST, Refusal, apply_edits, reach
from validation.judge import Segment
from validation.params import VeeParams
from validation.repair import Repaired, repair
from validation.sheet import QUALITY_CODE, Result

_MEASURED: Final = (QUALITY_CODE[Quality.VALID], QUALITY_CODE[Quality.SUSPECT])
_KEPT: Final = (*_MEASURED, QUALITY_CODE[Quality.EDITED])


def repair_edited(block: Block, segments: Sequence[Segment], numbers: Ints, desk: Desk, params: VeeParams) -> Repaired:
    """A block's finals with the edits of its series, as far as four eyes saw those that need it.

    Args:
        block: The block, with its values as received.
        segments: The rules in force.
        numbers: Series of its rows, consecutive.
        desk: The edits of the run.
        params: Of the run.
    """
    low, high = int(numbers[0]), int(numbers[-1])
    mine = [one._replace(series=one.series - low) for one in desk.instructions if low <= one.series <= high]
    after = repair(block, segments, apply_edits(block, mine), params)
    if all(one.approved for one in mine):
        return after
    seen = [one for one in mine if one.approved]
    before = repair(block, segments, apply_edits(block, seen), params)
    much = _too_much(block, mine, _moved(before.result, after.result), params.four_eyes_milli)
    if not much:
        return after
    kept = [one for at, one in enumerate(mine) if at not in much]
    refused = [Refusal(mine[at], change, params.four_eyes_milli) for at, change in much.items()]
    return repair(block, segments, apply_edits(block, kept, refused), params)


def _moved(before: Result, after: Result) -> Ints:
    """By how much each interval is another one; matrix (series, intervals)."""
    old, new = (np.clip(np.where(one.value == ABSENT, 0, one.value), -MOST, MOST) for one in (before, after))
    gone = np.isin(before.quality, _MEASURED) & ~np.isin(after.quality, _KEPT)
    moved: Ints = np.maximum(np.abs(new - old), np.where(gone, np.abs(old), 0))
    return moved


def _too_much(block: Block, mine: Sequence[Instruction], moved: Ints, limit_milli: int) -> dict[int, int]:
    """Positions of the edits that nobody approved and that change too much, and how much that is."""
    width = block.shape[1]
    alone = {at: reach(one, width, block.step_s) for at, one in enumerate(mine) if not one.approved}
    whole: dict[tuple[int, int], Ints] = {}
    for at, slots in alone.items():
        one = mine[at]
        by_author = whole.setdefault((one.series, one.author), np.zeros(width, dtype=np.int64))
        by_author[slots] = moved[one.series, slots]
    days = {key: np.add.reduceat(each, block.days.first[:-1]) for key, each in whole.items()}
    much: dict[int, int] = {}
    for at, slots in alone.items():
        one = mine[at]
        a_day = int(days[one.series, one.author][block.days.of[slots]].max())
        # A day is at most 1,440 intervals: its sum fits; that of an edit over years is one of whole numbers.
        most = max(a_day, sum(moved[one.series, slots].tolist()))
        if most > limit_milli:
            much[at] = most
    return much
