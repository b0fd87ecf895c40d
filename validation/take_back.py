"""A judgement without values that turned out not to count: stuck ones, and those that a person replaced."""

from collections.abc import Sequence

import numpy as np

from validation.block import ABSENT, Block, Mask, Runs, fill_runs, sums_of
from validation.edit import Edited
from validation.judge import Found, Judgement, Segment
from validation.rules.definition import Effect, Findings
from validation.rules.sets import InForce


def without_edited(block: Block, segments: Sequence[Segment], judged: Judgement, edited: Edited | None) -> Judgement:
    """The judgement as if the values of which a person spoke had never come: his take their place."""
    if edited is None:
        return judged
    spoken = (edited.value != ABSENT) | edited.out
    span = block.stretches.span
    return take_back(segments, judged, spoken, span.pick(sums_of(spoken.astype(np.int64), span) > 0))


def take_back(segments: Sequence[Segment], judged: Judgement, gone: Mask, stretches: Runs) -> Judgement:
    """The judgement as if the values `gone` had never come: what was said of their stretches as a whole is open again.

    Good values in them are no longer suspect for those ones' sake; `judge_again` judges the filled stretches.
    """
    inside = fill_runs(stretches, gone.shape)
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
    return Judgement(failed, unjudged, judged.rejected | gone, judged.doubted, suspect, found)


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
