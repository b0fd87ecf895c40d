"""Estimates scaled to the register (E10): each stretch between consecutive usable reads by itself, exact to 1 mWh."""

from typing import NamedTuple

import numpy as np
import polars as pl

from schemas.codes import Method
from validation.block import ABSENT, Block, Ints, Mask, sums_of
from validation.estimate import METHOD_CODE, NO_METHOD, Estimates


class Anchored(NamedTuple):
    """Estimates after anchoring, and what became of each stretch that holds one.

    `zero_profile` and `negative` are positions in the block's stretches; `settled` are those whose sum now meets the
    register, so that V6 is judged there after all.
    """

    estimates: Estimates
    settled: Ints
    zero_profile: Ints
    negative: Ints
    known: Ints
    """Sum of the measured values of each stretch of the block."""


def anchor(block: Block, estimates: Estimates, known: Ints) -> Anchored:
    """Move the estimates of every stretch so that its sum meets the register's advance.

    Args:
        block: The block; its stretches are disjoint and sorted.
        estimates: Unscaled estimates; ABSENT ones share a stretch's remainder with the others as zeros.
        known: Matrix of what is known: measured values and zeros under an outage, 0 elsewhere.

    Only estimates move. With a register coarser than 1 they move no further than into advance ± resolution. A
    negative remainder leaves them as they are.
    """
    span = block.stretches.span
    width = block.shape[1]
    total = sums_of(known, span)
    cell = estimates.row * width + estimates.slot
    begins = span.row * width + span.start
    at = np.searchsorted(begins, cell, side="right") - 1
    inside = (
        (at >= 0) & (cell < (span.row * width + span.stop)[np.maximum(at, 0)]) if len(at) and len(begins) else at < -1
    )
    which = np.flatnonzero(inside)
    stretch, first, size = np.unique(at[which], return_index=True, return_counts=True)
    shape = np.where(estimates.value[which] == ABSENT, 0, np.maximum(estimates.value[which], 0))
    whole = np.add.reduceat(shape, first) if len(first) else first
    target, negative = _targets(block, stretch, whole, total)
    zero = (whole == 0) & (target > 0)
    owner = np.repeat(np.arange(len(stretch)), size)
    weight = np.where(zero[owner], 1, shape)
    due = _running_shares(weight, first, owner, target)
    moves = ~negative[owner]
    value, method = estimates.value.copy(), estimates.method.copy()
    value[which[moves]] = due[moves]
    unknown = moves & (method[which] == NO_METHOD)
    method[which[unknown]] = METHOD_CODE[Method.FLAT]
    return Anchored(
        estimates._replace(value=value, method=method), stretch[~negative], stretch[zero], stretch[negative], total
    )


def _targets(block: Block, stretch: Ints, whole: Ints, total: Ints) -> tuple[Ints, Mask]:
    """What the estimates of each stretch shall sum to, and where not even zero is little enough."""
    remainder = block.stretches.advance[stretch] - total[stretch]
    resolution = block.master.resolution[block.stretches.span.row[stretch]]
    slack = np.where(resolution > 1, resolution, 0)
    low, high = np.maximum(remainder - slack, 0), remainder + slack
    return np.clip(whole, low, np.maximum(high, low)), high < 0


def _running_shares(weight: Ints, first: Ints, owner: Ints, target: Ints) -> Ints:
    """Shares of each stretch's target by weight: `due = so_far × target // whole`, then differences.

    The running sum hits the target exactly and no share is negative. The product needs 128 bits.
    """
    running = np.cumsum(weight)
    before = np.where(first > 0, running[first - 1], 0) if len(first) else first
    so_far = running - before[owner] if len(owner) else running
    last = np.append(first[1:], len(weight)) - 1 if len(first) else first
    whole = running[last] - before if len(first) else first
    due = (
        pl.DataFrame({"so_far": so_far, "target": target[owner], "whole": np.maximum(whole, 1)[owner]})
        .select((pl.col("so_far").cast(pl.Int128) * pl.col("target") // pl.col("whole")).cast(pl.Int64))
        .to_series()
        .to_numpy()
    )
    step = np.diff(due, prepend=0)
    step[first] = due[first]
    return step
