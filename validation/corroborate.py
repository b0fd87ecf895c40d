"""Doubtful values and their register: a value that only looks wrong is kept where the register says that it is right.

A spike may be a kettle or a fault. Between two usable reads the register knows: of the hypotheses "none is a fault",
"the largest is", "the two largest are" … the one that leaves the holes of the stretch closest to their estimates holds.
Without reads around it a doubtful value is replaced.
"""

import numpy as np

from validation.anchor import in_stretches
from validation.block import Block, Ints, Mask, sums_of
from validation.estimate import Estimates


def corroborated(block: Block, estimates: Estimates, known: Ints, doubted: Mask) -> Mask:
    """Which of the estimates stand for a doubtful value that the register confirms, one element an estimate.

    Args:
        block: The block, with the doubtful values as received.
        estimates: Unscaled estimates of every hole and of every doubtful value.
        known: Matrix of what is known without them, 0 elsewhere.
        doubted: Doubtful values.
    """
    kept = np.zeros(len(estimates.value), dtype=np.bool_)
    at, stretch = in_stretches(block, estimates, kept)
    doubt = doubted[estimates.row[at], estimates.slot[at]]
    if not doubt.any():
        return kept
    guess = np.maximum(estimates.value[at], 0)
    expected = np.zeros(len(block.stretches.advance), dtype=np.int64)
    np.add.at(expected, stretch, guess)
    # What the register leaves beyond the estimates if every doubtful value is a fault.
    surplus = block.stretches.advance - sums_of(known, block.stretches.span) - expected
    which, where = at[doubt], stretch[doubt]
    excess = block.value[estimates.row[which], estimates.slot[which]] - guess[doubt]
    # Smallest excess first: the first k of a stretch are kept, for the k that leaves the least.
    order = np.lexsort((excess, where))
    running = _running(excess[order], where[order])
    left = np.abs(surplus[where[order]] - running)
    best = np.abs(surplus)
    np.minimum.at(best, where[order], left)
    reached = left == best[where[order]]
    last = np.full(len(best), -1, dtype=np.int64)
    np.maximum.at(last, where[order][reached], np.flatnonzero(reached))
    # What is kept must fit under the advance, within the tolerance of the sum check.
    room = surplus + expected + 2 * block.master.resolution[block.stretches.span.row]
    fits = _running((excess + guess[doubt])[order], where[order]) <= room[where[order]]
    kept[which[order]] = (np.arange(len(order)) <= last[where[order]]) & fits
    return kept


def _running(value: Ints, owner: Ints) -> Ints:
    """Running sum of the values of each owner; owners are contiguous."""
    total = np.cumsum(value)
    first = np.flatnonzero(np.append(True, owner[1:] != owner[:-1]))
    size = np.diff(np.append(first, len(owner)))
    return total - np.repeat(total[first] - value[first], size)
