"""Estimates scaled to the register (E10): each stretch between consecutive usable reads by itself, exact to 1 mWh."""

from typing import Final, NamedTuple

import numpy as np
import polars as pl

from schemas.codes import Method
from validation.block import ABSENT, Block, Ints, Mask, sums_of
from validation.estimate import METHOD_CODE, NO_METHOD, Estimates
from validation.tou_links import with_links

WHOLE: Final = 4
"""Part of a stretch that is anchored to the total; 0 to 3 are its time-of-use registers."""
_PARTS: Final = 5


class Periods(NamedTuple):
    """Stretches in which a time-of-use register advanced by less than what is known of its intervals."""

    stretch: Ints
    known: Ints
    advance: Ints
    """Of the register."""


_NO_PERIODS: Final = Periods(*np.empty((3, 0), dtype=np.int64))


class Anchored(NamedTuple):
    """Estimates after anchoring, and what became of each stretch that holds one.

    `zero_profile` and `negative` are positions in the block's stretches.
    """

    estimates: Estimates
    zero_profile: Ints
    negative: Ints
    known: Ints
    """Sum of what is known in each stretch of the block."""
    moved: Mask
    """One element an estimate: it lies in an anchored stretch."""
    stretch: Ints
    """One an estimate: position in the block's stretches, -1 outside of them and where it is fixed."""
    part: Ints
    """One an estimate: the time-of-use register that it meets, 0 to 3, or `WHOLE`, the total."""
    due: Ints
    """One an estimate: what the estimates of its stretch and part were moved to sum to; ABSENT where they were not."""
    overrun: Periods
    """Where estimates met the total alone, because a period's register is contradicted."""


def anchor(block: Block, estimates: Estimates, known: Ints, fixed: Mask, register: Ints | None) -> Anchored:
    """Move the estimates of every stretch so that its sum meets the register's advance.

    Args:
        block: The block; its stretches are disjoint and sorted.
        estimates: Unscaled estimates; ABSENT ones share a stretch's remainder with the others as zeros.
        known: Matrix of what is known: measured and edited values and zeros under an outage, 0 elsewhere.
        fixed: Estimates that are known already and do not move, one element an estimate.
        register: Time-of-use register that counts each interval, -1 for none; None without a calendar.

    Only estimates move. With a register coarser than 1 they move no further than into advance ± resolution. A
    negative remainder leaves them as they are. Where time-of-use registers were read, agree with the total and leave
    no remainder without a gap, each period meets its own register.
    """
    known = known.copy()
    known[estimates.row[fixed], estimates.slot[fixed]] = estimates.value[fixed]
    total = sums_of(known, block.stretches.span)
    which, stretch = in_stretches(block, estimates, fixed)
    shape = np.where(estimates.value[which] == ABSENT, 0, np.maximum(estimates.value[which], 0))
    part = np.full(len(which), WHOLE)
    rest = np.full((len(total), _PARTS), ABSENT)
    rest[:, WHOLE] = block.stretches.advance - total
    overrun = _NO_PERIODS
    if register is not None and len(which):
        overrun = _by_register(
            with_links(block, (known, register), (stretch, register[estimates.slot[which]], shape)),
            (stretch, register[estimates.slot[which]], part),
            (known, register),
            rest,
        )
    key, owner = np.unique(stretch * _PARTS + part, return_inverse=True)
    at = key // _PARTS, key % _PARTS
    whole = np.zeros(len(key), dtype=np.int64)
    np.add.at(whole, owner, shape)
    target, negative = _targets(block, at[0], rest[at], whole)
    zero = (whole == 0) & (target > 0)
    share = running_shares(shape, owner, target)
    moves = ~negative[owner]
    value, method = estimates.value.copy(), estimates.method.copy()
    value[which[moves]] = share[moves]
    unknown = which[moves & (method[which] == NO_METHOD)]
    method[unknown] = METHOD_CODE[Method.FLAT]
    moved = np.zeros(len(value), dtype=np.bool_)
    moved[which[moves]] = True
    scaled = estimates._replace(value=value, method=method)
    of, meets, due = (np.full(len(value), none) for none in (-1, WHOLE, ABSENT))
    of[which], meets[which] = stretch, part
    due[which[moves]] = target[owner[moves]]
    return Anchored(scaled, np.unique(at[0][zero]), np.unique(at[0][negative]), total, moved, of, meets, due, overrun)


