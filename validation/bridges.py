"""Runs of values that are long enough only with the holes in them: nobody can say whether they go on there."""

import numpy as np

from validation.block import Block, Ints, Mask, Runs, cells_of, fill_runs, find_runs


def over_holes(block: Block, part: Mask, least: int) -> Mask:
    """Cells of runs of equal values that hold a hole and last `least` intervals with it.

    Args:
        block: The block; a hole is an expected interval without a value.
        part: Cells that a run may hold; a value outside of it, or another one, ends a run. Not of holes.
        least: Intervals of the shortest run that counts.

    Returns:
        (series, intervals), or (1, 1) False where there is no such run.
    """
    none = np.zeros((1, 1), dtype=np.bool_)
    if not part.any():
        return none
    hole = block.expected & ~block.present
    if not hole.any():
        return none
    gaps, last = find_runs(hole), block.shape[1] - 1
    before, after = (np.clip(at, 0, last) for at in (gaps.start - 1, gaps.stop))
    row = gaps.row
    between = part[row, before] & part[row, after] & (block.value[row, before] == block.value[row, after])
    # Of real values hardly a row goes on.
    rows = np.unique(row[between])
    if not len(rows):
        return none
    runs, count = _runs(block.value[rows], part[rows], hole[rows])
    chosen = runs.pick((runs.length >= least) & (count < runs.length))
    mask = np.zeros(block.shape, dtype=np.bool_)
    mask.ravel()[cells_of(chosen._replace(row=rows[chosen.row]), block.shape[1])] = True
    return mask & part


def beside(open_runs: Mask, failed: Runs) -> Mask:
    """The same cells without those that fail as they are."""
    if not open_runs.any() or not len(failed.row):
        return open_runs
    return open_runs & ~fill_runs(failed, (open_runs.shape[0], open_runs.shape[1]))


def _runs(value: Ints, part: Mask, hole: Mask) -> tuple[Runs, Ints]:
    """Runs of equal values with the holes between them, and how many values each has."""
    width = value.shape[1]
    cell = np.flatnonzero(~hole)
    at, held, row = value.ravel()[cell], part.ravel()[cell], cell // width
    begins = np.ones(len(cell), dtype=np.bool_)
    begins[1:] = ~(held[1:] & held[:-1] & (at[1:] == at[:-1]) & (row[1:] == row[:-1]))
    first = np.flatnonzero(begins)
    stop = np.append(first[1:], len(cell))
    kept = held[first]
    first, stop = first[kept], stop[kept]
    return Runs(row[first], cell[first] % width, cell[stop - 1] % width + 1), stop - first
