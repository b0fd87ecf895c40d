"""What follows from the rows of a batch: which meters live, and which local days must be judged again.

Where all messages of a block have the same instants, as a fleet's that push on the hour, those are looked at once.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
import polars as pl

from ingest.blocks import NO_TIME, Quantities, once
from ingest.buckets import METER_BUCKETS
from ingest.buckets import bucket_of as bucket_of
from ingest.clocks import Micros
from ingest.columns import constant, framed
from ingest.enrolment import Enrolment
from ingest.meter_names import MeterNames
from ingest.spans import Flags, Places, every
from schemas.frames import DIRTY_DAYS, HEARD, UTC_US

_SECOND_US: Final = 1_000_000
_STEP_US: Final = 900 * _SECOND_US
"""Local midnights of every zone in use since 1970 lie on a quarter of an hour of UTC."""
_QUARTERS_A_DAY: Final = 96
_KEPT_DAYS: Final = 8
"""Days of UTC in one batch up to which their local days are kept."""
_MARKS_A_NUMBER: Final = 16
_MARKS: Final = 1 << 12
"""Marking a range is cheaper than sorting a column up to about so many marks a number."""
_KEPT_INSTANTS: Final = 128
"""Instants of one message up to which their local days are kept: a day of quarters of an hour has 96."""


class Living(NamedTuple):
    """The instants of one block: each row of a push once."""

    message: Places
    at: Micros  # by message and row: start of an interval, or time of a read; of one message where all have the same
    end: Micros  # likewise: end of an interval, or time of a read
    kept: Flags | None  # by message and row: becomes at least one row. None: all do


class Lives(NamedTuple):
    """The instants of a batch's values, block by block."""

    name: Places  # by message: place in `names`
    names: MeterNames
    blocks: tuple[Living, ...]


def lives_of(blocks: Sequence[Quantities], name: Places, names: MeterNames) -> Lives:
    """The instants of these rows."""
    return Lives(name, names, tuple(_living(block) for block in blocks if len(block.message)))


def _living(block: Quantities) -> Living:
    at, interval_s = once(block.at), once(block.interval_s)
    end = at + interval_s.astype(np.int64)[:, None] * _SECOND_US if interval_s.any() else at
    kept: Flags | None = None if block.kept is None else np.any(block.kept, axis=2)
    return Living(block.message, at, end, kept)


def heard_meters(lives: Lives) -> pl.DataFrame:
    """HEARD: each meter once, with the newest end of an interval or time of a read; in the order of METERS."""
    if len(lives.blocks) == 1 and _is_shared(lives.blocks[0]) and int(lives.name.max()) < lives.names.meters:
        block = lives.blocks[0]
        last, name = int(block.end.max()), _distinct(lives.name[every(block.message, len(lives.name))])
        return framed([lives.names.taken(name).alias("meter_id"), constant(_instant(last), len(name)).alias("read_at")])
    newest = np.full(len(lives.name), NO_TIME, np.int64)
    for block in lives.blocks:
        end = block.end if block.kept is None else np.where(block.kept, block.end, NO_TIME)
        last_of_each = np.ascontiguousarray(end.T).max(axis=0)  # down columns: short rows are slow to reduce
        newest[block.message] = np.maximum(newest[block.message], last_of_each)
    heard = np.flatnonzero(newest != NO_TIME)
    if not len(heard):
        return HEARD.empty()
    name = lives.name[heard]
    if (name[1:] < name[:-1]).any():
        heard = heard[np.argsort(name, kind="stable")]
        name = lives.name[heard]
    first = np.flatnonzero(_begins(name))
    read_at = pl.Series("read_at", np.maximum.reduceat(newest[heard], first)).cast(UTC_US)
    rows = framed([lives.names.taken(name[first]).alias("meter_id"), read_at])
    if name[-1] < lives.names.meters:
        return rows
    # A meter that is not enrolled stands among the names once a message, and one of several lines once a line.
    return rows.group_by("meter_id", maintain_order=True).agg(pl.col("read_at").max()).select(list(HEARD.schema))


def _is_shared(block: Living) -> bool:
    """All messages have the same instants, and each of them becomes a row."""
    return len(block.at) == 1 and len(block.end) == 1 and block.kept is None


@lru_cache(maxsize=256)
def _instant(micros: int) -> pl.Series:
    return pl.Series([micros], dtype=pl.Int64).cast(UTC_US)


def dirty_days(lives: Lives, enrolment: Enrolment) -> pl.DataFrame:
    """DIRTY_DAYS: local days, by meter bucket, whose raw data this batch changed. Without a zone the day is UTC's.

    A read at local midnight ends a day as it begins one: both have changed.
    """
    if not lives.blocks:
        return DIRTY_DAYS.empty()
    all_groups = _groups(lives, enrolment)
    if len(lives.blocks) == 1 and _is_shared(lives.blocks[0]) and lives.blocks[0].at.size <= _KEPT_INSTANTS:
        block = lives.blocks[0]
        groups = _distinct(all_groups[every(block.message, len(all_groups))])
        code = int(groups[0]) // METER_BUCKETS
        if int(groups[-1]) // METER_BUCKETS == code:  # one zone, and one list of days for all buckets
            zone = enrolment.zones[code - 1] if code else None
            said = _days_said(block.at.tobytes(), block.end.tobytes(), zone)
            return _of_days(groups - code * METER_BUCKETS, said)
    found = [each for block in lives.blocks if (each := _quarters(block, all_groups))[1].size]
    if not found:
        return DIRTY_DAYS.empty()
    # One number for (zone, bucket, quarter of an hour): few of them, however many values.
    first = min(int(quarter.min()) for _, quarter in found)
    span = max(int(quarter.max()) for _, quarter in found) - first + 1
    numbers = [(groups[:, None] * span + (quarter - first)).reshape(-1) for groups, quarter in found]
    group, step = np.divmod(_distinct(numbers[0] if len(numbers) == 1 else np.concatenate(numbers)), span)
    zone_code, bucket = np.divmod(group, METER_BUCKETS)
    quarter = step + first
    day = quarter // _QUARTERS_A_DAY
    for code, zone in enumerate(enrolment.zones, start=1):
        local = np.flatnonzero(zone_code == code)
        if len(local):
            day[local] = _local_days(quarter[local], zone)
    first_day = int(day.min())
    days = int(day.max()) - first_day + 1
    bucket, since = np.divmod(_distinct(bucket * days + (day - first_day)), days)
    day = (since + first_day).astype(np.int32)
    return framed([pl.Series("bucket", bucket.astype(np.int32)), pl.Series("day", day).cast(pl.Date)])