def in_stretches(block: Block, estimates: Estimates, fixed: Mask) -> tuple[Ints, Ints]:
    """Positions of the estimates that may move and lie in a stretch, and the stretch of each."""
    span, width = block.stretches.span, block.shape[1]
    cell = estimates.row * width + estimates.slot
    begins = span.row * width + span.start
    if not len(begins) or not len(cell):
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    at = np.searchsorted(begins, cell, side="right") - 1
    inside = (at >= 0) & (cell < (begins + span.length)[np.maximum(at, 0)]) & ~fixed
    return np.flatnonzero(inside), at[inside]


def _by_register(block: Block, cells: tuple[Ints, Ints, Ints], known: tuple[Ints, Ints], rest: Ints) -> Periods:
    """Split the stretches whose time-of-use registers can be met, in place: parts of cells, and rest of each part.

    Tells where they cannot, because a register says less than what is known beyond its resolution.
    """
    stretch, register, part = cells
    matrix, of_slot = known
    tou, advance = block.stretches.tou, block.stretches.advance
    count = (tou != ABSENT).sum(axis=1)
    total = np.where(tou == ABSENT, 0, tou).sum(axis=1)
    resolution = block.master.resolution[block.stretches.span.row]
    agree = (count > 0) & (np.abs(total - advance) <= resolution * count)
    # Registers that differ from the total within their resolution share its advance, so that the total is still met.
    due = running_shares(
        np.where(tou == ABSENT, 0, tou).ravel(), np.repeat(np.arange(len(advance)), tou.shape[1]), advance
    ).reshape(tou.shape)
    parts = np.stack(
        [sums_of(np.where(of_slot == number, matrix, 0), block.stretches.span) for number in range(WHOLE)], axis=1
    )
    remainder = due - parts
    having = np.zeros(remainder.shape, dtype=np.bool_)
    having[stretch[register >= 0], register[register >= 0]] = True
    stray = np.zeros(len(advance), dtype=np.bool_)
    stray[stretch[register < 0]] = True
    met = agree & ~stray & (remainder >= 0).all(axis=1) & ((remainder == 0) | having).all(axis=1)
    rest[met, :WHOLE] = remainder[met]
    split = met[stretch]
    part[split] = register[split]
    over = agree[:, None] & ~stray[:, None] & (tou != ABSENT) & (remainder < -2 * resolution[:, None])
    over &= np.isin(np.arange(len(advance)), stretch)[:, None]
    which, number = np.nonzero(over)
    return Periods(which, parts[which, number], tou[which, number])


def _targets(block: Block, stretch: Ints, remainder: Ints, whole: Ints) -> tuple[Ints, Mask]:
    """What the estimates of each part shall sum to, and where not even zero is little enough."""
    slack = block.master.slack[block.stretches.span.row[stretch]]
    low, high = np.maximum(remainder - slack, 0), remainder + slack
    return np.clip(whole, low, np.maximum(high, low)), high < 0


def running_shares(weight: Ints, owner: Ints, target: Ints) -> Ints:
    """Shares of each owner's target by weight: `due = so_far × target // whole`, then differences.

    Args:
        weight: One element a share, not negative; where all of an owner are 0 its shares are equal.
        owner: Position in `target` of each share.
        target: What the shares of an owner sum to, not negative.

    The running sum hits the target exactly and no share is negative. The product needs 128 bits.
    """
    if not len(weight):
        return weight
    order = np.argsort(owner, kind="stable")
    mine = owner[order]
    first = np.flatnonzero(np.append(True, mine[1:] != mine[:-1]))
    size = np.diff(np.append(first, len(mine)))
    heavy = np.add.reduceat(weight[order], first)
    even = np.repeat(heavy == 0, size)
    running = np.cumsum(np.where(even, 1, weight[order]))
    before = np.repeat(np.where(first > 0, running[first - 1], 0), size)
    whole = np.repeat(np.where(heavy == 0, size, heavy), size)
    due = (
        pl.DataFrame({"so_far": running - before, "target": target[mine], "whole": whole})
        .select((pl.col("so_far").cast(pl.Int128) * pl.col("target") // pl.col("whole")).cast(pl.Int64))
        .to_series()
        .to_numpy()
    )
    share = np.diff(due, prepend=0)
    share[first] = due[first]
    shares = np.empty_like(share)
    shares[order] = share
    return shares
