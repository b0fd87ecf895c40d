"""Estimates by hand: lines, like days, and what may never serve one."""

from datetime import UTC, date, datetime, timedelta

import polars as pl
from test_rules import pair
from vee_made import MONDAY, found, intervals, meters, params, reads, vee

from schemas.codes import Status

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


def test_two_hours_are_a_line_and_longer_is_not() -> None:
    two = vee(intervals=intervals([10, 0, 0, 40, 10], skip=[1, 2]))
    assert two.finals["value_milli"].to_list() == [10, 20, 30, 40, 10]
    assert two.finals["method"].to_list()[1:3] == ["linear", "linear"]
    three = vee(intervals=intervals([10, 0, 0, 0, 40], skip=[1, 2, 3]))
    assert set(three.finals["method"][1:4]) == {"flat"}
    assert three.finals["value_milli"].to_list()[1:4] == [25, 25, 25]


def test_the_line_is_rounded_half_up() -> None:
    assert vee(intervals=intervals([1, 0, 2], skip=[1])).finals["value_milli"][1] == 2


def test_a_line_never_ends_in_an_outage() -> None:
    # Hour 3 is lost, hour 4 lies in the outage: no line between 2 and 4.
    result = vee(
        intervals=intervals([10, 12, 14, 0, 0, 30], skip=[3]), events=pair(MONDAY + 4 * HOUR, MONDAY + 5 * HOUR)
    )
    assert result.finals["quality"].to_list() == ["valid", "valid", "valid", "estimated", "outage", "valid"]
    assert result.finals["method"][3] == "flat"
    # Hour 5 is the first after restoration: it does not serve.
    assert result.finals["value_milli"][3] == 12


def test_a_long_gap_is_the_mean_of_the_days_of_its_type_where_there_are_fewer_than_ten() -> None:
    # Workday k has the value 100 + k at midnight, weekends have 900; six hours of a Wednesday are lost.
    values = [900 + hour if day % 7 >= 5 else 100 + day + hour * 1000 for day in range(14) for hour in range(24)]
    lost = 9 * 24
    result = vee(intervals=intervals(values, skip=range(lost, lost + 6)))
    # Days 0 to 4, 7, 8, 10 and 11 are the other workdays: 46 / 9 = 5.1.
    assert result.finals["value_milli"].to_list()[lost : lost + 6] == [105 + hour * 1000 for hour in range(6)]
    assert set(result.finals["method"][lost : lost + 6]) == {"mean_like_day"}


