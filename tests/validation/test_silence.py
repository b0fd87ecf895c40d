"""A silent head end: when an area counts as silent, and what estimation leaves undone until it speaks again."""

from collections.abc import Callable
from datetime import datetime, timedelta

import polars as pl
import pytest
from vee_made import MONDAY, found, intervals, meters, params, reads, vee

from schemas.codes import NodeKind
from validation.params import Silence, SilenceLimits
from validation.silence import HEARD, detect_silences, heard_by_hour

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
NOW = MONDAY + 14 * DAY
LIMITS = SilenceLimits()


def heard(devices: Callable[[int], int], hours: int = 14 * 24, node: tuple[str | None, str | None] = (None, None)):
    """Devices heard of, by hours before `NOW`: 1 is the last."""
    back = range(hours, 0, -1)
    return pl.DataFrame(
        {
            "hour": [NOW - k * HOUR for k in back],
            "node_kind": [node[0]] * hours,
            "node_id": [node[1]] * hours,
            "service": ["electricity"] * hours,
            "devices": [devices(k) for k in back],
        },
        schema=HEARD,
    )


def since(devices: Callable[[int], int], now: datetime = NOW) -> list[datetime]:
    return [one.silent_from for one in detect_silences(heard(devices), now, LIMITS)]


@pytest.mark.parametrize(("left", "silent"), [(140, True), (141, False)])
def test_thirty_per_cent_below_the_week_before_is_silence(left: int, silent: bool) -> None:
    assert since(lambda back: left if back <= 5 else 200) == ([NOW - 5 * HOUR] if silent else [])


@pytest.mark.parametrize(("devices", "silent"), [(100, True), (99, False)])
def test_an_area_of_fewer_than_a_hundred_devices_is_not_judged(devices: int, silent: bool) -> None:
    assert bool(since(lambda back: 0 if back <= 5 else devices)) == silent


@pytest.mark.parametrize(("back_again", "silent"), [(189, True), (190, False)])
def test_an_area_speaks_again_within_five_per_cent_of_normal(back_again: int, silent: bool) -> None:
    assert bool(since(lambda back: 200 if back > 9 else 20 if back > 1 else back_again)) == silent


@pytest.mark.parametrize(("hours", "silent"), [(71, True), (72, False), (73, False), (150, False), (300, False)])
def test_estimation_waits_three_days_and_no_longer(hours: int, silent: bool) -> None:
    assert bool(since(lambda back: 0 if back <= hours else 200)) == silent


def test_silence_after_silence_is_held_against_the_days_that_were_not_silent() -> None:
    # Two days silent, two normal, then an hour of 130: 35 per cent below the 200 of the days that were not silent.
    assert since(lambda back: 130 if back == 1 else 200 if back <= 49 or back > 97 else 0) == [NOW - HOUR]


def test_a_fleet_that_sends_once_a_day_is_not_silent_in_between_and_without_a_week_nothing_is() -> None:
    assert since(lambda back: 200 if back % 24 == 0 else 0) == []
    assert since(lambda back: 200 if back % 24 == 0 and back > 24 else 0) == [NOW - DAY]
    for hours, silent in ((7 * 24, False), (7 * 24 + 1, True)):
        week = heard(lambda back: 0 if back <= 1 else 200, hours=hours)
        assert bool(detect_silences(week, NOW, LIMITS)) == silent
    assert detect_silences(pl.DataFrame(schema=HEARD), NOW, LIMITS) == ()


def test_one_silent_feeder_of_three_is_silent_alone() -> None:
    # 200 of 800 devices are 25 per cent: the whole is not silent, the feeder is.
    rows = pl.concat(
        [
            heard(lambda back: 600 if back <= 5 else 800),
            heard(lambda back: 0 if back <= 5 else 200, node=("feeder", "F1")),
            heard(lambda _: 200, node=("feeder", "F2")),
        ]
    )
    assert detect_silences(rows, NOW, LIMITS) == (
        Silence("electricity", NOW - 5 * HOUR, NOW, NodeKind.FEEDER, "F1"),
    )  # fmt: skip


