"""Rules about periods: peaks and use against the time before, long estimation, billing gate (V10, V11, V29, V36)."""

from typing import Final, NamedTuple

import numpy as np

from schemas.codes import Rule, Severity
from validation.block import Block, Ints, Mask, Runs, find_runs
from validation.rules.definition import (
    ACCUMULATED,
    ENERGY,
    Definition,
    Findings,
    Need,
    Parameter,
    Settings,
    Subject,
    found,
    nothing,
)

SECONDS_A_DAY: Final = 86_400
_MONDAY: Final = 4
"""Days from 1970-01-01 to a Monday."""


class _Periods(NamedTuple):
    """Whole periods of local days, one behind the other; matrices (series, periods)."""

    bounds: Ints
    """First interval of each period, and the end of the last: periods + 1."""
    received: Ints
    """Values received."""
    enough: Mask
    """So few are absent that the period may be judged, and others by it."""


def _periods(block: Block, settings: Settings) -> _Periods | None:
    """The periods of a block; None where there are fewer than two, so that none has one before it.

    They are those of the calendar, weeks from Monday on, whatever is judged together: a day that is looked at twice
    lies in the same one.
    """
    length, days = settings["period_days"], block.days
    whole = len(days.first) - 1 - (not _ends_whole(block))
    start = int(-(int(days.date[0]) - _MONDAY) % length)
    if start == 0 and int(days.slot[0]) != 0:
        start = length
    periods = (whole - start) // length
    if periods < 2:
        return None
    bounds = days.first[start : start + periods * length + 1 : length]
    count = _sums(block.present.astype(np.int64), bounds)
    enough = count * 100 >= (100 - settings["absent_percent"]) * np.diff(bounds)
    return _Periods(bounds, count, enough)


def _ends_whole(block: Block) -> bool:
    """The last interval of a block is the last one of its local day."""
    return bool((int(block.days.slot[-1]) + 1) * block.step_s >= SECONDS_A_DAY)


def _sums(matrix: Ints, bounds: Ints) -> Ints:
    total: Ints = np.add.reduceat(matrix[:, : bounds[-1]], bounds[:-1], axis=1)
    return total


def _unjudged(block: Block, periods: _Periods, judged: Mask) -> Mask:
    """Everything but the judged periods; `judged` lacks the first of them."""
    unjudged = np.ones(block.shape, dtype=np.bool_)
    unjudged[:, periods.bounds[1] : periods.bounds[-1]] = np.repeat(~judged, np.diff(periods.bounds)[1:], axis=1)
    return unjudged


