"""Rules that read what rows and status bits say of themselves: V1, V2, V3, V5, V18, V19, V20, V24, V28."""

from typing import Final

import numpy as np

from schemas.codes import Rule, Severity, Status
from validation.block import ABSENT, Block, Runs, find_runs
from validation.rules.definition import (
    EVERY_CHANNEL,
    Check,
    Definition,
    Findings,
    Need,
    Parameter,
    Settings,
    found,
    nothing,
)


def flagged(*bits: Status) -> Check:
    """A check that fails where a received value carries one of the status bits."""
    wanted = sum(int(bit) for bit in bits)

    def check(block: Block, settings: Settings) -> Findings:  # noqa: ARG001  a check takes its settings, even none
        bits = (block.status & wanted) != 0
        return found(find_runs(block.present & bits)) if bits.any() else nothing()

    return check


def device_clock(block: Block, settings: Settings) -> Findings:
    """V1: the clock is invalid, by the meter's word or by the reference; without one only that word is judged."""
    told = flagged(Status.CLOCK_INVALID)(block, settings)
    if block.clock_known:
        return told
    return told._replace(unjudged=(block.status & np.uint32(Status.CLOCK_INVALID)) == 0)


def partial_interval(block: Block, settings: Settings) -> Findings:  # noqa: ARG001
    """V20: long and skipped intervals, and partial ones, by the meter's word or because it was exchanged in them;
    partial because of a power failure is good data."""
    bits = block.status
    odd = (bits & np.uint32(Status.LONG | Status.SKIPPED)) != 0
    odd |= ((bits & np.uint32(Status.PARTIAL)) != 0) & ((bits & np.uint32(Status.POWER_FAIL)) == 0)
    odd = block.present & odd if odd.any() else odd
    if len(block.parts.row):
        odd = np.broadcast_to(odd, block.shape).copy()
        odd[block.parts.row, block.parts.slot] = True
    return found(find_runs(odd)) if odd.any() else nothing()


def identity(block: Block, settings: Settings) -> Findings:  # noqa: ARG001
    """V2: unjudged for meters that master data do not know. Rows that contradict master data have no cell at all."""
    return nothing(unjudged=~block.around.in_master[:, None])


def duplicate(block: Block, settings: Settings) -> Findings:  # noqa: ARG001
    """V5: several raw rows, with different values. Of a run of such intervals the two values that differ most are told:
    the one that was taken, and the one that came second."""
    row, slot, rival = block.disputed
    if not len(row):
        return nothing()
    here = block.present[row, slot]
    row, slot, rival = row[here], slot[here], rival[here]
    taken = block.value[row, slot]
    run = np.cumsum(np.append(True, (np.diff(row) != 0) | (np.diff(slot) != 1))[: len(row)]) - 1
    far = np.where(rival == ABSENT, -1, np.abs(taken - rival))
    last = np.flatnonzero(np.append(np.diff(run) != 0, True)[: len(row)])
    most = np.lexsort((far, run))[last]
    length = np.bincount(run, minlength=len(last))
    return found(Runs(row[last], slot[last] + 1 - length, slot[last] + 1), taken[most], rival[most])


def missing_interval(block: Block, settings: Settings) -> Findings:  # noqa: ARG001
    """V3: an expected interval that never arrived, outside of outages."""
    return found(find_runs(block.expected & ~block.present & ~block.supply.out))


FLAG_RULES: Final = (
    Definition(
        Rule.CLOCK,
        Severity.ERROR,
        "V1 device clock",
        "the meter calls its clock invalid, or a value was received an interval or more before it was over: the clock "
        "is ahead; ahead by more than 3 min, or merely doubtful, is a finding of V28; one that is behind looks like "
        "late delivery, and is only the meter's to tell",
        EVERY_CHANNEL,
        device_clock,
        (Need.CLOCK_REFERENCE,),
    ),
    Definition(
        Rule.IDENTITY,
        Severity.BLOCKING,
        "V2 identity",
        "channel, interval length and grid of a row equal master data; a row that does not is not used",
        EVERY_CHANNEL,
        identity,
        (Need.METERS,),
    ),
    Definition(
        Rule.MISSING_INTERVAL,
        Severity.ERROR,
        "V3 missing interval",
        "expected = (end - start) / L on the UTC axis; a hole outside of an outage is a finding",
        EVERY_CHANNEL,
        missing_interval,
        (Need.BOUNDS,),
    ),
    Definition(
        Rule.DUPLICATE,
        Severity.WARNING,
        "V5 duplicate",
        "two raw rows for one channel and interval with different values: the last in raw order wins, and both are "
        "told; equal ones are only counted, as info",
        EVERY_CHANNEL,
        duplicate,
    ),
    Definition(
        Rule.TEST_MODE,
        Severity.ERROR,
        "V18 test mode",
        "the meter was in test mode: never billed",
        EVERY_CHANNEL,
        flagged(Status.TEST_MODE),
    ),
    Definition(
        Rule.OVERFLOW,
        Severity.ERROR,
        "V19 overflow",
        "the meter reports an overflow",
        EVERY_CHANNEL,
        flagged(Status.OVERFLOW),
    ),
    Definition(
        Rule.PARTIAL_INTERVAL,
        Severity.WARNING,
        "V20 partial, long, skipped interval",
        "the meter reports that the interval was not a whole one, or it was installed or removed in it and its value "
        "or final is of a part; partial because of a power failure is good data",
        EVERY_CHANNEL,
        partial_interval,
    ),
    Definition(
        Rule.REPLACEMENT,
        Severity.INFO,
        "V24 replacement",
        "a measured value replaces a stored one that differs by more than the threshold; found when versions are made",
        EVERY_CHANNEL,
        None,
        (Need.PREVIOUS,),
        (Parameter("threshold_milli", 0, "mWh", "difference that is no finding"),),
    ),
    Definition(
        Rule.CLOCK_SET,
        Severity.WARNING,
        "V28 clock set",
        "the clock was set in the interval, was doubtful, or more than 3 min ahead of reception",
        EVERY_CHANNEL,
        flagged(Status.CLOCK_SET, Status.CLOCK_DOUBTFUL),
    ),
)
