"""One block from received to final values: judged, estimated, anchored, and judged again."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from schemas.codes import EditAction, Method, Quality, Rule, Severity
from validation.anchor import Anchored, anchor
from validation.block import ABSENT, Block, Ints, Mask, Runs, Stretches, find_runs, sums_of
from validation.corroborate import corroborated
from validation.edit import Authors, Edited, fits, scaled
from validation.estimate import METHOD_CODE, NO_METHOD, Estimates, estimate, forward
from validation.judge import Found, Judgement, Segment, judge, judge_again, judge_billing
from validation.leaps import without_leaps
from validation.long_intervals import find_long, spread
from validation.params import VeeParams
from validation.periods import periods_of
from validation.rules.definition import Findings, found
from validation.sheet import QUALITY_CODE, Result
from validation.stuck import stuck_values
from validation.take_back import take_back, without_edited
from validation.tou import registers_of

FINDING_SEVERITY: Final = {
    Rule.ANCHOR_ZERO_PROFILE: Severity.WARNING,
    Rule.ANCHOR_NEGATIVE_REMAINDER: Severity.BLOCKING,
    Rule.NO_ESTIMATE: Severity.BLOCKING,
    Rule.EDIT_NOT_APPLIED: Severity.BLOCKING,
    Rule.ESTIMATION_WAITS: Severity.INFO,
}
"""Findings of estimation and editing, which have no bit."""


class Repaired(NamedTuple):
    """A block's finals, and everything found on the way."""

    result: Result
    found: tuple[Found, ...]
    other: tuple[tuple[Rule, Findings], ...]
    """Findings of estimation and editing."""
    workings: "Workings"


class Workings(NamedTuple):
    """What the estimates of a block came from, for those who ask (`validation.workings`)."""

    block: Block
    gaps: Mask
    serving: Mask
    known: Ints
    draft: Estimates
    """Before they met the registers."""
    anchored: Anchored
    fixed: Mask
    """One an estimate: it is a part of a long interval's value."""


class _Kinds(NamedTuple):
    """What each cell is before estimation; disjoint masks (series, intervals)."""

    measured: Mask
    edited: Mask
    dark: Mask
    gaps: Mask


def repair(block: Block, segments: Sequence[Segment], edited: Edited | None, params: VeeParams) -> Repaired:
    """Judge a block's values, lay the edits over them, replace what is missing or rejected, and judge the result."""
    block = without_leaps(block, segments)
    judged, (block, waiting) = judge(block, segments), _waited_for(block, edited)
    kinds, value = _kinds(block, judged, edited)
    judged = without_edited(block, segments, judged, edited)
    kinds = _reopened(block, kinds, value)
    kinds, judged = _unstuck(block, segments, judged, (kinds, value))
    serving = kinds.measured & ~judged.suspect & ~block.supply.touched & ~block.supply.restored
    long = find_long(block, kinds.measured, kinds.gaps)
    kinds = kinds._replace(measured=kinds.measured & ~long.cells, gaps=kinds.gaps | long.cells)
    known = np.where(kinds.measured | kinds.edited, value, 0)
    estimates = estimate(block, kinds.gaps, serving & ~long.cells, known, params)
    if judged.doubted.any():
        kept = corroborated(block, estimates, known, judged.doubted & kinds.gaps)
        if kept.any():
            kinds, known = _restored(kinds, known, (block, estimates, kept))
            serving |= kinds.measured & judged.doubted & ~block.supply.touched & ~block.supply.restored
            estimates = estimate(block, kinds.gaps, serving & ~long.cells, known, params)
    estimates, fixed = spread(block, long, estimates)
    anchored, draft = _met(block, (estimates, known, fixed), kinds.measured, params), estimates
    result = _assemble(block, judged, kinds, anchored)
    result, unmet = _by_hand(result, kinds, value, edited)
    judge_again(block, result, segments, judged)
    made = _made(result, anchored, fixed, edited)
    judge_billing(block, result, segments, judged, (periods_of(block, params), made))
    other = (*_findings(block, anchored), *_not_applied(edited, unmet & ~waiting), *_waits(waiting))
    behind = Workings(block, kinds.gaps, serving & ~long.cells, known, draft, anchored, fixed)
    return Repaired(result, tuple(judged.found), other, behind)


def _met(block: Block, what: tuple[Estimates, Ints, Mask], measured: Mask, params: VeeParams) -> Anchored:
    """Estimates, what is known and what is fixed: moved to the registers; what lies beyond all of them is `forward`."""
    estimates, known, fixed = what
    anchored = anchor(block, estimates, known, fixed, registers_of(block, params.tou))
    return anchored._replace(estimates=forward(block, anchored.estimates, measured, anchored.moved | fixed))