def test_with_six_weeks_around_it_a_short_gap_is_a_blend_and_a_regular_life_is_met_exactly() -> None:
    values = [200_000 + 10_000 * (hour % 24) + (50_000 if hour // 24 % 7 > 4 else 0) for hour in range(42 * 24)]
    for first, length, method in (
        (530, 1, "linear"),
        (530, 2, "blend"),
        (504, 24, "mean_like_day"),
        (340, 96, "mean_like_day"),
    ):
        result = vee(intervals=intervals(values, skip=range(first, first + length)))
        estimates = result.finals.filter(pl.col("quality") == "estimated")
        assert set(estimates["method"]) == {method}
        off = [abs(one - values[first + at]) for at, one in enumerate(estimates["value_milli"])]
        assert max(off) <= 60_000


def test_blends_follow_the_level_of_their_neighbours() -> None:
    values = [100_000] * (42 * 24)
    values[500:530] = [300_000] * 30
    result = vee(intervals=intervals(values, skip=[514, 515, 516]))
    assert min(result.finals["value_milli"].to_list()[514:517]) > 180_000


def test_fewer_like_days_serve_where_there_are_no_more() -> None:
    values = [100 * day + hour for day in range(3) for hour in range(24)]
    result = vee(intervals=intervals(values, skip=range(24, 30)))
    assert result.finals["value_milli"].to_list()[24:30] == [100 + hour for hour in range(6)]


def test_a_holiday_is_like_a_holiday() -> None:
    days = [date(2025, 3, 3) + k * timedelta(days=1) for k in range(14)]
    values = [50 if day in (days[1], days[9]) else 100 for day in days for _ in range(24)]
    values = [value + k % 24 for k, value in enumerate(values)]
    result = vee(params(holidays=(days[1], days[9])), intervals=intervals(values, skip=range(9 * 24 + 6, 9 * 24 + 12)))
    assert result.finals["value_milli"].to_list()[9 * 24 + 6 : 9 * 24 + 12] == [56, 57, 58, 59, 60, 61]


def test_like_days_go_by_the_wall_clock_over_a_change_of_time() -> None:
    # Berlin, clocks forward on 2025-03-30. Every value is its local hour; Monday the 31st loses local 6 to 11.
    start = datetime(2025, 3, 23, 23, tzinfo=UTC)
    local = pl.datetime_range(start, start + 10 * DAY, "1h", closed="left", eager=True).dt.convert_time_zone(
        "Europe/Berlin"
    )
    values = [100 + hour for hour in local.dt.hour()]
    lost = [k for k, at in enumerate(local) if at.day == 31 and 6 <= at.hour < 12]
    result = vee(intervals=intervals(values, start=start, skip=lost), meters=meters({"timezone": "Europe/Berlin"}))
    assert [result.finals["value_milli"][k] for k in lost] == [106, 107, 108, 109, 110, 111]


def test_no_estimate_draws_on_what_is_not_measured_and_valid() -> None:
    # Of three earlier days one is in test mode, one has an outage, one is estimated: the fourth alone serves.
    hours = 24
    values = [7] * hours * 5
    for day, level in enumerate((1_000, 2_000, 3_000, 40)):
        values[day * hours : (day + 1) * hours] = [level + k for k in range(hours)]
    status = [int(Status.TEST_MODE) if 6 <= k < 12 else 0 for k in range(len(values))]
    lost = [*range(54, 60), *range(102, 108)]
    result = vee(
        intervals=intervals(values, status=status, skip=lost), events=pair(MONDAY + 29 * HOUR, MONDAY + 36 * HOUR)
    )
    assert result.finals["value_milli"].to_list()[102:108] == [46 + k for k in range(6)]


def test_cumulative_profiles_become_intervals_by_difference() -> None:
    register = {MONDAY + k * HOUR: 10_000 + 100 * k + k for k in range(25)}
    result = vee(reads=reads(register))
    assert result.finals["value_milli"].to_list() == [101] * 24
    assert set(result.finals["quality"]) == {"valid"}


def test_a_momentary_zero_on_a_cumulative_register_is_no_spike() -> None:
    register = {MONDAY + k * HOUR: 53_700_000_000 + 1_000 * k for k in range(25)}
    register[MONDAY + 10 * HOUR] = 0
    result = vee(reads=reads(register), meters=meters({"profile": "cumulative", "register_digits": 9}))
    assert result.finals["value_milli"].to_list() == [1_000] * 24
    assert result.finals["quality"].to_list()[9:11] == ["estimated", "estimated"]


def test_a_reset_of_a_cumulative_register_never_bills_the_register() -> None:
    register = {MONDAY + k * HOUR: 53_700_000_000 + 1_000 * k if k < 10 else 300 + 1_000 * (k - 10) for k in range(25)}
    result = vee(reads=reads(register), meters=meters({"profile": "cumulative", "register_digits": 9}))
    assert result.finals["value_milli"].to_list() == [1_000] * 24
    assert result.finals["quality"].to_list()[9] == "estimated"


def test_a_device_back_after_a_month_spreads_its_advance() -> None:
    register = {MONDAY + k * HOUR: 1_000 * k for k in range(25)}
    back = MONDAY + 30 * DAY
    register |= {back + k * HOUR: 24_000 + 1_400_000 + 1_000 * k for k in range(25)}
    result = vee(reads=reads(register), meters=meters({"profile": "cumulative"}))
    gap = result.finals.filter(pl.col("quality") == "estimated")
    assert gap.height == 29 * 24
    assert gap["value_milli"].sum() == 1_400_000
    assert gap["value_milli"].max() < 3_000
    assert gap["value_milli"].min() >= 0


def test_a_second_run_on_its_own_output_changes_nothing_and_a_late_read_makes_a_version() -> None:
    rows = intervals([100] * 48, skip=[5, 6, 30])
    registers = reads({MONDAY: 0, MONDAY + DAY: 2_500})
    first = vee(intervals=rows, reads=registers)
    again = vee(params(run_id="run-2"), intervals=rows, reads=registers, finals=first.finals)
    assert again.appended.height == 0
    assert again.finals.equals(first.finals)
    late = pl.concat([rows, intervals([100] * 48).filter(pl.col("interval_start") == MONDAY + 5 * HOUR)])
    third = vee(params(run_id="run-3"), intervals=late, reads=registers, finals=first.finals)
    changed = third.appended.select("interval_start", "value_milli", "quality", "version", "run_id").rows()
    assert changed == [
        (MONDAY + 5 * HOUR, 100, "valid", 2, "run-3"),
        (MONDAY + 6 * HOUR, 200, "estimated", 2, "run-3"),
    ]
    assert third.finals.height == 48
    assert found(third, "missing_interval")["intervals"].to_list() == [1, 1]
