"""What follows from the rows of a batch: which meters live, and which local days must be judged again.

Rows are first put together by message (first and last instant), so the work grows with messages, not with values.
"""

import zlib
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import polars as pl

from ingest.blocks import NO_TIME, Quantities
from ingest.clocks import Micros
from ingest.spans import Places
from schemas.frames import DIRTY_DAYS, HEARD, UTC_US

METER_BUCKETS: Final = 256
"""Buckets that meters are spread over for judging: enough for many workers, few enough to keep a day's list short."""
_SECOND_US: Final = 1_000_000
_STEP_US: Final = 900 * _SECOND_US
"""Local midnights of every zone in use since 1970 lie on a quarter of an hour of UTC."""


class Lives(NamedTuple):
    """The instants of a batch's values: meter's name, IANA zone and, by row, when."""

    meter_id: pl.Series
    zone: pl.Series
    message: Places
    at: Micros  # start of an interval, or time of a read, to the quarter of an hour
    newest: Micros  # by message: newest end of an interval or time of a read, `NO_TIME` without any


def bucket_of(meter_ids: pl.Series) -> pl.Series:
    """Bucket of each meter: CRC-32 of its name, so every process and every release agrees."""
    unique = meter_ids.unique()
    buckets = [zlib.crc32(name.encode()) % METER_BUCKETS for name in unique.to_list()]
    return meter_ids.replace_strict(unique, pl.Series(buckets, dtype=pl.Int32), return_dtype=pl.Int32)


def lives_of(
    intervals: Sequence[Quantities], reads: Sequence[Quantities], meter_id: pl.Series, zone: pl.Series
) -> Lives:
    """The instants of these rows, each quarter of an hour of a message once or a few times."""
    newest = np.full(len(meter_id), NO_TIME, np.int64)
    messages: list[Places] = []
    times: list[Micros] = []
    for block in (*intervals, *reads):
        if not len(block.message):
            continue
        # Values of one row stand side by side: one of them stands for all.
        first = np.r_[True, (np.diff(block.message) != 0) | (np.diff(block.at) != 0)]
        message, at = block.message[first], block.at[first]
        np.maximum.at(newest, message, at + block.interval_s[first].astype(np.int64) * _SECOND_US)
        messages.append(message)
        times.append(at)
    nothing = np.zeros(0, np.int64)
    message = np.concatenate([*messages, nothing])
    return Lives(meter_id, zone, message, np.concatenate([*times, nothing]), newest)


def heard_meters(lives: Lives) -> pl.DataFrame:
    """HEARD: each meter once, with the newest end of an interval or time of a read."""
    heard = np.flatnonzero(lives.newest != NO_TIME)
    rows = pl.DataFrame(
        {"meter_id": lives.meter_id.gather(heard), "read_at": pl.Series(lives.newest[heard]).cast(UTC_US)}
    )
    return rows.group_by("meter_id").agg(pl.col("read_at").max()).sort("meter_id").select(list(HEARD.schema))


def dirty_days(lives: Lives) -> pl.DataFrame:
    """DIRTY_DAYS: local days, by meter bucket, whose raw data this batch changed. Without a zone the day is UTC's."""
    names = lives.meter_id.unique().drop_nulls().sort()
    if not len(lives.message) or not len(names):
        return DIRTY_DAYS.empty()
    bucket = lives.meter_id.replace_strict(names, bucket_of(names), default=-1, return_dtype=pl.Int64).to_numpy()
    zones = lives.zone.fill_null("UTC")
    zone_names = zones.unique().sort()
    codes = zones.replace_strict(
        zone_names, pl.int_range(len(zone_names), dtype=pl.Int64, eager=True), return_dtype=pl.Int64
    ).to_numpy()
    # One number for (zone, bucket, quarter of an hour): few of them, however many values.
    quarter = lives.at // _STEP_US
    first = int(quarter.min())
    span = int(quarter.max()) - first + 1
    place = (codes[lives.message] * METER_BUCKETS + bucket[lives.message]) * span + (quarter - first)
    place = np.unique(place)
    group, step = np.divmod(place, span)
    zone_code, bucket_code = np.divmod(group, METER_BUCKETS)
    at = pl.Series((step + first) * _STEP_US).cast(UTC_US)
    days = [
        pl.DataFrame(
            {
                "bucket": pl.Series(bucket_code[zone_code == code]).cast(pl.Int32),
                "day": at.filter(pl.Series(zone_code == code)).dt.convert_time_zone(name).dt.date(),
            }
        )
        for code, name in enumerate(zone_names.to_list())
    ]
    return pl.concat(days).unique().sort("bucket", "day").select(list(DIRTY_DAYS.schema))