def _waits(waiting: Mask) -> tuple[tuple[Rule, Findings], ...]:
    return ((Rule.ESTIMATION_WAITS, found(find_runs(waiting))),) if waiting.any() else ()


def _made(result: Result, anchored: Anchored, fixed: Mask, edited: Edited | None) -> tuple[Mask, Mask]:
    """Values that a person only accepted, and estimates that met no register."""
    edit = result.quality == QUALITY_CODE[Quality.EDITED]
    accepted = edit & (np.zeros((1, 1), dtype=np.bool_) if edited is None else edited.accepted)
    loose = ~(anchored.moved | fixed)
    unscaled = np.zeros(edit.shape, dtype=np.bool_)
    unscaled[anchored.estimates.row[loose], anchored.estimates.slot[loose]] = True
    return accepted, unscaled & (result.quality == QUALITY_CODE[Quality.ESTIMATED])


def _waited_for(block: Block, edited: Edited | None) -> tuple[Block, Mask]:
    """The cells that estimation waits for, and the block without the stretches that hold one: their rest is unknown."""
    if not block.waiting.any():
        return block, block.waiting
    waiting = block.waiting & block.expected & ~block.present & ~block.supply.out
    if edited is not None:
        waiting = waiting & (edited.value == ABSENT)
    whole = sums_of(waiting.astype(np.int64), block.stretches.span) == 0
    kept = Stretches(block.stretches.span.pick(whole), *(part[whole] for part in block.stretches[1:]))
    return block._replace(waiting=waiting, stretches=kept), waiting


def _kinds(block: Block, judged: Judgement, edited: Edited | None) -> tuple[_Kinds, Ints]:
    """What each cell is, and its value where it has one before estimation."""
    measured = block.present & ~judged.rejected
    by_hand = np.zeros((1, 1), dtype=np.bool_)
    value = block.value
    if edited is not None:
        by_hand = edited.value != ABSENT
        measured = measured & ~edited.out & ~by_hand
        value = np.where(by_hand, edited.value, value)
    open_cells = block.expected & ~measured & ~by_hand & ~block.waiting
    dark = open_cells & block.supply.out
    if block.supply.out.any():
        # A zero measured under an outage is a true zero of that outage.
        zero = measured & (value == 0) & block.supply.out
        measured, dark = measured & ~zero, dark | zero
    return _Kinds(measured, np.broadcast_to(by_hand, block.shape), dark, open_cells & ~dark), value


def _reopened(block: Block, kinds: _Kinds, value: Ints) -> _Kinds:
    """Missing intervals under an outage that the register contradicts are gaps again.

    An incident reaches every meter below its node; one that had supply all the while shows it by its register.
    """
    supposed = kinds.dark & ~block.present
    if not supposed.any() or not len(block.stretches.advance):
        return kinds
    span, advance = block.stretches.span, block.stretches.advance
    total = sums_of(np.where(kinds.measured | kinds.edited, value, 0), span)
    holes = sums_of(kinds.gaps.astype(np.int64), span)
    supposed_in = sums_of(supposed.astype(np.int64), span)
    contradicted = (holes == 0) & (supposed_in > 0) & (advance - total > 2 * block.master.resolution[span.row])
    reopened = np.zeros(block.shape, dtype=np.bool_)
    for row, start, stop in zip(*span.pick(contradicted), strict=True):
        reopened[row, start:stop] = supposed[row, start:stop]
    return kinds._replace(dark=kinds.dark & ~reopened, gaps=kinds.gaps | reopened)


def _unstuck(
    block: Block, segments: Sequence[Segment], judged: Judgement, what: tuple[_Kinds, Ints]
) -> tuple[_Kinds, Judgement]:
    """Flat values that the register contradicts are gaps, and the good values beside them are not suspect for it."""
    kinds, value = what
    known = np.where(kinds.measured | kinds.edited, value, 0)
    stuck, stretches = stuck_values(block, judged, kinds.measured, kinds.gaps, known)
    if not stuck.any():
        return kinds, judged
    kinds = kinds._replace(measured=kinds.measured & ~stuck, gaps=kinds.gaps | stuck)
    return kinds, take_back(segments, judged, stuck, stretches)


def _restored(kinds: _Kinds, known: Ints, what: tuple[Block, Estimates, Mask]) -> tuple[_Kinds, Ints]:
    """The doubtful values that a register confirmed are measured values after all."""
    block, estimates, kept = what
    cell = estimates.row[kept], estimates.slot[kept]
    measured, gaps = kinds.measured.copy(), kinds.gaps.copy()
    measured[cell], gaps[cell] = True, False
    known[cell] = block.value[cell]
    return kinds._replace(measured=measured, gaps=gaps), known


