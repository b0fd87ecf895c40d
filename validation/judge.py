"""Every rule over a block: bits, and what becomes of the values that fail."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from schemas.codes import Severity
from validation.block import Bits, Block, Mask, cells_of
from validation.rules.definition import Definition, Effect, Findings, Settings


class InForce(NamedTuple):
    """A rule as it is in force for a block: its definition, severity and thresholds."""

    definition: Definition
    severity: Severity
    settings: Settings


class Found(NamedTuple):
    """Findings of one rule in force."""

    rule: InForce
    findings: Findings


class Judgement(NamedTuple):
    """What the rules say of a block's received values."""

    failed: Bits
    """(series, intervals)"""
    unjudged: Bits
    """(series, intervals)"""
    rejected: Mask
    """The value is not used: a substitute takes its place."""
    suspect: Mask
    """The value is kept, and doubted."""
    found: tuple[Found, ...]


def judge(block: Block, rules: Sequence[InForce]) -> Judgement:
    """Run the rules in force over a block.

    A bit is set only on cells with a received value; a rule leaves no bit on channels that it does not concern.
    """
    shape = block.shape
    failed = np.zeros(shape, dtype=np.uint64)
    unjudged = np.zeros(shape, dtype=np.uint64)
    lacking = np.zeros((shape[0], 1), dtype=np.uint64)
    rejected, suspect = np.zeros(shape, dtype=np.bool_), np.zeros(shape, dtype=np.bool_)
    found: list[Found] = []
    for rule in rules:
        check, bit = rule.definition.check, rule.definition.bit
        if check is None or block.channel not in rule.definition.channels:
            continue
        findings = check(block, rule.settings)
        if findings.unjudged.shape == shape:
            unjudged[findings.unjudged] |= bit
        else:
            lacking |= np.where(findings.unjudged, bit, np.uint64(0))
        if not len(findings.runs.row):
            continue
        found.append(Found(rule, findings))
        cells = cells_of(findings.runs, shape[1])
        failed.ravel()[cells] |= bit
        effect = rule.definition.effect(rule.severity)
        if effect is Effect.SUBSTITUTE:
            rejected.ravel()[cells] = True
        elif effect is Effect.SUSPECT:
            suspect.ravel()[cells] = True
    unjudged |= lacking
    return Judgement(failed, unjudged, rejected, suspect, tuple(found))
