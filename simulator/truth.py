"""The truth about energy: what every meter registered, whatever of it arrived."""

from typing import Final

import numpy as np
import polars as pl

from schemas.frames import CHANNEL, UTC_US
from simulator.captures import Registered
from simulator.columns import US
from simulator.topology import UNIT_MILLI, Fleet

TRUTH_INTERVALS: Final = pl.Schema(
    {
        "meter_id": pl.String(),
        "service_point_id": pl.String(),
        "channel": CHANNEL,
        "interval_start": UTC_US,
        "interval_s": pl.Int32(),
        "value_milli": pl.Int64(),
        "outage": pl.Boolean(),
    }
)
"""Primary quantities, as the finals should be; `outage`: dark from beginning to end of the interval."""


def truth_intervals(fleet: Fleet, true: Registered) -> pl.DataFrame:
    """`TRUTH_INTERVALS` of meters of one interval and channel list: a row per channel and interval of installation."""
    meter, slot = np.nonzero(true.installed)
    primary = (UNIT_MILLI[fleet.layout] * fleet.multiplier)[meter]
    named = fleet.meters.select("meter_id", "service_point_id")[meter].with_columns(
        interval_start=pl.Series(true.starts_s[slot] * US).cast(UTC_US),
        interval_s=pl.lit(int(fleet.interval_s[0]), dtype=pl.Int32),
        outage=pl.Series(true.lit[meter, slot] <= 0),
    )
    channels = fleet.meters["channels"][0].to_list()
    return pl.concat(
        [
            named.with_columns(
                channel=pl.lit(name, dtype=CHANNEL), value_milli=pl.Series(true.energy[meter, slot, channel] * primary)
            ).select(TRUTH_INTERVALS.names())
            for channel, name in enumerate(channels)
        ]
    )
