"""Meters without master data are what their intervals say that they are."""

from datetime import timedelta

import polars as pl
from vee_made import MONDAY, found, intervals, reads, unjudged, vee

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def test_a_stranger_that_changes_its_length_keeps_what_it_sent_before() -> None:
    rows = pl.concat([
        intervals([1_000] * 12, skip=[3]), intervals([250] * 48, start=MONDAY + 12 * HOUR, step_s=900, skip=[7]),
    ])  # fmt: skip
    told = reads({MONDAY: 0, MONDAY + 12 * HOUR: 12_100, MONDAY + DAY: 24_110})
    result = vee(intervals=rows, reads=told)
    assert result.finals["interval_s"].to_list() == [3600] * 12 + [900] * 48
    assert result.finals["value_milli"].sum() == 24_110
    assert [result.finals["value_milli"][at] for at in (3, 19)] == [1_100, 260]
    assert result.finals["quality"].to_list().count("valid") == 58
    assert found(result, "identity").is_empty()
    assert unjudged(result, "identity") == list(range(60))


def test_lengths_that_lie_in_one_another_and_a_few_of_another_are_no_change() -> None:
    mixed = pl.concat([intervals([1_000] * 24), intervals([250] * 8, start=MONDAY + 5 * HOUR, step_s=900)])
    few = pl.concat([intervals([1_000] * 24), intervals([250] * 3, start=MONDAY + DAY, step_s=900)])
    for rows, lost in ((mixed, 8), (few, 3)):
        result = vee(intervals=rows)
        assert set(result.finals["interval_s"]) == {3600}
        assert found(result, "identity")["intervals"].to_list() == [lost]
