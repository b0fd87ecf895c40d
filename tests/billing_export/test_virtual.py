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


def test_it_is_as_new_and_as_unproven_as_any_of_its_terms() -> None:
    early, late = datetime(2026, 8, 1, tzinfo=UTC), datetime(2026, 8, 3, tzinfo=UTC)
    rows = pl.concat(
        [
            build_finals(START, [10], version=3, judged_at=late, failed=4, unjudged=1, run_id="a"),
            build_finals(
                START, [2], meter="M2", version=2, judged_at=early, failed=1, unjudged=8, is_final_estimate=True,
                run_id="b",
            ),
        ]
    )  # fmt: skip
    told = ("version", "judged_at", "failed", "unjudged", "is_final_estimate", "run_id")
    assert site(rows).select(told).rows() == [(3, late, 5, 9, True, "b")]
    turned = pl.concat([rows.filter(meter_id="M2"), rows.filter(meter_id="M1")])
    swapped = SITE.replace('{meter = "M1"}', '{meter = "M9"}').replace('{meter = "M2"', '{meter = "M1"')
    assert site(turned, swapped.replace("M9", "M2")).select(told).rows() == [(3, late, 5, 9, True, "b")]


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


def test_a_virtual_meter_may_rest_on_others_in_whatever_order_they_are_written() -> None:
    total = '[[virtual]]\nmeter = "TOTAL"\nterm = [{meter = "SITE"}, {meter = "M3"}]\n'
    rows = pl.concat([build_finals(START, [10, 10], meter=name) for name in ("M1", "M2", "M3")])
    for toml in (SITE + total, total + SITE):
        made = with_virtual(rows, parse_tariffs(toml).summed_in_order())
        assert made.filter(pl.col("meter_id") == "TOTAL")["value_milli"].to_list() == [15, 15]
    circle = SITE.replace('"M1"', '"TOTAL"') + total
    with pytest.raises(ContractError, match="rests on itself"):
        parse_tariffs(circle)


VERSION = TARIFFS.replace("demand_window_min = 30", 'valid_from = 2026-07-28\nversion = "late"\ndemand_window_min = 30')


def test_how_demand_is_taken_is_that_of_the_version_in_force_on_the_day() -> None:
    second = VERSION.replace("_min = 30", '_min = 30\ndemand = "sliding"\ndemand_takes_estimates = true')
    odd = [900 if place in (11, 12) else 0 for place in range(96)]  # half an hour that no block holds
    kinds = {40: ("estimated", "linear"), 136: ("estimated", "linear")}
    rows = build_finals(START, odd + odd, qualities=kinds).with_columns(
        value_milli=pl.when(pl.int_range(pl.len()) == 40).then(5_000).otherwise("value_milli")
    )
    before = bill(rows, build_meters(), TARIFFS + second, MONDAY, date(2026, 7, 28))
    peak = pl.col("determinant") == "demand_max"
    # The second version is in the book and not in force: blocks, and no estimate sets the maximum.
    assert before.filter(peak)["value_milli"].item() == 1_800
    after = bill(rows, build_meters(), TARIFFS + second, date(2026, 7, 28), date(2026, 7, 29))
    assert after.filter(peak)["value_milli"].item() == 3_600
    whole = bill(rows, build_meters(), TARIFFS + second, MONDAY, date(2026, 7, 29)).filter(peak)
    assert whole.select("value_milli", "occurred_at").row(0) == (3_600, START + timedelta(days=1, minutes=165))
    lower = rows.with_columns(value_milli=pl.when(pl.int_range(pl.len()) == 136).then(5_000).otherwise("value_milli"))
    taken = bill(lower, build_meters(), TARIFFS + second, MONDAY, date(2026, 7, 29)).filter(peak)
    assert taken.select("value_milli", "occurred_at").row(0) == (10_000, START + timedelta(days=1, minutes=585))


def test_a_line_names_the_versions_in_force_in_its_span_and_no_other() -> None:
    rows, toml = build_finals(START, [1] * 288), TARIFFS + VERSION
    days = [MONDAY + timedelta(days=place) for place in range(4)]
    said = {
        (first, after): bill(rows, build_meters(), toml, days[first], days[after])["tou_version"].unique().to_list()
        for first, after in ((0, 1), (0, 2), (1, 2), (1, 3))
    }
    assert said == {(0, 1): ["1"], (0, 2): ["1+late"], (1, 2): ["late"], (1, 3): ["late"]}
    book = parse_tariffs(toml)
    assert book.labels(days[0], days[1]) == (("tou", "1"),)
    assert book.labels(days[0], days[2]) == (("tou", "1+late"),)
    assert book.label("none", days[0], days[1]) is None


@pytest.mark.parametrize("lengths", [(1800, 900), (900, 1800), (3600, 900), (300, 1800)])
def test_a_meter_whose_intervals_change_their_length_is_billed_to_its_last_one(lengths: tuple[int, int]) -> None:
    noon = START + timedelta(hours=12)
    first, second = (build_finals(at, [step] * (43_200 // step), step=step)
                     for at, step in zip((START, noon), lengths, strict=True))  # fmt: skip
    beyond = build_finals(START + timedelta(hours=24), [10**9] * 2, step=lengths[1])
    for rows in (pl.concat([first, second]), pl.concat([first, second, beyond])):
        found = bill(rows, build_meters(), TARIFFS, MONDAY, date(2026, 7, 28))
        total = found.filter(pl.col("determinant") == "energy_total")
        assert total.select("value_milli", "n_missing").row(0) == (86_400, 0)


def test_installations_of_one_meter_that_claim_the_same_time_are_held_and_never_billed_twice() -> None:
    rows = pl.concat([build_finals(START, [1] * 96), build_finals(START, [2] * 96, meter="M2")])
    noon = START + timedelta(hours=12)
    for twice in ([{}, {"installed_at": noon}], [{"removed_at": noon + timedelta(minutes=15)}, {"installed_at": noon}]):
        asked = DeterminantParams(date_from=MONDAY, date_to=date(2026, 7, 28))
        registry = build_meters([*twice, {"meter_id": "M2"}])
        found = compute_determinants(rows, registry, build_reads({}), parse_tariffs(TARIFFS), asked)
        assert set(found.determinants["meter_id"]) == {"M2"}
        assert set(found.findings.filter("held").select("meter_id", "reason").rows()) == {
            ("M1", "installations_overlap")
        }


def test_installations_of_one_meter_that_meet_are_each_billed_up_to_the_other() -> None:
    noon = START + timedelta(hours=12)
    places = [{"removed_at": noon}, {"installed_at": noon, "service_point_id": "SP2", "account_id": "A2"}]
    rows = build_finals(START, [1] * 48 + [3] * 48)
    asked = DeterminantParams(date_from=MONDAY, date_to=date(2026, 7, 28))
    found = compute_determinants(rows, build_meters(places), build_reads({}), parse_tariffs(TARIFFS), asked)
    total = found.determinants.filter(pl.col("determinant") == "energy_total")
    assert total.select("account_id", "value_milli", "n_missing").sort("account_id").rows() == [
        ("A1", 48, 0), ("A2", 144, 0),
    ]  # fmt: skip
