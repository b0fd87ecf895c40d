"""Which local days must be judged again because somebody's supply was found to have been off."""

import logging
from datetime import timedelta
from typing import Final

import polars as pl

from ingest.derived import bucket_of
from outage.belief import DOWN, UP
from schemas.frames import DIRTY_DAYS
from validation.supply import NODE_COLUMN

LOG = logging.getLogger("ami.supply")

LONGEST_OUTAGE: Final = timedelta(days=366)
"""Of an incident that is said to have lasted longer only the last days are judged again: a clock has invented the rest,
and every bucket below its node would be judged for each day of it."""
_A_DAY: Final = timedelta(days=1)
"""So far a restoration may lie ahead of the step that tells it, as clocks of systems differ."""
_UTC: Final = "UTC"


class SupplyDays:
    """Days by bucket of meters, out of outages and power events.

    Args:
        meters: METERS: who hangs below a node, and in which zone. A meter without a zone lives in UTC.
    """

    def __init__(self, meters: pl.DataFrame) -> None:
        known = meters.select(*NODE_COLUMN.values(), zone=pl.col("timezone").fill_null(_UTC))
        self._places = known.with_columns(bucket=bucket_of(known["meter_id"]))

    def of(self, outages: pl.DataFrame, events: pl.DataFrame) -> pl.DataFrame:
        """DIRTY_DAYS: every local day that touches an incident, as far as it is known, or an own word of a meter.

        An incident that turned out to be none, or another's, is told like one that is: zeros that were taken for true
        must be judged again too.

        Args:
            outages: OUTAGES: steps that are new or have changed.
            events: EVENTS.
        """
        incidents = outages.group_by("node_kind", "node_id").agg(
            begin=pl.col("started_at").min(),
            end=pl.min_horizontal(pl.coalesce("restored_at", "updated_at"), pl.col("updated_at") + _A_DAY).max(),
        )
        incidents = _bounded(incidents)
        own = events.filter(pl.col("event").is_in([*DOWN, *UP])).select(
            "meter_id", begin="occurred_at", end="occurred_at"
        )
        below = [
            self._spans(
                incidents.filter(pl.col("node_kind") == kind).select("begin", "end", pl.col("node_id").alias(c)), c
            )
            for kind, c in NODE_COLUMN.items()
        ]
        return self._days(pl.concat([*below, self._spans(own, "meter_id")]))

    def of_meters(self, spans: pl.DataFrame) -> pl.DataFrame:
        """DIRTY_DAYS: every local day that touches a span `begin` to `end`, its last instant, of a `meter_id`."""
        return self._days(self._spans(spans, "meter_id"))

    def _days(self, spans: pl.DataFrame) -> pl.DataFrame:
        days = [
            part.select("bucket", day=_local_days(str(zone)))
            for (zone,), part in spans.unique().partition_by("zone", as_dict=True).items()
        ]
        return (
            pl.concat([DIRTY_DAYS.empty(), *(rows.explode("day") for rows in days)])
            .unique()
            .sort("bucket", "day")
            .select(list(DIRTY_DAYS.schema))
        )

    def _spans(self, named: pl.DataFrame, column: str) -> pl.DataFrame:
        """`bucket`, `zone`, `begin`, `end` of the meters that the rows name by that column of METERS."""
        mine = self._places.filter(pl.col(column).is_in(named[column].unique().implode()))
        return named.join(mine.select(column, "bucket", "zone").unique(), on=column).select(
            "bucket", "zone", "begin", pl.max_horizontal("begin", "end").alias("end")
        )


def _bounded(incidents: pl.DataFrame) -> pl.DataFrame:
    """None begins more than `LONGEST_OUTAGE` before its end; those that did are told."""
    first = pl.col("end") - LONGEST_OUTAGE
    longer = incidents.filter(pl.col("begin") < first)
    for kind, node in longer.select("node_kind", "node_id").rows():
        LOG.warning("only the last year of an outage is judged again", extra={"fields": {"kind": kind, "node": node}})
    return incidents.with_columns(begin=pl.max_horizontal("begin", first))


def _local_days(zone: str) -> pl.Expr:
    first, last = (pl.col(name).dt.convert_time_zone(zone).dt.date() for name in ("begin", "end"))
    return pl.date_ranges(first, last)
