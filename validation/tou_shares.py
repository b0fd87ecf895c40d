"""What each of several stretches took of each register, where only the sums of both are known: a table with margins.

The table follows the estimates as far as the margins let it (proportional fitting), in whole numbers that hit every
margin exactly.
"""

from collections import deque
from typing import Final

import numpy as np

from validation.block import Ints, Mask

_ROUNDS: Final = 100


def table_of(weight: Ints, support: Mask, rows: Ints, columns: Ints) -> Ints | None:
    """Non-negative whole numbers (rows, columns) with the sums given, 0 outside of the support.

    Args:
        weight: What the table shall be like, not negative.
        support: Where it may be anything but 0.
        rows: Sum of each row, not negative.
        columns: Sum of each column; together as much as the rows.

    Returns:
        None where no table has these sums.
    """
    table = _fitted(weight, support, rows, columns)
    for axis, sums in ((1, rows), (0, columns)):
        # What rounding left beyond a margin goes first; below it the last units are carried.
        total = table.sum(axis=axis)
        over = np.expand_dims(np.where(total > sums, sums / np.maximum(total, 1), 1.0), axis)
        table = np.floor(table * over).astype(np.int64)
    while (lacking := rows - table.sum(axis=1)).any():
        if not _carried(table, support, lacking, columns - table.sum(axis=0)):
            return None
    return table


def _fitted(weight: Ints, support: Mask, rows: Ints, columns: Ints) -> Ints:
    """Proportional fitting, rounded down."""
    # A period of which nothing was estimated shares by its place alone.
    fitted = np.where(support, np.maximum(weight, 1), 0).astype(np.float64)
    for _ in range(_ROUNDS):
        for axis, sums in ((1, rows), (0, columns)):
            total = fitted.sum(axis=axis)
            fitted *= np.expand_dims(np.where(total > 0, sums / np.where(total > 0, total, 1.0), 0.0), axis)
    return np.floor(fitted + 1e-6).astype(np.int64)


def _carried(table: Ints, support: Mask, rows: Ints, columns: Ints) -> bool:
    """Add to the table, in place, along a path from a row that lacks something to a column that does.

    A path goes to a column where the table may grow, and back to a row where it may shrink.
    """
    (start,) = np.flatnonzero(rows > 0)[:1] if (rows > 0).any() else (-1,)
    if start < 0:
        return False
    came: dict[tuple[str, int], int] = {("row", int(start)): -1}
    queue = deque([("row", int(start))])
    while queue:
        kind, at = queue.popleft()
        if kind == "column" and columns[at] > 0:
            _add(table, came, at, int(min(rows[start], columns[at])))
            return True
        beside = np.flatnonzero(support[at] if kind == "row" else table[:, at] > 0)
        other = "column" if kind == "row" else "row"
        for one in beside.tolist():
            if (other, one) not in came:
                came[other, one] = at
                queue.append((other, one))
    return False


def _add(table: Ints, came: dict[tuple[str, int], int], column: int, most: int) -> None:
    steps, kind, at = [], "column", column
    while came[kind, at] >= 0:
        before = came[kind, at]
        steps.append((before, at, 1) if kind == "column" else (at, before, -1))
        kind, at = ("row" if kind == "column" else "column"), before
    amount = min([most, *(int(table[row, place]) for row, place, sign in steps if sign < 0)])
    for row, place, sign in steps:
        table[row, place] += sign * amount
