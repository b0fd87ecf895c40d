"""What follows from the rows of a batch: which meters live, and which local days must be judged again.

Rows are first put together by message (first and last instant), so the work grows with messages, not with values.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import polars as pl

from ingest.blocks import NO_TIME, Instants
from ingest.buckets import METER_BUCKETS
from ingest.buckets import bucket_of as bucket_of
from ingest.clocks import Micros
from ingest.enrolment import Enrolment
from ingest.spans import Flags, Places
from schemas.frames import DIRTY_DAYS, HEARD, UTC_US

_SECOND_US: Final = 1_000_000
_STEP_US: Final = 900 * _SECOND_US
"""Local midnights of every zone in use since 1970 lie on a quarter of an hour of UTC."""


class Lives(NamedTuple):
    """The instants of a batch's values by message; `NO_TIME` in `newest` where a message has none."""

    meter_id: pl.Series  # by message
    meter_row: Places  # by message, in METERS; negative where it is not enrolled
    message: Places
    at: Micros  # start of an interval, or time of a read
    newest: Micros  # by message: newest end of an interval or time of a read


def lives_of(instants: Sequence[Instants], meter_id: pl.Series, meter_row: Places, kept: Flags) -> Lives:
    """The instants of those messages that are kept and were at a known time."""
    newest = np.full(len(meter_id), NO_TIME, np.int64)
    none = Instants(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.int64))
    joined = Instants._make(np.concatenate(columns) for columns in zip(none, *instants, strict=True))
    good = kept[joined.message] & (joined.at != NO_TIME)
    if not good.all():
        joined = Instants._make(column[good] for column in joined)
    np.maximum.at(newest, joined.message, joined.at + joined.length_s * _SECOND_US)
    return Lives(meter_id, meter_row, joined.message, joined.at, newest)


def heard_meters(lives: Lives) -> pl.DataFrame:
    """HEARD: each meter once, with the newest end of an interval or time of a read."""
    heard = np.flatnonzero(lives.newest != NO_TIME)
    rows = pl.DataFrame(
        {"meter_id": lives.meter_id.gather(heard), "read_at": pl.Series(lives.newest[heard]).cast(UTC_US)}
    )
    return rows.group_by("meter_id").agg(pl.col("read_at").max()).sort("meter_id").select(list(HEARD.schema))


def dirty_days(lives: Lives, enrolment: Enrolment) -> pl.DataFrame:
    """DIRTY_DAYS: local days, by meter bucket, whose raw data this batch changed. Without a zone the day is UTC's."""
    if not len(lives.message):
        return DIRTY_DAYS.empty()
    zone, bucket = _zones_and_buckets(lives, enrolment)
    # One number for (zone, bucket, quarter of an hour): few of them, however many values.
    quarter = lives.at // _STEP_US
    first = int(quarter.min())
    span = int(quarter.max()) - first + 1
    group, step = np.divmod(np.unique((zone * METER_BUCKETS + bucket)[lives.message] * span + (quarter - first)), span)
    zone_code, bucket_code = np.divmod(group, METER_BUCKETS)
    at = pl.Series((step + first) * _STEP_US).cast(UTC_US)
    days = [
        pl.DataFrame(
            {
                "bucket": pl.Series(bucket_code[zone_code == code]).cast(pl.Int32),
                "day": at.filter(pl.Series(zone_code == code)).dt.convert_time_zone(name).dt.date(),
            }
        )
        for code, name in enumerate(("UTC", *enrolment.zones))
    ]
    return pl.concat(days).unique().sort("bucket", "day").select(list(DIRTY_DAYS.schema))


def _zones_and_buckets(lives: Lives, enrolment: Enrolment) -> tuple[Places, Places]:
    """By message: zone (0 is UTC, then those of METERS) and bucket; those of enrolled meters are looked up once."""
    zone, bucket = np.zeros(len(lives.meter_row), np.int64), np.zeros(len(lives.meter_row), np.int64)
    known = np.flatnonzero(lives.meter_row >= 0)
    if len(known):
        zone[known] = enrolment.zone[lives.meter_row[known]] + 1
        bucket[known] = enrolment.bucket[lives.meter_row[known]]
    lone = np.flatnonzero((lives.meter_row < 0) & (lives.newest != NO_TIME))
    if len(lone):
        bucket[lone] = bucket_of(lives.meter_id.gather(lone)).to_numpy()
    return zone, bucket
