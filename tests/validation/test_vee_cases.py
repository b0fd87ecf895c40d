"""The cases that must work (vee.md section 8), each by hand; and rules that need more than their own values."""

from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from test_rules import KWH, pair
from vee_made import DELIVERED, MONDAY, failed, found, intervals, meters, of, params, reads, unjudged, vee

from schemas import frames
from schemas.codes import Channel, Status
from validation.params import ClassProfile, TouPeriod

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


def test_a_sender_that_always_prints_48_halves_fills_a_short_day_and_loses_no_later_one() -> None:
    # Berlin, 23 hours: the two halves of the skipped hour never existed on the UTC axis.
    start = datetime(2025, 3, 29, 23, tzinfo=UTC)
    zone = meters({"timezone": "Europe/Berlin", "interval_s": 1800})
    printed = pl.concat([intervals(list(range(1, 49)), start=start, step_s=1800), intervals(
        list(range(47, 95)), start=start + 23 * HOUR, step_s=1800, received_at=datetime(2025, 7, 1, tzinfo=UTC)
    )])  # fmt: skip
    result = vee(params(grid_from=start, grid_to=start + 47 * HOUR), intervals=printed, meters=zone)
    assert result.finals.height == 46 + 48
    assert result.finals["interval_start"].is_unique().all()
    assert set(result.finals["quality"]) == {"valid"}
    # Hours 47 and 48 of the first print are the first two of the next day, which overrules them with equal values.
    assert result.finals["value_milli"].to_list()[46:48] == [47, 48]


def test_a_25th_hourly_value_is_kept() -> None:
    start = datetime(2025, 10, 25, 22, tzinfo=UTC)
    zone = meters({"timezone": "Europe/Berlin"})
    result = vee(intervals=intervals([100 + k for k in range(25)], start=start), meters=zone)
    assert result.finals["value_milli"].to_list() == [100 + k for k in range(25)]


def test_a_meter_exchange_at_midday_with_another_interval_length_splits_the_day() -> None:
    noon = MONDAY + 12 * HOUR
    rows = pl.concat(
        [intervals([100] * 12, meter="OLD", skip=[11]), intervals([25] * 48, meter="NEW", start=noon, step_s=900)]
    )
    registers = pl.concat(
        [
            reads({MONDAY: 5_422_000, noon: 5_422_000 + 1_207}, meter="OLD"),
            reads({noon: 0, MONDAY + DAY: 1_200}, meter="NEW"),
        ]
    )
    exchange = meters(
        {"meter_id": "OLD", "service_point_id": "SP1", "removed_at": noon},
        {"meter_id": "NEW", "service_point_id": "SP1", "installed_at": noon, "interval_s": 900},
    )
    bounds = params(grid_from=MONDAY, grid_to=MONDAY + DAY)
    result = vee(bounds, intervals=rows, reads=registers, meters=exchange)
    by_meter = result.finals.group_by("meter_id", "service_point_id", maintain_order=True).agg(
        pl.len(), pl.col("value_milli").sum()
    )
    assert by_meter.rows() == [("NEW", "SP1", 48, 1_200), ("OLD", "SP1", 12, 1_207)]
    assert failed(result, "meter_exchange") == []


def test_two_active_meters_at_a_service_point_are_held_for_a_person() -> None:
    noon = MONDAY + 12 * HOUR
    both = meters(
        {"meter_id": "OLD", "service_point_id": "SP1", "installed_at": MONDAY - DAY},
        {"meter_id": "NEW", "service_point_id": "SP1", "installed_at": noon},
    )
    rows = pl.concat([intervals([100] * 24, meter="OLD"), intervals([100] * 12, meter="NEW", start=noon)])
    result = vee(params(grid_from=MONDAY, grid_to=MONDAY + DAY), intervals=rows, meters=both)
    assert set(found(result, "meter_exchange")["severity"]) == {"blocking"}
    suspects = result.finals.filter(pl.col("quality") == "suspect")
    assert suspects.group_by("meter_id").len().sort("meter_id").rows() == [("NEW", 12), ("OLD", 12)]


