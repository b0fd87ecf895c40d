"""Values that stood still while the register went on: a stretch that its flat values keep from its advance."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from schemas.codes import RULE_BIT, Rule
from validation.block import Block, Ints, Mask, Runs, fill_runs, sums_of
from validation.judge import Found, Judgement, Segment
from validation.rules.definition import Effect, Findings
from validation.rules.sets import InForce

_FLAT_BIT: Final = np.uint64(1) << np.uint64(RULE_BIT[Rule.FLAT_LINE])
_TOLERANCE_RESOLUTIONS: Final = 2
"""How far intervals may be from their register before it contradicts them: the tolerance of V6."""


def stuck_values(block: Block, judged: Judgement, measured: Mask, gaps: Mask, known: Ints) -> tuple[Mask, Runs]:
    """The measured values that failed V17 in stretches without a hole that miss their advance, and those stretches.

    A flat load is true where its register agrees; a stretch whose other values alone are more than its advance has
    another fault, and keeps its values.

    Args:
        block: The block.
        judged: What the rules said.
        measured: Values that are used as they were received.
        gaps: Cells to estimate.
        known: Measured and edited values and zeros under an outage, 0 elsewhere.
    """
    span, advance = block.stretches.span, block.stretches.advance
    flat = measured & ((judged.failed & _FLAT_BIT) != 0)
    if not flat.any() or not len(advance):
        return np.zeros(block.shape, dtype=np.bool_), span.pick(np.zeros(len(advance), dtype=np.bool_))
    total, still = sums_of(known, span), sums_of(np.where(flat, known, 0), span)
    whole = sums_of(gaps.astype(np.int64), span) == 0
    missed = np.abs(total - advance) > _TOLERANCE_RESOLUTIONS * block.master.resolution[span.row]
    chosen = span.pick(whole & missed & (sums_of(flat.astype(np.int64), span) > 0) & (total - still <= advance))
    return flat & fill_runs(chosen, block.shape), chosen


def take_back(segments: Sequence[Segment], judged: Judgement, stuck: Mask, stretches: Runs) -> Judgement:
    """The judgement as if the stuck values had never come: what was said of their stretches as a whole is open again.

    Good values in them are no longer suspect for the stuck ones' sake; `judge_again` judges the filled stretches.
    """
    inside = fill_runs(stretches, stuck.shape)
    failed, unjudged, suspect = judged.failed.copy(), judged.unjudged.copy(), judged.suspect & ~inside
    for segment in segments:
        here = inside.copy()
        here[:, : segment.first] = False
        here[:, segment.after :] = False
        whole = _bits([rule for rule in segment.rules if rule.definition.whole])
        failed[here] &= ~whole
        unjudged[here] |= whole
        marking = [rule for rule in segment.rules if rule.definition.effect(rule.severity) is Effect.SUSPECT]
        suspect |= here & ((failed & _bits(marking)) != 0)
    found = [_outside(one, inside) if one.rule.definition.whole else one for one in judged.found]
    return Judgement(failed, unjudged, judged.rejected | stuck, judged.doubted, suspect, found)


def _bits(rules: Sequence[InForce]) -> np.uint64:
    bits = np.uint64(0)
    for rule in rules:
        bits |= rule.definition.bit
    return bits


def _outside(one: Found, inside: Mask) -> Found:
    """The findings of a rule about stretches, without those about the stretches that are open again."""
    runs, measured, limit, unjudged = one.findings
    kept = ~inside[runs.row, runs.start]
    return Found(one.rule, Findings(runs.pick(kept), measured[kept], limit[kept], unjudged))
