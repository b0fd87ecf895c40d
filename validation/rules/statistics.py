"""Rules that are off unless a rule set turns them on: V34 user formula, V35 robust outlier."""

from typing import Final

import numpy as np

from schemas.codes import Rule, Severity
from validation.block import ABSENT, Block, Ints, Runs
from validation.like_days import like_values
from validation.rules.definition import (
    ACCUMULATED,
    Definition,
    Findings,
    Need,
    Parameter,
    Settings,
    found,
    nothing,
)

STATISTICS: Final = ("sum", "min", "max", "mean", "median", "zero_count", "outage_count", "deviation")
"""What V34 may look at, by the number that its parameter `statistic` names, from 0."""
_OUTAGE_COUNT: Final = STATISTICS.index("outage_count")
_BATCH: Final = 20_000
_ANY: Final = (ABSENT + 1, -(ABSENT + 1))
"""A statistic may be negative, and need not have a limit."""


def user_formula(block: Block, settings: Settings) -> Findings:
    """V34: a statistic of each whole local day lies outside of the limits that the rule set gives."""
    first = block.days.first
    absent, values = block.expected & ~block.present, block.value
    if settings["statistic"] == _OUTAGE_COUNT:
        # What is absent under an outage is what is counted.
        values = np.broadcast_to(block.supply.out, block.shape).astype(np.int64)
        absent = absent & ~block.supply.out
    absent = np.add.reduceat(absent.astype(np.int64), first[:-1], axis=1) > 0
    day = np.stack([_statistic(values[:, low:high], settings["statistic"]) for low, high in _bounds(first)], axis=1)
    row, at = np.nonzero(~absent & ((day < settings["low_milli"]) | (day > settings["high_milli"])))
    limit = np.where(day < settings["low_milli"], settings["low_milli"], settings["high_milli"])[row, at]
    runs = Runs(row, first[at], first[at + 1])
    return found(runs, day[row, at], limit, np.repeat(absent, np.diff(first), axis=1))


def _bounds(first: Ints) -> list[tuple[int, int]]:
    return list(zip(first[:-1].tolist(), first[1:].tolist(), strict=True))


def _statistic(values: Ints, number: int) -> Ints:
    match STATISTICS[number]:
        case "sum":
            result: Ints = values.sum(axis=1)
        case "min":
            result = values.min(axis=1)
        case "max":
            result = values.max(axis=1)
        case "mean":
            result = values.sum(axis=1) // values.shape[1]
        case "median":
            result = np.sort(values, axis=1)[:, values.shape[1] // 2]
        case "zero_count":
            result = (values == 0).sum(axis=1).astype(np.int64)
        case "outage_count":
            result = values.sum(axis=1).astype(np.int64)
        case _:
            result = np.abs(values - (values.sum(axis=1) // values.shape[1])[:, None]).max(axis=1)
    return result


def robust_outlier(block: Block, settings: Settings) -> Findings:
    """V35: Hampel's test of each value against the same slot of its like days.

    `abs(x - median) > t × max(1.4826 × MAD, floor)`; where the MAD is 0, the mean deviation stands for it. Unjudged
    with fewer than `like_days` like days.
    """
    row, slot = np.nonzero(block.present)
    serving = block.present & ~block.supply.touched & ~block.supply.restored
    fails: list[tuple[Ints, Ints, Ints, Ints]] = []
    unjudged = ~block.present
    for first in range(0, len(row), _BATCH):
        here, at = row[first : first + _BATCH], slot[first : first + _BATCH]
        values, count = like_values(block, here, at, serving, settings["like_days"])
        few = count < settings["like_days"]
        unjudged[here[few], at[few]] = True
        here, at, values = here[~few], at[~few], values[~few]
        if not len(here):
            continue
        middle = np.median(values, axis=1)
        off = np.abs(values - middle[:, None])
        spread = np.where(np.median(off, axis=1) > 0, 1.4826 * np.median(off, axis=1), off.mean(axis=1))
        limit = settings["times"] * np.maximum(spread, settings["floor_milli"])
        far = np.abs(block.value[here, at] - middle) > limit
        fails.append((here[far], at[far], block.value[here, at][far], (middle + limit)[far].astype(np.int64)))
    if not fails:
        return nothing(unjudged=unjudged)
    here, at, measured, bound = (np.concatenate(part) for part in zip(*fails, strict=True))
    return found(Runs(here, at, at + 1), measured, bound, unjudged)


STATISTIC_RULES: Final = (
    Definition(
        Rule.USER_FORMULA,
        Severity.WARNING,
        "V34 user formula",
        "a statistic of a local day outside of [low, high]: 0 sum, 1 min, 2 max, 3 mean, 4 median, 5 zero count, "
        "6 outage count, 7 largest deviation of an interval from the mean",
        ACCUMULATED,
        user_formula,
        (Need.WHOLE_DAY,),
        (
            Parameter("statistic", 0, "1", "number of the statistic", (0, len(STATISTICS) - 1)),
            Parameter("low_milli", 0, "mWh", "lowest that passes", _ANY),
            Parameter("high_milli", -(ABSENT + 1), "mWh", "highest that passes", _ANY),
        ),
        beside=True,
        on=False,
    ),
    Definition(
        Rule.ROBUST_OUTLIER,
        Severity.WARNING,
        "V35 robust outlier",
        "abs(x - median) > t x max(1.4826 x MAD, floor), same slot on like days",
        ACCUMULATED,
        robust_outlier,
        (Need.LIKE_DAYS,),
        (
            Parameter("times", 6, "1", "t", (1, 1_000)),
            Parameter("floor_milli", 50_000, "mWh", "smallest spread"),
            Parameter("like_days", 10, "d", "like days needed"),
        ),
        beside=True,
        on=False,
    ),
)