@pytest.mark.parametrize("digits", [None, 9])
def test_a_months_backlog_in_one_hour_is_spread(digits: int | None) -> None:
    # The meter was away for 29 days and sends all of it as one long interval.
    values = [1_000] * 24 + [29 * 24 * 2_000] + [1_000] * 23
    start = [MONDAY + k * HOUR for k in range(24)] + [MONDAY + 30 * DAY + k * HOUR for k in range(-1, 23)]
    rows = intervals(values, status=[0] * 24 + [int(Status.LONG)] + [0] * 23).with_columns(
        interval_start=pl.Series(start).cast(frames.UTC_US)
    )
    result = vee(intervals=rows, meters=meters({"register_digits": digits}))
    spread = result.finals.filter(pl.col("quality") == "estimated")
    assert spread.height == 29 * 24
    assert spread["value_milli"].sum() == 29 * 24 * 2_000
    assert spread["value_milli"].max() < 10_000


def test_a_register_that_stood_still_and_caught_up_spreads_its_advance() -> None:
    register = {MONDAY + k * HOUR: 1_000_000 * (k if k < 10 else 9) for k in range(20)}
    register |= {MONDAY + k * HOUR: 1_000_000 * k for k in range(20, 25)}
    home = meters({"profile": "cumulative", "fuse_a": 20, "voltage_v": 230, "phase": "A"})
    result = vee(reads=reads(register), meters=home)
    assert result.finals["value_milli"].sum() == 24_000_000
    assert result.finals["value_milli"].max() == 1_000_000
    assert result.finals["quality"].to_list()[9:20] == ["estimated"] * 11


def test_a_clock_set_across_an_interval_is_flagged_and_the_sum_check_spans_it() -> None:
    status = [int(Status.CLOCK_SET) if k == 7 else 0 for k in range(24)]
    result = vee(intervals=intervals([100] * 24, status=status), reads=reads({MONDAY: 0, MONDAY + DAY: 2_400}))
    assert failed(result, "clock_set") == [7]
    assert set(result.finals["quality"]) == {"valid"}
    assert unjudged(result, "sum_check") == []


def check_pair(main: list[int], check: list[int], skip: list[int]) -> Any:
    rows = pl.concat([intervals(main, skip=skip), intervals(check, meter="CHECK")])
    return vee(intervals=rows, meters=meters({}, {"meter_id": "CHECK", "check_of": "MTR1"}))


@pytest.mark.parametrize(("value", "fails"), [(10_150, 0), (10_151, 24)])
def test_main_against_check_meter(value: int, fails: int) -> None:
    # Class 1: 1.5 % of the day of the check meter, 24 × 10 000.
    result = check_pair([value] * 24, [10_000] * 24, [])
    mine = result.finals.filter(pl.col("meter_id") == "MTR1")
    assert ((mine["failed"] & (1 << 32)) != 0).sum() == fails
    assert set(mine["quality"]) == {"valid"}


def test_a_check_meter_fills_the_gap_of_its_main() -> None:
    result = check_pair([10_000] * 24, [10_000 + k for k in range(24)], [5, 6, 7])
    mine = result.finals.filter(pl.col("meter_id") == "MTR1")
    assert mine["value_milli"].to_list()[5:8] == [10_005, 10_006, 10_007]
    assert mine["method"].to_list()[5:8] == ["check_meter"] * 3


TOU = (TouPeriod(Channel.ENERGY_DELIVERED_T1, 6 * 3600, 18 * 3600), TouPeriod(Channel.ENERGY_DELIVERED_T2))


def tou_reads(total: int, day: int, night: int) -> pl.DataFrame:
    advances = ((DELIVERED, total), ("energy_delivered_t1", day), ("energy_delivered_t2", night))
    return pl.concat([reads({MONDAY: 1_000, MONDAY + DAY: 1_000 + most}, channel=name) for name, most in advances])


