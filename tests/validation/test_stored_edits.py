"""Finals that a person edited stand where the edits are not given again, and the rest is judged around them."""

from datetime import timedelta

from test_edits import edit
from vee_made import JUDGED_AT, MONDAY, found, intervals, params, reads, vee

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
GAP = intervals([1_000] * 24, skip=[5, 6])
DAYS_READS = reads({MONDAY: 0, MONDAY + DAY: 24_000})


def test_the_register_is_met_around_an_edit_that_only_finals_know() -> None:
    first = vee(intervals=GAP, reads=DAYS_READS, edits=edit("set", 5, 6, 1_500)).finals
    assert first["value_milli"].to_list()[5:7] == [1_500, 500]
    again = vee(params(run_id="run-2", judged_at=JUDGED_AT + DAY), intervals=GAP, reads=DAYS_READS, finals=first)
    assert again.appended.height == 0
    assert again.finals["value_milli"].sum() == 24_000
    late = intervals([1_000] * 6 + [450] + [1_000] * 17, skip=[5])
    after = vee(params(run_id="run-3", judged_at=JUDGED_AT + DAY), intervals=late, reads=DAYS_READS, finals=first)
    assert after.finals.select("value_milli", "quality", "author").rows()[5:7] == [
        (1_500, "edited", "ann"), (450, "suspect", None),
    ]  # fmt: skip


def test_an_edit_that_is_given_speaks_for_itself_once() -> None:
    for change, value in ((edit("scale", 5, 6, 2_000), 1_000), (edit("shift", 4, 5, 3_600_000), 1_000)):
        given = {"intervals": GAP, "reads": DAYS_READS, "edits": change}
        first = vee(**given).finals
        again = vee(params(run_id="run-2", judged_at=JUDGED_AT + DAY), finals=first, **given)
        assert again.appended.height == 0, value


def test_a_large_stored_edit_needs_no_approval_again_and_one_of_another_meter_is_no_finding() -> None:
    large = edit("set", 5, 6, 500_000_000, approved_by="bob")
    first = vee(intervals=GAP, edits=large).finals
    other = first.with_columns(meter_id=first["meter_id"] + "9")
    for finals in (first, first.vstack(other)):
        again = vee(params(run_id="run-2", judged_at=JUDGED_AT + DAY), intervals=GAP, finals=finals)
        assert again.appended.height == 0
        assert found(again, "edit_not_applied").height == 0
