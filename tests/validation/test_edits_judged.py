"""What the rules say of a day of which a person spoke: of his values, and of those beside them."""

from datetime import timedelta

import pytest
from test_edits import edit
from vee_made import MONDAY, failed, found, intervals, meters, reads, vee

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
DAYS_READS = reads({MONDAY: 0, MONDAY + DAY: 24_000})
SHORT = intervals([1_000] * 10 + [700] + [1_000] * 13)


@pytest.mark.parametrize(("action", "value"), [("set", 1_000), ("reject", None), ("re_estimate", None)])
def test_good_values_are_suspect_no_more_once_a_person_mended_the_bad_one(action: str, value: int | None) -> None:
    assert set(vee(intervals=SHORT, reads=DAYS_READS).finals["quality"]) == {"suspect"}
    mended = vee(intervals=SHORT, reads=DAYS_READS, edits=edit(action, 10, 11, value))
    quality = mended.finals["quality"].to_list()
    assert quality[:10] + quality[11:] == ["valid"] * 23
    assert mended.finals["value_milli"].to_list() == [1_000] * 24
    assert failed(mended, "sum_check") == []
    assert mended.exceptions.is_empty()
    assert mended.finals["method"][10] == ("manual" if value else "linear"), "its neighbours serve again"


def test_a_stretch_that_misses_its_register_after_the_edit_is_suspect_as_before() -> None:
    missed = vee(intervals=SHORT, reads=DAYS_READS, edits=edit("set", 10, 11, 900))
    assert missed.finals["quality"].to_list() == ["suspect"] * 10 + ["edited"] + ["suspect"] * 13
    assert found(missed, "sum_check").select("measured_milli", "limit_milli").rows() == [(23_900, 24_000)]
    good = vee(intervals=intervals([1_000] * 24), reads=DAYS_READS, edits=edit("set", 10, 11, 900))
    assert failed(good, "sum_check") == list(range(24))


def test_a_stretch_that_nobody_edited_stays_as_it_is() -> None:
    both = reads({MONDAY: 0, MONDAY + DAY: 24_000, MONDAY + 2 * DAY: 48_300})
    rows = intervals([1_000] * 10 + [700] + [1_000] * 13 + [900, 1_100] * 12)
    mended = vee(intervals=rows, reads=both, edits=edit("set", 10, 11, 1_000))
    assert failed(mended, "sum_check") == list(range(24, 48))
    assert mended.finals["quality"].to_list()[23:25] == ["valid", "suspect"]


def test_the_rules_of_reason_see_what_a_person_decided() -> None:
    fused = meters({"fuse_a": 16, "voltage_v": 230, "phase": "single"})
    rows = intervals([1_000_000] * 24)
    negative = vee(intervals=rows, meters=fused, edits=edit("set", 3, 4, -5_000))
    assert failed(negative, "negative") == [3]
    assert found(negative, "negative").select("measured_milli", "limit_milli").rows() == [(-5_000, 0)]
    turned = vee(intervals=rows, meters=fused, edits=edit("scale", 3, 4, -1_000))
    assert failed(turned, "negative") == [3]
    much = vee(intervals=rows, meters=fused, edits=edit("set", 3, 5, 50_000_000))
    assert failed(much, "absolute_limit") == [3, 4]
    assert much.finals["quality"].to_list()[3:5] == ["edited"] * 2
    whole_day = vee(intervals=rows, meters=fused, edits=edit("scale", 0, 24, -1_000))
    assert failed(whole_day, "negative") == list(range(24))


def test_judging_again_what_was_edited_changes_nothing() -> None:
    for change in (edit("set", 10, 11, 1_000), edit("reject", 10, 11), edit("scale", 3, 5, -1_000)):
        first = vee(intervals=SHORT, reads=DAYS_READS, edits=change)
        assert vee(intervals=SHORT, reads=DAYS_READS, edits=change, finals=first.finals).appended.height == 0
