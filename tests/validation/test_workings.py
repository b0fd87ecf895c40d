"""What is told of an estimate: ends, like days, reads and advance; every number by hand."""

from datetime import date, timedelta
from typing import Any

import polars as pl
from test_vee_cases import TOU, tou_reads
from vee_made import DELIVERED, MONDAY, intervals, meters, of, params, reads

from schemas import frames
from schemas.codes import Channel, Status
from validation.explain import explain
from validation.params import ClassProfile, VeeParams
from validation.vee import VeeInputs, run_vee

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
FIRST = MONDAY.date()


def frames_of(**given: pl.DataFrame) -> VeeInputs:
    empty = VeeInputs(
        frames.INTERVALS.empty(), frames.READS.empty(), frames.EVENTS.empty(), frames.OUTAGES.empty(),
        frames.METERS.empty(), frames.EDITS.empty(), frames.FINALS.empty(),
    )  # fmt: skip
    return empty._replace(**given)


def told(at: int, settings: VeeParams | None = None, day: date = FIRST, **given: Any) -> str:
    """The sentence about an hour of a day of MTR1."""
    lines = explain(frames_of(**given), settings or params(), "MTR1", day).lines
    return str(lines.filter(pl.col("channel") == DELIVERED)["why"][at])


def test_the_ends_of_a_line_are_told_and_the_reads_and_advance_that_moved_it() -> None:
    """Hour 5 between 100 and 300 is 200 by the line; the register leaves 250: 2 550 less 23 hours of 100."""
    values = [100] * 6 + [300] + [100] * 17
    why = told(5, intervals=intervals(values, skip=[5]), reads=reads({MONDAY: 7_000, MONDAY + DAY: 9_750}))
    assert "on the straight line between its measured neighbours" in why
    assert "gap of 1 from 2025-03-03T05:00Z to 2025-03-03T06:00Z" in why
    assert "between 100 at 2025-03-03T04:00Z before and 300 at 2025-03-03T06:00Z behind, which gives 200" in why
    assert "register 7000 at 2025-03-03T00:00Z and 9750 at 2025-03-04T00:00Z, advance 2750, known 2500" in why
    assert "250 for 1 estimates, moved to 250" in why


def test_without_two_reads_an_estimate_is_told_to_be_unanchored() -> None:
    why = told(5, intervals=intervals([100] * 24, skip=[5]), reads=reads({MONDAY: 7_000}))
    assert "which gives 100" in why
    assert "not anchored: no two usable register reads enclose it" in why


def test_like_days_of_a_blend_are_told_with_their_weight_and_value() -> None:
    """Six weeks of 100 an hour, but 160 at noon of the Monday a week before the gap of three hours."""
    values = [100 + k % 2 for k in range(24 * 43)]
    noon = 24 * 35 + 12
    values[noon - 24 * 7] = 160
    day = (MONDAY + 35 * DAY).date()
    why = told(12, day=day, intervals=intervals(values, skip=range(noon, noon + 3)))
    assert "a mean of like days" in why
    assert "gap of 3 from 2025-04-07T12:00Z to 2025-04-07T15:00Z" in why
    # Workdays, Saturdays and Sundays before and behind, all 42 of them; the same weekday weighs most.
    assert "42 like days by weight, most of all " in why
    assert "2025-03-31 (" in why and ", 160)" in why
    shares = [int(part.split(" %")[0]) for part in why.split(" (")[1:] if " %" in part]
    assert shares == sorted(shares, reverse=True)


def test_a_blend_of_two_hours_names_its_line_too() -> None:
    values = [100 + k % 2 for k in range(24 * 43)]
    noon = 24 * 35 + 12
    day = (MONDAY + 35 * DAY).date()
    why = told(12, day=day, intervals=intervals(values, skip=[noon, noon + 1]))
    assert "a blend of like days" in why
    assert "and the line between 101 at 2025-04-07T11:00Z before and 100 at 2025-04-07T14:00Z behind" in why


def test_the_days_of_a_plain_mean_are_told_nearest_first() -> None:
    """A workweek: Wednesday 08:00 to 11:00 is the mean of 400, 300, 500 and 200 on the four other days: 350."""
    values = [100] * 24 * 5
    for number, value in enumerate((200, 300, 0, 400, 500)):
        values[24 * number + 8 : 24 * number + 11] = [value] * 3
    lost = range(24 * 2 + 8, 24 * 2 + 11)
    why = told(8, day=(MONDAY + 2 * DAY).date(), intervals=intervals(values, skip=lost))
    nearest = "2025-03-04 (300), 2025-03-06 (400), 2025-03-03 (200)"
    assert f"the mean of 4 days of the same type, the nearest {nearest}" in why
    assert "which gives 350" in why


def test_days_of_another_type_are_told_as_such() -> None:
    """Friday and Saturday: of Saturday's morning only Friday is at hand."""
    start = MONDAY + 4 * DAY
    rows = intervals([100] * 48, start=start, skip=range(30, 36))
    why = told(6, day=(start + DAY).date(), intervals=rows)
    assert "from one like day" in why
    assert "the mean of 1 days of any type, the nearest 2025-03-07 (100), which gives 100" in why


