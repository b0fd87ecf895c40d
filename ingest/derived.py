"""What follows from the rows of a batch: which meters live, and which local days must be judged again.

Rows are first put together by message (first and last instant), so the work grows with messages, not with values.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import polars as pl

from ingest.blocks import NO_TIME, Quantities
from ingest.buckets import METER_BUCKETS
from ingest.buckets import bucket_of as bucket_of
from ingest.clocks import Micros
from ingest.enrolment import Enrolment
from ingest.meter_names import MeterNames
from ingest.spans import Flags, Places
from schemas.frames import DIRTY_DAYS, HEARD, UTC_US

_SECOND_US: Final = 1_000_000
_DAY_US: Final = 86_400 * _SECOND_US
_DAYS: Final = 1 << 24
_FIRST_DAY: Final = -(1 << 23)
"""Days since 1970 that a clock can name lie within so many of it, on either side."""
_STEP_US: Final = 900 * _SECOND_US
"""Local midnights of every zone in use since 1970 lie on a quarter of an hour of UTC."""
_MARKS_A_NUMBER: Final = 16
_MARKS: Final = 1 << 20
"""Marking a range is cheaper than sorting a column up to about so many marks a number."""


class Lives(NamedTuple):
    """The instants of a batch's values: message by message, each row of a push once."""

    name: Places  # by message: place in `names`
    names: MeterNames
    message: Places
    at: Micros  # start of an interval, or time of a read
    end: Micros  # end of an interval, or time of a read


def lives_of(blocks: Sequence[Quantities], name: Places, names: MeterNames) -> Lives:
    """The instants of these rows."""
    messages, starts, ends = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for block in blocks:
        rows = block.at.shape[1]
        message, at = np.repeat(block.message, rows), block.at.reshape(-1)
        end = at
        if block.interval_s.any():
            end = (block.at + block.interval_s.astype(np.int64)[:, None] * _SECOND_US).reshape(-1)
        if block.kept is not None:
            kept = block.kept.any(axis=2).reshape(-1)
            message, at, end = message[kept], at[kept], end[kept]
        messages.append(message)
        starts.append(at)
        ends.append(end)
    return Lives(name, names, np.concatenate(messages), np.concatenate(starts), np.concatenate(ends))


def heard_meters(lives: Lives) -> pl.DataFrame:
    """HEARD: each meter once, with the newest end of an interval or time of a read; in the order of METERS."""
    newest = np.full(len(lives.name), NO_TIME, np.int64)
    np.maximum.at(newest, lives.message, lives.end)
    heard = np.flatnonzero(newest != NO_TIME)
    if not len(heard):
        return HEARD.empty()
    heard = heard[np.argsort(lives.name[heard], kind="stable")]
    name = lives.name[heard]
    first = np.flatnonzero(_begins(name))
    read_at = pl.Series(np.maximum.reduceat(newest[heard], first)).cast(UTC_US)
    rows = pl.DataFrame([lives.names.taken(name[first]).alias("meter_id"), read_at.alias("read_at")])
    if name[-1] < len(lives.names.enrolled):
        return rows
    # A meter that is not enrolled stands among the names once a message.
    return rows.group_by("meter_id", maintain_order=True).agg(pl.col("read_at").max()).select(list(HEARD.schema))


def dirty_days(lives: Lives, enrolment: Enrolment) -> pl.DataFrame:
    """DIRTY_DAYS: local days, by meter bucket, whose raw data this batch changed. Without a zone the day is UTC's.

    A read at local midnight ends a day as it begins one: both have changed.
    """
    if not len(lives.message):
        return DIRTY_DAYS.empty()
    # One number for (zone, bucket, quarter of an hour): few of them, however many values.
    ending = np.flatnonzero(lives.end == lives.at)
    quarter = np.append(lives.at, lives.at[ending] - 1) // _STEP_US
    first = int(quarter.min())
    span = int(quarter.max()) - first + 1
    groups = _groups(lives, enrolment)[np.append(lives.message, lives.message[ending])]
    group, step = np.divmod(_distinct(groups * span + (quarter - first)), span)
    zone_code, bucket = np.divmod(group, METER_BUCKETS)
    at = (step + first) * _STEP_US
    day = at // _DAY_US
    for code, zone in enumerate(enrolment.zones, start=1):
        local = np.flatnonzero(zone_code == code)
        if len(local):
            dates = pl.Series(at[local]).cast(UTC_US).dt.convert_time_zone(zone).dt.date()
            day[local] = dates.to_physical().to_numpy()
    days = np.sort(bucket * _DAYS + (day - _FIRST_DAY))
    bucket, since = np.divmod(days[_begins(days)], _DAYS)
    day = (since + _FIRST_DAY).astype(np.int32)
    return pl.DataFrame([pl.Series("bucket", bucket.astype(np.int32)), pl.Series("day", day).cast(pl.Date)])


def _groups(lives: Lives, enrolment: Enrolment) -> Places:
    """By message: zone (0 is UTC, then those of METERS) x buckets + bucket."""
    enrolled = len(enrolment.meter_id)
    groups = np.zeros(len(lives.name), np.int64)
    known = lives.name < enrolled
    rows = lives.name[known]
    groups[known] = (enrolment.zone[rows].astype(np.int64) + 1) * METER_BUCKETS + enrolment.bucket[rows]
    if known.all():
        return groups
    lone = np.unique(lives.message[~known[lives.message]])
    if len(lone):
        groups[lone] = bucket_of(lives.names.taken(lives.name[lone])).to_numpy()
    return groups


def _begins(ascending: Places) -> Flags:
    """Where another number than the one before stands. `np.unique` takes ten times as long to say it."""
    begins = np.ones(len(ascending), np.bool_)
    np.not_equal(ascending[1:], ascending[:-1], out=begins[1:])
    return begins


def _distinct(numbers: Places) -> Places:
    """Each number once, ascending; by marking where the range is not much larger than the column."""
    if int(numbers.max()) < _MARKS_A_NUMBER * len(numbers) + _MARKS:
        marks = np.zeros(int(numbers.max()) + 1, np.bool_)
        marks[numbers] = True
        return np.flatnonzero(marks)
    return np.unique(numbers)
