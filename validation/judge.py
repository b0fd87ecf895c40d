"""Every rule over a block: bits, and what becomes of the values that fail."""

from collections.abc import Sequence
from datetime import date
from typing import Final, NamedTuple

import numpy as np

from schemas.codes import Quality, Rule, Severity
from validation.block import ABSENT, Bits, Block, Mask, Runs, Stretches, cells_of, find_runs, sums_of
from validation.rules.definition import Effect, Findings, Subject, found
from validation.rules.sets import InForce, RuleSet, change_dates, rules_in_force
from validation.rules.usage import Shares, gate
from validation.sheet import QUALITY_CODE, Result

_SHARED: Final = (Quality.MISSING, Quality.ESTIMATED, Quality.SUSPECT, Quality.EDITED)
"""The first of `Shares`, in their order."""
_EPOCH: Final = date(1970, 1, 1).toordinal()


class Segment(NamedTuple):
    """Intervals of a block, half open, that the same rules judge."""

    first: int
    after: int
    rules: tuple[InForce, ...]


class Found(NamedTuple):
    """Findings of one rule in force."""

    rule: InForce
    findings: Findings


class Judgement(NamedTuple):
    """What the rules say of a block's received values; matrices (series, intervals)."""

    failed: Bits
    unjudged: Bits
    rejected: Mask
    """The value is not used: a substitute takes its place."""
    doubted: Mask
    """Of the rejected values those that a register may confirm: no rule but V7 rejects them."""
    suspect: Mask
    """The value is kept, and marked."""
    found: list[Found]


def segments_of(block: Block, sets: Sequence[RuleSet]) -> tuple[Segment, ...]:
    """The rules in force for a block: the rules of a day judge that day."""
    start = int(block.days.date[0]) + _EPOCH
    last = int(block.days.date[-1]) + _EPOCH
    turns = [day for day in change_dates(sets, block.rate_class, block.channel) if start < day.toordinal() <= last]
    days = [date.fromordinal(start), *turns]
    bounds = [*(int(block.days.first[day.toordinal() - start]) for day in days), block.shape[1]]
    return tuple(
        Segment(first, after, rules_in_force(sets, block.rate_class, block.channel, day))
        for first, after, day in zip(bounds, bounds[1:], days, strict=False)
    )


def judge(block: Block, segments: Sequence[Segment]) -> Judgement:
    """Run the rules in force over a block: those that look at single values, then those that hold values against
    others of their series, then those about stretches and periods. None sees what the ones before it rejected.
    """
    shape = block.shape
    judged = Judgement(
        np.zeros(shape, dtype=np.uint64),
        np.zeros(shape, dtype=np.uint64),
        np.zeros(shape, dtype=np.bool_),
        np.zeros(shape, dtype=np.bool_),
        np.zeros(shape, dtype=np.bool_),
        [],
    )
    _apply_all(block, segments, judged, subjects=(Subject.INTERVAL,), beside=False)
    block = _without(block, judged.rejected)
    _apply_all(block, segments, judged, subjects=(Subject.INTERVAL,), beside=True)
    judged.doubted[judged.rejected] = False
    judged.rejected[judged.doubted] = True
    others = tuple(subject for subject in Subject if subject is not Subject.INTERVAL)
    _apply_all(_without(block, judged.rejected), segments, judged, subjects=others, beside=False)
    return judged


def _without(block: Block, rejected: Mask) -> Block:
    return block._replace(value=np.where(rejected, ABSENT, block.value)) if rejected.any() else block


def _apply_all(
    block: Block, segments: Sequence[Segment], judged: Judgement, *, subjects: tuple[Subject, ...], beside: bool
) -> None:
    for segment in segments:
        for rule in segment.rules:
            if rule.definition.subject in subjects and rule.definition.beside == beside:
                _apply(block, segment, rule, judged)


def judge_again(block: Block, result: Result, segments: Sequence[Segment], judged: Judgement) -> None:
    """Judge a result: stretches whose holes are now filled, and what the reasonableness rules say of what was made.

    Bits and qualities of `result` change in place; findings join those of `judged`. A value that was measured and
    lies in a stretch that fails becomes `suspect`; an estimate stays `estimated`, and is not estimated again; a value
    that a person decided on stays `edited`.
    """
    made = (result.quality == QUALITY_CODE[Quality.ESTIMATED]) | (result.quality == QUALITY_CODE[Quality.EDITED])
    holes = made | judged.rejected
    if not holes.any():
        return
    spans = block.stretches.span
    had_hole = sums_of(holes.astype(np.int64), spans) > 0
    stretches = Stretches(spans.pick(had_hole), *(part[had_hole] for part in block.stretches[1:]))
    filled = block._replace(value=result.value, stretches=stretches)
    for segment in segments:
        for rule in segment.rules:
            if rule.definition.whole and len(stretches.advance):
                _judge_filled(filled, segment, rule, result, judged)
            elif rule.definition.repeats:
                _judge_made(filled, segment, rule, (result, made), judged)


