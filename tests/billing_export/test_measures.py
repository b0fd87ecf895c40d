"""Meters measured together do not touch one another, however different their tariffs, and in whatever parts."""

from collections import defaultdict
from collections.abc import Callable
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from billing_rows import TARIFFS, build_finals, build_meters

from billing_export.determinants import compute_determinants, compute_lines
from billing_export.export import parts_of
from billing_export.pieces import ExportInputs
from billing_export.spans import DeterminantParams
from billing_export.tariffs import parse_tariffs
from schemas.frames import READS
from schemas.timegrid import day_bounds

DAY = date(2026, 10, 24)
AFTER = DAY + timedelta(days=3)  # with the day of 25 hours in it
START, END = day_bounds(DAY, "Europe/Berlin")[0], day_bounds(AFTER, "Europe/Berlin")[0]
BOOK = (
    TARIFFS
    + """
[[tariff]]
name = "three"
timezone = "Australia/Sydney"
demand_window_min = 60
demand = "sliding"
[[tariff.period]]
name = "morning"
start = "05:00"
end = "09:00"
[[tariff.period]]
name = "evening"
start = "17:00"
end = "23:00"
[[tariff.period]]
name = "else"
[[tariff]]
name = "plain"
timezone = "America/New_York"
[[tariff]]
name = "quarter"
timezone = "UTC"
demand_window_min = 15
demand_takes_estimates = true
[[tariff.period]]
name = "only"
"""
)
ASKED = DeterminantParams(DAY, AFTER, missing_limit=500)
UNNAMED = ["batch_id", "line_no"]


def fleet() -> ExportInputs:
    """Five meters of four tariffs; one has holes and estimates, one two installations, one reactive energy."""
    wide = START - timedelta(days=1), END + timedelta(days=1)
    count = int((wide[1] - wide[0]).total_seconds()) // 900
    values = [(7 * n) % 1_009 for n in range(count)]
    rows = [
        build_finals(wide[0], [n * value for value in values], meter=f"M{n}", qualities={150: ("estimated", "linear")})
        for n in range(1, 6)
    ]
    rows[1] = rows[1].with_row_index().filter(pl.col("index") % 37 != 0).drop("index")
    rows[3] = pl.concat([rows[3], build_finals(wide[0], values, meter="M4", channel="reactive_delivered")])
    rows[4] = build_finals(wide[0], values[::2], meter="M5", step=1800)
    registry = build_meters(
        [
            {"meter_id": "M1", "service_point_id": "P1", "nmi": "NEM1200001"},
            {"meter_id": "M2", "service_point_id": "P2", "nmi": "NEM1200002", "tariff": "three"},
            {"meter_id": "M3", "service_point_id": "P3", "nmi": "NEM1200003", "tariff": "plain",
             "installed_at": START + timedelta(hours=11, minutes=7)},
            {"meter_id": "M4", "service_point_id": "P4", "nmi": "NEM1200004", "tariff": "quarter"},
            {"meter_id": "M5", "service_point_id": "P5", "nmi": "NEM1200005", "removed_at": END - timedelta(hours=30)},
        ]
    )  # fmt: skip
    return ExportInputs(pl.concat(rows), registry, READS.empty(), parse_tariffs(BOOK))


def of(inputs: ExportInputs) -> pl.DataFrame:
    made = compute_determinants(*inputs[:4], ASKED)
    return made.determinants.drop(UNNAMED)


def test_each_meter_is_billed_as_if_it_were_alone() -> None:
    every = fleet()
    alone = [
        of(every._replace(finals=every.finals.filter(meter_id=name), meters=every.meters.filter(meter_id=name)))
        for name in every.meters["meter_id"]
    ]
    assert all(one.height > 3 for one in alone)
    order = ["meter_id", "determinant", "channel"]
    assert of(every).sort(order).equals(pl.concat(alone).sort(order))


@pytest.mark.parametrize("size", [1, 2, 3])
def test_lines_findings_and_what_the_batch_rests_on_are_the_same_in_any_parts(size: int) -> None:
    whole = compute_lines(parts_of(fleet(), 100), ASKED)
    parted = compute_lines(parts_of(fleet(), size), ASKED)
    assert whole.findings.height > 0
    for one, other in zip(whole, parted, strict=True):
        assert one.sort(pl.all()).equals(other.sort(pl.all()))


