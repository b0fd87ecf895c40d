"""Under a bill: what moves with a value that moves, and what a person is told of that stays."""

from datetime import datetime, timedelta
from typing import Any

import polars as pl
from test_edits import billed_days, edit
from vee_made import DELIVERED, JUDGED_AT, MONDAY, found, intervals, of, params, reads, vee

from schemas import frames
from validation.vee import Vee

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
DAYS_READS = reads({MONDAY: 0, MONDAY + DAY: 24_000})
GAP = intervals([1_000] * 24, skip=[5, 6, 7])
LATE = intervals([1_000] * 5 + [1_600] + [1_000] * 18, skip=[6, 7])


def power(*, down: int, up: int) -> pl.DataFrame:
    at = {"power_down": MONDAY + down * HOUR, "power_up": MONDAY + up * HOUR}
    same = {"meter_id": "MTR1", "origin": "meter", "code": 1, "authenticated": True}
    return of(frames.EVENTS, *({**same, "event": name, "occurred_at": when} for name, when in at.items()))


def told(result: Vee) -> list[tuple[Any, ...]]:
    held = found(result, "held_correction")
    return held.select("first_interval", "intervals", "measured_milli", "limit_milli").rows()


def moved(result: Vee) -> list[tuple[Any, ...]]:
    return result.deltas.select(pl.col("interval_start") - MONDAY, "delta_milli", "reason").rows()


def test_estimates_that_share_a_register_with_a_late_read_move_with_it_under_the_bill_too() -> None:
    before = vee(intervals=GAP, reads=DAYS_READS).finals
    late = vee(intervals=LATE, reads=DAYS_READS, finals=before, billed=billed_days(0))
    assert late.finals["value_milli"].to_list()[5:8] == [1_600, 753, 647]
    assert late.finals["value_milli"].sum() == 24_000
    assert moved(late) == [(5 * HOUR, 600, "late_read"), (6 * HOUR, -247, "rescaled"), (7 * HOUR, -353, "rescaled")]
    assert told(late) == []
    again = vee(intervals=LATE, reads=DAYS_READS, finals=pl.concat([before, late.appended]), billed=billed_days(0))
    assert again.appended.height == again.deltas.height == 0


def test_estimates_that_share_a_register_with_an_edit_move_with_it_and_those_of_another_stretch_stay() -> None:
    register = reads({MONDAY: 0, MONDAY + DAY: 24_000, MONDAY + 2 * DAY: 48_000})
    rows = intervals([1_000] * 48, skip=[5, 6, 7, 30, 31])
    before = vee(intervals=rows, reads=register).finals
    given = {"intervals": rows, "reads": register, "finals": before, "billed": billed_days(0, 1)}
    person = vee(edits=edit("set", 5, 6, 1_600), **given)
    assert moved(person) == [(5 * HOUR, 600, "edit"), (6 * HOUR, -300, "rescaled"), (7 * HOUR, -300, "rescaled")]
    assert person.finals["value_milli"].sum() == 48_000


def test_a_register_that_speaks_after_the_bill_moves_nothing_and_is_told() -> None:
    before = vee(intervals=GAP, reads=DAYS_READS).finals
    more = reads({MONDAY: 0, MONDAY + DAY: 30_000})
    after = vee(intervals=GAP, reads=more, finals=before, billed=billed_days(0))
    assert after.deltas.height == after.appended.height == 0
    assert told(after) == [(MONDAY + 5 * HOUR, 3, 9_000, 3_000)]
    taken = vee(intervals=GAP, reads=more, finals=before, billed=billed_days(0), edits=edit("accept", 5, 8))
    assert taken.finals["value_milli"].sum() == 30_000
    assert taken.deltas["delta_milli"].to_list() == [2_000] * 3
    assert told(taken) == []


def test_an_estimate_that_another_one_would_replace_is_no_correction() -> None:
    rows = intervals([1_000] * 24, skip=[5])
    before = vee(intervals=rows).finals
    other = vee(intervals=intervals([1_000] * 5 + [0] + [2_000] * 18, skip=[5]), finals=before, billed=billed_days(0))
    assert [row[0] - MONDAY for row in told(other)] == [6 * HOUR], "the measured values, not the estimate between them"
    columns = ("interval_start", "interval_s", "value_milli", "value_milli_past")
    assert other.guesses.select(columns).rows() == [(MONDAY + 5 * HOUR, 3600, 1_500, 1_000)], "which is counted"


