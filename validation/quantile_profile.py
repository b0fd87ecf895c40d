"""A profile of one quantile: every interval at the same quantile of its like days, with a given sum.

Of all profiles with one sum, that one lies closest to what was used, by the sum of absolute errors: a condition on the
sum moves every interval to the same quantile of what it may be. The mean of like days puts a smear of rare peaks into
every interval; their median sells too little. This profile sells what the mean sells, or what a register says.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

Reals = npt.NDArray[np.float64]

_WHOLE: Final = 1 << 24
"""Weight of all days of an interval: quantiles are counted in this many parts."""
_HALVINGS: Final = 24


def quantile_profile(value: Reals, weight: Reals, energy: Reals) -> Reals:
    """(pieces, cells): values of one quantile for each piece, which sum to its energy.

    Args:
        value: (pieces, cells, days): what the same interval used on each like day.
        weight: Same shape: how much the day counts, not negative; every cell has a day that counts.
        energy: (pieces,): what the cells of a piece sum to, not negative.

    A quantile is found by halving, in whole parts, so that a piece has the same profile whatever stands beside it.
    """
    pieces, cells, days = value.shape
    value = np.where(weight > 0, value, 0.0)
    order = np.argsort(value, axis=2, kind="stable")
    ranked = np.take_along_axis(value, order, axis=2)
    weight = np.take_along_axis(weight, order, axis=2)
    upto = np.cumsum(weight, axis=2)
    middle = ((upto - weight / 2) / upto[:, :, -1:] * _WHOLE).astype(np.int64)
    row = np.arange(pieces * cells, dtype=np.int64).reshape(pieces, cells)
    # One ascending vector: the marks of a cell follow those of the cell before it.
    marks = (middle + row[:, :, None] * 2 * _WHOLE).ravel()
    flat = ranked.ravel()

    def at(quantile: npt.NDArray[np.int64]) -> Reals:
        wanted = row * 2 * _WHOLE + quantile[:, None]
        found = np.searchsorted(marks, wanted)
        above = np.clip(found, row * days, row * days + days - 1)
        below = np.clip(found - 1, row * days, row * days + days - 1)
        apart = marks[above] - marks[below]
        part = np.clip((wanted - marks[below]) / np.maximum(apart, 1), 0.0, 1.0)
        return np.asarray(flat[below] + (flat[above] - flat[below]) * part, dtype=np.float64)

    low, high = np.zeros(pieces, dtype=np.int64), np.full(pieces, _WHOLE, dtype=np.int64)
    for _ in range(_HALVINGS):
        middle_of = (low + high) // 2
        enough = at(middle_of).sum(axis=1) >= energy
        low, high = np.where(enough, low, middle_of), np.where(enough, middle_of, high)
    profile = at(high)
    total = profile.sum(axis=1)
    scaled: Reals = profile * (energy / np.maximum(total, 1.0))[:, None]
    return scaled