def test_an_interval_is_cut_by_a_boundary_only_if_its_own_length_reaches_over_it() -> None:
    toml = TARIFFS.replace('"21:00"', '"21:15"').replace(
        '"workday"', '"all"'
    )  # an hour that began at 21:00 would be cut
    noon = START + timedelta(hours=12)
    rows = pl.concat([build_finals(START, [4] * 12, step=3600), build_finals(noon, [1] * 48)])
    asked = DeterminantParams(DAY, DAY + timedelta(days=1))
    made = compute_determinants(rows, build_meters(), READS.empty(), parse_tariffs(toml), asked)
    lines = dict(made.determinants.select("determinant", "value_milli").rows())
    assert (lines["energy_tou_peak"], lines["energy_tou_off_peak"], lines["energy_total"]) == (57, 39, 96)
    assert made.findings.filter(reason="straddles_period").is_empty()


CHANGED = """
[[tariff]]
name = "t"
timezone = "Europe/Berlin"
demand_window_min = 30
[[tariff.period]]
name = "day"
start = "02:00"
end = "22:00"
[[tariff.period]]
name = "night"
[[tariff]]
name = "t"
timezone = "Europe/Berlin"
demand_window_min = 60
valid_from = {day}
[[tariff.period]]
name = "peak"
start = "02:00"
end = "03:00"
[[tariff.period]]
name = "day"
start = "07:00"
end = "22:00"
[[tariff.period]]
name = "night"
"""


def by_hand(day: date, first: datetime, after: datetime, value: Callable[[int], int]) -> dict[str, int]:
    """Sums and maxima of a span by wall clock, quarter by quarter, in plain Python."""
    sums: dict[str, int] = defaultdict(int)
    windows: dict[datetime, list[tuple[str, int]]] = defaultdict(list)
    at, number = first, 0
    while at < after:
        wall, new = at.astimezone(ZoneInfo("Europe/Berlin")), at.astimezone(ZoneInfo("Europe/Berlin")).date() >= day
        period = "day" if (7 if new else 2) <= wall.hour < 22 else "peak" if new and wall.hour == 2 else "night"
        sums["energy_total"] += value(number)
        sums[f"energy_tou_{period}"] += value(number)
        # Clocks of Berlin move by whole hours: half hours and hours of the wall are half hours and hours of UTC.
        start = at - timedelta(minutes=at.minute % (60 if new else 30))
        windows[start].append((period, value(number)))
        at, number = at + timedelta(minutes=15), number + 1
    for start, rows in windows.items():
        length = 60 if start.astimezone(ZoneInfo("Europe/Berlin")).date() >= day else 30
        if len(rows) == length // 15:
            power = sum(row[1] for row in rows) * 60 // length
            for name in ("demand_max", f"demand_max_tou_{rows[0][0]}"):
                sums[name] = max(sums[name], power)
    return sums


@pytest.mark.parametrize("day", [date(2026, 3, 29), date(2026, 10, 25)])
def test_a_tariff_change_a_meter_exchange_and_a_change_of_the_clock_on_one_day_are_billed_as_by_hand(day: date) -> None:
    first, after = (day_bounds(day + timedelta(days=step), "Europe/Berlin")[0] for step in (-1, 2))
    exchange = day_bounds(day, "Europe/Berlin")[0] + timedelta(hours=2, minutes=15)  # inside the hour that moves
    parts = {"M1": (first, exchange, lambda n: 700 + 13 * n % 101), "M2": (exchange, after, lambda n: 300 + 7 * n % 89)}
    rows = [
        build_finals(start, [value(n) for n in range(int((end - start).total_seconds()) // 900)], meter=name)
        for name, (start, end, value) in parts.items()
    ]
    registry = build_meters(
        [
            {"meter_id": "M1", "tariff": "t", "installed_at": None, "removed_at": exchange},
            {"meter_id": "M2", "tariff": "t", "installed_at": exchange, "removed_at": None},
        ]
    )
    asked = DeterminantParams(day - timedelta(days=1), day + timedelta(days=2))
    book = parse_tariffs(CHANGED.format(day=day.isoformat()))
    made = compute_determinants(pl.concat(rows), registry, READS.empty(), book, asked).determinants
    for name, (start, end, value) in parts.items():
        lines = made.filter((pl.col("meter_id") == name) & pl.col("value_milli").is_not_null())
        found = dict(lines.select("determinant", "value_milli").rows())
        wanted = by_hand(day, start, end, value)
        assert {key: found[key] for key in wanted} == wanted
        extra = {key: value for key, value in found.items() if key.startswith(("energy_tou", "demand")) and value}
        assert extra.keys() <= wanted.keys()
    assert made.filter(pl.col("determinant") == "energy_total")["value_milli"].sum() == sum(
        one["value_milli"].sum() for one in rows
    )
