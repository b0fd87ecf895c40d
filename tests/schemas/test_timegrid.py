from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import timegrid
from schemas.errors import ContractError
from schemas.frames import UTC_US

ZONES = ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe")
DAYS = st.dates(date(2000, 1, 1), date(2035, 12, 31))


@pytest.mark.parametrize(
    ("day", "zone", "interval_s", "count"),
    [
        (date(2026, 3, 29), "Europe/Berlin", 900, 92),
        (date(2026, 10, 25), "Europe/Berlin", 900, 100),
        (date(2026, 3, 28), "Europe/Berlin", 900, 96),
        (date(2026, 3, 8), "America/New_York", 1800, 46),
        (date(2026, 11, 1), "America/New_York", 1800, 50),
        (date(2026, 11, 1), "America/New_York", 3600, 25),
        (date(2026, 3, 8), "America/New_York", 3600, 23),
        (date(2026, 4, 5), "Australia/Lord_Howe", 1800, 49),
        (date(2026, 10, 4), "Australia/Lord_Howe", 1800, 47),
        (date(2026, 7, 1), "Australia/Lord_Howe", 1800, 48),
    ],
)
def test_local_days_hold_as_many_intervals_as_the_clock_change_leaves(day, zone, interval_s, count):
    assert timegrid.expected_count(day, zone, interval_s) == count


def test_an_hourly_grid_cannot_tile_a_day_of_23_and_a_half_hours():
    with pytest.raises(ContractError, match="Lord_Howe"):
        timegrid.expected_count(date(2026, 10, 4), "Australia/Lord_Howe", 3600)


def test_a_day_whose_midnight_is_skipped_starts_at_its_first_instant():
    # Cuba puts its clock forward at 00:00: 2026-03-08 starts at 01:00 local.
    start, end = timegrid.day_bounds(date(2026, 3, 8), "America/Havana")
    assert start == datetime(2026, 3, 8, 5, tzinfo=UTC)
    assert end - start == timedelta(hours=23)
    assert timegrid.day_bounds(date(2026, 3, 7), "America/Havana")[1] == start


@given(day=DAYS, zone=st.sampled_from([*ZONES, "America/Havana", "Africa/Cairo", "UTC"]))
def test_days_follow_each_other_without_gap_or_overlap(day, zone):
    start, end = timegrid.day_bounds(day, zone)
    assert timegrid.day_bounds(day + timedelta(days=1), zone)[0] == end
    assert timedelta(hours=22) < end - start < timedelta(hours=26)
    assert start.astimezone(ZoneInfo(zone)).date() == day
    assert (start - timedelta(microseconds=1)).astimezone(ZoneInfo(zone)).date() == day - timedelta(days=1)


@given(day=DAYS, zone=st.sampled_from(ZONES), interval_s=st.sampled_from([300, 900, 1800]))
def test_every_interval_of_a_day_shows_that_local_day(day, zone, interval_s):
    start, end = timegrid.day_bounds(day, zone)
    spans = pl.DataFrame(
        {"grid_from": [start], "grid_to": [end], "interval_s": [interval_s], "timezone": [zone]},
        schema_overrides={"grid_from": UTC_US, "grid_to": UTC_US},
    )
    grid = timegrid.with_local_time(timegrid.expected_intervals(spans))
    assert grid.height == timegrid.expected_count(day, zone, interval_s)
    assert grid["local_day"].unique().to_list() == [day]
    assert grid["interval_start"].is_sorted()
    assert grid["interval_start"].n_unique() == grid.height
    assert grid["interval_start"][0] == start
    assert grid["interval_start"][-1] + timedelta(seconds=interval_s) == end


def test_the_repeated_hour_has_one_label_and_two_instants():
    start, end = timegrid.day_bounds(date(2026, 10, 25), "Europe/Berlin")
    spans = pl.DataFrame({"grid_from": [start], "grid_to": [end], "interval_s": [3600], "timezone": ["Europe/Berlin"]})
    grid = timegrid.with_local_time(timegrid.expected_intervals(spans))
    two = grid.filter(pl.col("local_second") == 2 * 3600)
    assert two["interval_start"].to_list() == [
        datetime(2026, 10, 25, 0, tzinfo=UTC),
        datetime(2026, 10, 25, 1, tzinfo=UTC),
    ]


def test_only_whole_intervals_of_a_span_are_expected():
    at = datetime(2026, 1, 1, tzinfo=UTC)
    spans = pl.DataFrame(
        {
            "name": ["cut", "empty", "backwards"],
            "grid_from": [at + timedelta(minutes=1), at, at + timedelta(hours=2)],
            "grid_to": [at + timedelta(minutes=44), at + timedelta(minutes=10), at],
            "interval_s": [900, 900, 900],
        }
    )
    grid = timegrid.expected_intervals(spans)
    assert grid["interval_start"].to_list() == [at + timedelta(minutes=15)]
    assert grid["name"].to_list() == ["cut"]


def test_rows_of_several_zones_get_each_their_own_day():
    at = datetime(2026, 7, 1, 22, 30, tzinfo=UTC)
    rows = pl.DataFrame({"interval_start": [at, at], "timezone": ["Europe/Berlin", "America/New_York"]})
    local = timegrid.with_local_time(rows.cast({"interval_start": UTC_US}))
    assert local["local_day"].to_list() == [date(2026, 7, 2), date(2026, 7, 1)]
    assert local["local_second"].to_list() == [30 * 60, 18 * 3600 + 30 * 60]


def test_a_holiday_is_a_holiday_on_any_weekday():
    days = pl.DataFrame({"day": [date(2026, 12, 24), date(2026, 12, 25), date(2026, 12, 26), date(2026, 12, 27)]})
    kinds = days.select(timegrid.day_type(pl.col("day"), [date(2026, 12, 25)])).to_series().to_list()
    assert kinds == ["workday", "holiday", "saturday", "sunday"]


def test_an_unknown_zone_is_named():
    with pytest.raises(ContractError, match="Mars/Olympus"):
        timegrid.day_bounds(date(2026, 1, 1), "Mars/Olympus")
