"""Rules about the grid and what stands on it: installations and local days (V26, V27)."""

from typing import Final

import numpy as np

from schemas.codes import Rule, Severity
from validation.block import ABSENT, Block, Runs, fill_runs
from validation.rules.definition import (
    EVERY_CHANNEL,
    Definition,
    Findings,
    Need,
    Parameter,
    Settings,
    Subject,
    found,
)

MILLISECONDS_A_HOUR: Final = 3_600_000


def meter_exchange(block: Block, settings: Settings) -> Findings:
    """V26: two meters are installed at one service point at once, or one took another's place without a final or an
    initial read; unjudged without dates of installation, and beside an exchange of a meter without any reads.
    """
    around = block.around
    overlap, beside = around.overlap, around.unproven
    unjudged = np.broadcast_to(~around.dated[:, None], block.shape)
    told = block.has_reads[beside.row]
    if not told.all():
        lacking = fill_runs(beside.pick(~told), block.shape) & ~fill_runs(overlap, block.shape)
        unjudged = unjudged | lacking
    by = around.unproven_by
    far = told & ((by == ABSENT) | (by > settings["read_hours"] * MILLISECONDS_A_HOUR))
    runs = Runs(*(np.concatenate(part) for part in zip(overlap, beside.pick(far), strict=True)))
    none = np.full(len(overlap.row), ABSENT)
    limit = np.full(int(far.sum()), settings["read_hours"] * MILLISECONDS_A_HOUR)
    return found(runs, np.concatenate([none, by[far]]), np.concatenate([none, limit]), unjudged)


def day_length(block: Block, settings: Settings) -> Findings:  # noqa: ARG001
    """V27: a local day that is not a whole number of intervals, such as an hourly grid on a day of 23.5 hours."""
    odd = np.flatnonzero(block.days.odd)
    rows = np.repeat(np.arange(block.shape[0]), len(odd))
    days = np.tile(odd, block.shape[0])
    runs = Runs(rows, block.days.first[days], block.days.first[days + 1])
    return found(runs, unjudged=~block.around.zoned[:, None])


GRID_RULES: Final = (
    Definition(
        Rule.METER_EXCHANGE,
        Severity.BLOCKING,
        "V26 meter exchange",
        "no overlap of two active meters at a service point; nothing from outside of an installation; where one meter "
        "takes another's place, a final read of the one and an initial read of the other",
        EVERY_CHANNEL,
        meter_exchange,
        (Need.INSTALLATION, Need.READS),
        (Parameter("read_hours", 1, "h", "longest time between a removal or an installation and its read"),),
        Subject.STRETCH,
    ),
    Definition(
        Rule.DAY_LENGTH,
        Severity.ERROR,
        "V27 day length",
        "a local day holds a whole number of intervals: 92, 96 or 100 quarters, 23, 24 or 25 hours",
        EVERY_CHANNEL,
        day_length,
        (Need.ZONE,),
        (),
        Subject.STRETCH,
    ),
)
