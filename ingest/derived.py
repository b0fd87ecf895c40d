"""What follows from the rows of a batch: which meters live, and which local days must be judged again."""

import zlib
from typing import Final

import polars as pl

from ingest.enrolment import Enrolment
from schemas.frames import DIRTY_DAYS, HEARD

METER_BUCKETS: Final = 256
"""Buckets that meters are spread over for judging: enough for many workers, few enough to keep a day's list short."""


def bucket_of(meter_ids: pl.Series) -> pl.Series:
    """Bucket of each meter: CRC-32 of its name, so every process and every release agrees."""
    unique = meter_ids.unique()
    buckets = [zlib.crc32(name.encode()) % METER_BUCKETS for name in unique.to_list()]
    return meter_ids.replace_strict(unique, pl.Series(buckets, dtype=pl.Int32), return_dtype=pl.Int32)


def heard_meters(intervals: pl.DataFrame, reads: pl.DataFrame) -> pl.DataFrame:
    """HEARD: each meter once, with the newest end of an interval or time of a read."""
    ends = intervals.select("meter_id", read_at=pl.col("interval_start") + pl.duration(seconds=pl.col("interval_s")))
    both = pl.concat([ends, reads.select("meter_id", "read_at")])
    return both.group_by("meter_id").agg(pl.col("read_at").max()).sort("meter_id").select(list(HEARD.schema))


def dirty_days(intervals: pl.DataFrame, reads: pl.DataFrame, enrolment: Enrolment) -> pl.DataFrame:
    """DIRTY_DAYS: local days, by meter bucket, whose raw data this batch changed. Without a zone the day is UTC's."""
    times = pl.concat([intervals.select("meter_id", at="interval_start"), reads.select("meter_id", at="read_at")])
    hours = times.select("meter_id", pl.col("at").dt.truncate("15m")).unique()
    zones = pl.DataFrame(
        {
            "meter_id": enrolment.meter_id,
            "zone": pl.Series([*enrolment.zones, None], dtype=pl.String).gather(enrolment.zone),
        }
    )
    zoned = hours.join(zones, on="meter_id", how="left").with_columns(pl.col("zone").fill_null("UTC"))
    days = [
        part.select("meter_id", day=pl.col("at").dt.convert_time_zone(str(zone)).dt.date())
        for (zone,), part in zoned.group_by("zone")
    ]
    if not days:
        return DIRTY_DAYS.empty()
    changed = pl.concat(days).unique()
    return changed.select(bucket=bucket_of(changed["meter_id"]), day="day").unique().sort("bucket", "day")