def test_devices_are_counted_once_an_hour_by_area_and_service_and_buckets_add_up() -> None:
    rows = pl.concat([intervals([5] * 8, meter=name, step_s=900) for name in ("MTR1", "MTR2")])
    gas = intervals([5, None], meter="GAS", channel="volume")
    table = meters({"feeder_id": "F1"}, {"meter_id": "MTR2"}, {"meter_id": "GAS", "feeder_id": "F1"})
    registers = reads({MONDAY + 2 * HOUR: 9}, meter="MTR2")
    told = heard_by_hour(pl.concat([rows, gas]), registers, table, MONDAY + 3 * HOUR)
    assert told.filter(pl.col("service") == "electricity").select("hour", "node_id", "devices").rows() == [
        (MONDAY, None, 2), (MONDAY + HOUR, None, 2), (MONDAY + 2 * HOUR, None, 1),
        (MONDAY, "F1", 1), (MONDAY + HOUR, "F1", 1),
    ]  # fmt: skip
    assert told.filter(pl.col("service") == "volume").select("hour", "node_id", "devices").rows() == [
        (MONDAY, None, 1), (MONDAY, "F1", 1),
    ]  # fmt: skip
    parts = [heard_by_hour(rows.filter(pl.col("meter_id") == name), registers.clear(), table, NOW) for name in (
        "MTR1", "MTR2",
    )]  # fmt: skip
    whole = heard_by_hour(rows, registers.clear(), table, NOW)
    keys = ["hour", "node_kind", "node_id", "service"]
    assert pl.concat(parts).group_by(keys).agg(pl.col("devices").sum()).sort(*keys).equals(whole.sort(*keys))


def test_estimation_waits_for_a_silent_head_end_and_a_gap_before_it_is_filled() -> None:
    quiet = Silence("electricity", MONDAY + 18 * HOUR, MONDAY + DAY)
    rows = intervals([100] * 21, skip=[5, 18, 19])
    registers = reads({MONDAY: 0, MONDAY + DAY: 2_700})
    result = vee(params(grid_to=MONDAY + DAY, silences=(quiet,)), intervals=rows, reads=registers)
    quality = result.finals["quality"].to_list()
    assert quality[5] == "estimated"
    # Hour 20 came although most did not. The register's rest belongs to hours of which nothing is known yet.
    assert quality[18:] == ["missing", "missing", "valid", "missing", "missing", "missing"]
    assert result.finals["value_milli"].to_list()[18:] == [None, None, 100, None, None, None]
    assert result.finals["value_milli"][5] == 100
    assert found(result, "estimation_waits").select("severity", "first_interval", "intervals").rows() == [
        ("info", MONDAY + 18 * HOUR, 2), ("info", MONDAY + 21 * HOUR, 3),
    ]  # fmt: skip
    assert found(result, "no_estimate").height == 0
    later = vee(
        params(grid_to=MONDAY + DAY, run_id="run-2"), intervals=rows, reads=registers, finals=result.finals
    )  # fmt: skip
    assert set(later.appended["version"]) == {2}
    assert later.finals["value_milli"].sum() == 2_700


def test_an_outage_an_edit_and_another_service_or_feeder_do_not_wait() -> None:
    from test_rules import pair

    quiet = Silence("electricity", MONDAY, MONDAY + DAY, NodeKind.FEEDER, "F1")
    rows = pl.concat([intervals([100] * 24, meter=name, skip=[5, 6, 9]) for name in ("MTR1", "MTR2")])
    table = meters({"feeder_id": "F1"}, {"meter_id": "MTR2", "feeder_id": "F2"})
    dark = pair(MONDAY + 5 * HOUR, MONDAY + 7 * HOUR)
    finals = vee(params(silences=(quiet,)), intervals=rows, meters=table, events=dark).finals
    assert finals.filter(pl.col("meter_id") == "MTR1")["quality"].to_list()[5:10] == [
        "outage", "outage", "valid", "valid", "missing",
    ]  # fmt: skip
    assert set(finals.filter(pl.col("meter_id") == "MTR2")["quality"]) == {"valid", "estimated"}
    gas = Silence("volume", MONDAY, MONDAY + DAY)
    assert set(vee(params(silences=(gas,)), intervals=rows).finals["quality"]) == {"valid", "estimated"}
