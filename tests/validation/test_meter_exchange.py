"""V26: an exchange splits a service point's day between two meters; what two meters claim waits for a person."""

from datetime import UTC, datetime, timedelta

import polars as pl
from vee_made import DELIVERED, MONDAY, failed, found, intervals, meters, params, reads, unjudged, vee

from schemas import frames
from validation.vee import Vee

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
NOON = MONDAY + 12 * HOUR
BOUNDS = params(grid_from=MONDAY, grid_to=MONDAY + DAY)


def pair(removed: object, **other: object) -> pl.DataFrame:
    """OLD until `removed` and NEW from noon on, at one service point unless said otherwise."""
    return meters(
        {"meter_id": "OLD", "service_point_id": "SP", "installed_at": MONDAY - DAY, "removed_at": removed},
        {"meter_id": "NEW", "service_point_id": "SP", "installed_at": NOON, **other},
    )


def pushed(old_hours: int, *, channel: str = DELIVERED) -> pl.DataFrame:
    """100 an hour of OLD from midnight, 70 an hour of NEW from noon."""
    new = intervals([70] * 12, meter="NEW", start=NOON, channel=channel)
    return pl.concat([intervals([100] * old_hours, meter="OLD"), new])


def test_an_hour_that_two_meters_measure_is_suspect_on_both_and_no_other_hour_is() -> None:
    """OLD stands until 13:00: of 13 and 12 finals the hour from 12:00 is claimed twice, 100 and 70."""
    result = vee(BOUNDS, intervals=pushed(13), meters=pair(NOON + HOUR))
    suspect = result.finals.filter(pl.col("quality") == "suspect")
    assert suspect.select("meter_id", "interval_start", "value_milli").sort("meter_id").rows() == [
        ("NEW", NOON, 70), ("OLD", NOON, 100),
    ]  # fmt: skip
    assert found(result, "meter_exchange").select("meter_id", "severity", "first_interval", "intervals").sort(
        "meter_id"
    ).rows() == [("NEW", "blocking", NOON, 1), ("OLD", "blocking", NOON, 1)]
    good = result.finals.filter(pl.col("quality") == "valid")
    assert (good.height, good["value_milli"].sum()) == (23, 12 * 100 + 11 * 70)


def test_an_exchange_on_the_hour_splits_the_day_and_the_sum_of_both_registers_is_the_day() -> None:
    """OLD ends at 5 200 and NEW begins at 0: 1 200 and 840 are the day, 2 040, without a leap of the registers."""
    registers = pl.concat(
        [
            reads({MONDAY: 4_000, NOON: 5_200}, meter="OLD"),
            reads({NOON: 0, MONDAY + DAY: 840}, meter="NEW"),
        ]
    )
    result = vee(BOUNDS, intervals=pushed(12), reads=registers, meters=pair(NOON))
    assert failed(result, "meter_exchange") == unjudged(result, "meter_exchange") == []
    assert failed(result, "sum_check") == failed(result, "rollover_or_reset") == []
    assert result.finals.group_by("meter_id").agg(pl.col("value_milli").sum()).sort("meter_id").rows() == [
        ("NEW", 840), ("OLD", 1_200),
    ]  # fmt: skip


def test_values_from_after_the_removal_are_a_finding_and_no_final() -> None:
    """OLD sends three more hours from the store room: they are counted, held for a person, and billed to nobody."""
    result = vee(BOUNDS, intervals=pushed(15), meters=pair(NOON))
    assert found(result, "meter_exchange").select("meter_id", "severity", "first_interval", "intervals").rows() == [
        ("OLD", "blocking", NOON, 3)
    ]
    assert result.finals["value_milli"].sum() == 12 * 100 + 12 * 70


def test_a_check_meter_another_service_point_or_another_channel_is_no_second_meter() -> None:
    others = (
        {"service_point_id": "SP2"}, {"check_of": "OLD"}, {"channels": ["energy_received"]}, {"service_point_id": None},
    )  # fmt: skip
    for other in others:
        channel = other.get("channels", [DELIVERED])[0]
        result = vee(BOUNDS, intervals=pushed(24, channel=channel), meters=pair(None, **other))
        assert failed(result, "meter_exchange") == [], other


def test_without_service_point_or_dates_the_rule_is_unjudged() -> None:
    for lacking in ({"service_point_id": None, "installed_at": NOON}, {"service_point_id": "SP"}):
        result = vee(BOUNDS, intervals=intervals([70] * 24), meters=meters(lacking))
        assert unjudged(result, "meter_exchange") == list(range(result.finals.height)) != []


def exchanged(old: dict[datetime, int], new: dict[datetime, int], removed: datetime = NOON) -> Vee:
    """An exchange at noon; the registers of OLD and of NEW, where they were read."""
    registers = [reads(at, meter=name) for name, at in (("OLD", old), ("NEW", new)) if at]
    return vee(
        BOUNDS, intervals=pushed(12), meters=pair(removed), reads=pl.concat([frames.READS.empty(), *registers])
    )  # fmt: skip


def beside_the_exchange(result: Vee) -> list[tuple[object, ...]]:
    told = found(result, "meter_exchange").select("meter_id", "first_interval", "intervals", "measured_milli")
    return told.sort("meter_id").rows()


