"""Of several rows of one interval the last that can be used counts: a worse one that comes later dethrones nothing."""

from datetime import timedelta

import polars as pl
import pytest
from vee_made import JUDGED_AT, MONDAY, failed, found, intervals, meters, params, vee

from schemas.codes import Status
from validation.rules.files import parse_rule_sets

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
SENT = intervals([1_000] * 24)
LATER = JUDGED_AT + DAY


def again(value: int | None, status: int = 0, channel: str = "energy_delivered") -> pl.DataFrame:
    """Hour 5 once more, a day later."""
    return intervals([value], start=MONDAY + 5 * HOUR, status=status, received_at=JUDGED_AT + DAY, channel=channel)


@pytest.mark.parametrize(
    "later",
    [
        again(77, Status.TEST_MODE), again(77, Status.OVERFLOW), again(77, Status.CLOCK_INVALID), again(-9),
        again(1, Status.DATA_NOT_VALID), again(None),
    ],
    ids=["test mode", "overflow", "clock", "negative", "not valid", "unknowable"],
)  # fmt: skip
def test_a_worse_row_leaves_the_value_that_stands(later: pl.DataFrame) -> None:
    before = vee(intervals=SENT).finals
    for rows in (pl.concat([SENT, later]), pl.concat([later, SENT])):
        after = vee(params(judged_at=JUDGED_AT + DAY), intervals=rows, finals=before)
        assert after.finals.select("value_milli", "quality", "method").row(5) == (1_000, "valid", None)
        assert failed(after, "duplicate") == [5]


def test_a_better_row_that_comes_later_takes_the_place_of_a_worse_one() -> None:
    worse = intervals([1_000] * 5 + [-9] + [1_000] * 18)
    after = vee(intervals=pl.concat([worse, again(1_200)]))
    assert after.finals.select("value_milli", "quality").row(5) == (1_200, "valid")


def test_of_two_that_can_be_used_or_cannot_the_last_counts() -> None:
    doubtful = vee(intervals=pl.concat([SENT, again(1_200, Status.CLOCK_DOUBTFUL)]))
    assert doubtful.finals["value_milli"][5] == 1_200
    worse = pl.concat([intervals([1_000] * 5 + [-9] + [1_000] * 18), again(7, Status.TEST_MODE)])
    assert failed(vee(intervals=worse), "test_mode") == [5]


def test_power_may_be_below_zero() -> None:
    rows = pl.concat([intervals([500] * 24, channel="power_delivered"), again(-200, channel="power_delivered")])
    assert vee(intervals=rows).finals["value_milli"][5] == -200


def test_rows_that_disagree_are_a_warning_with_both_values_and_rows_that_agree_are_counted_as_info() -> None:
    """Hours 5, 6 and 9 came again with another value, hour 12 twice with the same; 6 differs most of its run."""
    first = intervals([1_000] * 24)
    again = [(5, 1_200), (6, 700), (9, 1_001), (12, 1_000), (12, 1_000)]
    rows = [intervals([value], start=MONDAY + at * HOUR, received_at=LATER) for at, value in again]
    for parts in ([first, *rows], [*rows[::-1], first]):
        result = vee(intervals=pl.concat(parts))
        told = found(result, "duplicate").select(
            "severity", "first_interval", "intervals", "measured_milli", "limit_milli"
        )
        assert told.rows() == [
            ("warning", MONDAY + 5 * HOUR, 2, 700, 1_000),
            ("warning", MONDAY + 9 * HOUR, 1, 1_001, 1_000),
            ("info", MONDAY + 12 * HOUR, 2, None, None),
        ]
        assert failed(result, "duplicate") == [5, 6, 9]
        assert set(result.finals["quality"]) == {"valid"}


def test_both_values_of_rows_that_disagree_are_primary_in_the_finding() -> None:
    rows = pl.concat([intervals([10] * 24), intervals([12], start=MONDAY + 5 * HOUR, received_at=LATER)])
    told = found(vee(intervals=rows, meters=meters({"multiplier": 40_000})), "duplicate")
    assert told.select("measured_milli", "limit_milli").rows() == [(480, 400)]


def test_a_rule_set_decides_how_grave_rows_that_disagree_are_and_copies_are_counted_all_the_same() -> None:
    rows = pl.concat([intervals([100] * 24), intervals([100]), intervals([90], start=MONDAY + HOUR, received_at=LATER)])
    sets = parse_rule_sets('[[rule_set]]\nname = "grave"\n[rule_set.rules.duplicate]\nseverity = "error"\n')
    told = found(vee(params(rule_sets=sets), intervals=rows), "duplicate")
    assert told.select("severity", "intervals").rows() == [("info", 1), ("error", 1)]
