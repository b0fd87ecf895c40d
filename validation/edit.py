"""Edits of persons: rows of EDITS laid over a block, in the order in which they were made.

`set` gives a value, `scale` multiplies, `accept` confirms what is there; such a value is `edited`, method `manual`, and
ranks above any measured one. `reject` and `re_estimate` take a value out: it is estimated anew. `shift` moves the
values of a span by thousandths of a second: they take the place of what is where they come to; what they leave is
estimated anew, and so is what a hole among them comes to. An edit that changes more energy than the limit needs the
approval of another person than its author.
"""

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from schemas.codes import EditAction
from validation.block import ABSENT, Block, Ints, Mask, Runs
from validation.desk import Desk, Instruction
from validation.rules.definition import Findings, found

UNITY: Final = 1000
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


def apply_edits(block: Block, numbers: Ints, desk: Desk, limit_milli: int) -> Edited | None:
    """The edits of a block; None where no person spoke of it.

    Args:
        block: The block, with its values as received.
        numbers: Series of its rows, consecutive.
        desk: The edits of the run.
        limit_milli: Change of energy above which another person than the author must have approved.
    """
    mine = [one for one in desk.instructions if numbers[0] <= one.series <= numbers[-1]]
    if not mine:
        return None
    laid = _Laid(block)
    for one in mine:
        laid.lay(one._replace(series=one.series - int(numbers[0])), limit_milli)
    return laid.edited()


class _Laid:
    """Edits laid over a block, one after the other."""

    def __init__(self, block: Block) -> None:
        self._block = block
        self._value = np.full(block.shape, ABSENT)
        self._out = np.zeros(block.shape, dtype=np.bool_)
        self._accepted = np.zeros(block.shape, dtype=np.bool_)
        self._author = np.full(block.shape, -1, dtype=np.int32)
        self._later: tuple[Instruction, ...] = ()
        self._refused: list[tuple[int, int, int, int, int]] = []

    def lay(self, one: Instruction, limit_milli: int) -> None:
        """Carry out one more; `series` is the row of the block."""
        row = one.series
        left = np.where(self._out[row], ABSENT, self._block.value[row])
        base = np.where(self._value[row] != ABSENT, self._value[row], left)
        wanted = _wanted(one, base, (self._block.expected | self._block.wanted)[row], self._block.step_s)
        if wanted is None:
            self._refused.append((row, one.start, one.stop, ABSENT, ABSENT))
            return
        change = _change(wanted.value, base[wanted.slot])
        if change > limit_milli and not one.approved:
            self._refused.append((row, one.start, one.stop, change, limit_milli))
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
        value = np.full_like(here, one.value)
    elif one.action is EditAction.SCALE:
        value = np.where(here == ABSENT, ABSENT, scaled(here, one.value))
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


def scaled(value: Ints, thousandths: int) -> Ints:
    """Values times a factor in thousandths, rounded half up."""
    whole, rest = np.divmod(value, UNITY)
    product: Ints = whole * thousandths + (rest * thousandths + UNITY // 2) // UNITY
    return product


def _change(wanted: Ints, before: Ints) -> int:
    both = (wanted != ABSENT) & (before != ABSENT)
    change = np.abs(np.where(both, wanted - np.where(both, before, 0), np.where(before == ABSENT, wanted, 0)))
    return int(np.where(wanted == ABSENT, 0, change).sum())
