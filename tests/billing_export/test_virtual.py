"""Virtual meters, and what changes inside a period: tariffs, versions, seasons."""

from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest
from billing_rows import TARIFFS, build_finals, build_meters, build_reads

from billing_export.determinants import compute_determinants
from billing_export.export import export
from billing_export.pieces import ExportInputs, ExportParams
from billing_export.spans import DeterminantParams
from billing_export.tariffs import parse_tariffs
from billing_export.virtual import with_virtual
from schemas.errors import ContractError
from schemas.timegrid import day_bounds

MONDAY = date(2026, 7, 27)
START = day_bounds(MONDAY, "Europe/Berlin")[0]
SITE = """
[[virtual]]
meter = "SITE"
service_point = "SP-SITE"
term = [{meter = "M1"}, {meter = "M2", factor_milli = -500}]
"""


def site(rows: pl.DataFrame, toml: str = SITE) -> pl.DataFrame:
    return with_virtual(rows, parse_tariffs(toml).virtual).filter(pl.col("meter_id") == "SITE").sort("interval_start")


def test_a_virtual_meter_is_the_sum_of_its_terms_rounded_once() -> None:
    rows = pl.concat([build_finals(START, [10, 11]), build_finals(START, [1, 5], meter="M2")])
    assert site(rows)["value_milli"].to_list() == [10, 9]  # 9.5 and 8.5, half away from zero
    assert site(rows)["service_point_id"].to_list() == ["SP-SITE"] * 2


def test_it_is_as_good_as_its_worst_term_and_missing_where_one_is() -> None:
    rows = pl.concat(
        [
            build_finals(START, [10, 11, 12, None], qualities={1: ("estimated", "linear")}),
            build_finals(START, [2, 2], meter="M2", qualities={0: ("edited", "manual")}),
            build_finals(START + timedelta(minutes=45), [2], meter="M2"),
        ]
    )
    got = site(rows).select("value_milli", "quality", "method").rows()
    assert got == [
        (9, "edited", "manual"),
        (10, "estimated", "linear"),
        (None, "missing", None),
        (None, "missing", None),
    ]


def test_a_sum_below_zero_may_count_as_none() -> None:
    rows = pl.concat([build_finals(START, [1]), build_finals(START, [100], meter="M2")])
    assert site(rows)["value_milli"].to_list() == [-49]
    assert site(rows, SITE + 'negative = "zero"\n')["value_milli"].to_list() == [0]


def test_a_virtual_meter_is_billed_like_any_other() -> None:
    rows = pl.concat([build_finals(START, [1_000] * 96), build_finals(START, [1_000] * 96, meter="M2")])
    registry = build_meters([{"meter_id": "M1"}, {"meter_id": "M2"}, {"meter_id": "SITE", "account_id": "A9"}])
    inputs = ExportInputs(rows, registry, build_reads({}), parse_tariffs(TARIFFS + SITE))
    asked = ExportParams(formats=("determinants",), date_from=MONDAY, date_to=date(2026, 7, 28))
    text = export(inputs, asked).files[1].content.decode()
    assert any(",A9," in row and ",energy_total,48000," in row for row in text.splitlines())


def test_a_virtual_meter_of_itself_or_without_terms_is_refused() -> None:
    for toml in (SITE.replace('"M1"', '"SITE"'), '[[virtual]]\nmeter = "S"\nterm = []\n', SITE + SITE):
        with pytest.raises(ContractError, match="virtual"):
            parse_tariffs(toml)


def bill(rows: pl.DataFrame, registry: pl.DataFrame, toml: str, start: date, end: date) -> pl.DataFrame:
    asked = DeterminantParams(date_from=start, date_to=end)
    return compute_determinants(rows, registry, build_reads({}), parse_tariffs(toml), asked).determinants


def test_a_change_of_tariff_inside_the_period_gives_a_line_for_each() -> None:
    change = START + timedelta(days=1)
    registry = build_meters([{"removed_at": change}, {"installed_at": change, "tariff": "flat"}])
    toml = TARIFFS + '[[tariff]]\nname = "flat"\ntimezone = "Europe/Berlin"\n'
    found = bill(build_finals(START, [1] * 192), registry, toml, MONDAY, date(2026, 7, 29))
    totals = found.filter(pl.col("determinant") == "energy_total")
    assert totals.select("tou_calendar", "value_milli", "period_start").rows() == [
        ("tou", 96, START),
        ("flat", 96, change),
    ]


def test_a_version_of_a_tariff_holds_from_its_first_local_day() -> None:
    second = TARIFFS.replace('"07:00"', '"12:00"').replace(
        "demand_window_min", "valid_from = 2026-07-28\ndemand_window_min"
    )
    found = bill(build_finals(START, [1] * 192), build_meters(), TARIFFS + second, MONDAY, date(2026, 7, 29))
    peak = found.filter(pl.col("determinant") == "energy_tou_peak")["value_milli"].item()
    assert peak == 4 * (14 + 9)


def test_a_season_may_wrap_over_the_new_year() -> None:
    toml = TARIFFS.replace(
        'end = "21:00"',
        'end = "21:00"\nseason = "winter"\n[[tariff.season]]\nname = "winter"\nfrom = "12-01"\nto = "02-01"',
    )
    start = datetime(2026, 11, 30, 23, tzinfo=UTC)
    days = {date(2026, 12, 1): 56, date(2027, 1, 29): 56, date(2027, 2, 1): 0, date(2026, 11, 30): 0}
    for day, quarters in days.items():
        start = day_bounds(day, "Europe/Berlin")[0]
        found = bill(build_finals(start, [1] * 96), build_meters(), toml, day, day + timedelta(days=1))
        assert found.filter(pl.col("determinant") == "energy_tou_peak")["value_milli"].item() == quarters


def test_two_meters_of_one_service_point_are_billed_side_by_side() -> None:
    rows = pl.concat([build_finals(START, [1] * 96), build_finals(START, [2] * 96, meter="M2")])
    found = bill(rows, build_meters([{"meter_id": "M1"}, {"meter_id": "M2"}]), TARIFFS, MONDAY, date(2026, 7, 28))
    totals = found.filter(pl.col("determinant") == "energy_total")
    assert totals.select("service_point_id", "meter_id", "value_milli").rows() == [
        ("SP1", "M1", 96),
        ("SP1", "M2", 192),
    ]


def test_a_meter_that_checks_another_is_not_billed() -> None:
    rows = build_finals(START, [1] * 96)
    asked = DeterminantParams(date_from=MONDAY, date_to=date(2026, 7, 28))
    found = compute_determinants(rows, build_meters(check_of="M9"), build_reads({}), parse_tariffs(TARIFFS), asked)
    assert found.determinants.is_empty()
    assert found.findings["reason"].to_list() == ["check_meter"]