def test_each_period_is_anchored_to_its_own_register() -> None:
    # Hour 5 belongs to the night, hours 6 and 7 to the day: 100 each by the line, 40 and 300 by the registers.
    result = vee(
        params(tou=TOU), intervals=intervals([100] * 24, skip=[5, 6, 7]),
        reads=tou_reads(1_000 + 1_140 + 300, 1_000 + 300, 1_140),
    )  # fmt: skip
    assert result.finals["value_milli"].to_list()[5:8] == [40, 150, 150]
    assert failed(result, "tou_sum") == []
    assert unjudged(result, "tou_sum") == []


@pytest.mark.parametrize(("night", "fails"), [(1_202, []), (1_203, list(range(24)))])
def test_tou_registers_add_up_to_the_total_within_a_resolution_each(night: int, fails: list[int]) -> None:
    result = vee(intervals=intervals([100] * 24), reads=tou_reads(2_400, 1_200, night))
    assert failed(result, "tou_sum") == fails


def test_tou_sums_are_unjudged_on_a_stretch_with_a_hole_that_nothing_fills() -> None:
    result = vee(intervals=intervals([100] * 24), reads=reads({MONDAY: 0, MONDAY + DAY: 2_400}))
    assert unjudged(result, "tou_sum") == list(range(24))


@pytest.mark.parametrize(("advance", "fails"), [(2_448, 0), (2_449, 24)])
def test_register_and_intervals_more_than_two_per_cent_apart_are_a_multiplier(advance: int, fails: int) -> None:
    result = vee(intervals=intervals([100] * 24), reads=reads({MONDAY: 0, MONDAY + DAY: advance}))
    assert len(failed(result, "multiplier")) == fails


def switched(kind: str, at: datetime) -> dict[str, Any]:
    return {
        "meter_id": "MTR1", "event": kind, "origin": "meter", "occurred_at": at, "code": 1, "authenticated": True,
    }  # fmt: skip


@pytest.mark.parametrize(("value", "fails"), [(500_000, []), (500_001, list(range(24)))])
def test_use_on_a_disconnected_meter_is_held(value: int, fails: list[int]) -> None:
    off = of(frames.EVENTS, switched("disconnected", MONDAY - HOUR))
    result = vee(intervals=intervals([0] * 12 + [value] + [0] * 11), events=off)
    assert failed(result, "usage_on_inactive") == fails
    assert unjudged(vee(intervals=intervals([5])), "usage_on_inactive") == [0]


@pytest.mark.parametrize(("days", "fails"), [(60, 0), (61, 24)])
def test_more_than_sixty_days_of_estimates_are_a_finding(days: int, fails: int) -> None:
    rows = pl.concat([intervals([5_000] * 48), intervals([5_000] * 48, start=MONDAY + 2 * DAY + days * DAY)])
    result = vee(intervals=rows)
    assert len(failed(result, "long_estimation")) == fails


@pytest.mark.parametrize(("value", "fails"), [(6 * KWH, []), (6 * KWH + 1, [3])])
def test_a_step_of_five_times_the_value_before(value: int, fails: list[int]) -> None:
    assert failed(vee(intervals=intervals([KWH, KWH, KWH, value, KWH])), "step_change") == fails


def test_energy_is_received_by_day_and_with_a_generator() -> None:
    sun = [0] * 10 + [KWH] * 4 + [0] * 10
    one = {"channels": ["energy_received"]}
    rows = intervals(sun, channel="energy_received")
    assert failed(vee(intervals=rows, meters=meters({**one, "has_der": True})), "net_and_received") == []
    assert failed(vee(intervals=rows, meters=meters({**one, "has_der": False})), "net_and_received") == [10, 11, 12, 13]
    assert len(unjudged(vee(intervals=rows, meters=meters(one)), "net_and_received")) == 24
    night = intervals([KWH] + [0] * 23, channel="energy_received")
    assert failed(vee(intervals=night, meters=meters({**one, "has_der": True})), "net_and_received") == [0]


