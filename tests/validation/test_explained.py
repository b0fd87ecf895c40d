"""Sentences about values that are not simply what was sent, nor simply an estimate."""

from datetime import date, datetime, timedelta
from typing import Any

import polars as pl
from test_edits import billed_days, edit
from vee_made import JUDGED_AT, MONDAY, intervals, meters, params, vee

from schemas import frames
from schemas.codes import Status
from validation.explain import explain
from validation.params import VeeParams
from validation.vee import VeeInputs

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
SENT = intervals([1_000] * 24)
LATER = intervals([1_000] * 4 + [1_300] + [1_000] * 19)


def why(settings: VeeParams | None = None, **given: pl.DataFrame) -> str:
    """The sentence about hour 4."""
    empty: dict[str, Any] = {
        name: getattr(frames, name.upper()).empty()
        for name in ("intervals", "reads", "events", "outages", "meters", "edits", "finals")
    }
    told = explain(VeeInputs(**{**empty, **given}), settings or params(), "MTR1", date(2025, 3, 3))
    return str(told.lines["why"][4])


def test_what_was_multiplied_is_not_used_as_it_came() -> None:
    assert why(intervals=SENT, meters=meters({"multiplier": 40_000})).endswith("times the multiplier 40.0")
    noon = {"multiplier": 40_000, "installed_at": MONDAY + 12 * HOUR}
    both = meters({"multiplier": 1_000, "installed_at": MONDAY, "removed_at": MONDAY + 12 * HOUR}, noon)
    assert why(intervals=SENT, meters=both) == "measured and used as it came"


def test_rows_that_disagree_are_told_with_every_value_as_it_was_sent() -> None:
    rows = [intervals([value], start=MONDAY + 4 * HOUR, received_at=JUDGED_AT + DAY) for value in (1_200, 1_000)]
    said = why(intervals=pl.concat([SENT, rows[0]]), meters=meters({"multiplier": 40_000}))
    assert said.endswith("; rows say 1000 and 1200; failed V5 duplicate")
    assert "rows say" not in why(intervals=pl.concat([SENT, rows[1]]))


def test_a_row_that_was_set_aside_is_not_called_used() -> None:
    worse = intervals([77], start=MONDAY + 4 * HOUR, status=Status.TEST_MODE, received_at=JUDGED_AT + DAY)
    assert why(intervals=pl.concat([SENT, worse])).startswith("measured; what was sent last was not used")


def test_an_edit_names_what_it_did_and_who_when_and_why() -> None:
    twice = pl.concat(
        [
            edit("scale", 4, 5, 1_500),
            edit("accept", 4, 6, edit_id="E2", made_at=JUDGED_AT + HOUR, author="eve", approved_by="bob"),
            edit("set", 7, 8, 9, edit_id="E3"),
        ]
    )
    assert why(intervals=SENT, edits=twice).endswith(
        ", by eve: scaled by 1500 thousandths by ann at 2025-06-01T00:00Z (read on site), then "
        "accepted by eve at 2025-06-01T01:00Z, approved by bob (read on site)"
    )


def test_what_contradicts_master_data_is_not_called_unknown() -> None:
    bounds: dict[str, datetime] = {"grid_from": MONDAY, "grid_to": MONDAY + DAY}
    half = intervals([1_000] * 48, step_s=1_800)
    told = why(params(**bounds), intervals=half, meters=meters({}))
    assert "of another length, grid or channel than master data" in told
    worthless = intervals([1_000] * 24, status=[0] * 4 + [int(Status.DATA_NOT_VALID)] + [0] * 19)
    assert "what was sent could not be used" in why(intervals=worthless)


def test_what_waits_is_told_by_what_it_is() -> None:
    measured = vee(intervals=SENT).finals
    assert why(intervals=LATER, finals=measured, billed=billed_days(0)).startswith("measured, and as it was billed: ")
    settings = params(final_before=MONDAY + DAY)
    final = vee(settings, intervals=intervals([1_000] * 24, skip=[4])).finals
    told = why(settings, intervals=LATER, finals=final)
    assert told.startswith("a final estimate: what was measured since waits for a person")
