"""Time-of-use registers read less often than their total: what they say of the stretches of it that hold the gaps."""

import numpy as np

from validation.block import ABSENT, Block, Ints, Mask, Runs, sums_of
from validation.tou_shares import table_of


def with_links(block: Block, what: tuple[Ints, Ints], cells: tuple[Ints, Ints, Ints]) -> Block:
    """The block; where a register was read at both ends of several stretches, what it advanced in those of them that
    hold estimates.

    In one alone it is the advance over all of them less what is known of the register's intervals in the others. Of
    several stretches with estimates it is what meets the totals of all of them and every register, nearest to the
    estimates; where their registers were not all read there, or nothing meets all, it stays unknown.

    Args:
        block: The block.
        what: Matrix of what is known, 0 elsewhere; register that counts each interval, -1 for none.
        cells: Stretch, register and unscaled value, not negative, of each estimate that moves.
    """
    stretch = cells[0]
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
    count = np.searchsorted(holding, last, side="right") - one
    several, whole = whole & (count > 1), whole & (count == 1)
    tou = block.stretches.tou.copy()
    for number in range(tou.shape[1]):
        mine = np.flatnonzero(whole & (links.register == number))
        at = holding[one[mine]]
        counted = np.where(register == number, known, 0)
        rest = links.advance[mine] - sums_of(counted, links.span.pick(mine)) + sums_of(counted, span.pick(at))
        tou[at, number] = np.where((tou[at, number] == ABSENT) & (rest >= 0), rest, tou[at, number])
    for begin, end in {(int(first[one]), int(last[one])) for one in np.flatnonzero(several)}:
        mine = np.flatnonzero(several & (first == begin) & (last == end))
        _share(block, what, cells, (holding[(holding >= begin) & (holding <= end)], mine), tou)
    return block._replace(stretches=block.stretches._replace(tou=tou))


def _share(
    block: Block, what: tuple[Ints, Ints], cells: tuple[Ints, Ints, Ints], which: tuple[Ints, Ints], tou: Ints
) -> None:
    """Write what registers advanced in each of several stretches, in place.

    Args:
        block: The block.
        what: As in `with_links`.
        cells: As there.
        which: The stretches that hold estimates; the links over all of them, one a register.
        tou: Advances by stretch and register.
    """
    (known, register), (held, links) = what, which
    number, reach = block.tou_links.register[links], block.tou_links.span.pick(links)
    support, weight = _cells_of(cells, held, tou.shape[1])
    others = np.ones(support.shape[1], dtype=np.bool_)
    others[number] = False
    # An estimate of no register, or of one that was not read there, may have taken anything.
    if support[:, others].any() or (tou[held] != ABSENT).any():
        return
    span = block.stretches.span.pick(held)
    parts = np.stack([sums_of(np.where(register == one, known, 0), span) for one in number], axis=1)
    rows = block.stretches.advance[held] - sums_of(known, span)
    rest = block.tou_links.advance[links] - _counted(known, register, number, reach)
    slack = int(block.master.resolution[span.row[0]]) * len(links)
    if (rows < 0).any() or (rest < 0).any() or abs(int(rest.sum() - rows.sum())) > slack:
        return
    # Registers that differ from the total within their resolution share it, so that the total is still met.
    before = np.cumsum(rest)
    due = np.diff([int(one) * int(rows.sum()) // max(int(rest.sum()), 1) for one in before], prepend=0)
    if rows.sum() and not rest.sum():
        return
    table = table_of(weight[:, number], support[:, number], rows, due)
    if table is not None:
        tou[held[:, None], number] = parts + table


def _cells_of(cells: tuple[Ints, Ints, Ints], held: Ints, registers: int) -> tuple[Mask, Ints]:
    """By stretch and register (the last column: of none) whether there are estimates, and their sum."""
    stretch, register, value = cells
    mine = np.isin(stretch, held)
    at = np.searchsorted(held, stretch[mine]), np.where(register[mine] < 0, registers, register[mine])
    shape = len(held), registers + 1
    support, weight = np.zeros(shape, dtype=np.bool_), np.zeros(shape, dtype=np.int64)
    support[at] = True
    np.add.at(weight, at, value[mine])
    return support, weight


def _counted(known: Ints, register: Ints, number: Ints, reach: Runs) -> Ints:
    """What is known of the intervals of each link's register within the link."""
    each = [
        sums_of(np.where(register == one, known, 0), reach.pick(np.array([at])))[0] for at, one in enumerate(number)
    ]
    return np.array(each, dtype=np.int64)
