"""Values that nothing can have measured: told as they were sent, and then treated as never sent."""

from typing import Final

import numpy as np
import polars as pl

from schemas.codes import Rule
from schemas.frames import EXCEPTIONS
from schemas.quantity import UNITY_MILLI
from validation.block import ABSENT, Ints
from validation.fleet import Fleet

MOST_IN_AN_INTERVAL: Final = 10**15
"""Most that an interval can hold, primary, in thousandths: 1 TWh. No transformer of any fleet lets that through,
and the sums of years of such values would not fit 64 bits."""
MOST_ON_A_REGISTER: Final = 10**18
"""The same of a register: a thousand times as much."""
_COLUMNS: Final = (
    "meter_id", "channel", "rule", "first_interval", "intervals", "measured_milli", "limit_milli",
)  # fmt: skip
NO_FINDINGS: Final = EXCEPTIONS.empty().select(_COLUMNS)


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
        first_interval="interval_start",
        intervals=pl.lit(1),
        measured_milli="value_milli",
        limit_milli=most_as_sent(MOST_IN_AN_INTERVAL),
    ).cast(NO_FINDINGS.schema)  # fmt: skip


def most_as_sent(most: int) -> pl.Expr:
    """A primary limit as the meter would send it: column `_factor` holds its multiplier in thousandths."""
    whole = pl.lit(most, pl.Int128) * UNITY_MILLI
    return (whole // pl.col("_factor").abs().cast(pl.Int128)).cast(pl.Int64, strict=False)
