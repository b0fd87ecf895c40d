"""Four eyes look at what an edit makes of the finals, however it is told."""

from typing import Any

import polars as pl
import pytest
from test_edits import edit
from vee_made import found, intervals, params, vee

from validation.vee import Vee

KWH = 1_000_000
SENT = intervals([KWH] * 24)
GAP = intervals([KWH] * 24, skip=[3])
LARGE = intervals([17_000 * KWH] * 3 + [16_000 * KWH, 15_000 * KWH] * 10 + [17_000 * KWH])


def all_of(*rows: pl.DataFrame) -> pl.DataFrame:
    return pl.concat([row.with_columns(edit_id=pl.lit(f"E{at}")) for at, row in enumerate(rows)])


def told(result: Vee) -> list[tuple[Any, ...]]:
    rows = found(result, "edit_not_applied").with_columns(hour=pl.col("first_interval").dt.hour())
    return rows.select("hour", "intervals", "measured_milli", "limit_milli").rows()


@pytest.mark.parametrize(
    ("sent", "edits", "wanted"),
    [
        (GAP, all_of(edit("scale", 3, 4, 1_000_000)), [(3, 1, 999 * KWH, 100 * KWH)]),
        (LARGE, all_of(edit("reject", 3, 4)), [(3, 1, 16_000 * KWH, 100 * KWH)]),
        (SENT, all_of(edit("set", 3, 4, 99 * KWH), edit("set", 7, 8, 99 * KWH)),
         [(3, 1, 196 * KWH, 100 * KWH), (7, 1, 196 * KWH, 100 * KWH)]),
        (SENT, all_of(edit("set", 3, 4, 99 * KWH), edit("scale", 3, 4, 2_000)), [(3, 1, 197 * KWH, 100 * KWH)]),
        (SENT, all_of(edit("set", 0, 24, 20 * KWH)), [(0, 24, 456 * KWH, 100 * KWH)]),
        (LARGE, all_of(edit("shift", 3, 4, 3_600_000)), [(3, 1, 17_000 * KWH, 100 * KWH)]),
    ],
    ids=["an estimate scaled", "energy taken out", "in two hours", "in two steps", "a little each", "moved"],
)  # fmt: skip
def test_more_than_the_limit_is_not_applied_without_another_person(
    sent: pl.DataFrame, edits: pl.DataFrame, wanted: list[tuple[Any, ...]]
) -> None:
    alone = vee(intervals=sent, edits=edits)
    assert told(alone) == wanted
    assert alone.finals.equals(vee(intervals=sent).finals)
    seen = vee(intervals=sent, edits=edits.with_columns(approved_by=pl.lit("bob")))
    assert told(seen) == []
    assert seen.finals["author"].drop_nulls().len() > 0


def test_what_two_authors_change_and_what_is_changed_on_two_days_is_each_its_own() -> None:
    authors = all_of(edit("set", 3, 4, 99 * KWH), edit("set", 7, 8, 99 * KWH, author="eve"))
    assert told(vee(intervals=SENT, edits=authors)) == []
    days = all_of(edit("set", 3, 4, 99 * KWH), edit("set", 27, 28, 99 * KWH))
    assert told(vee(intervals=intervals([KWH] * 48), edits=days)) == []
    mixed = all_of(edit("set", 3, 4, 99 * KWH), edit("set", 7, 8, 990 * KWH, approved_by="bob"))
    assert told(vee(intervals=SENT, edits=mixed)) == [], "what was approved does not count"


def test_an_edit_that_changes_little_of_much_energy_needs_no_other_person() -> None:
    rows = intervals([17_000 * KWH] * 24)
    assert told(vee(intervals=rows, edits=edit("set", 3, 4, 17_000 * KWH + 5))) == []


@pytest.mark.parametrize("sent", [SENT, GAP], ids=["measured", "estimated"])
@pytest.mark.parametrize("factor", [2**62, -(2**62), 10**13])
def test_a_factor_beyond_all_energy_is_refused_whoever_approved_it(sent: pl.DataFrame, factor: int) -> None:
    result = vee(intervals=sent, edits=edit("scale", 3, 4, factor, approved_by="bob"))
    assert told(result) == [(3, 1, None, None)]
    assert result.finals["value_milli"].to_list() == [KWH] * 24
    assert result.finals["quality"][3] != "edited"


def test_a_value_beyond_all_energy_is_refused() -> None:
    result = vee(intervals=SENT, edits=edit("set", 3, 4, 2**62, approved_by="bob"))
    assert told(result) == [(3, 1, None, None)]


def test_the_limit_is_one_of_the_run() -> None:
    change = edit("set", 3, 4, 11 * KWH)
    assert told(vee(params(four_eyes_milli=10 * KWH), intervals=SENT, edits=change)) == []
    assert told(vee(params(four_eyes_milli=10 * KWH - 1), intervals=SENT, edits=change)) == [
        (3, 1, 10 * KWH, 10 * KWH - 1)
    ]
