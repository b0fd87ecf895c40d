"""Which local days a batch changed, and who was heard: against the calendar, reading by reading."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest

from ingest.blocks import NO_TIME, Quantities
from ingest.buckets import bucket_of
from ingest.columns import micros_of
from ingest.derived import dirty_days, heard_meters, lives_of
from ingest.enrolment import Enrolment
from ingest.meter_names import MeterNames
from ingest.meter_types import BUILT_IN
from ingest.slots import shared
from schemas.frames import UTC_US
from tests.ingest.fleet import enrolled, meters

ZONES = ("Europe/Berlin", "Australia/Adelaide", None)
NAMES = [f"AMI{number:013d}" for number in range(9)]
REGISTRY = Enrolment.of(
    meters(*(enrolled(meter_id=name, system_title=None, timezone=ZONES[at % 3]) for at, name in enumerate(NAMES))),
    BUILT_IN,
)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def block_of(starts: np.ndarray, interval_s: int, *, kept: np.ndarray | None = None) -> Quantities:
    """Two channels of these rows of every meter, in microseconds; one row is shared by all."""
    count, rows = len(NAMES), starts.shape[1]
    return Quantities(
        np.arange(count),
        shared(starts, count),
        np.zeros((count, rows), np.uint32),
        shared(np.array([interval_s], np.int32), count),
        np.ones((count, rows, 2), np.int64),
        np.zeros(2, np.uint8),
        np.full(2, -1, np.int32),
        None,
        kept,
    )


def by_hand(block: Quantities) -> tuple[set, dict]:
    """(bucket, day) that changed, and the newest end by meter."""
    buckets = bucket_of(pl.Series(NAMES)).to_list()
    days, newest = set(), {}
    for message, name in enumerate(NAMES):
        zone = ZoneInfo(ZONES[message % 3] or "UTC")
        for row in range(block.at.shape[1]):
            if block.kept is not None and not block.kept[message, row].any():
                continue
            start = EPOCH + timedelta(microseconds=int(block.at[message, row]))
            end = start + timedelta(seconds=int(block.interval_s[message]))
            instants = [start] if end > start else [start, start - timedelta(microseconds=1)]
            days |= {(buckets[message], each.astimezone(zone).date()) for each in instants}
            newest[name] = max(newest.get(name, end), end)
    return days, newest


def micros(*instants: datetime) -> list[int]:
    return [(each - EPOCH) // timedelta(microseconds=1) for each in instants]


HOUR = np.array([micros(*(datetime(2026, 3, 28, 22, 15 * quarter, tzinfo=UTC) for quarter in range(4)))])
MIDNIGHTS = np.array([micros(datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 1, 23, tzinfo=UTC))])
YEARS = np.array([micros(*(datetime(year, 12, 31, 13, 30, tzinfo=UTC) for year in range(1990, 2060, 3)))])
OWN = HOUR + np.arange(len(NAMES))[:, None] * 5_400_000_000
SOME = np.zeros((len(NAMES), 4, 2), np.bool_)
SOME[::2, 1:3, 1] = True


@pytest.mark.parametrize("block", [
    block_of(HOUR, 900), block_of(HOUR, 0), block_of(MIDNIGHTS, 0), block_of(YEARS, 3600), block_of(OWN, 900),
    block_of(OWN, 0), block_of(OWN, 900, kept=SOME), block_of(HOUR, 0, kept=SOME),
])  # fmt: skip
def test_days_and_meters_are_those_of_each_reading_alone(block: Quantities) -> None:
    names = MeterNames(REGISTRY.meter_id, pl.Series(dtype=pl.String), len(NAMES))
    lives = lives_of([block], np.arange(len(NAMES)), names)
    days, newest = by_hand(block)
    for _ in range(2):  # what was kept of a day of UTC says the same
        assert set(dirty_days(lives, REGISTRY).rows()) == days
    assert dirty_days(lives, REGISTRY).height == len(days)
    assert dict(heard_meters(lives).rows()) == newest


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("interval_s", [0, 900])
@pytest.mark.parametrize("starts", [HOUR, MIDNIGHTS, YEARS])
def test_meters_of_one_zone_that_say_the_same_in_any_order(starts: np.ndarray, interval_s: int, place: int) -> None:
    sent = np.array([6, 0, 3, 0, 6]) + place  # of one zone, one of them twice
    names = MeterNames(REGISTRY.meter_id, pl.Series(dtype=pl.String), len(NAMES))
    of_all, rows = block_of(starts, interval_s), len(sent)
    block = of_all._replace(
        message=np.arange(rows),
        at=shared(starts, rows),
        interval_s=shared(np.array([interval_s], np.int32), rows),
        milli=of_all.milli[:rows],
        status=of_all.status[:rows],
    )
    lives = lives_of([block], sent, names)
    days, newest = by_hand(of_all)
    buckets = bucket_of(pl.Series(NAMES)).to_list()
    assert len(set(buckets)) == len(NAMES)
    found = dirty_days(lives, REGISTRY).rows()
    assert found == sorted((bucket, day) for bucket, day in days if bucket in {buckets[each] for each in sent})
    assert list(heard_meters(lives).rows()) == [(NAMES[each], newest[NAMES[each]]) for each in sorted(set(sent))]


def test_of_blocks_without_a_row_nothing_follows() -> None:
    nothing = np.zeros((len(NAMES), 4, 2), np.bool_)
    names = MeterNames(REGISTRY.meter_id, pl.Series(dtype=pl.String), len(NAMES))
    for blocks in ([], [block_of(HOUR, 900, kept=nothing)]):
        lives = lives_of(blocks, np.arange(len(NAMES)), names)
        assert dirty_days(lives, REGISTRY).is_empty() and heard_meters(lives).is_empty()


def test_an_instant_that_is_not_known_is_no_time() -> None:
    assert micros_of(pl.Series([EPOCH, None], dtype=UTC_US)).tolist() == [0, NO_TIME]
