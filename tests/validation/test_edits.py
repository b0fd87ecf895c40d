"""Edits of persons, versions, locks: nothing is overwritten, everything names its author."""

from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from vee_made import DELIVERED, JUDGED_AT, MONDAY, found, intervals, of, params, reads, vee

from schemas import frames
from validation.versions import as_of

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


def edit(action: str, start: int, stop: int, value: int | None = None, **more: Any) -> pl.DataFrame:
    row = {
        "edit_id": "E1", "meter_id": "MTR1", "channel": DELIVERED, "from": MONDAY + start * HOUR,
        "to": MONDAY + stop * HOUR, "action": action, "value_milli": value, "reason": "read on site", "author": "ann",
        "approved_by": None, "made_at": JUDGED_AT,
    }  # fmt: skip
    return of(frames.EDITS, {**row, **more})


def shown(finals: pl.DataFrame, *at: int) -> list[tuple[Any, ...]]:
    return finals[list(at)].select("value_milli", "quality", "method", "author").rows()


def test_a_set_value_is_edited_and_its_stretch_is_anchored_around_it() -> None:
    result = vee(
        intervals=intervals([100] * 24, skip=[5, 6]), reads=reads({MONDAY: 0, MONDAY + DAY: 2_500}),
        edits=edit("set", 5, 6, 180),
    )  # fmt: skip
    assert shown(result.finals, 5, 6) == [(180, "edited", "manual", "ann"), (120, "estimated", "flat", None)]
    assert result.finals["value_milli"].sum() == 2_500


def test_scale_and_shift_work_on_measured_values() -> None:
    values = [100 + k for k in range(24)]
    scaled = vee(intervals=intervals(values), edits=edit("scale", 3, 5, 1_500))
    assert shown(scaled.finals, 3, 4) == [(155, "edited", "manual", "ann"), (156, "edited", "manual", "ann")]
    shifted = vee(intervals=intervals(values), edits=edit("shift", 10, 12, 3_600_000))
    assert [row[:3] for row in shown(shifted.finals, 9, 10, 11, 12, 13)] == [
        (109, "valid", None), (112, "estimated", "flat"), (110, "edited", "manual"), (111, "edited", "manual"),
        (113, "valid", None),
    ]  # fmt: skip


def test_accepting_keeps_a_value_that_a_rule_rejected_and_confirms_an_estimate() -> None:
    values = [10, 10, -5, 10, 10, 10]
    assert shown(vee(intervals=intervals(values), edits=edit("accept", 2, 3)).finals, 2) == [
        (-5, "edited", "manual", "ann")
    ]
    lost = vee(intervals=intervals([10] * 6, skip=[2]), edits=edit("accept", 2, 3))
    assert shown(lost.finals, 2) == [(10, "edited", "manual", "ann")]


@pytest.mark.parametrize("action", ["reject", "re_estimate"])
def test_a_rejected_value_is_estimated_anew(action: str) -> None:
    result = vee(intervals=intervals([10, 10, 90, 30, 10]), edits=edit(action, 2, 3))
    assert shown(result.finals, 2) == [(20, "estimated", "linear", "ann")]


def test_the_last_of_several_edits_counts_whatever_order_they_came_in() -> None:
    both = pl.concat([edit("set", 2, 3, 7, edit_id="D2", made_at=JUDGED_AT + HOUR), edit("set", 2, 4, 5)])
    for rows in (both, both[::-1]):
        result = vee(intervals=intervals([1] * 6), edits=rows)
        assert [row[0] for row in shown(result.finals, 2, 3)] == [7, 5]


TWICE = ("scale", 2_000)
THRICE = ("scale", 3_000)


