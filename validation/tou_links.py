"""Time-of-use registers read less often than their total: what they say of a stretch of it that holds the gaps."""

import numpy as np

from validation.block import ABSENT, Block, Ints, sums_of


def with_links(block: Block, what: tuple[Ints, Ints], stretch: Ints) -> Block:
    """The block; where a register was read at both ends of several stretches, what it advanced in one of them.

    It is known where that stretch alone holds estimates: the advance over all of them less what is known of the
    register's intervals in the others.

    Args:
        block: The block.
        what: Matrix of what is known, 0 elsewhere; register that counts each interval, -1 for none.
        stretch: Stretch of each estimate that moves.
    """
    span, links = block.stretches.span, block.tou_links
    if not len(links.advance) or not len(span.row):
        return block
    known, register = what
    wide = block.shape[1] + 1
    begins, ends = span.row * wide + span.start, span.row * wide + span.stop
    first = np.minimum(np.searchsorted(begins, links.span.row * wide + links.span.start), len(begins) - 1)
    last = np.minimum(np.searchsorted(ends, links.span.row * wide + links.span.stop), len(ends) - 1)
    covered = np.append(0, np.cumsum(span.length))
    whole = (begins[first] == links.span.row * wide + links.span.start) & (last >= first)
    whole &= ends[last] == links.span.row * wide + links.span.stop
    whole &= covered[last + 1] - covered[first] == links.span.length
    holding = np.unique(stretch)
    one = np.searchsorted(holding, first)
    whole &= np.searchsorted(holding, last, side="right") - one == 1
    tou = block.stretches.tou.copy()
    for number in range(tou.shape[1]):
        mine = np.flatnonzero(whole & (links.register == number))
        at = holding[one[mine]]
        counted = np.where(register == number, known, 0)
        rest = links.advance[mine] - sums_of(counted, links.span.pick(mine)) + sums_of(counted, span.pick(at))
        tou[at, number] = np.where((tou[at, number] == ABSENT) & (rest >= 0), rest, tou[at, number])
    return block._replace(stretches=block.stretches._replace(tou=tou))
