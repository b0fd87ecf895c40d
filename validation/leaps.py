"""Registers that moved by more of their value than a rule set lets them in the time (V13, per cent), or by more than a
series without a known fuse can have used."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import polars as pl

from schemas.codes import Rule
from validation.block import ABSENT, Block, Mask, Runs, Stretches, sums_of
from validation.judge import Segment

BEYOND_BEST: Final = 100
"""Times the highest value of its series that an estimate may be where no fuse says what it may be."""
DAYS_SHOWN: Final = 7
"""Of values, before the highest of them says anything."""
_SECONDS_A_DAY: Final = 86_400


def without_leaps(block: Block, segments: Sequence[Segment]) -> Block:
    """The block without the stretches that moved too far; they stand among its jumps instead.

    The limit is that of the day on which a stretch ends. Nothing is anchored to such a read, and what the rules of
    registers say of the time before it is unjudged; where the next read follows it, it is the base from there on.
    """
    span, advance, tou, value = block.stretches
    leaps = _beyond_use(block)
    for segment in segments:
        rule = next((one for one in segment.rules if one.definition.rule is Rule.REGISTER_DELTA), None)
        percent = 0 if rule is None else rule.settings["percent_per_day"]
        if percent:
            here = (span.stop > segment.first) & (span.stop <= segment.after)
            leaps |= here & _too_far(block, percent)
    if not leaps.any():
        return block
    kept, more = ~leaps, span.pick(leaps)
    jumps = Runs(*(np.concatenate(part) for part in zip(block.jumps, more, strict=True)))
    return block._replace(stretches=Stretches(span.pick(kept), advance[kept], tou[kept], value[kept]), jumps=jumps)


def _beyond_use(block: Block) -> Mask:
    """Without a limit of supply and fuse: the holes of a stretch would have to hold, each, a hundred times the highest
    value that the series ever showed. A series that showed nothing above zero says nothing."""
    span, advance = block.stretches.span, block.stretches.advance
    blind = (block.master.limit == ABSENT)[span.row]
    if not blind.any():
        return np.zeros(len(advance), dtype=np.bool_)
    known = np.where(block.present, block.value, 0)
    holes = sums_of((block.expected & ~block.present & ~block.supply.out).astype(np.int64), span)
    days = block.present.sum(axis=1) * block.step_s // _SECONDS_A_DAY + block.past[1]
    best = np.where(days >= DAYS_SHOWN, np.maximum(known.max(axis=1), block.past[0]), 0)[span.row]
    each = (advance - sums_of(known, span)) // np.maximum(holes, 1)
    beyond: Mask = blind & (holes > 0) & (best > 0) & (each > BEYOND_BEST * best)
    return beyond


def _too_far(block: Block, percent: int) -> Mask:
    """100 x advance / value a day > percent, without division: the products need 128 bits."""
    span, advance, _, value = block.stretches
    told = pl.DataFrame({"moved": advance, "value": value, "seconds": span.length * block.step_s})
    moved = pl.col("moved").cast(pl.Int128) * 100 * _SECONDS_A_DAY
    far: Mask = (
        told.select(moved > pl.col("value").cast(pl.Int128) * percent * pl.col("seconds")).to_series().to_numpy()
    )
    return far
