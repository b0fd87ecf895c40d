"""Major event days by the 2.5-beta method of IEEE 1366."""

from typing import Final, NamedTuple

import polars as pl

from schemas.errors import ContractError

BETAS: Final = 2.5
YEARS: Final = 5
DAYS_OF_FIVE_YEARS: Final = 1826
"""Fewer days than five years hold give no threshold that the standard knows."""


class MajorEvents(NamedTuple):
    """The threshold, and the days above it."""

    threshold_min: float | None
    """T_MED in minutes of daily SAIDI; null where fewer than two days of the record had any."""
    alpha: float | None
    beta: float | None
    days: pl.DataFrame
    """`day`, `saidi_min`, `major` for every day asked about, in order."""
    short_record: bool
    """The record is shorter than five years: the threshold is a provisional one."""


def find_major_event_days(record: pl.DataFrame, days: pl.DataFrame) -> MajorEvents:
    """Which days exceed T_MED = exp(α + 2.5 β) of the record before them.

    α and β are the mean and the deviation (of the sample) of ln(daily SAIDI) over the record; days without any
    interruption are left out of it, so that a calm day changes nothing. An event over several days belongs to its
    first day: `compute_indices` dates interruptions so.

    Args:
        record: `day`, `saidi_min` of the five years before.
        days: `day`, `saidi_min` to be judged.

    Raises:
        ContractError: A column is absent, or a day of the record comes twice.
    """
    for name, frame in (("record", record), ("days", days)):
        absent = {"day", "saidi_min"} - set(frame.columns)
        if absent:
            raise ContractError(f"{name}.{min(absent)}: column is absent")
    if record["day"].is_duplicated().any():
        raise ContractError("record.day: a day comes twice")
    logs = record.filter(pl.col("saidi_min") > 0)["saidi_min"].log()
    short = record.height < DAYS_OF_FIVE_YEARS
    asked = days.select("day", "saidi_min").sort("day")
    if len(logs) < 2:
        return MajorEvents(None, None, None, asked.with_columns(major=pl.lit(value=False)), short)
    told = pl.DataFrame({"ln": logs}).select(
        alpha=pl.col("ln").mean(),
        beta=pl.col("ln").std(),
        t_med=(pl.col("ln").mean() + BETAS * pl.col("ln").std()).exp(),
    )
    alpha, beta, threshold = told.row(0)
    return MajorEvents(threshold, alpha, beta, asked.with_columns(major=pl.col("saidi_min") > threshold), short)
