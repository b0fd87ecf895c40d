"""Every expected interval has exactly one final, whatever came."""

from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vee_made import MONDAY, failed, found, intervals, meters, params, reads, vee

from schemas.errors import ContractError

HOUR = timedelta(hours=1)


def test_a_hole_gets_a_final_and_so_do_the_bounds_asked_for() -> None:
    result = vee(
        params(grid_from=MONDAY - 2 * HOUR, grid_to=MONDAY + 6 * HOUR),
        intervals=intervals([10, 20, 30, 40], skip=[1]),
    )
    assert result.finals["interval_start"].to_list() == [MONDAY + k * HOUR for k in range(-2, 6)]
    assert failed(result, "missing_interval") == [0, 1, 3, 6, 7]


@settings(max_examples=25, deadline=None)
@given(
    skip=st.sets(st.integers(0, 71)),
    shift=st.integers(-30, 30),
    length=st.integers(0, 80),
    installed=st.none() | st.integers(-5, 60),
)
def test_every_expected_interval_has_exactly_one_final(
    skip: set[int], shift: int, length: int, installed: int | None
) -> None:
    first = MONDAY + shift * HOUR
    since = None if installed is None else MONDAY + installed * HOUR + timedelta(minutes=20)
    result = vee(
        params(grid_from=first, grid_to=first + length * HOUR),
        intervals=intervals([100 + at for at in range(72)], skip=sorted(skip)),
        meters=meters({"installed_at": since}),
    )
    expected = [first + k * HOUR for k in range(length) if since is None or first + k * HOUR >= since]
    assert result.finals["interval_start"].to_list() == expected


def test_a_meter_that_never_sent_anything_is_missing_and_goes_to_a_person() -> None:
    result = vee(params(grid_from=MONDAY, grid_to=MONDAY + 24 * HOUR), meters=meters({}))
    assert result.finals["quality"].to_list() == ["missing"] * 24
    assert result.finals["value_milli"].null_count() == 24
    assert found(result, "no_estimate")["intervals"].to_list() == [24]
    assert found(result, "no_estimate")["severity"].to_list() == ["blocking"]


def test_without_bounds_and_without_data_there_is_nothing_to_judge() -> None:
    assert vee(meters=meters({})).finals.height == 0
    assert vee().finals.height == 0


def test_a_wrong_clock_does_not_fill_memory_with_missing_intervals() -> None:
    rows = pl.concat([intervals([1]), intervals([1], start=datetime(2099, 1, 1, tzinfo=UTC))])
    with pytest.raises(ContractError, match="ten years"):
        vee(intervals=rows)


def test_installation_and_removal_bound_the_grid_of_a_meter() -> None:
    noon = MONDAY + 12 * HOUR
    result = vee(
        params(grid_from=MONDAY, grid_to=MONDAY + 24 * HOUR),
        intervals=pl.concat([intervals([5] * 12, meter="OLD"), intervals([7] * 12, meter="NEW", start=noon)]),
        meters=meters(
            {"meter_id": "OLD", "service_point_id": "SP1", "removed_at": noon},
            {"meter_id": "NEW", "service_point_id": "SP1", "installed_at": noon},
        ),
    )
    counted = result.finals.group_by("meter_id", maintain_order=True).agg(pl.len(), pl.col("value_milli").sum())
    assert counted.rows() == [("NEW", 12, 84), ("OLD", 12, 60)]
    assert result.finals["quality"].unique().to_list() == ["valid"]


def test_data_from_outside_of_an_installation_are_a_finding_for_a_person() -> None:
    result = vee(
        params(grid_from=MONDAY, grid_to=MONDAY + 4 * HOUR),
        intervals=intervals([1, 2, 3, 4]),
        meters=meters({"installed_at": MONDAY + 2 * HOUR}),
    )
    assert found(result, "meter_exchange").select("severity", "intervals").rows() == [("blocking", 2)]
    assert result.finals.height == 2


def test_rows_that_contradict_master_data_are_a_finding_for_a_person() -> None:
    rows = pl.concat(
        [
            intervals([1, 2]),
            intervals([9], channel="energy_received"),
            intervals([9], step_s=900, start=MONDAY + 5 * HOUR),
            intervals([9], start=MONDAY + timedelta(minutes=7)),
        ]
    )
    result = vee(intervals=rows, meters=meters({}))
    assert found(result, "identity")["intervals"].sum() == 3
    assert set(found(result, "identity")["severity"]) == {"blocking"}


