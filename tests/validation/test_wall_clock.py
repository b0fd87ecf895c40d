"""Intervals that keep to the wall clock over its changes: days of Berlin, hours of Lord Howe, which moves half an hour.

In 2025 Berlin's clock goes from 02:00 to 03:00 on 30 March (01:00 UTC) and from 03:00 to 02:00 on 26 October (01:00
UTC); Lord Howe's from 02:00 to 01:30 on 6 April (15:00 UTC the day before) and from 02:00 to 02:30 on 5 October (15:30
UTC the day before).
"""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import msgspec
import polars as pl
import pytest
from vee_made import DELIVERED, JUDGED_AT, failed, found, intervals, meters, of, params, reads, vee

from schemas import frames
from schemas.timegrid import day_bounds
from validation.explain import explain
from validation.vee import VeeInputs

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
BERLIN = meters({"timezone": "Europe/Berlin", "interval_s": 86_400, "multiplier": 1_000})
HOWE = meters({"timezone": "Australia/Lord_Howe"})


def midnights(first: date, count: int, timezone: str = "Europe/Berlin") -> list[datetime]:
    return [day_bounds(first + k * DAY, timezone)[0] for k in range(count)]


def rows(spans: list[tuple[datetime, int, int]], meter: str = "MTR1") -> pl.DataFrame:
    """INTERVALS of (start, seconds, value)."""
    return pl.concat([intervals([value], start=at, step_s=length, meter=meter) for at, length, value in spans])


