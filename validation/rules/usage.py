"""Rules that hold a period's use against the use before it: V11."""

import numpy as np

from validation.block import Block, Runs
from validation.rules.definition import Findings, Settings, found, nothing


def high_low(block: Block, settings: Settings) -> Findings:
    """V11: a period's mean use outside 50 to 200 % of the mean of the periods before it.

    Periods are whole runs of `period_days` local days from the first day of the block. The history is every measured
    value before the period; unjudged without a full period of it, or where more than `absent_percent` of either is
    absent.
    """
    days = len(block.days.first) - 1
    length = settings["period_days"]
    periods = days // length
    unjudged = np.ones(block.shape, dtype=np.bool_)
    if periods < 2:
        return nothing(unjudged=unjudged[:, :1])
    bounds = block.days.first[: periods * length + 1 : length]
    present = block.present
    energy = np.add.reduceat(np.where(present, block.value, 0), bounds[:-1], axis=1)[:, :periods]
    count = np.add.reduceat(present.astype(np.int64), bounds[:-1], axis=1)[:, :periods]
    size = np.diff(bounds)
    # reduceat runs its last piece to the end of the matrix: what lies beyond the last whole period is taken off.
    rest = np.s_[:, bounds[-1] :]
    energy[:, -1] -= np.where(present, block.value, 0)[rest].sum(axis=1)
    count[:, -1] -= present[rest].sum(axis=1)
    past_energy, past_count = np.cumsum(energy, axis=1)[:, :-1], np.cumsum(count, axis=1)[:, :-1]
    enough = 100 - settings["absent_percent"]
    judged = (count[:, 1:] * 100 >= enough * size[1:]) & (past_count * 100 >= enough * np.cumsum(size)[:-1])
    mean = energy[:, 1:] // np.maximum(count[:, 1:], 1)
    past = past_energy // np.maximum(past_count, 1)
    low, high = past * settings["low_percent"] // 100, past * settings["high_percent"] // 100
    row, period = np.nonzero(judged & ((mean < low) | (mean > high)))
    for number in range(periods - 1):
        unjudged[judged[:, number], bounds[number + 1] : bounds[number + 2]] = False
    runs = Runs(row, bounds[period + 1], bounds[period + 2])
    limit = np.where(mean[row, period] < low[row, period], low[row, period], high[row, period])
    return found(runs, mean[row, period], limit, unjudged)
