"""What counts as evidence of life, and what a meter's neighbours tell of it."""

from datetime import datetime, timedelta

import polars as pl
from outage_logs import MINUTE, T0, alive, below, log, told, tree

from outage.circumstances import circumstances
from outage.detect import detect_outages
from outage.heard import heard_of_readings
from outage.params import DetectParams
from schemas.codes import Status
from schemas.frames import HEARD, INTERVALS, READS, conform

METERS = tree()


def intervals(*rows: tuple[datetime, int, int]) -> pl.DataFrame:
    """(start, value, status) of a quarter hour of meter M1."""
    made = [
        {
            "topic": "t", "partition": 0, "offset": 0, "frame": 0, "received_at": T0, "meter_id": "M1",
            "channel": "energy_delivered", "interval_start": start, "interval_s": 900, "value_milli": value,
            "status": status,
        }
        for start, value, status in rows
    ]  # fmt: skip
    return conform(pl.DataFrame(made, schema_overrides={"status": pl.UInt32}), INTERVALS)


def read(at: datetime, status: int) -> pl.DataFrame:
    row = {
        "topic": "t", "partition": 0, "offset": 0, "frame": 0, "received_at": T0, "meter_id": "M1",
        "channel": "energy_delivered", "read_at": at, "value_milli": 1, "status": status,
    }  # fmt: skip
    return conform(pl.DataFrame([row], schema_overrides={"status": pl.UInt32}), READS)


QUARTER = 15 * MINUTE


def test_the_moment_between_two_intervals_with_energy_is_life() -> None:
    heard = heard_of_readings(intervals((T0, 5, 0), (T0 + QUARTER, 7, 0)), READS.empty())
    assert heard.rows() == [("M1", T0 + QUARTER)]


def test_an_interval_without_energy_or_with_an_interruption_proves_nothing() -> None:
    failed = int(Status.POWER_FAIL)
    for second in ((T0 + QUARTER, 0, 0), (T0 + QUARTER, 7, failed), (T0 + 2 * QUARTER, 7, 0)):
        assert heard_of_readings(intervals((T0, 5, 0), second), READS.empty()).is_empty()


def test_a_read_is_life_unless_its_clock_is_doubtful() -> None:
    assert heard_of_readings(INTERVALS.empty(), read(T0, 0)).rows() == [("M1", T0)]
    assert heard_of_readings(INTERVALS.empty(), read(T0, int(Status.CLOCK_DOUBTFUL))).is_empty()


def momentary(returned: int) -> pl.DataFrame:
    dark = below(METERS, "T000")
    return log(told(dark, "power_down", T0), told(dark[:returned], "power_up", T0 + MINUTE))


def test_a_lost_power_up_makes_no_outage_where_the_neighbours_came_back() -> None:
    found = detect_outages(momentary(6), METERS, HEARD.empty(), DetectParams(until=T0 + 60 * MINUTE))
    assert found.outages.is_empty()
    assert found.counts.momentary == 8


def test_most_of_the_neighbours_must_have_come_back() -> None:
    found = detect_outages(momentary(2), METERS, HEARD.empty(), DetectParams(until=T0 + 60 * MINUTE))
    assert found.outages.height > 0


def test_a_ping_outweighs_the_neighbours() -> None:
    answers = pl.DataFrame({"meter_id": ["M000-007"], "answered_at": [T0 + 20 * MINUTE], "answer": ["off"]})
    found = detect_outages(
        momentary(6), METERS, HEARD.empty(), DetectParams(until=T0 + 60 * MINUTE), None, circumstances(pings=answers)
    )
    assert found.outages["node_id"].unique().to_list() == ["SP000-007"]


def test_a_meter_that_missed_its_reads_was_dark_with_the_others() -> None:
    """Hourly readers: the ones that skipped a read return with the node, they do not veto it."""
    whole = below(METERS, "F0")
    hour = timedelta(hours=1)
    events = log(told(whole[:30], "last_gasp", T0))
    before = [T0 - n * hour - 5 * MINUTE for n in range(6)]
    elsewhere = below(METERS, "F1")
    silent = alive(METERS, [*elsewhere, *whole[:30]], *before, T0 + 2 * hour)
    reporters = alive(METERS, [*elsewhere, *whole[30:]], *before, T0 + 3 * hour)
    heard = pl.concat([silent, reporters, alive(METERS, whole, *before, T0 + hour - 5 * MINUTE, T0 + 2 * hour)])
    found = detect_outages(events, METERS, heard, DetectParams())
    assert found.outages["node_id"].unique().to_list() == ["F0"]


def test_reads_in_their_usual_rhythm_are_life_and_veto() -> None:
    whole = below(METERS, "F0")
    hour = timedelta(hours=1)
    before = [T0 - n * hour - 5 * MINUTE for n in range(6)]
    regular = alive(METERS, whole[:30], *before, T0 + hour - 5 * MINUTE)
    found = detect_outages(log(told(whole[:30], "last_gasp", T0)), METERS, regular, DetectParams())
    assert "F0" not in found.outages["node_id"].to_list()


def rhythm(hours: int = 6) -> list[datetime]:
    return [T0 - timedelta(hours=n, minutes=5) for n in range(hours)]


def test_a_gasp_in_clear_text_of_a_meter_that_reads_on_is_contradicted() -> None:
    forged = told(below(METERS, "T000"), "last_gasp", T0, authenticated=False)
    reads = alive(METERS, [], *rhythm(), T0 + 55 * MINUTE)
    found = detect_outages(forged, METERS, reads, DetectParams())
    assert found.outages.is_empty()
    assert found.suppressed["reason"].to_list() == ["contradicted"] * 8
    assert found.alarms.filter(pl.col("kind") == "contradicted").height == 8


def test_the_same_gasp_is_believed_of_a_meter_that_vouches_for_it_or_misses_its_read() -> None:
    dark = below(METERS, "T000")
    reads = alive(METERS, dark, *rhythm(), T0 + 40 * MINUTE)
    on_time = alive(METERS, [name for name in METERS["meter_id"] if name not in dark], *rhythm(), T0 + 55 * MINUTE)
    late = alive(METERS, [name for name in METERS["meter_id"] if name not in dark], *rhythm(), T0 + 115 * MINUTE)
    for events, own in (
        (told(dark, "last_gasp", T0), on_time),
        (told(dark, "last_gasp", T0, authenticated=False), late),
    ):
        assert "T000" in detect_outages(events, METERS, pl.concat([reads, own]), DetectParams()).outages["node_id"]


def test_a_forged_gasp_ahead_of_the_meters_own_does_not_date_its_outage() -> None:
    one = ["M000-001"]
    events = log(
        told(one, "last_gasp", T0 - 30 * MINUTE, authenticated=False),
        told(one, "last_gasp", T0),
        told(one, "power_up", T0 + 20 * MINUTE),
    )
    assert detect_outages(events, METERS, HEARD.empty(), DetectParams()).outages["started_at"].to_list() == [T0] * 2