@pytest.mark.parametrize(
    ("sent", "actions", "wanted"),
    [
        (90, [TWICE, ("reject", None)], (20, "estimated", "linear", "ann")),
        (90, [("accept", None), ("reject", None)], (20, "estimated", "linear", "ann")),
        (90, [("set", 7), ("re_estimate", None)], (20, "estimated", "linear", "ann")),
        (90, [("reject", None), TWICE], (40, "edited", "manual", "ann")),
        (90, [("reject", None), ("accept", None)], (20, "edited", "manual", "ann")),
        (90, [("set", 7), TWICE], (14, "edited", "manual", "ann")),
        (90, [TWICE, THRICE], (540, "edited", "manual", "ann")),
        (None, [TWICE, THRICE], (120, "edited", "manual", "ann")),
        (None, [("accept", None), TWICE], (40, "edited", "manual", "ann")),
        (None, [TWICE, ("re_estimate", None)], (20, "estimated", "linear", "ann")),
        (None, [TWICE, ("reject", None), THRICE], (60, "edited", "manual", "ann")),
        (None, [TWICE, ("set", 7), THRICE], (21, "edited", "manual", "ann")),
    ],
)
def test_edits_of_one_value_act_in_the_order_in_which_they_were_made(
    sent: int | None, actions: list[tuple[str, int | None]], wanted: tuple[Any, ...]
) -> None:
    rows = [
        edit(action, 2, 3, value, edit_id=f"E{at}", made_at=JUDGED_AT + at * HOUR)
        for at, (action, value) in enumerate(actions)
    ]
    result = vee(intervals=intervals([10, 10, sent, 30, 10]), edits=pl.concat(rows))
    assert shown(result.finals, 2) == [wanted]


def test_what_a_later_edit_takes_out_of_an_earlier_one_is_its_own_part_alone() -> None:
    both = pl.concat([edit("scale", 1, 6, 2_000), edit("reject", 2, 4, edit_id="E2", made_at=JUDGED_AT + HOUR)])
    result = vee(intervals=intervals([10] * 8, skip=[1, 2, 5]), edits=both)
    assert result.finals["value_milli"].to_list() == [10, 20, 10, 10, 20, 20, 10, 10]


@pytest.mark.parametrize(("approved_by", "applied"), [(None, False), ("ann", False), ("bob", True)])
def test_four_eyes_above_the_limit(approved_by: str | None, applied: bool) -> None:
    result = vee(
        params(four_eyes_milli=100),
        intervals=intervals([10] * 6),
        edits=edit("set", 2, 3, 111, approved_by=approved_by),
    )
    assert (result.finals["value_milli"][2] == 111) is applied
    assert found(result, "edit_not_applied").height == (not applied)
    small = vee(params(four_eyes_milli=100), intervals=intervals([10] * 6), edits=edit("set", 2, 3, 110))
    assert small.finals["value_milli"][2] == 110


def test_an_edit_outlives_later_runs_until_a_person_takes_it_back() -> None:
    rows = intervals([10] * 6)
    first = vee(intervals=rows, edits=edit("set", 2, 3, 50)).finals
    later = vee(params(run_id="run-2"), intervals=rows, finals=first)
    assert later.appended.height == 0
    assert shown(later.finals, 2) == [(50, "edited", "manual", "ann")]
    back = vee(params(run_id="run-3"), intervals=rows, finals=first, edits=edit("re_estimate", 2, 3))
    assert shown(back.appended, 0) == [(10, "estimated", "linear", "ann")]
    assert back.appended["version"].to_list() == [2]


def test_applying_the_same_edits_again_changes_nothing() -> None:
    given = {"intervals": intervals([10] * 30, skip=[4, 5, 20]), "edits": edit("set", 4, 5, 12)}
    first = vee(**given)
    assert vee(params(run_id="run-2"), finals=first.finals, **given).appended.height == 0


def test_any_past_state_can_be_read_as_of_a_version_or_a_time() -> None:
    rows = intervals([10] * 6, skip=[2])
    first = vee(params(judged_at=JUDGED_AT), intervals=rows)
    second = vee(params(judged_at=JUDGED_AT + DAY), intervals=intervals([10, 10, 44, 10, 10, 10]), finals=first.finals)
    history = pl.concat([first.finals, second.appended])
    assert as_of(history, version=1).sort("interval_start")["value_milli"].to_list() == [10] * 6
    assert as_of(history, judged_at=JUDGED_AT).sort("interval_start")["value_milli"][2] == 10
    assert as_of(history).sort("interval_start")["value_milli"][2] == 44