def test_both_directions_of_a_generator_are_kept_and_a_missing_sibling_is_a_finding() -> None:
    rows = pl.concat([intervals([500] * 24), intervals([700] * 24, channel="energy_received", skip=[3])])
    solar = meters({"channels": [DELIVERED, "energy_received"], "has_der": True})
    result = vee(intervals=rows, meters=solar)
    sums = result.finals.group_by("channel").agg(pl.col("value_milli").sum()).sort("channel").rows()
    assert sums == [(DELIVERED, 12_000), ("energy_received", 16_800)]
    assert found(result, "sibling_channels").select("channel", "intervals").rows() == [("energy_received", 1)]


@pytest.mark.parametrize(("volts", "fails"), [(253_000, []), (253_001, [4])])
def test_a_voltage_outside_of_ten_per_cent_is_counted(volts: int, fails: list[int]) -> None:
    home = meters({"voltage_v": 230, "phase": "A"})
    registers = reads({MONDAY + 5 * HOUR: volts, MONDAY + 6 * HOUR: 230_000}, channel="voltage_l1")
    result = vee(intervals=intervals([500] * 24), reads=registers, meters=home)
    assert failed(result, "voltage_range") == fails
    assert unjudged(vee(intervals=intervals([500])), "voltage_range") == [0]


def test_an_hourly_grid_on_a_day_of_half_an_hour_more_is_a_finding() -> None:
    # Lord Howe moves its clock by half an hour: the day of 24.5 hours holds no whole number of hours.
    rows = intervals([100] * 72, start=datetime(2025, 4, 4, 13, tzinfo=UTC))
    result = vee(intervals=rows, meters=meters({"timezone": "Australia/Lord_Howe"}))
    assert len(failed(result, "day_length")) in (24, 25)


def test_an_estimate_beyond_the_last_actual_is_a_forward_estimate_until_a_register_closes_it() -> None:
    bounds = params(grid_from=MONDAY, grid_to=MONDAY + 2 * DAY)
    opened = vee(bounds, intervals=intervals([100] * 24))
    assert set(opened.finals["method"][24:]) == {"forward"}
    closed = vee(bounds, intervals=intervals([100] * 24), reads=reads({MONDAY: 0, MONDAY + 2 * DAY: 7_200}))
    assert "forward" not in set(closed.finals["method"].drop_nulls())
    assert closed.finals["value_milli"].sum() == 7_200


def test_a_class_profile_serves_where_there_is_no_history() -> None:
    shape = tuple(10 * (hour + 1) for hour in range(24))
    profile = ClassProfile("home", Channel.ENERGY_DELIVERED, shape, shape, shape)
    home = meters({"rate_class": "home"})
    # Only hours 0 to 11 of one day are known, at twice the profile.
    rows = intervals([2 * one for one in shape], skip=range(12, 24))
    bounds = params(profiles=(profile,), grid_from=MONDAY, grid_to=MONDAY + DAY)
    result = vee(bounds, intervals=rows, meters=home, reads=reads({MONDAY: 0, MONDAY + DAY: 2 * sum(shape)}))
    assert result.finals["value_milli"].to_list() == [2 * one for one in shape]
    assert set(result.finals["method"][12:]) == {"profile"}


def test_an_outage_that_the_register_contradicts_is_estimated() -> None:
    rows = intervals([100] * 24, skip=[5, 6])
    dark = pair(MONDAY + 5 * HOUR, MONDAY + 7 * HOUR)
    true = vee(intervals=rows, events=dark, reads=reads({MONDAY: 0, MONDAY + DAY: 2_200}))
    assert true.finals["quality"].to_list()[5:7] == ["outage", "outage"]
    alive = vee(intervals=rows, events=dark, reads=reads({MONDAY: 0, MONDAY + DAY: 2_400}))
    assert alive.finals["quality"].to_list()[5:7] == ["estimated", "estimated"]
    assert alive.finals["value_milli"].sum() == 2_400


