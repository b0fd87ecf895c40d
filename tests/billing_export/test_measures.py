"""Meters measured together do not touch one another, however different their tariffs, and in whatever parts."""

from datetime import date, timedelta

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