def judge_billing(
    block: Block,
    result: Result,
    segments: Sequence[Segment],
    judged: Judgement,
    periods: tuple[Sequence[tuple[int, int]], tuple[Mask, Mask]],
) -> None:
    """V36 over the finals of each segment of each period; unjudged for meters without a tariff.

    With the periods come which values a person only accepted, and which estimates met no register. Intervals of no
    period, and of one of which something is awaited yet, get both bits: `validation.periods` settles them.
    """
    spans, made = periods
    for segment in segments:
        rule = next((rule for rule in segment.rules if rule.definition.rule is Rule.BILLING_GATE), None)
        if rule is None:
            continue
        part = np.s_[:, segment.first : segment.after]
        bit, billed = rule.definition.bit, block.around.billed
        pending = np.zeros(block.shape, dtype=np.bool_)
        pending[part] = billed[:, None]
        result.unjudged[part] |= np.where(~billed, bit, np.uint64(0))[:, None]
        marks = (*(result.quality == QUALITY_CODE[one] for one in _SHARED), *made, *_doubts(result, segment))
        for first, after in spans:
            wanted = block.wanted.copy()
            wanted[:, : max(first, segment.first)] = False
            wanted[:, min(after, segment.after) :] = False
            over = billed & (~block.awaited | block.wanted[:, after - 1])
            pending[over, first:after] = False
            shares = Shares(wanted.sum(axis=1), *((wanted & mark).sum(axis=1) for mark in marks))
            wanted &= (gate(shares, rule.settings) & over)[:, None]
            if wanted.any():
                result.failed[wanted] |= bit
                judged.found.append(Found(rule, found(find_runs(wanted), unjudged=~billed[:, None])))
        if pending.any():
            result.failed[pending] |= bit
            result.unjudged[pending] |= bit


def _doubts(result: Result, segment: Segment) -> tuple[Mask, Mask]:
    """Measured values with a warning, and those that a rule of severity error or blocking could not judge."""
    warning = error = np.uint64(0)
    for rule in segment.rules:
        if rule.severity is Severity.WARNING:
            warning |= rule.definition.bit
        elif rule.severity in (Severity.ERROR, Severity.BLOCKING):
            error |= rule.definition.bit
    valid = result.quality == QUALITY_CODE[Quality.VALID]
    return valid & ((result.failed & warning) != 0), valid & ((result.unjudged & error) != 0)


def _judge_filled(filled: Block, segment: Segment, rule: InForce, result: Result, judged: Judgement) -> None:
    if rule.definition.check is None:
        return
    findings = clipped(rule.definition.check(filled, rule.settings), segment.first, segment.after)
    bit, width = rule.definition.bit, filled.shape[1]
    here = np.zeros(width, dtype=np.bool_)
    here[segment.first : segment.after] = True
    judged_now = ~findings.unjudged & here if findings.unjudged.shape == filled.shape else np.zeros_like(filled.present)
    result.unjudged[judged_now] &= ~bit
    if not len(findings.runs.row):
        return
    judged.found.append(Found(rule, findings))
    cells = cells_of(findings.runs, width)
    result.failed.ravel()[cells] |= bit
    if rule.definition.effect(rule.severity) is Effect.SUSPECT:
        measured = cells[result.quality.ravel()[cells] == QUALITY_CODE[Quality.VALID]]
        result.quality.ravel()[measured] = QUALITY_CODE[Quality.SUSPECT]


def _judge_made(filled: Block, segment: Segment, rule: InForce, what: tuple[Result, Mask], judged: Judgement) -> None:
    result, made = what
    if rule.definition.check is None:
        return
    findings = clipped(rule.definition.check(filled, rule.settings), segment.first, segment.after)
    # Of measured values the same was found before.
    again = sums_of(made.astype(np.int64), findings.runs) > 0
    if not again.any():
        return
    runs = findings.runs.pick(again)
    judged.found.append(Found(rule, Findings(runs, findings.measured[again], findings.limit[again])))
    result.failed.ravel()[cells_of(runs, filled.shape[1])] |= rule.definition.bit


def _apply(block: Block, segment: Segment, rule: InForce, judged: Judgement) -> None:
    """Enter what one rule says of one segment into the judgement."""
    if rule.definition.check is None:
        return
    findings = clipped(rule.definition.check(block, rule.settings), segment.first, segment.after)
    bit = rule.definition.bit
    part = np.s_[:, segment.first : segment.after]
    unjudged = findings.unjudged if findings.unjudged.shape[1] == 1 else findings.unjudged[part]
    if unjudged.any():
        judged.unjudged[part] |= np.where(unjudged, bit, np.uint64(0))
    if not len(findings.runs.row):
        return
    judged.found.append(Found(rule, findings))
    cells = cells_of(findings.runs, block.shape[1])
    judged.failed.ravel()[cells] |= bit
    effect = rule.definition.effect(rule.severity)
    if effect is Effect.SUBSTITUTE:
        (judged.doubted if rule.definition.doubts else judged.rejected).ravel()[cells] = True
    elif effect is Effect.SUSPECT:
        judged.suspect.ravel()[cells] = True


def clipped(findings: Findings, first: int, after: int) -> Findings:
    """The findings within a range of intervals."""
    row, start, stop = findings.runs
    start, stop = np.maximum(start, first), np.minimum(stop, after)
    kept = stop > start
    runs = Runs(row[kept], start[kept], stop[kept])
    return Findings(runs, findings.measured[kept], findings.limit[kept], findings.unjudged)