def billed_days(*days: int, channel: str | None = DELIVERED, meter: str = "MTR1") -> pl.DataFrame:
    """BILLED of whole days after MONDAY."""
    rows = [{"meter_id": meter, "channel": channel, "billed_from": MONDAY + k * DAY} for k in days]
    told = pl.DataFrame(rows, schema_overrides={"channel": frames.CHANNEL})
    return frames.conform(told.with_columns(billed_to=pl.col("billed_from") + DAY), frames.BILLED)


LATE = intervals([10, 10, 40, 10, 10, 10, 10, 10, 10, 99, 98, *[10] * 13], skip=[3])
"""The late value of hour 2 arrives; hours 9 and 10 are corrected in silence."""


def test_a_billed_day_changes_only_by_measured_values_or_persons_and_then_as_a_delta() -> None:
    before = vee(intervals=intervals([10] * 24, skip=[2, 3])).finals
    open_period = vee(intervals=LATE, finals=before)
    assert open_period.appended["interval_start"].to_list() == [MONDAY + k * HOUR for k in (2, 3, 9, 10)]
    assert open_period.deltas.height == 0
    assert found(open_period, "held_correction").height == 0
    locked = vee(intervals=LATE, finals=before, billed=billed_days(0))
    told = ("interval_start", "value_milli", "value_milli_past", "delta_milli", "version", "version_past", "reason")
    assert locked.deltas.select(told).rows() == [(MONDAY + 2 * HOUR, 40, 10, 30, 2, 1, "late_read")]
    assert locked.finals["value_milli"].to_list()[9:11] == [10, 10]
    person = vee(intervals=LATE, finals=before, billed=billed_days(0), edits=edit("set", 9, 10, 99))
    assert person.deltas["delta_milli"].to_list() == [30, 89]
    assert person.deltas["reason"].to_list() == ["late_read", "edit"]


def test_a_correction_of_a_billed_value_waits_for_a_person_and_is_a_delta_once_he_takes_it() -> None:
    before = vee(intervals=intervals([10] * 24, skip=[2, 3])).finals
    given = {"intervals": LATE, "billed": billed_days(0)}
    locked = vee(finals=before, **given)
    held = found(locked, "held_correction")
    told = held.select("first_interval", "intervals", "measured_milli", "limit_milli", "severity")
    assert told.rows() == [(MONDAY + 9 * HOUR, 2, 197, 20, "blocking")]
    again = vee(finals=pl.concat([before, locked.appended]), **given)
    assert again.appended.height == again.deltas.height == 0
    assert found(again, "held_correction").equals(held), "it waits"
    history = pl.concat([before, locked.appended])
    taken = vee(finals=history, edits=edit("accept", 9, 11), **given)
    assert taken.deltas.select("delta_milli", "reason").rows() == [(89, "edit"), (88, "edit")]
    assert found(taken, "held_correction").height == 0
    refused = vee(finals=history, edits=edit("set", 9, 11, 10), **given)
    assert refused.finals["value_milli"].to_list()[9:11] == [10, 10]
    assert found(refused, "held_correction").height == 0


@pytest.mark.parametrize(
    ("billed", "held"),
    [
        (billed_days(0), True),
        (billed_days(0, channel=None), True),
        (pl.concat([billed_days(-40, -1), billed_days(0), billed_days(0, 1)]), True),
        (billed_days(-1, 1), False),
        (billed_days(0, channel="energy_received"), False),
        (billed_days(0, meter="MTR2"), False),
    ],
    ids=["its day", "all channels", "several spans", "the days around", "another channel", "another meter"],
)
def test_what_is_billed_is_told_by_meter_channel_and_span(billed: pl.DataFrame, held: bool) -> None:
    before = vee(intervals=intervals([10] * 24, skip=[2, 3])).finals
    judged = vee(intervals=LATE, finals=before, billed=billed)
    assert judged.finals["value_milli"][9] == (10 if held else 99)