def test_a_spike_that_the_register_confirms_is_kept_and_flagged() -> None:
    values = [500_000] * 7 + [KWH] * 3 + [500_000] * 8 + [3 * KWH] + [500_000] * 5
    register = reads({MONDAY: 0, MONDAY + DAY: sum(values)})
    result = vee(intervals=intervals(values), reads=register)
    assert result.finals["value_milli"].to_list() == values
    assert set(result.finals["quality"]) == {"valid"}
    assert failed(result, "spike") == [18]
    faulty = vee(intervals=intervals(values), reads=reads({MONDAY: 0, MONDAY + DAY: sum(values) - 2_400_000}))
    assert faulty.finals["quality"][18] == "estimated"
    assert faulty.finals["value_milli"][18] == 600_000


def test_the_billing_gate_holds_a_series_of_estimates_and_keeps_its_values() -> None:
    billed = meters({"tariff": "home"})
    bounds = params(grid_from=MONDAY, grid_to=MONDAY + DAY)
    held = vee(bounds, intervals=intervals([100] * 24, skip=range(11, 24)), meters=billed)
    assert found(held, "billing_gate").select("severity", "intervals").rows() == [("blocking", 24)]
    assert held.finals["quality"].to_list()[:11] == ["valid"] * 11
    fine = vee(bounds, intervals=intervals([100] * 24, skip=range(12, 24)), meters=billed)
    assert found(fine, "billing_gate").height == 0
    assert len(unjudged(vee(bounds, intervals=intervals([100] * 24)), "billing_gate")) == 24


@pytest.mark.parametrize(("peak", "fails"), [(3_000, []), (3_001, [200])])
def test_a_peak_of_three_times_the_week_before(peak: int, fails: list[int]) -> None:
    weeks = [1_000 - k % 2 for k in range(336)]
    weeks[200] = peak
    assert failed(vee(intervals=intervals(weeks)), "peak_against_previous") == fails
    assert len(unjudged(vee(intervals=intervals(weeks[:168])), "peak_against_previous")) == 168


@pytest.mark.parametrize(("hours", "fails"), [(23, 0), (24, 24)])
def test_energy_without_any_reactive_energy_for_a_day_is_a_finding(hours: int, fails: int) -> None:
    reactive = [200_000] * 5 + [0] * hours + [200_000] * 5
    rows = pl.concat([intervals([KWH] * len(reactive)), intervals(reactive, channel="reactive_delivered")])
    result = vee(intervals=rows, meters=meters({"channels": [DELIVERED, "reactive_delivered"]}))
    assert len(failed(result, "reactive_check")) == fails
    assert unjudged(vee(intervals=intervals([KWH])), "reactive_check") == [0]


@pytest.mark.parametrize(("last", "fails"), [(3, 0), (4, 1)])
def test_a_stretch_of_more_than_two_days_between_reads_is_counted(last: int, fails: int) -> None:
    registers = reads({MONDAY: 0, MONDAY + DAY: 2_400, MONDAY + last * DAY: last * 2_400})
    result = vee(intervals=intervals([100] * 24 * last), reads=registers)
    assert found(result, "missing_read").height == fails
    assert unjudged(vee(intervals=intervals([100])), "missing_read") == [0]


@pytest.mark.parametrize(("hours", "fails"), [(48, 0), (49, 1)])
def test_before_its_first_value_a_series_has_missed_no_read(hours: int, fails: int) -> None:
    week = params(grid_from=MONDAY - 7 * DAY, grid_to=MONDAY + timedelta(hours=hours))
    result = vee(week, intervals=intervals([100] * hours), reads=reads({MONDAY: 0}))
    assert found(result, "missing_read").height == fails