def test_of_estimates_only_those_that_stay_under_a_bill_without_a_register_are_counted() -> None:
    before = vee(intervals=intervals([1_000] * 24, skip=[5])).finals
    rows = intervals([1_000] * 5 + [0] + [2_000] * 18, skip=[5])
    assert vee(intervals=rows, finals=before).guesses.height == 0, "not billed: it is replaced"
    assert vee(intervals=rows, finals=before, billed=billed_days(3)).guesses.height == 0
    same = vee(intervals=intervals([1_000] * 24, skip=[5]), finals=before, billed=billed_days(0))
    assert same.guesses.height == 0
    register = reads({MONDAY: 0, MONDAY + DAY: 42_700})
    anchored = vee(intervals=rows, reads=register, finals=before, billed=billed_days(0))
    assert anchored.guesses.height == 0
    assert [row[:2] for row in told(anchored)] == [(MONDAY + 5 * HOUR, 19)]


def test_a_measured_value_takes_the_place_of_a_billed_zero_of_an_outage() -> None:
    events = power(down=5, up=7)
    before = vee(intervals=intervals([1_000] * 24, skip=[5, 6]), events=events).finals
    assert before["quality"].to_list()[5:7] == ["outage"] * 2
    given = {"events": events, "finals": before, "billed": billed_days(0)}
    late = vee(intervals=intervals([1_000] * 5 + [900, 800] + [1_000] * 17), **given)
    assert moved(late) == [(5 * HOUR, 900, "late_read"), (6 * HOUR, 800, "late_read")]


def test_a_billed_estimate_under_what_was_an_outage_is_told() -> None:
    rows = intervals([1_000] * 24, skip=[5])
    before = vee(intervals=rows).finals
    known = vee(intervals=rows, finals=before, billed=billed_days(0), events=power(down=5, up=6))
    assert known.deltas.height == 0
    assert told(known) == [(MONDAY + 5 * HOUR, 1, 0, 1_000)]


def test_a_billed_day_of_which_nothing_was_known_is_told_once_something_is() -> None:
    bounds: dict[str, datetime] = {"grid_from": MONDAY, "grid_to": MONDAY + DAY}
    before = vee(params(**bounds), intervals=intervals([None] * 24)).finals
    assert set(before["quality"]) == {"missing"}
    rows = pl.concat([intervals([None] * 24), intervals([1_000] * 480, start=MONDAY + DAY)])
    after = vee(params(**bounds), intervals=rows, reads=DAYS_READS, finals=before, billed=billed_days(0))
    assert after.deltas.height == 0
    assert told(after) == [(MONDAY, 24, 24_000, 0)]


def test_a_measured_value_that_comes_after_a_final_estimate_is_told_whether_it_is_billed_or_not() -> None:
    settings = params(final_before=MONDAY + DAY, judged_at=JUDGED_AT)
    before = vee(settings, intervals=intervals([1_000] * 24, skip=[5])).finals
    late = intervals([1_000] * 5 + [1_700] + [1_000] * 18)
    for billed in (billed_days(0), billed_days(3)):
        after = vee(settings, intervals=late, finals=before, billed=billed)
        assert after.finals["value_milli"][5] == 1_000
        assert told(after) == [(MONDAY + 5 * HOUR, 1, 1_700, 1_000)]
    taken = vee(settings, intervals=late, finals=before, edits=edit("accept", 5, 6))
    assert told(taken) == []
    assert taken.finals["value_milli"][5] == 1_700


def test_the_channel_of_another_series_does_not_move() -> None:
    """Stretches are numbered over the whole run: a late read of one series moves no estimate of another."""
    both = [pl.concat([rows, rows.with_columns(meter_id=pl.lit("MTR2"))]) for rows in (GAP, DAYS_READS)]
    before = vee(intervals=both[0], reads=both[1]).finals
    late = pl.concat([LATE, GAP.with_columns(meter_id=pl.lit("MTR2"))])
    billed = pl.concat([billed_days(0, channel=DELIVERED), billed_days(0, meter="MTR2")])
    after = vee(intervals=late, reads=both[1], finals=before, billed=billed)
    assert after.deltas["meter_id"].unique().to_list() == ["MTR1"]
    assert told(after) == []
