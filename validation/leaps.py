"""Registers that moved by more of their value than a rule set lets them in the time (V13, per cent)."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import polars as pl

from schemas.codes import Rule
from validation.block import Block, Mask, Runs, Stretches
from validation.judge import Segment

_SECONDS_A_DAY: Final = 86_400


def without_leaps(block: Block, segments: Sequence[Segment]) -> Block:
    """The block without the stretches that moved too far; they stand among its jumps instead.

    The limit is that of the day on which a stretch ends. Nothing is anchored to such a read, and what the rules of
    registers say of the time before it is unjudged; where the next read follows it, it is the base from there on.
    """
    span, advance, tou, value = block.stretches
    leaps = np.zeros(len(advance), dtype=np.bool_)
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


def _too_far(block: Block, percent: int) -> Mask:
    """100 x advance / value a day > percent, without division: the products need 128 bits."""
    span, advance, _, value = block.stretches
    told = pl.DataFrame({"moved": advance, "value": value, "seconds": span.length * block.step_s})
    moved = pl.col("moved").cast(pl.Int128) * 100 * _SECONDS_A_DAY
    far: Mask = (
        told.select(moved > pl.col("value").cast(pl.Int128) * percent * pl.col("seconds")).to_series().to_numpy()
    )
    return far
