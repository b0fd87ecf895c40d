"""Edits of persons: rows of EDITS laid over a block, in the order in which they were made.

`set` gives a value, `scale` multiplies, `accept` confirms what is there; such a value is `edited`, method `manual`, and
ranks above any measured one. `reject` and `re_estimate` take a value out: it is estimated anew. `shift` moves the
values of a span by thousandths of a second: they take the place of what is where they come to; what they leave is
estimated anew, and so is what a hole among them comes to. Which edits another
person has to approve: `validation.four_eyes`.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from schemas.codes import EditAction
from validation.block import ABSENT, Block, Ints, Mask, Runs
from validation.desk import Instruction
from validation.rules.definition import Findings, found

UNITY: Final = 1000
MOST: Final = 10**15
"""No interval holds more energy, in thousandths: a value beyond it is a slip of the hand."""
_OUT: Final = (EditAction.REJECT, EditAction.RE_ESTIMATE)
_OF_ESTIMATES: Final = (EditAction.SCALE, EditAction.ACCEPT)
"""They speak of an estimate as well, where there is no measured value."""
Authors = npt.NDArray[np.int32]


class Edited(NamedTuple):
    """What persons say about a block; matrices (series, intervals)."""

    value: Ints
    """The value that a person decided on; ABSENT where none did."""
    out: Mask
    """A person took the value out."""
    author: Authors
    """Position in `Desk.authors`, -1 where no person spoke."""
    accepted: Mask
    """A person accepted the value as it was."""
    later: tuple[Instruction, ...]
    """To be applied in their order to estimates, where there is no measured value; `series` is the row of the block."""
    refused: Findings
    """Edits that were not applied: with their change of energy and the limit where that was the reason, with the value
    where it would have been moved to where the series has none."""


class Refusal(NamedTuple):
    """An edit that lacks the approval of another person than its author."""

    instruction: Instruction
    change: int
    limit: int


def apply_edits(block: Block, mine: Sequence[Instruction], refused: Sequence[Refusal] = ()) -> Edited | None:
    """The edits of a block; None where no person spoke of it.

    Args:
        block: The block, with its values as received.
        mine: Its edits, in the order in which they were made; `series` is the row of the block.
        refused: Edits of it that are not to be applied.
    """
    if not mine and not refused:
        return None
    laid = _Laid(block, refused)
    for one in mine:
        laid.lay(one)
    return laid.edited()


def reach(one: Instruction, width: int, step_s: int) -> Ints:
    """The intervals that an edit may change, of a series of `width`."""
    source = np.arange(one.start, one.stop)
    if one.action is not EditAction.SHIFT or one.value is None:
        return source
    target = source + one.value // (step_s * 1000)
    return np.union1d(source, target[(target >= 0) & (target < width)])


class _Laid:
    """Edits laid over a block, one after the other."""

    def __init__(self, block: Block, refused: Sequence[Refusal]) -> None:
        self._block = block
        self._value = np.full(block.shape, ABSENT)
        self._out = np.zeros(block.shape, dtype=np.bool_)
        self._accepted = np.zeros(block.shape, dtype=np.bool_)
        self._author = np.full(block.shape, -1, dtype=np.int32)
        self._later: tuple[Instruction, ...] = ()
        self._refused = [(*which[:3], change, limit) for which, change, limit in refused]

    def lay(self, one: Instruction) -> None:
        """Carry out one more."""
        row = one.series
        left = np.where(self._out[row], ABSENT, self._block.value[row])
        base = np.where(self._value[row] != ABSENT, self._value[row], left)
        wanted = _wanted(one, base, (self._block.expected | self._block.wanted)[row], self._block.step_s)
        if wanted is None:
            self._refused.append((row, one.start, one.stop, ABSENT, ABSENT))
            return
        self._refused += [(row, slot, slot + 1, base[slot], ABSENT) for slot in wanted.nowhere.tolist()]
        cut = row, wanted.slot
        self._author[cut] = one.author
        self._accepted[cut] = one.action is EditAction.ACCEPT
        self._value[cut] = wanted.value
        if one.action in _OF_ESTIMATES:
            # What was taken out stays so: it is the estimate that is scaled or accepted.
            self._out[cut] &= wanted.value == ABSENT
            self._later = (*self._later, one)
        else:
            self._out[cut] = wanted.value == ABSENT
            for start, stop in wanted.spans:
                self._later = _without(self._later, one._replace(start=start, stop=stop))

    def edited(self) -> Edited:
        """What has been laid."""
        runs = np.array(self._refused, dtype=np.int64).reshape(-1, 5)
        refused = found(Runs(runs[:, 0], runs[:, 1], runs[:, 2]), runs[:, 3], runs[:, 4])
        return Edited(self._value, self._out, self._author, self._accepted, self._later, refused)


def _without(later: tuple[Instruction, ...], one: Instruction) -> tuple[Instruction, ...]:
    """Instructions without what they say of the intervals of one that came after them and speaks for itself."""
    kept: list[Instruction] = []
    for old in later:
        if old.series != one.series:
            kept.append(old)
            continue
        parts = (old.start, min(old.stop, one.start)), (max(old.start, one.stop), old.stop)
        kept += [old._replace(start=start, stop=stop) for start, stop in parts if start < stop]
    return tuple(kept)


class _Wanted(NamedTuple):
    """What an edit makes of a series."""

    slot: Ints
    value: Ints
    """One a slot; ABSENT: it is estimated."""
    spans: tuple[tuple[int, int], ...]
    """The slots, as half-open runs."""
    nowhere: Ints
    """Slots whose value has no place to come to."""


def _wanted(one: Instruction, base: Ints, there: Mask, step_s: int) -> _Wanted | None:
    """What an edit makes of the values of its series, `base`; None if it cannot be carried out."""
    here = base[one.start : one.stop]
    if one.action in _OUT:
        value = np.full_like(here, ABSENT)
    elif one.action is EditAction.ACCEPT:
        value = here
    elif one.value is None:
        return None
    elif one.action is EditAction.SET:
        if abs(one.value) > MOST:
            return None
        value = np.full_like(here, one.value)
    elif one.action is EditAction.SCALE:
        known = np.where(here == ABSENT, 0, here)
        if not fits(known, one.value).all():
            return None
        value = np.where(here == ABSENT, ABSENT, scaled(known, one.value))
    else:
        return _shifted(one, base, there, one.value / (step_s * 1000))
    return _Wanted(np.arange(one.start, one.stop), value, ((one.start, one.stop),), np.empty(0, dtype=np.int64))


def _shifted(one: Instruction, base: Ints, there: Mask, by: float) -> _Wanted | None:
    """The values of a span moved by whole intervals, to where the series has any."""
    if not by.is_integer():
        return None
    steps, width = int(by), len(base)
    source = np.arange(one.start, one.stop)
    target = source + steps
    inside = (target >= 0) & (target < width)
    inside[inside] = there[target[inside]]
    after = base.copy()
    after[source] = ABSENT
    after[target[inside]] = base[source[inside]]
    slot = np.union1d(source, target[inside])
    spans = (one.start, one.stop), (max(one.start + steps, 0), min(one.stop + steps, width))
    return _Wanted(slot, after[slot], spans, source[~inside & (base[source] != ABSENT)])


def fits(value: Ints, thousandths: int) -> Mask:
    """Whether a value times a factor in thousandths is an energy at all."""
    fit: Mask = np.abs(value.astype(np.float64)) * abs(thousandths) <= float(MOST * UNITY)
    return fit


def scaled(value: Ints, thousandths: int) -> Ints:
    """Values times a factor in thousandths, rounded half up; they have to fit."""
    whole, rest = np.divmod(value, UNITY)
    product: Ints = whole * thousandths + (rest * thousandths + UNITY // 2) // UNITY
    return product

