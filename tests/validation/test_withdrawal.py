"""Findings that stand open beside those of a judgement: what is new, what is withdrawn."""

from datetime import datetime, timedelta
from typing import Any

import polars as pl
import pytest
from vee_made import DELIVERED, MONDAY, bit, intervals, of, vee

from schemas import frames
from validation.withdrawal import Compared, compare

HOUR = timedelta(hours=1)
FINALS = vee(intervals=intervals([10] * 24)).finals
DAY = (MONDAY, MONDAY + 24 * HOUR)


def finding(at: int, count: int, *, rule: str = "flat_line", run: str = "old", **more: Any) -> pl.DataFrame:
    row = {
        "meter_id": "MTR1", "channel": DELIVERED, "rule": rule, "severity": "warning", "intervals": count,
        "first_interval": MONDAY + at * HOUR, "measured_milli": 7, "limit_milli": None, "run_id": run,
    }  # fmt: skip
    return of(frames.EXCEPTIONS, row | more)


NONE = frames.EXCEPTIONS.empty()


def told(known: pl.DataFrame, found: pl.DataFrame, span: tuple[datetime, datetime] = DAY) -> Compared:
    return compare(known, found, FINALS, span)


def test_what_is_found_again_stays_and_is_no_news() -> None:
    both = told(finding(3, 5), finding(3, 5, run="new"))
    assert both.news.height == both.withdrawn.height == 0


def test_what_is_not_found_again_is_withdrawn_as_it_stands_and_what_is_new_is_news() -> None:
    both = told(finding(3, 5), finding(3, 6, run="new"))
    assert both.withdrawn.equals(finding(3, 5)), "with the run that found it"
    assert both.news.equals(finding(3, 6, run="new"))


@pytest.mark.parametrize("change", [{"measured_milli": 8}, {"measured_milli": None}, {"limit_milli": 1}])
def test_a_finding_of_other_numbers_takes_the_place_of_the_old_one(change: dict[str, int | None]) -> None:
    both = told(finding(3, 5), finding(3, 5, run="new", **change))
    assert both.withdrawn.height == both.news.height == 1


@pytest.mark.parametrize(
    ("at", "count", "withdrawn"),
    [(0, 24, True), (23, 1, True), (20, 5, False), (-1, 2, False), (-1, 1, False), (24, 1, False), (-5, 40, False)],
    ids=["the day", "its last hour", "over its end", "over its start", "before", "behind", "around"],
)
def test_only_what_lies_in_the_span_as_a_whole_is_told_not_to_hold(at: int, count: int, withdrawn: bool) -> None:
    assert told(finding(at, count), NONE).withdrawn.height == withdrawn


def test_the_part_of_a_wider_finding_is_no_news() -> None:
    wide = finding(-5, 40)
    assert told(wide, finding(0, 24, run="new", measured_milli=3)).news.height == 0
    assert told(wide, finding(0, 24, rule="spike", run="new")).news.height == 1
    assert told(wide, finding(0, 24, severity="error", run="new")).news.height == 1
    assert told(wide, finding(0, 24, meter_id="MTR2", run="new")).news.height == 1
    assert told(finding(-5, 20), finding(0, 24, run="new")).news.height == 1, "it says more"


def test_a_wider_judgement_takes_the_parts_back() -> None:
    parts = pl.concat([finding(0, 24), finding(24, 24)])
    both = told(parts, finding(0, 48, run="new"), (MONDAY, MONDAY + 48 * HOUR))
    assert both.news.height == 1
    assert both.withdrawn.equals(parts)


def test_what_is_found_beyond_the_span_is_another_judgements_to_say() -> None:
    assert told(NONE, pl.concat([finding(-1, 1), finding(24, 1), finding(0, 1)])).news.height == 1


def test_that_a_value_was_replaced_stays_history() -> None:
    assert told(finding(3, 1, rule="replacement"), NONE).withdrawn.height == 0


def test_a_month_that_is_held_is_withdrawn_with_the_mark_of_its_finals() -> None:
    gate = finding(0, 24, rule="billing_gate")
    marked = FINALS.with_columns(failed=pl.lit(bit("billing_gate"), pl.UInt64))
    assert compare(gate, NONE, marked, DAY).withdrawn.height == 0
    elsewhere = marked.with_columns(pl.col("interval_start") + pl.duration(days=1))
    assert compare(gate, NONE, elsewhere, DAY).withdrawn.height == 1
    assert compare(gate, NONE, FINALS, DAY).withdrawn.height == 1


def test_findings_of_a_series_without_finals_are_withdrawn_where_they_begin() -> None:
    assert told(finding(3, 5, meter_id="MTR9"), NONE).withdrawn.height == 1
    assert told(finding(3, 5, channel=None), NONE).withdrawn.height == 1
