"""Rules that hold intervals against registers: V4, V6, V12, V13, V22, V23."""

from typing import Final

import numpy as np

from schemas.codes import Channel, Rule, Severity
from validation.block import ABSENT, Block, Ints, Mask, Runs, fill_runs, sums_of
from validation.rules.definition import (
    ACCUMULATED,
    Definition,
    Findings,
    Need,
    Parameter,
    Settings,
    Subject,
    found,
    nothing,
)

SECONDS_A_DAY: Final = 86_400


def sum_check(block: Block, settings: Settings) -> Findings:
    """V6: between two consecutive usable reads the intervals add up to the advance of the register.

    The tolerance is twice the multiplier times the register's resolution. A stretch with a hole, and an interval
    that no two reads enclose, is unjudged.
    """
    span, total, advance = _whole_stretches(block)
    failed = np.abs(total - advance) > settings["resolutions"] * block.master.resolution[span.row]
    return found(span.pick(failed), total[failed], advance[failed], _outside(block, span))


def multiplier(block: Block, settings: Settings) -> Findings:
    """V23: the register's use and the sum of the intervals differ by more than 2 %, and by more than V6 tolerates."""
    span, total, advance = _whole_stretches(block)
    off = np.abs(total - advance)
    failed = (off * 100 > settings["percent"] * np.abs(total)) & (off > 2 * block.master.resolution[span.row])
    return found(span.pick(failed), advance[failed], total[failed], _outside(block, span))


def tou_sum(block: Block, settings: Settings) -> Findings:
    """V12: the time-of-use registers advance by as much as the total does, within a resolution for each of them.

    Every register that was read of this meter at all must be at hand in the stretch.
    """
    tou = block.stretches.tou
    known = tou != ABSENT
    count = known.sum(axis=1)
    judged = (count > 0) & (known == block.has_tou[block.stretches.span.row]).all(axis=1) & ~_with_holes(block)
    span = block.stretches.span.pick(judged)
    total = np.where(known, tou, 0).sum(axis=1)[judged]
    advance = block.stretches.advance[judged]
    tolerance = settings["resolutions"] * block.master.resolution[span.row] * count[judged]
    failed = np.abs(total - advance) > tolerance
    return found(span.pick(failed), total[failed], advance[failed], _outside(block, span))


def _whole_stretches(block: Block) -> tuple[Runs, Ints, Ints]:
    """Stretches without a hole, the sum of their intervals and the advance of their register."""
    span, advance = block.stretches.span, block.stretches.advance
    whole = ~_with_holes(block)
    picked = span.pick(whole)
    return picked, sums_of(np.where(block.present, block.value, 0), picked), advance[whole]


def _with_holes(block: Block) -> Mask:
    holes: Mask = (
        sums_of((block.expected & ~block.present & ~block.supply.out).astype(np.int64), block.stretches.span) > 0
    )
    return holes


def _outside(block: Block, span: Runs) -> Mask:
    return ~fill_runs(span, block.shape)


def register_delta(block: Block, settings: Settings) -> Findings:
    """V13: a register moved further than supply and fuse let it, or by more of its value than the per cent a day.

    Which those are is found before any rule, because nothing is anchored to them (`validation.reads`,
    `validation.leaps`).
    """
    blind = (block.master.limit == ABSENT) & (settings["percent_per_day"] == 0)
    unjudged = (~block.has_reads | blind)[:, None]
    if len(block.jumps.row) and blind.any():
        # Beyond all that its series ever used a stretch is told without a limit (`validation.leaps`).
        unjudged = unjudged & ~fill_runs(block.jumps, block.shape)
    return found(block.jumps, unjudged=unjudged)


def rollover_or_reset(block: Block, settings: Settings) -> Findings:  # noqa: ARG001
    """V22: a register went back and no plausible rollover explains it: the energy between the reads is unknown."""
    return found(block.broken, unjudged=(~block.has_reads | (block.master.wrap == ABSENT))[:, None])


def missing_read(block: Block, settings: Settings) -> Findings:
    """V4: longer than the limit between two usable reads, or since the last one; the finding is what lies beyond it.

    Where there are no two reads yet the time runs from the first value: before it nobody can have missed a read.
    """
    if not block.has_reads.any():
        return nothing(unjudged=~block.has_reads[:, None])
    span, width = block.stretches.span, block.shape[1]
    limit = settings["days"] * SECONDS_A_DAY // block.step_s
    last = (block.value != ABSENT).argmax(axis=1).astype(np.int64)
    np.maximum.at(last, span.row, span.stop)
    after = np.where(block.wanted.any(axis=1), width - block.wanted[:, ::-1].argmax(axis=1), 0)
    late = np.flatnonzero(block.has_reads & (after - last > limit))
    long = span.pick(span.length > limit)
    row, start, stop = (np.concatenate(part) for part in zip(long, (late, last[late], after[late]), strict=True))
    runs = Runs(row, start + limit, stop)
    return found(runs, unjudged=~block.has_reads[:, None])


REGISTER_RULES: Final = (
    Definition(
        Rule.MISSING_READ,
        Severity.INFO,
        "V4 missing register read",
        "no usable read for longer than the limit: what lies beyond it",
        ACCUMULATED,
        missing_read,
        (Need.READS,),
        (Parameter("days", 2, "d", "longest stretch between reads"),),
        Subject.READ,
    ),
    Definition(
        Rule.SUM_CHECK,
        Severity.ERROR,
        "V6 sum check",
        "abs(sum x - (R1 - R0)) <= 2 x multiplier x register resolution, between consecutive usable reads, no hole",
        ACCUMULATED,
        sum_check,
        (Need.READS, Need.MULTIPLIER),
        (Parameter("resolutions", 2, "1", "tolerance in multiples of the register's resolution"),),
        Subject.STRETCH,
        whole=True,
    ),
    Definition(
        Rule.TOU_SUM,
        Severity.ERROR,
        "V12 TOU registers",
        "sum of TOU advances = total advance +- 1 x multiplier x resolution per register, no hole",
        frozenset({Channel.ENERGY_DELIVERED, Channel.ENERGY_RECEIVED}),
        tou_sum,
        (Need.TOU_REGISTERS,),
        (Parameter("resolutions", 1, "1", "tolerance for each register, in multiples of its resolution"),),
        Subject.STRETCH,
        whole=True,
    ),
    Definition(
        Rule.REGISTER_DELTA,
        Severity.WARNING,
        "V13 register delta",
        "abs(R1 - R0) > what supply and fuse let through in the time between, or 100 x abs(R1 - R0) / R1 a day > the "
        "per cent of a rule set; whatever the severity, nothing is anchored to such a read",
        ACCUMULATED,
        register_delta,
        (Need.READS, Need.FUSE),
        (Parameter("percent_per_day", 0, "%/d", "of its new value by which a register may move in a day; 0: any"),),
        Subject.READ,
    ),
    Definition(
        Rule.ROLLOVER_OR_RESET,
        Severity.ERROR,
        "V22 rollover or reset",
        "R1 < R0 and wrap - R0 + R1 > what V9 lets through (without it: not from the last tenth to the first)",
        ACCUMULATED,
        rollover_or_reset,
        (Need.READS, Need.DIGITS),
        (),
        Subject.READ,
    ),
    Definition(
        Rule.MULTIPLIER,
        Severity.BLOCKING,
        "V23 multiplier",
        "register use / sum x differs from 1 by more than 2 %, no hole",
        ACCUMULATED,
        multiplier,
        (Need.READS, Need.MULTIPLIER),
        (Parameter("percent", 2, "%", "difference that passes"),),
        Subject.STRETCH,
        whole=True,
    ),
)
