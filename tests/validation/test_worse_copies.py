"""Of several rows of one interval the last that can be used counts: a worse one that comes later dethrones nothing."""

from datetime import timedelta

import polars as pl
import pytest
from vee_made import JUDGED_AT, MONDAY, failed, intervals, params, vee

from schemas.codes import Status

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
SENT = intervals([1_000] * 24)


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