def test_rules_that_are_off_by_default_judge_when_a_rule_set_turns_them_on() -> None:
    from validation.rules.files import parse_rule_sets

    formula = parse_rule_sets(
        '[[rule_set]]\nname = "f"\n[rule_set.rules.user_formula]\non = true\nstatistic = 2\nhigh_milli = 500\n'
    )
    values = [100] * 24 + [100] * 23 + [501]
    assert failed(vee(params(rule_sets=formula), intervals=intervals(values)), "user_formula") == list(range(24, 48))
    assert failed(vee(intervals=intervals(values)), "user_formula") == []
    hampel = parse_rule_sets('[[rule_set]]\nname = "h"\n[rule_set.rules.robust_outlier]\non = true\nfloor_milli = 10\n')
    # Every workday has 100 at every hour: the spread is the floor, 10, and six times that the limit.
    days = [100] * 24 * 21
    for value, fails in ((160, []), (161, [240])):
        days[240] = value
        result = vee(params(rule_sets=hampel), intervals=intervals(days))
        assert failed(result, "robust_outlier") == fails
    assert len(unjudged(vee(params(rule_sets=hampel), intervals=intervals([100] * 48)), "robust_outlier")) == 48


def test_a_sender_that_always_prints_48_halves_leaves_two_of_a_long_day_to_be_estimated() -> None:
    # Berlin, 25 hours: 50 halves exist, 48 came; the next day stands where it belongs.
    start = datetime(2025, 10, 25, 22, tzinfo=UTC)
    zone = meters({"timezone": "Europe/Berlin", "interval_s": 1800})
    rows = pl.concat(
        [intervals([100] * 48, start=start, step_s=1800), intervals([200] * 48, start=start + 25 * HOUR, step_s=1800)]
    )
    result = vee(params(grid_from=start, grid_to=start + 49 * HOUR), intervals=rows, meters=zone)
    assert result.finals.height == 50 + 48
    assert result.finals["quality"].to_list()[47:51] == ["valid", "estimated", "estimated", "valid"]
    # On the line from 100 to 200: 133 1/3 and 166 2/3.
    assert result.finals["value_milli"].to_list()[47:51] == [100, 133, 167, 200]
    assert failed(result, "missing_interval") == [48, 49]


def test_a_rollover_of_a_cumulative_register_is_an_advance_and_no_reset() -> None:
    # Four digits: after 9 999 999 thousandths the register shows 0. It moves 2 000 an hour.
    register = {MONDAY + k * HOUR: (9_990_000 + 2_000 * k) % 10_000_000 for k in range(13)}
    result = vee(reads=reads(register), meters=meters({"profile": "cumulative", "register_digits": 4}))
    assert result.finals["value_milli"].to_list() == [2_000] * 12
    assert set(result.finals["quality"]) == {"valid"}
    assert failed(result, "rollover_or_reset") == []


def test_a_days_backlog_in_its_first_hour_is_spread_over_the_day() -> None:
    # Tuesday is lost and sent as one long value of its last hour, 24 × 150; Monday and Wednesday use 100 an hour.
    values = [100] * 47 + [3_600] + [100] * 24
    status = [0] * 47 + [int(Status.LONG)] + [0] * 24
    result = vee(intervals=intervals(values, status=status, skip=range(24, 47)))
    assert result.finals["value_milli"].to_list() == [100] * 24 + [150] * 24 + [100] * 24
    assert result.finals["quality"].to_list()[24:48] == ["estimated"] * 24
    assert failed(result, "partial_interval") == [47]