def test_intervals_and_reads_are_multiplied_once() -> None:
    result = vee(
        intervals=intervals([10] * 24, skip=[5]),
        reads=reads({MONDAY: 1_000, MONDAY + 24 * HOUR: 1_240}),
        meters=meters({"multiplier": 40_000}),
    )
    assert result.finals["value_milli"].to_list() == [400] * 24
    assert found(result, "sum_check").height == 0


def test_the_last_raw_row_in_order_wins_and_copies_are_counted() -> None:
    late = intervals([11, 22, 33], received_at=datetime(2025, 7, 1, tzinfo=UTC)).filter(pl.col("value_milli") == 22)
    first = intervals([11, 21, 33])
    copy = first.filter(pl.col("value_milli") == 33)
    result = vee(intervals=pl.concat([late, first, copy]))
    assert result.finals["value_milli"].to_list() == [11, 22, 33]
    assert failed(result, "duplicate") == [1]
    assert result.finals["quality"].unique().to_list() == ["valid"]


def test_a_value_sent_as_unknowable_yields_to_a_known_one() -> None:
    late = intervals([None], received_at=datetime(2025, 7, 1, tzinfo=UTC))
    assert vee(intervals=pl.concat([intervals([11]), late])).finals["value_milli"].to_list() == [11]


@pytest.mark.parametrize(
    ("day", "timezone", "step_s", "count"),
    [
        (date(2025, 3, 30), "Europe/Berlin", 900, 92),
        (date(2025, 10, 26), "Europe/Berlin", 900, 100),
        (date(2025, 11, 2), "America/New_York", 3600, 25),
        (date(2025, 4, 6), "Australia/Lord_Howe", 1800, 49),
        (date(2025, 10, 5), "Australia/Lord_Howe", 1800, 47),
    ],
)
def test_short_and_long_days_hold_their_intervals(day: date, timezone: str, step_s: int, count: int) -> None:
    from schemas.timegrid import day_bounds

    first, after = day_bounds(day, timezone)
    result = vee(
        params(grid_from=first, grid_to=after),
        intervals=intervals(list(range(1, count + 1)), start=first, step_s=step_s, skip=[3]),
        meters=meters({"timezone": timezone, "interval_s": step_s}),
    )
    assert result.finals.height == count
    assert result.finals["interval_start"].n_unique() == count
    assert result.finals["value_milli"].to_list() == list(range(1, count + 1))


def test_what_is_awaited_gets_no_final_until_it_is_due_or_something_later_has_come() -> None:
    """Ten hours asked for; hours 1 and 3 are missing between values, 5 and later have not come."""
    heard = intervals([10, 20, 30, 40, 50], skip=[1, 3], received_at=MONDAY + 5 * HOUR)
    told = ((heard, ((30, 5), (6, 5), (4, 6), (2, 8), (0, 10))),)
    # Received an hour ago, however old its values are: what follows them is on its way, and is due an hour after that.
    told += ((heard.with_columns(received_at=pl.lit(MONDAY + 9 * HOUR)), ((4, 5), (2, 5), (1, 9), (0, 10))),)
    for rows, after_h, finals in ((rows, *case) for rows, cases in told for case in cases):
        asked = params(
            judged_at=MONDAY + 10 * HOUR, grid_from=MONDAY, grid_to=MONDAY + 10 * HOUR, estimate_after_s=after_h * 3600
        )
        result = vee(asked, intervals=rows, meters=meters({"installed_at": MONDAY - 24 * HOUR}))
        assert result.finals["interval_start"].to_list() == [MONDAY + k * HOUR for k in range(finals)], after_h
        assert failed(result, "missing_interval") == [1, 3, *range(5, finals)]


def test_a_meter_whose_installation_nobody_dates_begins_with_its_first_value() -> None:
    asked = params(
        judged_at=MONDAY + 90 * HOUR, grid_from=MONDAY - 5 * HOUR, grid_to=MONDAY + 4 * HOUR, estimate_after_s=3600
    )
    rows = intervals([10, 20], start=MONDAY, received_at=MONDAY + 2 * HOUR)
    undated = vee(asked, intervals=rows, meters=meters({}))
    assert undated.finals["interval_start"].to_list() == [MONDAY + k * HOUR for k in range(4)]
    dated = vee(asked, intervals=rows, meters=meters({"installed_at": MONDAY - 3 * HOUR}))
    assert dated.finals["interval_start"].to_list() == [MONDAY + k * HOUR for k in range(-3, 4)]
    silent = vee(asked, meters=meters({}))
    assert silent.finals["quality"].to_list() == ["missing"] * 9