def _assemble(block: Block, judged: Judgement, kinds: _Kinds, anchored: Anchored) -> Result:
    quality = np.full(block.shape, QUALITY_CODE[Quality.MISSING], dtype=np.uint8)
    quality[kinds.measured] = QUALITY_CODE[Quality.VALID]
    quality[kinds.measured & judged.suspect] = QUALITY_CODE[Quality.SUSPECT]
    quality[kinds.dark] = QUALITY_CODE[Quality.OUTAGE]
    quality[kinds.edited] = QUALITY_CODE[Quality.EDITED]
    method = np.full(block.shape, NO_METHOD, dtype=np.uint8)
    method[kinds.dark] = METHOD_CODE[Method.ZERO]
    method[kinds.edited] = METHOD_CODE[Method.MANUAL]
    value = np.where(kinds.measured, block.value, ABSENT)
    value[kinds.dark] = 0
    row, slot, estimated, how = anchored.estimates
    given = estimated != ABSENT
    cell = row[given], slot[given]
    value[cell], method[cell] = estimated[given], how[given]
    quality[cell] = QUALITY_CODE[Quality.ESTIMATED]
    author: Authors = np.full((1, 1), -1, dtype=np.int32)
    return Result(value, quality, method, judged.failed, judged.unjudged, author)


def _by_hand(result: Result, kinds: _Kinds, value: Ints, edited: Edited | None) -> tuple[Result, Mask]:
    """The result with what persons decided, and where they spoke of an estimate and there is none."""
    if edited is None:
        return result, np.zeros((1, 1), dtype=np.bool_)
    result.value[kinds.edited] = value[kinds.edited]
    return result._replace(author=edited.author), _edit_estimates(result, edited)


def _edit_estimates(result: Result, edited: Edited) -> Mask:
    """Carry out what a person said about intervals that had no measured value: scale or accept the estimate.

    Returns:
        Where there was none either, or it became no energy at all.
    """
    unmet = np.zeros(result.value.shape, dtype=np.bool_)
    missing = result.quality == QUALITY_CODE[Quality.MISSING]
    estimated = result.quality == QUALITY_CODE[Quality.ESTIMATED]
    for one in edited.later:
        cut = np.s_[one.series, one.start : one.stop]
        mine = estimated[cut]
        unmet[cut] |= missing[cut]
        if one.action is EditAction.SCALE and one.value is not None:
            known = np.where(mine, result.value[cut], 0)
            fit = fits(known, one.value)
            unmet[cut] |= mine & ~fit
            mine = mine & fit
            result.value[cut][mine] = scaled(np.where(mine, known, 0), one.value)[mine]
        result.quality[cut][mine] = QUALITY_CODE[Quality.EDITED]
        result.method[cut][mine] = METHOD_CODE[Method.MANUAL]
    return unmet


def _not_applied(edited: Edited | None, unmet: Mask) -> tuple[tuple[Rule, Findings], ...]:
    told = [] if edited is None else [edited.refused, found(find_runs(unmet))]
    return tuple((Rule.EDIT_NOT_APPLIED, one) for one in told if len(one.runs.row))


def _findings(block: Block, anchored: Anchored) -> tuple[tuple[Rule, Findings], ...]:
    span, advance = block.stretches.span, block.stretches.advance
    other: list[tuple[Rule, Findings]] = []
    for rule, which in (
        (Rule.ANCHOR_ZERO_PROFILE, anchored.zero_profile),
        (Rule.ANCHOR_NEGATIVE_REMAINDER, anchored.negative),
    ):
        if len(which):
            runs = Runs(span.row[which], span.start[which], span.stop[which])
            other.append((rule, found(runs, anchored.known[which], advance[which])))
    if len(anchored.overrun.stretch):
        which, known, moved = anchored.overrun
        other.append((Rule.ANCHOR_NEGATIVE_REMAINDER, found(span.pick(which), known, moved)))
    lost = _lost(block, anchored.estimates)
    if len(lost.row):
        other.append((Rule.NO_ESTIMATE, found(lost)))
    return tuple(other)


def _lost(block: Block, estimates: Estimates) -> Runs:
    """Gaps of which nothing at all is known."""
    lost = estimates.value == ABSENT
    mask = np.zeros(block.shape, dtype=np.bool_)
    mask[estimates.row[lost], estimates.slot[lost]] = True
    return find_runs(mask)
