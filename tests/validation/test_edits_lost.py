"""No edit is lost in silence: what it cannot be applied to is a finding, with numbers where there are any."""

from datetime import timedelta
from typing import Any

import pytest
from test_edits import edit, shown
from vee_made import JUDGED_AT, MONDAY, found, intervals, meters, params, vee

from validation.vee import Vee

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
RISING = [1_000 + 100 * hour for hour in range(24)]


def not_applied(result: Vee) -> list[tuple[Any, ...]]:
    told = found(result, "edit_not_applied")
    return told.select("meter_id", "first_interval", "intervals", "measured_milli", "limit_milli").rows()


@pytest.mark.parametrize(
    "more",
    [
        {"meter_id": "NOBODY"},
        {"channel": "energy_received"},
        {"from": MONDAY + 3.5 * HOUR, "to": MONDAY + 3.75 * HOUR},
    ],
    ids=["meter", "channel", "span"],
)
def test_an_edit_that_reaches_no_interval_is_a_finding(more: dict[str, Any]) -> None:
    change = edit("set", 3, 4, 5, **more)
    result = vee(intervals=intervals(RISING), edits=change)
    assert not_applied(result) == [(change["meter_id"][0], change["from"][0], 0, None, None)]
    elsewhere = params(grid_from=MONDAY + 6 * HOUR, grid_to=MONDAY + DAY)
    assert not_applied(vee(elsewhere, intervals=intervals(RISING), edits=change)) == [], "of other days, told there"


def test_an_edit_over_an_exchange_reaches_both_installations_of_the_meter() -> None:
    noon = MONDAY + 12 * HOUR
    both = meters({"installed_at": MONDAY, "removed_at": noon}, {"installed_at": noon})
    result = vee(intervals=intervals([1_000] * 24), meters=both, edits=edit("set", 0, 24, 7))
    assert result.finals["value_milli"].to_list() == [7] * 24
    assert set(result.finals["quality"]) == {"edited"}
    assert result.finals.height == result.finals["interval_start"].n_unique()
    assert not_applied(result) == []


def test_a_shift_moves_values_and_what_they_leave_is_estimated() -> None:
    result = vee(intervals=intervals(RISING), edits=edit("shift", 5, 8, 3_600_000))
    assert result.finals["value_milli"].to_list()[6:9] == [1_500, 1_600, 1_700]
    assert result.finals["quality"].to_list()[4:10] == ["valid", "estimated", "edited", "edited", "edited", "valid"]
    far = vee(intervals=intervals(RISING), edits=edit("shift", 5, 7, 4 * 3_600_000))
    marks = far.finals["quality"].to_list()[4:12]
    assert marks == ["valid", "estimated", "estimated", "valid", "valid", "edited", "edited", "valid"]
    assert far.finals["value_milli"].to_list()[9:11] == [1_500, 1_600]


def test_a_hole_that_is_shifted_is_a_hole_where_it_comes_to() -> None:
    result = vee(intervals=intervals(RISING, skip=[4]), edits=edit("shift", 4, 8, 3_600_000))
    assert result.finals["value_milli"].to_list()[6:9] == [1_500, 1_600, 1_700]
    assert result.finals["quality"].to_list()[3:10] == ["valid", *["estimated"] * 2, *["edited"] * 3, "valid"]


def test_what_a_shift_moves_to_where_the_series_has_no_interval_is_told_and_the_rest_moves() -> None:
    result = vee(intervals=intervals(RISING), edits=edit("shift", 0, 24, -3_600_000))
    assert result.finals["value_milli"].to_list()[:23] == RISING[1:]
    assert shown(result.finals, 23) == [(None, "missing", None, "ann")], "no measured value is left to estimate from"
    assert not_applied(result) == [("MTR1", MONDAY, 1, 1_000, None)]
    odd = vee(intervals=intervals(RISING), edits=edit("shift", 5, 8, 1_800_000))
    assert odd.finals["value_milli"].to_list() == RISING
    assert not_applied(odd) == [("MTR1", MONDAY + 5 * HOUR, 3, None, None)]


def test_accepting_what_nothing_is_known_of_is_told() -> None:
    result = vee(intervals=intervals([None] * 6), edits=edit("accept", 1, 3))
    assert set(result.finals["quality"]) == {"missing"}
    assert not_applied(result) == [("MTR1", MONDAY + HOUR, 2, None, None)]


def test_an_edit_that_is_too_much_says_how_much_and_what_the_limit_is() -> None:
    result = vee(params(four_eyes_milli=100), intervals=intervals([10] * 6), edits=edit("set", 2, 4, 111))
    assert not_applied(result) == [("MTR1", MONDAY + 2 * HOUR, 2, 202, 100)]


def test_shifting_again_on_its_own_output_changes_nothing() -> None:
    given = {"intervals": intervals(RISING, skip=[6]), "edits": edit("shift", 5, 8, 3_600_000)}
    first = vee(**given)
    assert vee(params(run_id="run-2", judged_at=JUDGED_AT + DAY), finals=first.finals, **given).appended.height == 0
