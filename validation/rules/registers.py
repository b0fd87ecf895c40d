"""Rules that hold intervals against registers: V4, V6, V13, V22."""

import numpy as np

from validation.block import ABSENT, Block, Mask, fill_runs, sums_of
from validation.rules.definition import Findings, Settings, found

SECONDS_A_DAY = 86_400


def sum_check(block: Block, settings: Settings) -> Findings:
    """V6: between two consecutive usable reads the intervals add up to the advance of the register.

    The tolerance is twice the multiplier times the register's resolution. A stretch with a hole, and an interval
    that no two reads enclose, is unjudged.
    """
    span, advance = block.stretches
    known = np.where(block.value == ABSENT, 0, block.value)
    holes = sums_of((block.expected & (block.value == ABSENT)).astype(np.int64), span)
    total = sums_of(known, span)
    tolerance = settings["resolutions"] * block.master.resolution[span.row]
    whole = holes == 0
    failed = whole & (np.abs(total - advance) > tolerance)
    runs = span.pick(failed)
    unjudged: Mask = ~fill_runs(span.pick(whole), block.shape)
    return found(runs, total[failed], advance[failed], unjudged)


def register_delta(block: Block, settings: Settings) -> Findings:  # noqa: ARG001
    """V13: a register moved further than supply and fuse let it, or than any customer does."""
    return found(block.jumps, unjudged=~block.has_reads[:, None])


def rollover_or_reset(block: Block, settings: Settings) -> Findings:  # noqa: ARG001
    """V22: a register went back and no plausible rollover explains it: the energy between the reads is unknown."""
    return found(block.broken, unjudged=(~block.has_reads | (block.master.wrap == ABSENT))[:, None])


def missing_read(block: Block, settings: Settings) -> Findings:
    """V4: a stretch between reads, or beyond the last, longer than a day and its tolerance."""
    limit = (settings["days"] * SECONDS_A_DAY) // block.step_s
    span = block.stretches.span
    long = span.pick(span.length > limit)
    return found(long, unjudged=~block.has_reads[:, None])
