"""How long an interval is where METERS does not say: the rows tell it by their steps, or nobody knows it."""

from datetime import timedelta

import pytest

from ingest.decode import Decoded
from tests.ingest.fleet import START, decode, enrolled, interval_rows, meters, notification, reasons, sealed, stamp


def decoded(minutes: list[int], invalid: int | None = None) -> Decoded:
    """Rows at these minutes; `invalid`: the one whose clock calls itself so."""
    rows = [(stamp(START + timedelta(minutes=at), 0, int(row == invalid)), 0, [5, 6]) for row, at in enumerate(minutes)]
    return decode(sealed(notification(interval_rows(rows))), registry=meters(enrolled(interval_s=None)))


@pytest.mark.parametrize(
    ("minutes", "interval_s"),
    [
        ([60, 90, 105], 900),  # the first step is a hole in the log
        ([60, 75, 120, 135], 900),
        ([60, 120, 240], 3600),
        ([60, 75, 75, 90], 900),  # a row said again
        ([105, 90, 60], 900),  # the newest first
    ],
)
def test_the_smallest_step_is_the_capture_period(minutes: list[int], interval_s: int) -> None:
    intervals = decoded(minutes).intervals
    assert set(intervals["interval_s"]) == {interval_s}
    starts = {START + timedelta(minutes=at, seconds=-interval_s) for at in minutes}
    assert set(intervals["interval_start"]) == starts and intervals.height == 2 * len(starts)


@pytest.mark.parametrize("minutes", [[60, 75, 77], [60, 90, 150, 165, 172], [60, 67], [60]])
def test_steps_that_fit_no_period_place_no_row(minutes: list[int]) -> None:
    found = decoded(minutes)
    assert (found.intervals.height, reasons(found)) == (0, ["layout_unknown"])
    assert "the capture period is not known" in found.rejects["detail"][0]


def test_a_clock_that_is_invalid_tells_no_step() -> None:
    found = decoded([60, 67, 75, 90, 105], 1)
    assert set(found.intervals["interval_s"]) == {900} and found.intervals.height == 8
    assert reasons(found) == ["date_time"]
