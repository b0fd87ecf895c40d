"""Rules about the grid and what stands on it: installations and local days (V26, V27)."""

from typing import Final

import numpy as np

from schemas.codes import Rule, Severity
from validation.block import Block, Runs
from validation.rules.definition import (
    EVERY_CHANNEL,
    Definition,
    Findings,
    Need,
    Settings,
    Subject,
    found,
)


def meter_exchange(block: Block, settings: Settings) -> Findings:  # noqa: ARG001
    """V26: two meters are installed at one service point at once; unjudged without dates of installation."""
    return found(block.around.overlap, unjudged=~block.around.dated[:, None])


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
        "no overlap of two active meters at a service point; nothing from outside of an installation",
        EVERY_CHANNEL,
        meter_exchange,
        (Need.INSTALLATION,),
        (),
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
