"""Values that stood still while the register went on: a stretch that its flat values keep from its advance."""

from typing import Final

import numpy as np

from schemas.codes import RULE_BIT, Rule
from validation.block import Block, Ints, Mask, Runs, fill_runs, sums_of
from validation.judge import Judgement

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
