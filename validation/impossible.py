"""Values that nothing can have measured: told as they were sent, and then treated as never sent."""

from datetime import datetime
from typing import Final

import numpy as np
import polars as pl

from schemas.codes import Rule, Severity
from schemas.frames import EXCEPTIONS
from schemas.quantity import UNITY_MILLI
from validation.block import ABSENT, Ints, Mask
from validation.fleet import Fleet

MOST_IN_AN_INTERVAL: Final = 10**15
"""Most that an interval can hold, primary, in thousandths: 1 TWh. No transformer of any fleet lets that through,
and the sums of years of such values would not fit 64 bits."""
MOST_ON_A_REGISTER: Final = 10**18
"""The same of a register: a thousand times as much."""
_MOST_DIGITS: Final = 15
"""More than these hold what is beyond all measure."""
_COLUMNS: Final = (
    "meter_id", "channel", "rule", "severity", "first_interval", "intervals", "measured_milli", "limit_milli",
)  # fmt: skip
NO_FINDINGS: Final = EXCEPTIONS.empty().select(_COLUMNS)
"""Findings of this kind are told whatever a rule set says of their rule: something that was sent is left out."""


def within_reach(primary: Ints, most: int) -> Ints:
    """The same quantities, ABSENT where they are beyond `most` either way."""
    far = (primary > most) | (primary < -most)
    return np.where(far, ABSENT, primary) if far.any() else primary


def impossible_values(rows: pl.DataFrame, install: Ints, fleet: Fleet) -> pl.DataFrame:
    """Findings (V9) about INTERVALS rows of which nothing is kept: `NO_FINDINGS`, value and limit as sent, one a row.

    Args:
        rows: Rows whose primary quantity is ABSENT; those that were sent without a value are no finding.
        install: Installation of each.
        fleet: The fleet, for the multipliers.
    """
    if rows["value_milli"].null_count() == rows.height:
        return NO_FINDINGS
    factor = fleet.installs["multiplier"].fill_null(UNITY_MILLI).gather(install)
    told = rows.with_columns(_factor=factor).filter(pl.col("value_milli").is_not_null())
    return told.select(
        "meter_id", "channel",
        rule=pl.lit(Rule.ABSOLUTE_LIMIT.value),
        severity=pl.lit(Severity.ERROR.value),
        first_interval="interval_start",
        intervals=pl.lit(1),
        measured_milli="value_milli",
        limit_milli=most_as_sent(MOST_IN_AN_INTERVAL),
    ).cast(NO_FINDINGS.schema)  # fmt: skip


def never_shown(reads: pl.DataFrame, install: Ints, fleet: Fleet) -> tuple[Mask, pl.DataFrame]:
    """Which reads no register can have shown: below zero, as much as its digits hold or more, or beyond all measure.

    Args:
        reads: READS with a value, and `end_of`, the interval that each is the end of.
        install: Installation of each.
        fleet: The fleet, for digits and multipliers.

    Returns:
        A mask over the rows, and the findings (V22): value and limit as sent, one a read.
    """
    known = fleet.installs.select("register_digits", "multiplier")[install]
    told = reads.with_columns(
        _factor=known["multiplier"].fill_null(UNITY_MILLI), _digits=known["register_digits"].cast(pl.Int64)
    )
    digits = pl.col("_digits")
    shown = pl.when(digits.is_between(0, _MOST_DIGITS)).then(1000 * pl.lit(10, pl.Int64).pow(digits) - 1)
    most = pl.min_horizontal(shown.cast(pl.Int64), most_as_sent(MOST_ON_A_REGISTER))
    value = pl.col("value_milli")
    told = told.with_columns(_limit=pl.when(value < 0).then(0).otherwise(most))
    wrong = told.select(((value < 0) | (value > pl.col("_limit"))).fill_null(value=False)).to_series()
    findings = told.filter(wrong).select(
        "meter_id", "channel",
        rule=pl.lit(Rule.ROLLOVER_OR_RESET.value),
        severity=pl.lit(Severity.ERROR.value),
        first_interval="end_of",
        intervals=pl.lit(1),
        measured_milli="value_milli",
        limit_milli="_limit",
    ).cast(NO_FINDINGS.schema)  # fmt: skip
    return wrong.to_numpy(), findings


def findings_within(findings: pl.DataFrame, bounds: tuple[datetime | None, datetime | None]) -> pl.DataFrame:
    """Those that begin within the bounds, half open; None: no bound."""
    start, end = bounds
    begun = findings if start is None else findings.filter(pl.col("first_interval") >= start)
    return begun if end is None else begun.filter(pl.col("first_interval") < end)


def most_as_sent(most: int) -> pl.Expr:
    """A primary limit as the meter would send it: column `_factor` holds its multiplier in thousandths."""
    whole = pl.lit(most, pl.Int128) * UNITY_MILLI
    return (whole // pl.col("_factor").abs().cast(pl.Int128)).cast(pl.Int64, strict=False)
