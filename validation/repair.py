"""One block from received to final values: judged, estimated, anchored, and judged again."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from schemas.codes import Method, Quality, Rule, Severity
from validation.anchor import Anchored, anchor
from validation.block import ABSENT, Block, Ints, Mask, Runs, cells_of, find_runs
from validation.estimate import METHOD_CODE, NO_METHOD, estimate
from validation.judge import Found, InForce, Judgement, judge
from validation.params import Estimation
from validation.rules.catalogue import DEFINITION
from validation.rules.definition import Findings, found
from validation.sheet import QUALITY_CODE, Result

FINDING_SEVERITY = {
    Rule.ANCHOR_ZERO_PROFILE: Severity.WARNING,
    Rule.ANCHOR_NEGATIVE_REMAINDER: Severity.BLOCKING,
    Rule.NO_ESTIMATE: Severity.BLOCKING,
}
"""Findings of estimation, which have no bit."""


class Repaired(NamedTuple):
    """A block's finals, and everything found on the way."""

    result: Result
    found: tuple[Found, ...]
    other: tuple[tuple[Rule, Findings], ...]
    """Findings of estimation."""


def repair(block: Block, rules: Sequence[InForce], settings: Estimation) -> Repaired:
    """Judge a block's values, replace what is missing or rejected, and judge the stretches that now are whole."""
    judged = judge(block, rules)
    present = block.present
    measured = present & ~judged.rejected
    dark = measured & (block.value == 0) & block.supply.touched | ~measured & block.expected & block.supply.out
    gaps = block.expected & ~measured & ~dark
    serving = measured & ~judged.suspect & ~block.supply.touched & ~block.supply.restored
    known = np.where(measured, block.value, 0)
    estimates = estimate(block, gaps, serving, settings)
    anchored = anchor(block, estimates, known)
    result = _assemble(block, judged, (measured, dark), anchored)
    holes = _holes(block, present, result, rules)
    other = _findings(block, anchored)
    _judge_again(block, result, anchored, rules)
    return Repaired(result, (*judged.found, *holes), other)


def _assemble(block: Block, judged: Judgement, kinds: tuple[Mask, Mask], anchored: Anchored) -> Result:
    measured, dark = kinds
    quality = np.full(block.shape, QUALITY_CODE[Quality.MISSING], dtype=np.uint8)
    quality[measured] = QUALITY_CODE[Quality.VALID]
    quality[measured & judged.suspect] = QUALITY_CODE[Quality.SUSPECT]
    quality[dark] = QUALITY_CODE[Quality.OUTAGE]
    method = np.full(block.shape, NO_METHOD, dtype=np.uint8)
    method[dark] = METHOD_CODE[Method.ZERO]
    value = np.where(measured, block.value, ABSENT)
    value[dark] = 0
    row, slot, estimated, how = anchored.estimates
    given = estimated != ABSENT
    cell = row[given], slot[given]
    value[cell], method[cell] = estimated[given], how[given]
    quality[cell] = QUALITY_CODE[Quality.ESTIMATED]
    return Result(value, quality, method, judged.failed, judged.unjudged)


def _holes(block: Block, present: Mask, result: Result, rules: Sequence[InForce]) -> tuple[Found, ...]:
    """V3: intervals that never arrived, outside of outages."""
    rule = next((rule for rule in rules if rule.definition.rule is Rule.MISSING_INTERVAL), None)
    if rule is None:
        return ()
    runs = find_runs(block.expected & ~present & ~block.supply.out)
    result.failed.ravel()[cells_of(runs, block.shape[1])] |= rule.definition.bit
    return (Found(rule, found(runs)),) if len(runs.row) else ()


def _findings(block: Block, anchored: Anchored) -> tuple[tuple[Rule, Findings], ...]:
    span, advance = block.stretches
    other: list[tuple[Rule, Findings]] = []
    for rule, which in (
        (Rule.ANCHOR_ZERO_PROFILE, anchored.zero_profile),
        (Rule.ANCHOR_NEGATIVE_REMAINDER, anchored.negative),
    ):
        if len(which):
            runs = Runs(span.row[which], span.start[which], span.stop[which])
            other.append((rule, found(runs, anchored.known[which], advance[which])))
    row, slot, value, _ = anchored.estimates
    lost = value == ABSENT
    if lost.any():
        mask = np.zeros(block.shape, dtype=np.bool_)
        mask[row[lost], slot[lost]] = True
        other.append((Rule.NO_ESTIMATE, found(find_runs(mask))))
    return tuple(other)


def _judge_again(block: Block, result: Result, anchored: Anchored, rules: Sequence[InForce]) -> None:
    """V6 on the stretches that had a hole: it passes where anchoring met the register, and fails where it could not."""
    if all(rule.definition.rule is not Rule.SUM_CHECK for rule in rules):
        return
    bit = DEFINITION[Rule.SUM_CHECK].bit
    span, width = block.stretches.span, block.shape[1]
    result.unjudged.ravel()[_cells(span, anchored.settled, width)] &= ~bit
    failed = _cells(span, anchored.negative, width)
    result.unjudged.ravel()[failed] &= ~bit
    result.failed.ravel()[failed] |= bit
    kept = failed[result.quality.ravel()[failed] == QUALITY_CODE[Quality.VALID]]
    result.quality.ravel()[kept] = QUALITY_CODE[Quality.SUSPECT]


def _cells(span: Runs, which: Ints, width: int) -> Ints:
    return cells_of(Runs(span.row[which], span.start[which], span.stop[which]), width)