def days_of_berlin(first: date, count: int, odd: tuple[int, int]) -> pl.DataFrame:
    """Days of 1,000 an hour, as long as they were, but that of the change as its sender counts: begins so many seconds
    after local midnight, and lasts so many."""
    begins = midnights(first, count + 1)
    spans = []
    for at, after in pairwise(begins):
        length = int((after - at).total_seconds())
        usual = length == 86_400
        later, told = (0, length) if usual else odd
        spans.append((at + timedelta(seconds=later), told, length * 1_000 // 3_600))
    return rows(spans)


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize(
    ("first", "hours", "odd"),
    [
        (date(2025, 3, 22), 23, (0, 82_800)), (date(2025, 3, 22), 23, (0, 86_400)),
        (date(2025, 3, 22), 23, (-3_600, 86_400)), (date(2025, 10, 18), 25, (0, 90_000)),
        (date(2025, 10, 18), 25, (0, 86_400)), (date(2025, 10, 18), 25, (3_600, 86_400)),
    ],
    ids=["23 h", "23 h from its start", "23 h to its end", "25 h", "25 h from its start", "25 h to its end"],
)  # fmt: skip
def test_both_halves_of_the_year_and_the_day_between_them_are_placed(
    first: date, hours: int, odd: tuple[int, int], known: bool
) -> None:
    result = vee(
        params(judged_at=JUDGED_AT + 365 * DAY, timezone="Europe/Berlin"),
        intervals=days_of_berlin(first, 16, odd), **({"meters": BERLIN} if known else {}),
    )  # fmt: skip
    assert result.finals["interval_start"].to_list() == midnights(first, 16)
    assert result.finals["interval_s"].to_list() == [86_400] * 8 + [hours * 3_600] + [86_400] * 7
    assert result.finals["value_milli"].to_list() == [24_000] * 8 + [hours * 1_000] + [24_000] * 7
    assert set(result.finals["quality"]) == {"valid"}
    assert found(result, "identity").is_empty()


def test_a_lost_day_of_the_change_meets_the_register_across_it() -> None:
    """24 days of 24,000 but one of 23,000: the register moves by 575,000; 22 days are known, so 47,000 are left."""
    begins = midnights(date(2025, 3, 22), 25)
    sent = days_of_berlin(date(2025, 3, 22), 24, (0, 82_800)).filter(~pl.int_range(pl.len()).is_in([8, 9]))
    result = vee(intervals=sent, reads=reads({begins[0]: 1_000, begins[-1]: 576_000}), meters=BERLIN)
    assert result.finals["interval_start"].to_list() == begins[:-1]
    assert failed(result, "missing_interval") == [8, 9]
    assert set(result.finals["quality"][8:10]) == {"estimated"}
    assert result.finals["value_milli"][8:10].sum() == 47_000
    assert result.finals["interval_s"][8] == 82_800
    uneven = days_of_berlin(date(2025, 3, 22), 24, (0, 82_800))
    uneven = uneven.with_columns(pl.col("value_milli") + pl.int_range(pl.len()))
    sums = vee(intervals=uneven, reads=reads({begins[0]: 1_000, begins[-1]: 576_000 + 23 * 12 + 10}), meters=BERLIN)
    assert found(sums, "sum_check")["first_interval"].to_list() == [begins[0]]


@pytest.mark.parametrize(("first", "hours"), [(date(2025, 3, 22), 23), (date(2025, 10, 18), 25)])
def test_a_lost_day_of_the_change_without_a_register_is_as_long_as_it_was(first: date, hours: int) -> None:
    sent = days_of_berlin(first, 16, (0, hours * 3_600)).filter(~pl.int_range(pl.len()).is_in([8]))
    result = vee(params(judged_at=JUDGED_AT + 365 * DAY), intervals=sent, meters=BERLIN)
    assert result.finals.select("value_milli", "quality").row(8) == (hours * 1_000, "estimated")


def test_reads_at_local_midnights_are_a_cumulative_profile_over_the_change() -> None:
    begins = midnights(date(2025, 3, 22), 17)
    register = {at: int((at - begins[0]).total_seconds()) for at in begins}
    master = meters({"timezone": "Europe/Berlin", "interval_s": 86_400, "profile": "cumulative"})
    result = vee(reads=reads(register), meters=master)
    assert result.finals["interval_start"].to_list() == begins[:-1]
    assert result.finals["value_milli"].to_list() == [86_400] * 8 + [82_800] + [86_400] * 7
    assert set(result.finals["quality"]) == {"valid"}


def hours_of_howe(begin: datetime, change: datetime, after: datetime, end: datetime) -> list[tuple[datetime, int, int]]:
    """Whole local hours of 1,000, without those between the last before the change and the first after it."""
    before = [(begin + k * HOUR, 3_600, 1_000) for k in range(int((change - begin) / HOUR))]
    return before + [(after + k * HOUR, 3_600, 1_000) for k in range(int((end - after) / HOUR))]


AUTUMN = datetime(2025, 4, 5, 14, tzinfo=UTC)
SPRING = datetime(2025, 10, 4, 15, 30, tzinfo=UTC)


@pytest.mark.parametrize("parts", [[(0, 5_400, 1_500)], [(0, 3_600, 1_000), (60, 1_800, 500)]], ids=["one", "two"])
def test_hours_of_lord_howe_when_half_an_hour_comes_twice(parts: list[tuple[int, int, int]]) -> None:
    begin, after, end = AUTUMN - 73 * HOUR, AUTUMN + 1.5 * HOUR, AUTUMN + 49.5 * HOUR
    long = [(AUTUMN + timedelta(minutes=late), length, value) for late, length, value in parts]
    result = vee(intervals=rows(hours_of_howe(begin, AUTUMN, after, end) + long), meters=HOWE)
    starts = [*(begin + k * HOUR for k in range(74)), *(after + k * HOUR for k in range(48))]
    assert result.finals["interval_start"].to_list() == starts
    assert result.finals["interval_s"].to_list() == [3_600] * 73 + [5_400] + [3_600] * 48
    assert result.finals["value_milli"].to_list() == [1_000] * 73 + [1_500] + [1_000] * 48
    assert set(result.finals["quality"]) == {"valid"}
    assert found(result, "identity").is_empty()


def test_a_long_hour_of_which_a_part_is_lost_is_estimated_to_the_register() -> None:
    begin, after, end = AUTUMN - 73 * HOUR, AUTUMN + 1.5 * HOUR, AUTUMN + 49.5 * HOUR
    sent = rows([*hours_of_howe(begin, AUTUMN, after, end), (AUTUMN, 3_600, 1_000)])
    result = vee(intervals=sent, reads=reads({begin: 0, end: 122_500}), meters=HOWE)
    assert failed(result, "missing_interval") == [73]
    assert result.finals.select("value_milli", "quality", "interval_s").row(73) == (1_500, "estimated", 5_400)
    assert found(result, "identity").select("first_interval", "intervals").rows() == [(AUTUMN, 1)]


def test_a_long_hour_has_its_share_of_what_a_register_leaves_and_of_a_line() -> None:
    """Intervals of 1, 1.5 and 1 hours are lost: of 3,850 that the register leaves they have 1,100, 1,650, 1,100."""
    begin, after, end = AUTUMN - 73 * HOUR, AUTUMN + 1.5 * HOUR, AUTUMN + 49.5 * HOUR
    sent = rows(hours_of_howe(begin, AUTUMN, after, end))
    alone = vee(intervals=sent, meters=HOWE)
    assert alone.finals.select("value_milli", "method").row(73) == (1_500, "linear")
    lost = sent.filter(~pl.col("interval_start").is_in([AUTUMN - HOUR, after]))
    met = vee(intervals=lost, reads=reads({begin: 0, end: 122_500 + 350}), meters=HOWE)
    assert met.finals["value_milli"].to_list() == [1_000] * 72 + [1_100, 1_650, 1_100] + [1_000] * 47


@pytest.mark.parametrize("length", [1_800, 3_600])
def test_hours_of_lord_howe_when_half_an_hour_is_skipped(length: int) -> None:
    begin, after, end = SPRING - 72 * HOUR, SPRING + 0.5 * HOUR, SPRING + 48.5 * HOUR
    short = [(SPRING, length, 500)]
    result = vee(intervals=rows(hours_of_howe(begin, SPRING, after, end) + short), meters=HOWE)
    starts = [*(begin + k * HOUR for k in range(73)), *(after + k * HOUR for k in range(48))]
    assert result.finals["interval_start"].to_list() == starts
    assert result.finals["interval_s"].to_list() == [3_600] * 72 + [1_800] + [3_600] * 48
    assert result.finals["value_milli"].to_list() == [1_000] * 72 + [500] + [1_000] * 48
    assert set(result.finals["quality"]) == {"valid"}


def test_bounds_edits_and_finals_of_before_are_those_of_utc() -> None:
    first, begins = date(2025, 3, 22), midnights(date(2025, 3, 22), 17)
    sent = days_of_berlin(first, 16, (0, 82_800))
    bounds = params(grid_from=begins[7], grid_to=begins[11])
    before = vee(bounds, intervals=sent, meters=BERLIN)
    assert before.finals["interval_start"].to_list() == begins[7:11]
    assert set(before.finals["judged_at"]) == {JUDGED_AT}
    again = vee(
        msgspec.structs.replace(bounds, judged_at=JUDGED_AT + DAY), intervals=sent, meters=BERLIN, finals=before.finals
    )
    assert again.appended.is_empty()
    assert again.finals.equals(before.finals)
    edit = {
        "edit_id": "E1", "meter_id": "MTR1", "channel": DELIVERED, "from": begins[8], "to": begins[9], "action": "set",
        "value_milli": 22_000, "reason": "read on site", "author": "ann", "approved_by": "bea", "made_at": JUDGED_AT,
    }  # fmt: skip
    line = {"meter_id": "MTR1", "channel": DELIVERED, "billed_from": begins[8], "billed_to": begins[9]}
    billed = pl.DataFrame([line], schema=frames.BILLED.schema)
    edited = vee(
        bounds, intervals=sent, meters=BERLIN, finals=before.finals, edits=of(frames.EDITS, edit), billed=billed
    )
    assert edited.appended.select("interval_start", "interval_s", "value_milli", "quality", "version").rows() == [
        (begins[8], 82_800, 22_000, "edited", 2)
    ]
    assert edited.deltas.select("interval_start", "interval_s", "delta_milli").rows() == [(begins[8], 82_800, -1_000)]


def test_others_of_the_run_are_judged_as_if_alone() -> None:
    plain = intervals([1_000] * 384, meter="HOURLY", start=midnights(date(2025, 3, 22), 1)[0], skip=[100])
    master = meters(
        {"timezone": "Europe/Berlin", "interval_s": 86_400}, {"meter_id": "HOURLY", "timezone": "Europe/Berlin"}
    )
    sent = days_of_berlin(date(2025, 3, 22), 16, (0, 82_800))
    both = vee(intervals=pl.concat([plain, sent]), meters=master)
    ends = params(grid_from=both.finals["interval_start"].min(), grid_to=plain["interval_start"].max() + HOUR)
    for name, own in (("HOURLY", plain), ("MTR1", sent)):
        alone = vee(ends, intervals=own, meters=master.filter(pl.col("meter_id") == name))
        assert both.finals.filter(pl.col("meter_id") == name).equals(alone.finals)
        assert both.exceptions.filter(pl.col("meter_id") == name).equals(alone.exceptions)


def test_a_meter_that_follows_utc_stays_there_and_a_clock_seconds_off_is_a_finding() -> None:
    utc = intervals([24_000] * 40, start=datetime(2025, 3, 10, tzinfo=UTC), step_s=86_400)
    result = vee(intervals=utc, meters=BERLIN)
    assert result.finals["interval_start"].to_list() == utc["interval_start"].to_list()
    assert set(result.finals["interval_s"]) == {86_400}
    sent = days_of_berlin(date(2025, 3, 22), 16, (0, 82_800))
    off = sent.with_columns(pl.col("interval_start") + timedelta(seconds=7))
    assert found(vee(intervals=off, meters=BERLIN), "identity")["intervals"].to_list() == [16]


def test_an_estimate_across_the_change_is_explained() -> None:
    sent = days_of_berlin(date(2025, 3, 22), 16, (0, 82_800)).filter(~pl.int_range(pl.len()).is_in([8]))
    empty = VeeInputs(
        sent, frames.READS.empty(), frames.EVENTS.empty(), frames.OUTAGES.empty(), BERLIN, frames.EDITS.empty(),
        frames.FINALS.empty(),
    )  # fmt: skip
    told = explain(empty, params(), "MTR1", date(2025, 3, 30))
    assert told.lines["interval_start"].to_list() == [midnights(date(2025, 3, 30), 1)[0]]
    assert "gap of 1 from 2025-03-29T23:00Z to 2025-03-30T22:00Z" in told.lines["why"][0]
    assert "which gives 23000; for the 82800 s that the interval lasts;" in told.lines["why"][0]


def test_row_order_changes_nothing() -> None:
    begin, after, end = AUTUMN - 73 * HOUR, AUTUMN + 1.5 * HOUR, AUTUMN + 49.5 * HOUR
    parts = [(AUTUMN, 3_600, 1_000), (AUTUMN + HOUR, 1_800, 500)]
    sent = rows(hours_of_howe(begin, AUTUMN, after, end) + parts)
    assert vee(intervals=sent.reverse(), meters=HOWE).finals.equals(vee(intervals=sent, meters=HOWE).finals)
