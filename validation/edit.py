"""Edits of persons: rows of EDITS laid over a block, in the order in which they were made.

`set` gives a value, `scale` multiplies, `shift` moves values in time, `accept` confirms what is there; such a value is
`edited`, method `manual`, and ranks above any measured one. `reject` and `re_estimate` take a value out: it is
estimated anew. An edit that changes more energy than the limit needs the approval of another person than its author.
"""

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from schemas.codes import EditAction
from validation.block import ABSENT, Block, Ints, Mask, Runs
from validation.fleet import Fleet
from validation.place import Layout, installation_of

UNITY: Final = 1000
_OUT: Final = (EditAction.REJECT, EditAction.RE_ESTIMATE)
Authors = npt.NDArray[np.int32]


class Instruction(NamedTuple):
    """One edit of one series, on its grid."""

    series: int
    start: int
    stop: int
    action: EditAction
    value: int | None
    author: int
    approved: bool
    """Another person than the author approved it."""


class Desk(NamedTuple):
    """The instructions of a run, by series and then in the order in which they were made."""

    instructions: tuple[Instruction, ...]
    authors: tuple[str, ...]


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
    """To be applied to estimates, where there is no measured value."""
    refused: Runs
    """Edits that were not applied."""


def lay_desk(edits: pl.DataFrame, fleet: Fleet, layout: Layout) -> Desk:
    """The edits of a run on the grids of their series; those of no series are left out."""
    if not edits.height:
        return Desk((), ())
    rows = edits.unique().sort("made_at", "edit_id")
    install = installation_of(rows, fleet, "from")
    series = np.where(install >= 0, layout.of[install, rows["channel"].to_physical().to_numpy()], -1)
    authors = tuple(rows["author"].unique().sort().to_list())
    number = {name: at for at, name in enumerate(authors)}
    approved = rows.select((pl.col("approved_by") != pl.col("author")).fill_null(value=False)).to_series()
    instructions = []
    columns = (rows[name].to_list() for name in ("action", "value_milli", "author"))
    start, stop = (rows[name].to_physical().to_numpy() for name in ("from", "to"))
    for at, (action, value, author) in enumerate(zip(*columns, strict=True)):
        if series[at] < 0:
            continue
        group = fleet.groups[layout.group[series[at]]]
        first, after = int(group.slot_from(start[at])), int(group.slot_from(stop[at]))
        first, after = max(first, 0), min(after, group.slots)
        if first < after:
            kind = EditAction(action)
            instructions.append(
                Instruction(int(series[at]), first, after, kind, value, number[author], bool(approved[at]))
            )
    return Desk(tuple(sorted(instructions, key=lambda one: one.series)), authors)


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
    value = np.full(block.shape, ABSENT)
    out = np.zeros(block.shape, dtype=np.bool_)
    accepted = np.zeros(block.shape, dtype=np.bool_)
    author = np.full(block.shape, -1, dtype=np.int32)
    later: list[Instruction] = []
    refused: list[tuple[int, int, int]] = []
    for one in mine:
        row = one.series - int(numbers[0])
        cut = np.s_[row, one.start : one.stop]
        base = np.where(value[row] == ABSENT, block.value[row], value[row])
        wanted = _wanted(one, base, block.step_s)
        if wanted is None or (_change(wanted, base[one.start : one.stop]) > limit_milli and not one.approved):
            refused.append((row, one.start, one.stop))
            continue
        author[cut] = one.author
        out[cut] = one.action in _OUT
        accepted[cut] = one.action is EditAction.ACCEPT
        value[cut] = wanted
        if one.action in (EditAction.SCALE, EditAction.ACCEPT):
            later.append(one._replace(series=row))
    runs = np.array(refused, dtype=np.int64).reshape(-1, 3)
    return Edited(value, out, author, accepted, tuple(later), Runs(runs[:, 0], runs[:, 1], runs[:, 2]))


def _wanted(one: Instruction, base: Ints, step_s: int) -> Ints | None:
    """What an edit makes of the values of its series, `base`, within its bounds; None if it cannot be carried out."""
    here = base[one.start : one.stop]
    if one.action in _OUT:
        return np.full_like(here, ABSENT)
    if one.action is EditAction.ACCEPT:
        return here
    if one.value is None:
        return None
    if one.action is EditAction.SET:
        return np.full_like(here, one.value)
    if one.action is EditAction.SCALE:
        return np.where(here == ABSENT, ABSENT, scaled(here, one.value))
    steps, rest = divmod(one.value, step_s * 1000)
    at = np.arange(one.start, one.stop) - steps
    if rest or at[0] < 0 or at[-1] >= len(base):
        return None
    return base[at]


def scaled(value: Ints, thousandths: int) -> Ints:
    """Values times a factor in thousandths, rounded half up."""
    whole, rest = np.divmod(value, UNITY)
    product: Ints = whole * thousandths + (rest * thousandths + UNITY // 2) // UNITY
    return product


def _change(wanted: Ints, before: Ints) -> int:
    both = (wanted != ABSENT) & (before != ABSENT)
    change = np.abs(np.where(both, wanted - np.where(both, before, 0), np.where(before == ABSENT, wanted, 0)))
    return int(np.where(wanted == ABSENT, 0, change).sum())