def test_the_instant_at_which_a_billed_span_ends_is_not_billed() -> None:
    before = vee(intervals=intervals([10] * 24)).finals
    nine = billed_days(0).with_columns(billed_to=pl.lit(MONDAY + 10 * HOUR))
    judged = vee(intervals=LATE, finals=before, billed=frames.conform(nine, frames.BILLED))
    assert judged.finals["value_milli"].to_list()[9:11] == [10, 98]


def test_a_final_estimate_yields_to_a_person_only() -> None:
    first = vee(params(final_before=MONDAY + 4 * HOUR), intervals=intervals([10] * 6, skip=[2, 4])).finals
    assert first["is_final_estimate"].to_list() == [False, False, True, False, False, False]
    late = intervals([10, 10, 77, 10, 88, 10])
    again = vee(params(final_before=MONDAY + 4 * HOUR), intervals=late, finals=first)
    assert again.finals["value_milli"].to_list() == [10, 10, 10, 10, 88, 10]
    person = vee(params(final_before=MONDAY + 4 * HOUR), intervals=late, finals=first, edits=edit("accept", 2, 3))
    assert person.finals["value_milli"][2] == 77


def test_a_spike_corrected_days_later_in_silence_is_a_new_version_and_a_finding() -> None:
    first = vee(intervals=intervals([100_000] * 24))
    fixed = intervals([120_000], start=MONDAY + 5 * HOUR, received_at=datetime(2025, 7, 1, tzinfo=UTC))
    second = vee(intervals=pl.concat([intervals([100_000] * 24), fixed]), finals=first.finals)
    assert second.appended.select("value_milli", "version").rows() == [(120_000, 2)]
    assert found(second, "replacement").select("measured_milli", "limit_milli").rows() == [(120_000, 100_000)]


def test_a_group_of_meters_and_days_is_edited_at_once_and_each_row_names_its_author() -> None:
    """Of three meters the middle of two days is rejected, and estimated from each meter's own; a fourth stays."""
    group = pl.concat(
        [
            edit("reject", day * 24 + 10, day * 24 + 12, edit_id=f"G-{meter}-{day}", meter_id=meter)
            for meter in ("MTR1", "MTR2", "MTR3")
            for day in (0, 1)
        ]
    )
    rows = pl.concat(
        [
            intervals([level] * 10 + [9 * level] * 2 + [level] * 22 + [9 * level] * 2 + [level] * 12, meter=meter)
            for meter, level in (("MTR1", 10), ("MTR2", 20), ("MTR3", 30), ("MTR4", 40))
        ]
    )
    first = vee(intervals=rows)
    result = vee(params(run_id="run-2"), intervals=rows, edits=group, finals=first.finals)
    changed = result.appended.select("meter_id", "interval_start", "value_milli", "quality", "author", "version")
    hours = (10, 11, 34, 35)
    assert changed.sort("meter_id", "interval_start").rows() == [
        (meter, MONDAY + hour * HOUR, level, "estimated", "ann", 2)
        for meter, level in (("MTR1", 10), ("MTR2", 20), ("MTR3", 30))
        for hour in hours
    ]
    assert vee(params(run_id="run-3"), intervals=rows, edits=group, finals=result.finals).appended.height == 0


def test_edits_of_two_persons_in_one_run_name_each_their_own_author() -> None:
    both = pl.concat([edit("set", 1, 2, 7), edit("set", 4, 5, 9, edit_id="E2", author="bob")])
    result = vee(intervals=intervals([10] * 6), edits=both)
    assert shown(result.finals, 1, 4) == [(7, "edited", "manual", "ann"), (9, "edited", "manual", "bob")]


def test_an_edit_speaks_of_the_intervals_that_begin_in_its_span() -> None:
    half = timedelta(minutes=30)
    span = {"from": MONDAY + 2 * HOUR + half, "to": MONDAY + 4 * HOUR + half}
    result = vee(intervals=intervals([10] * 6), edits=edit("set", 0, 1, 7, **span))
    assert result.finals["value_milli"].to_list() == [10, 10, 10, 7, 7, 10]