def high_low(block: Block, settings: Settings) -> Findings:
    """V11: a period's mean use outside 50 to 200 % of the mean of the periods before it.

    Unjudged without a period of history of which enough came, or where too much of the period itself is absent. As many
    periods count as every interval of a run has before it: what a run holds beyond them would tell the same day
    otherwise in another run.
    """
    periods = _periods(block, settings)
    reach = min(settings["history_periods"], (block.history_days + 1) // settings["period_days"] - 1)
    if periods is None or reach < 1:
        return nothing(unjudged=np.ones((1, 1), dtype=np.bool_))
    bounds, count, enough = periods
    energy = _sums(np.where(block.present, block.value, 0), bounds)
    past, past_count = (_of_past(np.where(enough, one, 0), reach) for one in (energy, count))
    judged = enough[:, 1:] & (past_count > 0)
    mean = energy[:, 1:] // np.maximum(count[:, 1:], 1)
    past //= np.maximum(past_count, 1)
    low, high = past * settings["low_percent"] // 100, past * settings["high_percent"] // 100
    row, period = np.nonzero(judged & ((mean < low) | (mean > high)))
    runs = Runs(row, bounds[period + 1], bounds[period + 2])
    limit = np.where(mean < low, low, high)[row, period]
    return found(runs, mean[row, period], limit, _unjudged(block, periods, judged))


def _of_past(matrix: Ints, reach: int) -> Ints:
    """For each period but the first the sum of those before it, as far as they reach."""
    total = np.cumsum(matrix, axis=1)[:, :-1]
    older = np.zeros_like(total)
    older[:, reach:] = total[:, :-reach]
    return total - older


def peak_against_previous(block: Block, settings: Settings) -> Findings:
    """V10: the highest value of a period above 300 % of the highest of the period before."""
    periods = _periods(block, settings)
    if periods is None:
        return nothing(unjudged=np.ones((1, 1), dtype=np.bool_))
    bounds, _, enough = periods
    highest = np.maximum(block.value, 0)[:, : bounds[-1]]
    peak = np.maximum.reduceat(highest, bounds[:-1], axis=1)
    judged = enough[:, 1:] & enough[:, :-1]
    limit = peak[:, :-1] * settings["percent"] // 100
    row, period = np.nonzero(judged & (peak[:, 1:] > limit))
    start = np.array(
        [
            bounds[after] + int(block.value[one, bounds[after] : bounds[after + 1]].argmax())
            for one, after in zip(row, period + 1, strict=True)
        ],
        dtype=np.int64,
    )
    runs = Runs(row, start, start + 1)
    return found(runs, peak[row, period + 1], limit[row, period], _unjudged(block, periods, judged))


def long_estimation(block: Block, settings: Settings) -> Findings:
    """V29: more than 60 days since the last measured value; the finding is what lies beyond the limit."""
    holes = find_runs(block.expected & ~block.present & ~block.supply.out)
    limit = settings["days"] * SECONDS_A_DAY // block.step_s
    long = holes.pick(holes.length > limit)
    return found(Runs(long.row, long.start + limit, long.stop))


class Shares(NamedTuple):
    """Of what a series' finals consist; vectors, counts of intervals."""

    expected: Ints
    missing: Ints
    estimated: Ints
    suspect: Ints
    """Failed, and kept."""
    edited: Ints
    accepted: Ints
    """Of the edited ones those that a person only accepted."""
    unscaled: Ints
    """Estimates that no register was met with."""
    warned: Ints
    """Measured values that a warning lies on."""
    unvalidated: Ints
    """Measured values that a rule of severity error or blocking could not judge."""


def gate(shares: Shares, settings: Settings) -> Mask:
    """V36: which series may not be billed without a person: too much of them is not measured, or is doubted."""
    held = np.zeros(len(shares.expected), dtype=np.bool_)
    for name in Shares._fields[1:]:
        held |= getattr(shares, name) * 100 > shares.expected * settings[f"{name}_percent"]
    return held


USAGE_RULES: Final = (
    Definition(
        Rule.PEAK_AGAINST_PREVIOUS,
        Severity.WARNING,
        "V10 peak against previous period",
        "peak of a period (a week from Monday on) / peak of the period before > 300 %",
        ACCUMULATED,
        peak_against_previous,
        (Need.HISTORY,),
        (
            Parameter("period_days", 7, "d", "length of a period"),
            Parameter("percent", 300, "%", "of the peak before"),
            Parameter("absent_percent", 25, "%", "absent share above which there is no judgement", (0, 100)),
        ),
        Subject.PERIOD,
    ),
    Definition(
        Rule.HIGH_LOW_USAGE,
        Severity.WARNING,
        "V11 high/low usage",
        "mean use of a period (a week from Monday on) outside [low, high] x mean of the periods before",
        ACCUMULATED,
        high_low,
        (Need.HISTORY,),
        (
            Parameter("period_days", 7, "d", "length of a period"),
            Parameter("history_periods", 12, "1", "periods of history, as far as the days loaded hold them", (1, 520)),
            Parameter("low_percent", 50, "%", "of the history"),
            Parameter("high_percent", 200, "%", "of the history"),
            Parameter("absent_percent", 25, "%", "absent share above which there is no judgement", (0, 100)),
        ),
        Subject.PERIOD,
    ),
    Definition(
        Rule.LONG_ESTIMATION,
        Severity.WARNING,
        "V29 long estimation",
        "days since the last measured value > limit",
        ACCUMULATED,
        long_estimation,
        (),
        (Parameter("days", 60, "d", "longest time without a measured value"),),
        Subject.PERIOD,
    ),
    Definition(
        Rule.BILLING_GATE,
        Severity.BLOCKING,
        "V36 billing gate",
        "shares of missing, estimated, suspect, edited, accepted, unscaled, warned or unvalidated intervals of the "
        "period above limits: queue, not bill",
        ENERGY,
        None,
        (Need.TARIFF,),
        (
            Parameter("missing_percent", 0, "%", "largest share that is billed", (0, 100)),
            Parameter("estimated_percent", 50, "%", "largest share that is billed", (0, 100)),
            Parameter("suspect_percent", 25, "%", "largest share that is billed", (0, 100)),
            Parameter("edited_percent", 50, "%", "largest share that is billed", (0, 100)),
            Parameter("accepted_percent", 50, "%", "largest share accepted by hand that is billed", (0, 100)),
            Parameter("unscaled_percent", 50, "%", "largest share not met with a register that is billed", (0, 100)),
            Parameter("warned_percent", 100, "%", "largest share with a warning that is billed", (0, 100)),
            Parameter("unvalidated_percent", 100, "%", "largest share that an error rule left unjudged", (0, 100)),
        ),
        Subject.PERIOD,
    ),
)