def test_what_arrives_out_of_order_is_judged_by_its_time_and_two_meters_wait_for_their_master_data() -> None:
    noon = MONDAY + 12 * HOUR
    old, new = intervals([100] * 12, meter="OLD"), intervals([50] * 12, meter="NEW", start=noon)
    both = {"service_point_id": "SP1", "installed_at": MONDAY - DAY}
    unclear = meters({"meter_id": "OLD", **both}, {"meter_id": "NEW", **both, "installed_at": noon})
    bounds = params(grid_from=MONDAY, grid_to=MONDAY + DAY)
    held = vee(bounds, intervals=pl.concat([new, old]), meters=unclear)
    assert set(found(held, "meter_exchange")["severity"]) == {"blocking"}
    # The removal is reported later: the same raw rows are judged again and nothing is held.
    clear = meters({"meter_id": "OLD", **both, "removed_at": noon}, {"meter_id": "NEW", **both, "installed_at": noon})
    fits = vee(
        params(grid_from=MONDAY, grid_to=MONDAY + DAY, run_id="run-2"), intervals=pl.concat([new[::-1], old[::-1]]),
        meters=clear, finals=held.finals,
    )  # fmt: skip
    assert found(fits, "meter_exchange").height == 0
    assert fits.finals.group_by("meter_id").agg(pl.len(), pl.col("value_milli").sum()).sort("meter_id").rows() == [
        ("NEW", 12, 600), ("OLD", 12, 1_200),
    ]  # fmt: skip
    assert set(fits.finals["quality"]) == {"valid"}


def test_months_of_estimates_are_a_finding_and_a_late_read_anchors_them_all() -> None:
    # 70 days without a value: V29 from the 61st day on; the register of day 80 then says what was used, exactly.
    rows = pl.concat([intervals([1_000] * 24 * 5), intervals([1_000] * 24 * 5, start=MONDAY + 75 * DAY)])
    bounds = params(grid_from=MONDAY, grid_to=MONDAY + 80 * DAY)
    first = vee(bounds, intervals=rows)
    assert found(first, "long_estimation").select("severity", "intervals").rows() == [("warning", 10 * 24)]
    billed = reads({MONDAY: 0, MONDAY + 80 * DAY: 10 * 24_000 + 70 * 30_000 + 7})
    later = vee(
        params(grid_from=MONDAY, grid_to=MONDAY + 80 * DAY, run_id="run-2"), intervals=rows, reads=billed,
        finals=first.finals,
    )  # fmt: skip
    assert later.finals["value_milli"].sum() == 10 * 24_000 + 70 * 30_000 + 7
    assert set(later.appended["version"]) == {2}


def test_a_period_whose_register_says_less_than_its_intervals_is_told_and_the_total_is_met() -> None:
    # Hours 8 to 17 hold 1 000 of T1; it moved by 900 and T2 by 1 500. The total leaves 300 for hours 5, 6 and 7.
    result = vee(params(tou=TOU), intervals=intervals([100] * 24, skip=[5, 6, 7]), reads=tou_reads(2_400, 900, 1_500))
    assert result.finals["value_milli"].sum() == 2_400
    told = found(result, "anchor_negative_remainder")
    assert told.select("first_interval", "intervals", "measured_milli", "limit_milli").rows() == [
        (MONDAY, 24, 1_000, 900)
    ]
    fine = vee(params(tou=TOU), intervals=intervals([100] * 24, skip=[5, 6, 7]), reads=tou_reads(2_400, 1_200, 1_200))
    assert found(fine, "anchor_negative_remainder").is_empty()


def test_a_read_of_the_total_alone_does_not_part_the_periods_from_their_registers() -> None:
    # At noon the total alone was read. Hour 5 is the night's, hours 6 and 7 the day's, all before noon.
    told = pl.concat([tou_reads(2_440, 1_300, 1_140), reads({MONDAY + DAY / 2: 1_000 + 1_240})])
    result = vee(params(tou=TOU), intervals=intervals([100] * 24, skip=[5, 6, 7]), reads=told)
    assert result.finals["value_milli"].to_list()[5:8] == [40, 150, 150]
    # With a gap on either side of noon the total leaves 100 for hour 13, and that is the day's: 300 and 40 as before.
    both = vee(params(tou=TOU), intervals=intervals([100] * 24, skip=[5, 6, 7, 13]), reads=told)
    assert both.finals["value_milli"].to_list()[5:8] == [40, 150, 150]
    assert both.finals["value_milli"][13] == 100
