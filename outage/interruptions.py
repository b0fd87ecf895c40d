"""What the indices need and incidents were made of: one row per meter and interruption."""

from typing import Final

import numpy as np
import polars as pl

from outage.spans import NEVER, Spans
from outage.topology import Topology
from schemas.frames import UTC_US

INTERRUPTIONS: Final = pl.Schema(
    {
        "meter_id": pl.String(),
        "service_point_id": pl.String(),
        "feeder_id": pl.String(),
        "started_at": UTC_US,
        "restored_at": UTC_US,  # null: still dark
        "incident_id": pl.String(),  # null: momentary
        "heard": pl.Boolean(),  # the meter itself reported it
        "momentary": pl.Boolean(),
    }
)
"""One row per meter and interruption: what the indices need and what the incidents were made of."""


def interruptions_of_members(
    incidents: pl.DataFrame, members: pl.DataFrame, brief: Spans, topology: Topology
) -> pl.DataFrame:
    """`INTERRUPTIONS`, by start and meter.

    Args:
        incidents: `incident`, `incident_id`.
        members: `MEMBERS` of them.
        brief: Momentary spans.
        topology: Names by number.
    """
    claimed = members.join(incidents.select("incident", "incident_id"), on="incident").select(
        "meter",
        "start",
        "restored_at",
        "incident_id",
        heard=pl.col("span").is_not_null(),
        momentary=pl.lit(value=False),
    )
    sustained = _once_dark(claimed)
    momentary = pl.DataFrame({"meter": brief.meter, "start": brief.start, "restored_at": brief.end}).with_columns(
        incident_id=pl.lit(None, pl.String), heard=pl.lit(value=True), momentary=pl.lit(value=True)
    )
    rows = pl.concat([sustained, momentary.select(sustained.columns)])
    # A meter's number is the place of its name.
    rows = rows[np.lexsort((rows["meter"].to_numpy(), rows["start"].to_numpy()))]
    # A meter's number is its row.
    places = topology.meters.select("meter_id", "service_point_id", "feeder_id")[rows["meter"]]
    return (
        pl.concat([rows, places], how="horizontal")
        .with_columns(started_at=pl.col("start").cast(UTC_US), restored_at=pl.col("restored_at").cast(UTC_US))
        .select(*INTERRUPTIONS)
    )


def _once_dark(sustained: pl.DataFrame) -> pl.DataFrame:
    """The same interruptions, no two of a meter at one time: where incidents overlap, the earlier one has the minutes.

    The indices count a customer once in a minute (IEEE 1366). `start` and `restored_at` (null: still dark) are
    microseconds.
    """
    # Few meters are dark twice a night: only they are put in order and looked at one by one.
    meter = sustained["meter"].to_numpy()
    again = pl.Series(np.bincount(meter)[meter] > 1, dtype=pl.Boolean)
    until = pl.col("restored_at").fill_null(pl.lit(NEVER))
    several = (
        sustained.filter(again)
        .sort("meter", "start", "restored_at", nulls_last=True)
        .with_columns(
            start=pl.max_horizontal("start", until.cum_max().shift(1).over("meter").fill_null(pl.col("start")))
        )
    )
    return pl.concat([sustained.filter(~again), several.filter(pl.col("start") < until)])