def test_a_final_and_an_initial_read_are_there_or_the_interval_beside_the_exchange_waits_for_a_person() -> None:
    """An hour away passes, more does not; a read that no interval begins with proves as much."""
    hours = 3_600_000
    late = NOON + HOUR + timedelta(seconds=1)
    assert beside_the_exchange(exchanged({MONDAY: 0, NOON - HOUR: 1_100}, {NOON + HOUR: 70, MONDAY + DAY: 840})) == []
    assert beside_the_exchange(exchanged({MONDAY: 0, NOON - 7 * HOUR / 60: 1}, {NOON: 0})) == []
    lacking = exchanged({MONDAY: 0, NOON - 2 * HOUR: 1_000}, {late: 70, MONDAY + DAY: 840})
    assert beside_the_exchange(lacking) == [("NEW", NOON, 1, hours + 1000), ("OLD", NOON - HOUR, 1, 2 * hours)]
    suspect = lacking.finals.filter(pl.col("quality") == "suspect").sort("meter_id")
    assert suspect.select("meter_id", "interval_start", "value_milli").rows() == [
        ("NEW", NOON, 70), ("OLD", NOON - HOUR, 100),
    ]  # fmt: skip
    after = exchanged({MONDAY: 0, NOON + HOUR: 1_100}, {NOON - HOUR: 0, MONDAY + DAY: 840})
    assert beside_the_exchange(after) == [
        ("NEW", NOON, 1, 12 * hours), ("OLD", NOON - HOUR, 1, 12 * hours),
    ], "a read from before the installation or after the removal proves nothing"  # fmt: skip


def test_without_any_read_of_a_meter_the_interval_beside_its_exchange_is_unjudged() -> None:
    result = exchanged({MONDAY: 0, NOON: 1_200}, {})
    marked = result.finals[unjudged(result, "meter_exchange")]
    assert marked.select("meter_id", "interval_start").rows() == [("NEW", NOON)]
    assert failed(result, "meter_exchange") == []


def test_a_meter_that_left_for_good_or_is_the_first_owes_no_read() -> None:
    lone = {"meter_id": "OLD", "service_point_id": "SP", "installed_at": MONDAY, "removed_at": NOON}
    for other in ({"service_point_id": "SP2"}, {"check_of": "OLD"}):
        new = {"meter_id": "NEW", "service_point_id": "SP", "installed_at": NOON, **other}
        result = vee(
            BOUNDS, intervals=pushed(12), meters=meters(lone, new), reads=reads({MONDAY + 3 * HOUR: 300}, meter="OLD")
        )
        assert failed(result, "meter_exchange") == [], other


def test_an_exchange_on_the_day_of_23_hours_with_a_read_that_comes_late_is_exact_to_both_registers() -> None:
    """Berlin, 30 March: the old meter has eleven hours and lost two, the new one 48 quarters and lost two.

    Its final read comes a day late: 9 hours of 100 and 260 for the two; the new register says 46 quarters of 25 and 90.
    """
    midnight, noon, end = (datetime(2025, 3, day, hour, tzinfo=UTC) for day, hour in ((29, 23), (30, 10), (30, 22)))
    rows = pl.concat(
        [
            intervals([100] * 11, meter="OLD", start=midnight, skip=[3, 4]),
            intervals([25] * 48, meter="NEW", start=noon, step_s=900, skip=[10, 11]),
        ]
    )
    both = meters(
        {"meter_id": "OLD", "service_point_id": "SP", "removed_at": noon, "timezone": "Europe/Berlin"},
        {
            "meter_id": "NEW",
            "service_point_id": "SP",
            "installed_at": noon,
            "timezone": "Europe/Berlin",
            "interval_s": 900,
        },
    )
    first = reads({midnight: 5_000}, meter="OLD")
    new = reads({noon: 0, end: 46 * 25 + 90}, meter="NEW")
    bounds = {"grid_from": midnight, "grid_to": end}
    early = vee(params(**bounds), intervals=rows, reads=pl.concat([first, new]), meters=both)
    assert early.finals.height == 11 + 48
    assert failed(early, "day_length") == []
    old = early.finals.filter(pl.col("meter_id") == "OLD")
    assert old["value_milli"].to_list()[3:5] == [100, 100]
    assert old["quality"].to_list() == ["valid"] * 3 + ["estimated"] * 2 + ["valid"] * 5 + ["suspect"], "no final read"
    late = reads({noon: 5_000 + 900 + 260}, meter="OLD", received_at=end + timedelta(days=1))
    given = {"intervals": rows, "reads": pl.concat([first, new, late]), "meters": both}
    second = vee(params(**bounds, run_id="run-2"), finals=early.finals, **given)
    old, fresh = (second.finals.filter(pl.col("meter_id") == name) for name in ("OLD", "NEW"))
    assert old["value_milli"].to_list() == [100, 100, 100, 130, 130, 100, 100, 100, 100, 100, 100]
    assert set(old["quality"]) == {"valid", "estimated"}
    assert set(old["version"]) == {2}
    assert fresh["value_milli"].to_list()[10:12] == [45, 45]
    assert set(fresh["version"]) == {1}, "of the new meter nothing changed"
    assert second.finals["value_milli"].sum() == 1_160 + 1_240
    again = vee(params(**bounds, run_id="run-3"), finals=pl.concat([early.finals, second.appended]), **given)
    assert again.appended.height == 0
