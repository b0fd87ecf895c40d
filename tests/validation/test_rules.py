"""Each rule: a value on its limit passes, one beyond it fails, and a lacking input is unjudged."""

from datetime import datetime, timedelta

import polars as pl
import pytest
from vee_made import MONDAY, bit, failed, found, intervals, meters, of, params, reads, unjudged, vee

from schemas import frames
from schemas.codes import Status

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
KWH = 1_000_000


def day_with(peak: int, third: int = KWH) -> list[int]:
    return [third if at in (7, 8, 9) else third // 2 for at in range(18)] + [peak] + [third // 2] * 5


def test_the_spike_check_passes_at_280_and_fails_at_281_percent() -> None:
    assert failed(vee(intervals=intervals(day_with(2_800_000))), "spike") == []
    result = vee(intervals=intervals(day_with(2_800_001)))
    assert failed(result, "spike") == [18]
    assert result.finals["quality"][18] == "estimated"
    assert result.finals["method"][18] == "linear"
    assert result.finals["value_milli"][18] == 500_000
    assert found(result, "spike").select("severity", "measured_milli", "limit_milli").rows() == [
        ("error", 2_800_001, 2_800_000)
    ]


def test_the_spike_check_is_skipped_below_its_floor_on_an_outage_and_with_an_estimate() -> None:
    assert failed(vee(intervals=intervals(day_with(3_000_000, third=500_000))), "spike") == [18]
    assert failed(vee(intervals=intervals(day_with(3_000_000, third=499_999))), "spike") == []
    assert failed(vee(intervals=intervals(day_with(3_000_000), skip=[2])), "spike") == []
    dark = [*day_with(3_000_000)[:-1], 0]
    assert failed(vee(intervals=intervals(dark), events=pair(MONDAY + 23 * HOUR, MONDAY + 24 * HOUR)), "spike") == []


def test_the_spike_check_counts_local_days() -> None:
    # 23:00 to 23:00 UTC is the local day: the peaks of the neighbouring days do not help the value of one day.
    values = [KWH] * 24 + day_with(3 * KWH)
    values[22] = values[21] = 3 * KWH
    zone = meters({"timezone": "Europe/Berlin"})
    assert failed(vee(intervals=intervals(values, start=MONDAY - HOUR), meters=zone), "spike") == [21, 22, 42]


@pytest.mark.parametrize(("value", "fails"), [(0, []), (-1, [3])])
def test_energy_below_zero_is_replaced(value: int, fails: list[int]) -> None:
    result = vee(intervals=intervals([10, 10, 10, value, 10, 10]))
    assert failed(result, "negative") == fails
    assert result.finals["value_milli"][3] == (10 if fails else 0)


@pytest.mark.parametrize(("value", "fails"), [(23_000 * 1250, []), (23_000 * 1250 + 1, [2])])
def test_more_than_fuse_and_supply_let_through_is_replaced(value: int, fails: list[int]) -> None:
    home = meters({"fuse_a": 100, "voltage_v": 230, "phase": "A"})
    assert failed(vee(intervals=intervals([5, 5, value, 5]), meters=home), "absolute_limit") == fails


@pytest.mark.parametrize(("value", "fails"), [(750, []), (751, [366 * 24 + 5, 366 * 24 + 6])])
def test_without_a_fuse_the_limit_is_half_more_than_the_maximum_of_a_year(value: int, fails: list[int]) -> None:
    """A burst of two fails whole: the first does not raise the limit of the second. The next day may be as high."""
    values = [100] * 24 * 368
    values[50 * 24] = 500
    for day in (366, 367):
        values[day * 24 + 5] = values[day * 24 + 6] = value
    result = vee(intervals=intervals(values))
    assert failed(result, "absolute_limit") == fails
    assert unjudged(result, "absolute_limit") == list(range(365 * 24)), "a year before that tells no maximum"
    assert set(result.finals["quality"].gather(fails)) <= {"estimated"}
    assert found(result, "absolute_limit")["limit_milli"].to_list() == [750] * (len(fails) // 2)


def test_a_fuse_that_is_known_is_the_limit_whatever_the_year_before_says() -> None:
    home = meters({"fuse_a": 100, "voltage_v": 230, "phase": "A"})
    result = vee(intervals=intervals([100] * 24 * 366 + [9_000]), meters=home)
    assert failed(result, "absolute_limit") == unjudged(result, "absolute_limit") == []


@pytest.mark.parametrize(
    ("ahead_s", "clock", "doubtful"), [(180, False, False), (181, False, True), (3599, False, True), (3600, True, True)]
)
def test_a_value_received_before_its_interval_was_over_has_a_clock_that_is_ahead(
    ahead_s: int, clock: bool, doubtful: bool
) -> None:
    """Received `ahead_s` before the end of hour 2. Three minutes pass; an interval, and the value is not used."""
    early = intervals([70], start=MONDAY + 2 * HOUR, received_at=MONDAY + 3 * HOUR - timedelta(seconds=ahead_s))
    rows = pl.concat([intervals([10] * 6, skip=[2]), early])
    result = vee(params(clock_ahead_s=180), intervals=rows)
    assert failed(result, "clock") == ([2] if clock else [])
    assert failed(result, "clock_set") == ([2] if doubtful else [])
    assert unjudged(result, "clock") == []
    assert result.finals["value_milli"].to_list() == [10, 10, 10 if clock else 70, 10, 10, 10]
    # Without a reference the rule says that it did not judge, and by which input it would.
    blind = vee(intervals=rows)
    assert failed(blind, "clock") == failed(blind, "clock_set") == []
    assert unjudged(blind, "clock") == list(range(6))
    told = dict(zip(blind.unjudged["rule"].cast(pl.String), blind.unjudged["needs"], strict=True))
    assert told["clock"] == "reference clock (time of reception)"


def test_three_minutes_pass_beside_a_value_that_is_more_ahead() -> None:
    ahead = {2: 180, 4: 181}
    early = [
        intervals([10], start=MONDAY + at * HOUR, received_at=MONDAY + (at + 1) * HOUR - timedelta(seconds=seconds))
        for at, seconds in ahead.items()
    ]
    result = vee(params(clock_ahead_s=180), intervals=pl.concat([intervals([10] * 6, skip=[2, 4]), *early]))
    assert failed(result, "clock_set") == [4]


def test_of_two_values_of_an_interval_the_clock_of_the_one_that_counts_is_judged() -> None:
    early = intervals([70], start=MONDAY + 2 * HOUR, received_at=MONDAY + HOUR)
    good = vee(params(clock_ahead_s=180), intervals=pl.concat([early, intervals([10] * 6)]))
    assert failed(good, "clock") == failed(good, "clock_set") == []


def test_without_a_fuse_the_absolute_limit_is_unjudged() -> None:
    assert unjudged(vee(intervals=intervals([1, 2]), meters=meters({"fuse_a": 100})), "absolute_limit") == [0, 1]


def test_three_phases_let_the_square_root_of_three_times_as_much_through() -> None:
    shop = meters({"fuse_a": 100, "voltage_v": 400, "phase": "ABC"})
    limit = 400 * 100 * 1732 * 125 // 100
    assert failed(vee(intervals=intervals([5, 5, limit, 5]), meters=shop), "absolute_limit") == []
    assert failed(vee(intervals=intervals([5, 5, limit + 1, 5]), meters=shop), "absolute_limit") == [2]


@pytest.mark.parametrize(("length", "fails"), [(24, []), (25, list(range(1, 26)))])
def test_the_same_value_for_longer_than_a_day_is_a_flat_line_that_is_billed(length: int, fails: list[int]) -> None:
    result = vee(intervals=intervals([1, *[7] * length, 2]))
    assert failed(result, "flat_line") == fails
    assert set(result.finals["quality"]) == {"valid"}


def pair(down: datetime, up: datetime, meter: str = "MTR1") -> pl.DataFrame:
    def event(kind: str, at: datetime) -> dict[str, object]:
        return {
            "meter_id": meter,
            "event": kind,
            "origin": "meter",
            "occurred_at": at,
            "code": 1,
            "authenticated": True,
        }

    return of(frames.EVENTS, event("power_down", down), event("power_up", up))


def test_a_zero_under_an_outage_is_an_outage_and_a_zero_elsewhere_is_a_finding() -> None:
    values = [5, 5, 0, 0, 5, 0, 5]
    result = vee(intervals=intervals(values), events=pair(MONDAY + 2 * HOUR, MONDAY + 4 * HOUR))
    assert result.finals["quality"].to_list() == ["valid", "valid", "outage", "outage", "valid", "valid", "valid"]
    assert result.finals["method"].to_list()[2:4] == ["zero", "zero"]
    assert failed(result, "outage_zero") == [5]
    assert unjudged(vee(intervals=intervals(values)), "outage_zero") == list(range(7))


def test_a_missing_interval_under_an_outage_is_zero_and_never_estimated() -> None:
    result = vee(intervals=intervals([5, 5, 9, 9, 5], skip=[2, 3]), events=pair(MONDAY + 2 * HOUR, MONDAY + 4 * HOUR))
    assert result.finals["value_milli"].to_list() == [5, 5, 0, 0, 5]
    assert result.finals["quality"].to_list()[2:4] == ["outage", "outage"]
    assert failed(result, "missing_interval") == []


@pytest.mark.parametrize(("hours", "fails"), [(71, 0), (72, 72)])
def test_three_days_of_zero_are_a_warning(hours: int, fails: int) -> None:
    values = [5, *[0] * hours, 5]
    quiet = pair(MONDAY - 2 * DAY, MONDAY - DAY, meter="OTHER")
    assert len(failed(vee(intervals=intervals(values), events=quiet), "zero_on_active")) == fails
    assert len(unjudged(vee(intervals=intervals(values)), "zero_on_active")) == hours + 2


def test_an_incident_reaches_the_meters_below_its_node_until_it_is_restored() -> None:
    step = {
        "incident_id": "I1", "scope": "street", "node_kind": "transformer", "node_id": "T1", "meters_out": 1,
        "customers_out": 1, "confidence": 1.0, "started_at": MONDAY + HOUR, "updated_at": MONDAY + HOUR,
    }  # fmt: skip
    steps = of(
        frames.OUTAGES,
        {**step, "step": 0, "state": "reported", "restored_at": None},
        {**step, "step": 1, "state": "restored", "restored_at": MONDAY + 3 * HOUR},
    )
    rows = pl.concat([intervals([5, 0, 0, 5], meter=name) for name in ("MTR1", "MTR2")])
    tree = meters({"transformer_id": "T1"}, {"meter_id": "MTR2", "transformer_id": "T2"})
    finals = vee(intervals=rows, meters=tree, outages=steps).finals
    assert finals["quality"].to_list() == ["valid", "outage", "outage", "valid", "valid", "valid", "valid", "valid"]
    gone = steps.with_columns(pl.lit("cancelled").cast(frames.STATE).alias("state"))
    assert set(vee(intervals=rows, meters=tree, outages=gone).finals["quality"]) == {"valid"}


@pytest.mark.parametrize(
    ("status", "rule", "quality"),
    [
        (Status.TEST_MODE, "test_mode", "estimated"),
        (Status.OVERFLOW, "overflow", "estimated"),
        (Status.CLOCK_INVALID, "clock", "estimated"),
        (Status.PARTIAL, "partial_interval", "valid"),
        (Status.CLOCK_SET, "clock_set", "valid"),
    ],
)
def test_the_meters_own_flags_are_believed(status: Status, rule: str, quality: str) -> None:
    result = vee(intervals=intervals([10, 10, 99, 10, 10], status=[0, 0, int(status), 0, 0]))
    assert failed(result, rule) == [2]
    assert result.finals["quality"][2] == quality
    assert result.finals["value_milli"][2] == (10 if quality == "estimated" else 99)


@pytest.mark.parametrize(("advance", "fails"), [(242, []), (243, list(range(24)))])
def test_the_sum_check_tolerates_twice_the_resolution_and_marks_what_it_doubts(advance: int, fails: list[int]) -> None:
    result = vee(intervals=intervals([10] * 24), reads=reads({MONDAY: 500, MONDAY + DAY: 500 + advance}))
    assert failed(result, "sum_check") == fails
    assert set(result.finals["quality"]) == ({"suspect"} if fails else {"valid"})
    assert result.finals["value_milli"].to_list() == [10] * 24


def test_the_sum_check_counts_resolution_and_multiplier() -> None:
    master = meters({"multiplier": 2000, "register_resolution_milli": 10})
    for advance, fails in ((260, 0), (261, 24)):
        result = vee(intervals=intervals([10] * 24), reads=reads({MONDAY: 0, MONDAY + DAY: advance}), meters=master)
        assert len(failed(result, "sum_check")) == fails


def test_a_register_that_goes_back_once_is_never_a_new_base() -> None:
    at = [MONDAY + k * DAY for k in range(4)]
    rows = intervals([1_000] * 72)
    result = vee(intervals=rows, reads=reads(dict(zip(at, [500_000, 524_000, 0, 572_000], strict=True))))
    assert set(result.finals["quality"]) == {"valid"}
    assert failed(result, "rollover_or_reset") == [47]
    assert failed(result, "sum_check") == []


def test_a_second_read_confirms_a_reset_and_its_stretch_is_not_judged() -> None:
    at = [MONDAY + k * DAY for k in range(4)]
    registers = reads(dict(zip(at, [500_000, 524_000, 3_000, 27_000], strict=True)))
    result = vee(intervals=intervals([1_000] * 72), reads=registers)
    assert failed(result, "rollover_or_reset") == list(range(24, 48))
    assert unjudged(result, "sum_check") == list(range(24, 48))


def test_a_register_that_leaps_beyond_belief_is_not_believed() -> None:
    at = [MONDAY + k * DAY for k in range(4)]
    registers = reads(dict(zip(at, [0, 24_000, 10**12, 72_000], strict=True)))
    home = meters({"fuse_a": 63, "voltage_v": 230, "phase": "A"})
    result = vee(intervals=intervals([1_000] * 72), reads=registers, meters=home)
    assert failed(result, "register_delta") == [47]
    assert set(result.finals["quality"]) == {"valid"}


def test_without_a_fuse_registers_of_any_size_anchor_and_their_leaps_are_unjudged() -> None:
    big = 300 * KWH * 24
    result = vee(intervals=intervals([300 * KWH] * 24, skip=[3, 4]), reads=reads({MONDAY: 0, MONDAY + DAY: big + 7}))
    assert result.finals["value_milli"].sum() == big + 7
    assert unjudged(result, "register_delta") == list(range(24))


def test_without_a_fuse_a_leap_that_is_taken_back_is_not_billed() -> None:
    at = [MONDAY + k * DAY for k in range(5)]
    registers = reads(dict(zip(at, [0, 24_000, 10**12, 72_000, 96_000], strict=True)))
    result = vee(intervals=intervals([1_000] * 96, skip=[30]), reads=registers)
    assert result.finals["value_milli"].to_list() == [1_000] * 96


@pytest.mark.parametrize(("before", "after", "advance"), [(9_000_000, 1_000_000, 2_000_000), (8_999_999, 0, None)])
def test_without_a_fuse_a_fall_from_the_last_tenth_to_the_first_is_a_rollover(
    before: int, after: int, advance: int | None
) -> None:
    registers = reads({MONDAY: before, MONDAY + 4 * HOUR: after, MONDAY + 8 * HOUR: after + 8})
    result = vee(intervals=intervals([2] * 8, skip=[1]), reads=registers, meters=meters({"register_digits": 4}))
    assert result.finals["value_milli"][1] == (2 if advance is None else advance - 6)


@pytest.mark.parametrize(("mean", "fails"), [(200, 0), (201, 168), (50, 0), (49, 168)])
def test_a_week_of_half_or_twice_the_use_before_it_passes_and_beyond_is_a_warning(mean: int, fails: int) -> None:
    # Values go up and down by one: neither a flat line nor a spike, the mean is whole.
    weeks = [level + 1 - 2 * (k % 2) for level in (100, mean) for k in range(168)]
    result = vee(intervals=intervals(weeks))
    assert failed(result, "high_low_usage") == list(range(168, 168 + fails))
    assert unjudged(result, "high_low_usage") == list(range(168))
    assert set(result.finals["quality"]) == {"valid"}


def test_a_rule_says_nothing_about_channels_that_it_does_not_concern() -> None:
    volts = intervals([230_000, 231_000, 0, -5, 230_000], channel="voltage_l1")
    result = vee(intervals=volts)
    assert result.finals["failed"].to_list() == [0] * 5


def test_a_step_is_unjudged_where_nothing_usable_stands_before_it_and_a_spike_on_a_day_with_a_hole() -> None:
    rows = intervals([KWH, KWH, 0, KWH, -1, KWH] + [KWH] * 42, skip=[2])
    result = vee(intervals=rows)
    # Hour 2 never came; hour 4 is below zero and replaced.
    assert unjudged(result, "step_change") == [0, 3, 5]
    assert unjudged(result, "spike") == list(range(24))


def test_findings_of_raw_rows_are_of_those_between_the_bounds() -> None:
    """Copies and rows of another length, one hour of each day; the second day is judged."""
    rows = intervals([100] * 72)
    odd = [intervals([100], start=MONDAY + at * HOUR, step_s=1800) for at in (5, 29, 53)]
    again = [intervals([100], start=MONDAY + at * HOUR) for at in (7, 31, 32, 55)]
    settings = params(grid_from=MONDAY + 24 * HOUR, grid_to=MONDAY + 48 * HOUR)
    result = vee(settings, intervals=pl.concat([rows, *odd, *again]), meters=meters({}))
    for rule, at, count in (("identity", 29, 1), ("duplicate", 31, 2)):
        assert found(result, rule).select("first_interval", "intervals").rows() == [(MONDAY + at * HOUR, count)]


WEEKS = [(100, 900)[k // 168 in (6, 7, 16)] * (1 + k // 168 % 3) + k % 2 for k in range(168 * 22)]
"""Weeks whose means and peaks move; the 7th, 8th and 17th stand out."""


@pytest.mark.parametrize("context", [92, 28])
def test_a_day_is_told_of_its_week_in_one_way_whatever_days_are_judged_with_it(context: int) -> None:
    rows, both = intervals(WEEKS, start=MONDAY - 3 * DAY), bit("high_low_usage") | bit("peak_against_previous")
    for day in (MONDAY + at * DAY for at in (104, 108, 111, 117)):
        told = set()
        for first, after in ((0, 1), (-1, 1), (-3, 2), (-10, 3), (-30, 1)):
            bounds = params(grid_from=day + first * DAY, grid_to=day + after * DAY, context_days=context)
            finals = vee(bounds, intervals=rows).finals
            mine = finals.filter(pl.col("interval_start").is_between(day, day + DAY, closed="left"))
            told.add(tuple(mine.select(pl.col("failed") & both, pl.col("unjudged") & both).rows()))
        assert len(told) == 1, day


def test_the_history_of_a_week_are_the_twelve_before_it_and_of_them_those_that_came() -> None:
    """A first week of 100 000 among weeks of 100: the 13th week has it before it, the 14th no more."""
    values = [(100_000 if k < 168 else 100) + k % 2 for k in range(168 * 14)]
    assert failed(vee(intervals=intervals(values)), "high_low_usage") == list(range(168, 168 * 13))
    # Without half of the first week nothing is before the second, and the third is held against the second alone.
    result = vee(intervals=intervals(values, skip=range(84)))
    assert failed(result, "high_low_usage") == []
    assert unjudged(result, "high_low_usage") == list(range(252))


def test_weeks_begin_on_monday_by_the_clock_of_the_meter() -> None:
    level = [100 + k % 2 for k in range(168)] + [300 + k % 2 for k in range(168)]
    berlin = meters({"timezone": "Europe/Berlin"})
    result = vee(intervals=intervals(level, start=MONDAY - HOUR), meters=berlin)
    assert failed(result, "high_low_usage") == list(range(168, 336))
    # A day later neither week is whole, of the wall or of UTC.
    assert failed(vee(intervals=intervals(level, start=MONDAY + DAY)), "high_low_usage") == []


def test_a_day_misses_a_read_in_one_way_whatever_days_are_judged_with_it() -> None:
    """Reads on four days, none on the next five, then one more: what lies two days and more behind a read is told."""
    rows = intervals([100] * 24 * 12)
    register = reads({MONDAY + k * DAY: 2_400 * k for k in (0, 1, 2, 3, 9)})
    for at in range(12):
        told = set()
        for first, after in ((0, 1), (-1, 1), (-2, 3), (0, 12)):
            bounds = params(grid_from=MONDAY + max(at + first, 0) * DAY, grid_to=MONDAY + min(at + after, 12) * DAY)
            finals = vee(bounds, intervals=rows, reads=register).finals
            day = pl.col("interval_start").is_between(MONDAY + at * DAY, MONDAY + (at + 1) * DAY, closed="left")
            told.add(tuple(finals.filter(day)["failed"] & bit("missing_read")))
        assert told == {(bit("missing_read") if at in (5, 6, 7, 8, 11) else 0,) * 24}, at
