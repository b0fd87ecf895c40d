"""A value that stands still is believed where its register agrees: a case for each sentence of `validation.stuck`."""

from datetime import timedelta

import polars as pl
import pytest
from vee_made import MONDAY, failed, found, intervals, meters, params, reads, vee

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
GOOD = [100 + 10 * (hour % 7) for hour in range(24)]
STUCK = [*GOOD, *GOOD, *[130] * 30, *GOOD[6:], *GOOD]  # stands still from hour 48 to 78
TRUE = [*GOOD] * 5


def daily(values: list[int], **changed: int) -> pl.DataFrame:
    """Reads at every midnight of what the values sum to; `dayN=` is added from that midnight on."""
    shown, so_far = {MONDAY: 0}, 0
    for day in range(len(values) // 24):
        so_far += sum(values[24 * day : 24 * day + 24]) + changed.get(f"day{day + 1}", 0)
        shown[MONDAY + (day + 1) * DAY] = so_far
    return reads(shown)


def test_flat_values_that_the_register_contradicts_are_estimated_to_what_it_leaves() -> None:
    result = vee(intervals=intervals(STUCK), reads=daily(TRUE))
    quality, value = result.finals["quality"].to_list(), result.finals["value_milli"].to_list()
    assert quality == ["valid"] * 48 + ["estimated"] * 30 + ["valid"] * 42
    assert [sum(value[24 * day : 24 * day + 24]) for day in range(5)] == [sum(GOOD)] * 5
    assert value[:48] + value[78:] == STUCK[:48] + STUCK[78:]


def test_good_values_beside_them_are_suspect_no_more_and_the_flat_line_stays_named() -> None:
    result = vee(intervals=intervals(STUCK), reads=daily(TRUE))
    assert failed(result, "flat_line") == list(range(48, 78))
    assert failed(result, "sum_check") == []
    assert found(result, "sum_check").is_empty()
    assert found(result, "flat_line").height == 1


def test_without_a_register_nothing_changes() -> None:
    result = vee(intervals=intervals(STUCK))
    assert result.finals["value_milli"].to_list() == STUCK
    assert set(result.finals["quality"]) == {"valid"}


def test_a_flat_load_that_its_register_confirms_is_kept() -> None:
    result = vee(intervals=intervals(STUCK), reads=daily(STUCK))
    assert result.finals["value_milli"].to_list() == STUCK
    assert set(result.finals["quality"]) == {"valid"}
    assert failed(result, "flat_line") == list(range(48, 78))


@pytest.mark.parametrize(("off", "quality"), [(20, "valid"), (21, "estimated"), (-20, "valid"), (-21, "estimated")])
def test_the_register_contradicts_beyond_twice_its_resolution(off: int, quality: str) -> None:
    coarse = meters({"register_resolution_milli": 10})
    result = vee(intervals=intervals(STUCK), reads=daily(STUCK, day3=off), meters=coarse)
    assert result.finals["quality"].to_list()[48:72] == [quality] * 24


@pytest.mark.parametrize(("over", "kept"), [(0, False), (1, True)])
def test_a_stretch_whose_other_values_alone_are_more_than_its_advance_keeps_them_all(over: int, kept: bool) -> None:
    rest = sum(GOOD[6:])  # of the day in which the value stands still for six hours more
    short = rest - over - sum(STUCK[72:96])
    result = vee(intervals=intervals(STUCK), reads=daily(STUCK, day4=short))
    fourth = result.finals.slice(72, 24)
    assert set(fourth["quality"]) == ({"suspect"} if kept else {"estimated", "valid"})
    assert fourth["value_milli"].sum() == (sum(STUCK[72:96]) if kept else rest)


def test_a_stretch_with_a_hole_has_its_hole_estimated_and_keeps_its_flat_values() -> None:
    result = vee(intervals=intervals(STUCK, skip=[90]), reads=daily(TRUE))
    fourth = result.finals.slice(72, 24)
    assert fourth["value_milli"].to_list()[:6] == [130] * 6
    assert fourth["quality"].to_list()[18] == "estimated"


def test_a_register_that_stood_still_too_gives_one_stretch_and_all_of_its_energy() -> None:
    shown, so_far = {}, 0
    for hour, value in enumerate([*TRUE, 0]):
        shown[MONDAY + hour * HOUR] = so_far
        so_far += value
    for hour in range(49, 78):  # the register repeats what it showed when the value began to stand still
        shown[MONDAY + hour * HOUR] = shown[MONDAY + 48 * HOUR]
    fuse = meters({"phase": "A", "fuse_a": 1, "voltage_v": 1})  # 1,250 milli an hour: the leap is too big for one
    result = vee(intervals=intervals(STUCK), reads=reads(shown), meters=fuse)
    assert result.finals["quality"].to_list() == ["valid"] * 48 + ["estimated"] * 30 + ["valid"] * 42
    assert result.finals["value_milli"].sum() == sum(TRUE)


def test_what_was_repaired_is_left_as_it_is_by_the_next_run() -> None:
    given = {"intervals": intervals(STUCK), "reads": daily(TRUE)}
    first = vee(**given)
    assert vee(params(run_id="run-2"), finals=first.finals, **given).appended.is_empty()


def test_without_a_flat_value_nothing_changes_whatever_the_register_says() -> None:
    clean = vee(intervals=intervals(TRUE), reads=daily(TRUE))
    assert set(clean.finals["quality"]) == {"valid"}
    assert clean.finals["value_milli"].to_list() == TRUE
    off = vee(intervals=intervals(TRUE), reads=daily(TRUE, day3=500))
    assert off.finals["quality"].to_list() == ["valid"] * 48 + ["suspect"] * 24 + ["valid"] * 48
    assert off.finals["value_milli"].to_list() == TRUE