def test_a_profile_an_average_and_a_forward_estimate_say_what_they_gave() -> None:
    shape = tuple(10 * (hour + 1) for hour in range(24))
    profile = ClassProfile("home", Channel.ENERGY_DELIVERED, shape, shape, shape)
    rows = intervals([2 * one for one in shape], skip=range(12, 24))
    bounds: dict[str, Any] = {"grid_from": MONDAY, "grid_to": MONDAY + DAY}
    why = told(12, params(profiles=(profile,), **bounds), intervals=rows, meters=meters({"rate_class": "home"}))
    assert "a forward estimate" in why
    assert "which gives 260" in why
    flat = told(12, params(**bounds), intervals=intervals([100, 300] * 6))
    assert "the mean of 12 measured values, which gives 200" in flat


def test_the_period_of_a_time_of_use_register_is_told() -> None:
    why = told(
        5, params(tou=TOU), intervals=intervals([100] * 24, skip=[5, 6, 7]), reads=tou_reads(2_440, 1_300, 1_140)
    )
    assert "time-of-use register energy_delivered_t2, advance 1140" in why
    assert "40 for 1 estimates, moved to 40" in why


def test_a_rollover_shows_the_read_before_it() -> None:
    register = reads({MONDAY: 9_999_000, MONDAY + DAY: 1_400})
    why = told(
        5, intervals=intervals([100] * 24, skip=[5]), reads=register, meters=meters({"register_digits": 4})
    )  # fmt: skip
    assert "register 9999000 at 2025-03-03T00:00Z and 1400 at 2025-03-04T00:00Z, advance 2400, known 2300" in why


def test_a_remainder_below_nothing_is_told() -> None:
    why = told(5, intervals=intervals([100] * 24, skip=[5]), reads=reads({MONDAY: 0, MONDAY + DAY: 2_250}))
    assert "advance 2250, known 2300; -50 left, less than nothing: not moved" in why


def test_a_share_of_a_long_interval_is_told() -> None:
    status = [0] * 8 + [int(Status.LONG)] + [0] * 15
    rows = intervals([100] * 8 + [400] + [100] * 15, status=status, skip=[5, 6, 7])
    assert "a share of 100 of the long interval that ends the gap" in told(5, intervals=rows)


def test_the_check_meter_is_told() -> None:
    rows = pl.concat([intervals([100] * 24, skip=[5]), intervals([107] * 24, meter="CHECK")])
    why = told(5, intervals=rows, meters=meters({}, {"meter_id": "CHECK", "check_of": "MTR1"}))
    assert "the check meter measured 107" in why


def test_a_stored_version_that_stands_is_told_apart_from_what_would_be_estimated_now() -> None:
    rows = intervals([100] * 24, skip=[5])
    first = run_vee(frames_of(intervals=rows), params()).finals
    day = {"meter_id": "MTR1", "channel": None, "billed_from": MONDAY, "billed_to": MONDAY + DAY}
    register = reads({MONDAY: 0, MONDAY + DAY: 2_550})
    why = told(5, intervals=rows, reads=register, finals=first, billed=of(frames.BILLED, day))
    assert "moved to 250" in why
    assert "the stored version stands, which differs" in why
    assert "stands" not in told(5, intervals=rows, reads=register, finals=first)


def test_a_billed_value_whose_correction_waits_is_told_as_such() -> None:
    first = run_vee(frames_of(intervals=intervals([100] * 24)), params()).finals
    day = {"meter_id": "MTR1", "channel": None, "billed_from": MONDAY, "billed_to": MONDAY + DAY}
    corrected = intervals([100] * 5 + [170, 180] + [100] * 17)
    given = {"intervals": corrected, "finals": first, "billed": of(frames.BILLED, day)}
    waits = "as it was billed: what has become known since waits for a person"
    assert [waits in told(at, **given) for at in (4, 5, 6, 7)] == [False, True, True, False]
    assert "used as it came" not in told(5, **given)
    assert waits not in told(5, intervals=corrected, finals=first)


def test_every_estimate_is_told_and_its_last_number_is_the_final() -> None:
    """Random hours lost on three weeks, reads every two days: the sentences and the finals agree throughout."""
    values = [100 + (7 * k) % 31 for k in range(24 * 21)]
    lost = [k for k in range(24 * 21) if (k * 7919) % 10 == 3 or 200 < k < 230]
    at = range(0, 24 * 21 + 1, 48)
    register = reads({MONDAY + k * HOUR: sum(values[:k]) for k in at})
    given = {"intervals": intervals(values, skip=lost), "reads": register}
    for number in range(20):
        day = MONDAY + number * DAY
        lines = explain(frames_of(**given), params(), "MTR1", day.date()).lines
        made = lines.filter(pl.col("quality") == "estimated")
        assert made.height == sum(number * 24 <= k < number * 24 + 24 for k in lost)
        for value, why in made.select("value_milli", "why").rows():
            assert f"moved to {value}" in why