def _of_days(bucket: Places, days: tuple[int, ...]) -> pl.DataFrame:
    """DIRTY_DAYS: each of these days in each of these buckets."""
    day = constant(_date(days[0]), len(bucket))
    if len(days) > 1:
        day = pl.Series(np.tile(np.array(days, np.int32), len(bucket))).cast(pl.Date)
        bucket = np.repeat(bucket, len(days))
    return framed([pl.Series("bucket", bucket.astype(np.int32)), day.alias("day")])


@lru_cache(maxsize=256)
def _date(day: int) -> pl.Series:
    return pl.Series([day], dtype=pl.Int32).cast(pl.Date)


@lru_cache(maxsize=1024)
def _days_said(at: bytes, end: bytes, zone: str | None) -> tuple[int, ...]:
    """The local days of one message's instants, ascending: an hour's push has the same in every batch of that hour."""
    instants, ends = (np.frombuffer(each, np.int64).reshape(1, -1) for each in (at, end))
    quarter = _quarters_of(instants, ends).reshape(-1)
    days = quarter // _QUARTERS_A_DAY if zone is None else _local_days(quarter, zone)
    return tuple(np.unique(days).tolist())


def _quarters(block: Living, all_groups: Places) -> tuple[Places, Places]:
    """Groups of the messages, and quarters of an hour by message and instant; each group once where they are shared."""
    kept, groups, quarter = block.kept, all_groups[block.message], _quarters_of(block.at, block.end)
    if kept is not None and quarter.shape[1] > kept.shape[1]:
        kept = np.concatenate((kept, kept), axis=1)
    if kept is not None:
        return np.broadcast_to(groups[:, None], kept.shape)[kept], np.broadcast_to(quarter, kept.shape)[kept][:, None]
    return groups if len(quarter) == len(groups) else _distinct(groups), quarter


def _quarters_of(at: Micros, end: Micros) -> Places:
    """Quarters of an hour by message and instant. A read at the first instant of a quarter ends the one before too."""
    reads = end == at
    instants = np.concatenate((at, np.where(reads, at - 1, at)), axis=1) if reads.any() else at
    return instants // _STEP_US


def _local_days(quarter: Places, zone: str) -> Places:
    """The local day, since 1970, of each quarter of an hour of UTC."""
    of_utc = quarter // _QUARTERS_A_DAY
    first, last = int(of_utc.min()), int(of_utc.max())
    if last - first < _KEPT_DAYS:
        days = np.concatenate([_days_of(day, zone) for day in range(first, last + 1)])
        return days[quarter - first * _QUARTERS_A_DAY]
    return _days_in(quarter, zone)


@lru_cache(maxsize=512)
def _days_of(day: int, zone: str) -> Places:
    """The local days of the quarters of an hour of a day of UTC: every batch of that day asks for them."""
    return _days_in(np.arange(day * _QUARTERS_A_DAY, (day + 1) * _QUARTERS_A_DAY), zone)


def _days_in(quarter: Places, zone: str) -> Places:
    dates = pl.Series(quarter * _STEP_US).cast(UTC_US).dt.convert_time_zone(zone).dt.date()
    return dates.cast(pl.Int32).to_numpy().astype(np.int64)


def _groups(lives: Lives, enrolment: Enrolment) -> Places:
    """By message: zone (0 is UTC, then those of METERS) x buckets + bucket."""
    enrolled = len(enrolment.meter_id)
    if enrolled and not len(lives.names.others):
        return _groups_of(lives.name, enrolment)
    groups = np.zeros(len(lives.name), np.int64)
    known = lives.name < enrolled
    groups[known] = _groups_of(lives.name[known], enrolment)
    lone = np.flatnonzero(~known)
    if len(lone):
        groups[lone] = bucket_of(lives.names.taken(lives.name[lone])).to_numpy()
    return groups


def _groups_of(rows: Places, enrolment: Enrolment) -> Places:
    groups: Places = (enrolment.zone[rows].astype(np.int64) + 1) * METER_BUCKETS + enrolment.bucket[rows]
    return groups


def _begins(ascending: Places) -> Flags:
    """Where another number than the one before stands. `np.unique` takes ten times as long to say it."""
    begins = np.ones(len(ascending), np.bool_)
    np.not_equal(ascending[1:], ascending[:-1], out=begins[1:])
    return begins


def _distinct(numbers: Places) -> Places:
    """Each number once, ascending; by marking where the range is not much larger than the column."""
    if (numbers[1:] > numbers[:-1]).all():
        return numbers
    largest = int(numbers.max())
    if largest < _MARKS_A_NUMBER * len(numbers) + _MARKS:
        marks = np.zeros(largest + 1, np.bool_)
        marks[numbers] = True
        return np.flatnonzero(marks)
    ordered = np.sort(numbers)
    return ordered[_begins(ordered)]
