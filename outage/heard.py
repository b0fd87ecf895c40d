"""Evidence of life out of the readings that a batch brought."""

from typing import Final

import polars as pl

from schemas.codes import Channel, Status
from schemas.frames import HEARD, conform

UNBELIEVED: Final = Status.CLOCK_INVALID | Status.CLOCK_DOUBTFUL
INTERRUPTED: Final = (
    UNBELIEVED | Status.PARTIAL | Status.SKIPPED | Status.POWER_FAIL | Status.TEST_MODE | Status.DATA_NOT_VALID
)
_ENERGY: Final = [channel.value for channel in Channel if channel.startswith("energy_")]


def heard_of_readings(intervals: pl.DataFrame, reads: pl.DataFrame) -> pl.DataFrame:
    """HEARD: instants at which a meter certainly had supply.

    A read whose clock is believed was taken with supply. An interval proves less: energy flowed at some time in it.
    Where two adjacent intervals both hold energy and neither tells of an interruption, the meter had supply at the
    moment between them; that moment is told.

    Args:
        intervals: INTERVALS, energy channels; others are left out.
        reads: READS.
    """
    taken = reads.filter((pl.col("status") & UNBELIEVED.value) == 0).select("meter_id", "read_at")
    flowing = (
        intervals.filter(
            pl.col("channel").is_in(_ENERGY)
            & (pl.col("value_milli") > 0)
            & ((pl.col("status") & INTERRUPTED.value) == 0)
        )
        .select("meter_id", "interval_start", end=pl.col("interval_start") + pl.duration(seconds="interval_s"))
        .unique()
    )
    between = flowing.join(
        flowing.select("meter_id", interval_start="end"), on=["meter_id", "interval_start"], how="semi"
    ).select("meter_id", read_at="interval_start")
    return conform(pl.concat([taken, between]).unique(maintain_order=True), HEARD)
