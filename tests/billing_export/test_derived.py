"""Derived determinants: exact roots and ratios, null instead of zero for what cannot be known."""

from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal, localcontext

import polars as pl
from billing_rows import TARIFFS, build_finals, build_meters, build_reads
from hypothesis import example, given, settings
from hypothesis import strategies as st

from billing_export.apparent import apparent
from billing_export.derived import power_factor, ratio
from billing_export.determinants import Determinants, compute_determinants
from billing_export.spans import DeterminantParams
from billing_export.tariffs import parse_tariffs
from schemas.timegrid import day_bounds

MONDAY = date(2026, 7, 27)
START = day_bounds(MONDAY, "Europe/Berlin")[0]
BIG = st.integers(0, 10**13)


def bill(rows: pl.DataFrame) -> Determinants:
    asked = DeterminantParams(date_from=MONDAY, date_to=MONDAY + timedelta(days=1))
    return compute_determinants(rows, build_meters(), build_reads({}), parse_tariffs(TARIFFS), asked)


def line(found: Determinants, determinant: str) -> dict[str, object]:
    return found.determinants.filter(pl.col("determinant") == determinant).row(0, named=True)


@settings(deadline=None)
@example(2_709_636_005_579_803, 38_179_657)  # here the square root of a float is one too high
@given(BIG, BIG)
def test_apparent_power_is_the_exact_root_rounded_half_up(active: int, reactive: int) -> None:
    frame = pl.DataFrame({"p": [active], "q": [reactive]})
    with localcontext() as context:
        context.prec = 60
        exact = Decimal(active**2 + reactive**2).sqrt().to_integral_value(ROUND_HALF_UP)
    assert frame.select(apparent(pl.col("p"), pl.col("q"))).item() == exact


@given(BIG, BIG)
def test_a_power_factor_is_the_exact_quotient_rounded_half_up(active: int, reactive: int) -> None:
    got = power_factor(active, reactive)
    if active == reactive == 0:
        assert got is None
        return
    with localcontext() as context:
        context.prec = 60
        exact = Decimal(active) / Decimal(active**2 + reactive**2).sqrt()
        assert got == (exact * 10**6).to_integral_value(ROUND_HALF_UP)


def test_a_ratio_by_zero_is_null() -> None:
    assert ratio(1, 0) is None
    assert ratio(1, 3) == 333_333
    assert ratio(2, 3) == 666_667


def test_power_factor_and_apparent_demand_come_from_active_and_reactive_energy() -> None:
    active = build_finals(START, [3_000] * 96)
    reactive = build_finals(START, [4_000 if n != 50 else 6_000 for n in range(96)], channel="reactive_delivered")
    found = bill(pl.concat([active, reactive]))
    highest = line(found, "apparent_demand_max")
    # Windows of half an hour: means of 12 and 16, once of 12 and 20.
    assert highest["value_milli"] == 23_324  # √(12² + 20²) = 23.3238…
    assert (highest["uom"], highest["occurred_at"]) == ("kVA", START + timedelta(hours=12, minutes=30))
    assert line(found, "power_factor")["ratio"] == Decimal("0.598005")
    assert line(found, "power_factor")["value_milli"] is None
    assert line(found, "power_factor")["uom"] == "1"


def test_quadrants_stand_in_for_reactive_energy_delivered() -> None:
    rows = [build_finals(START, [3_000] * 96)]
    rows += [build_finals(START, [2_000] * 96, channel=f"reactive_q{n}") for n in (1, 2)]
    assert line(bill(pl.concat(rows)), "power_factor")["ratio"] == Decimal("0.600000")


def test_a_meter_that_measures_apparent_energy_is_believed() -> None:
    rows = [
        build_finals(START, [3_000] * 96),
        build_finals(START, [4_000] * 96, channel="reactive_delivered"),
        build_finals(START, [9_000] * 96, channel="apparent_delivered"),
    ]
    found = bill(pl.concat(rows)).determinants.filter(pl.col("determinant") == "apparent_demand_max")
    assert found["value_milli"].to_list() == [36_000]


def test_an_apparent_window_without_its_reactive_part_sets_no_maximum() -> None:
    reactive = build_finals(
        START, [4_000] * 96, channel="reactive_delivered", qualities=dict.fromkeys(range(90), ("estimated", "flat"))
    )
    found = bill(pl.concat([build_finals(START, [3_000 if n < 90 else 1_000 for n in range(96)]), reactive]))
    assert line(found, "apparent_demand_max")["occurred_at"] == START + timedelta(hours=22, minutes=30)


def test_the_load_factor_is_energy_over_demand_and_hours() -> None:
    found = bill(build_finals(START, [1_000] * 48 + [3_000] * 48))
    assert line(found, "load_factor")["ratio"] == Decimal("0.666667")


def test_the_load_factor_counts_the_hours_of_the_span() -> None:
    asked = DeterminantParams(date_from=MONDAY, date_to=MONDAY + timedelta(days=2))
    rows = build_finals(START, [1_000] * 96 + [3_000] * 96)
    found = compute_determinants(rows, build_meters(), build_reads({}), parse_tariffs(TARIFFS), asked)
    assert line(found, "load_factor")["ratio"] == Decimal("0.666667")


def test_quadrants_stand_in_for_reactive_energy_only_where_it_is_not_metered_and_only_together() -> None:
    active = build_finals(START, [3_000] * 96)
    quadrants = [build_finals(START, [2_000] * 96, channel=f"reactive_q{number}") for number in (1, 2)]
    assert line(bill(pl.concat([active, *quadrants])), "apparent_demand_max")["value_milli"] == 20_000
    direct = build_finals(START, [4_000] * 96, channel="reactive_delivered")
    both = bill(pl.concat([active, direct, *quadrants]))
    assert line(both, "apparent_demand_max")["value_milli"] == 20_000
    assert line(both, "power_factor")["ratio"] == Decimal("0.600000")
    # Where one quadrant is silent half a day, no window of that time has an apparent power.
    half = quadrants[1].filter(pl.col("interval_start") >= START + timedelta(hours=12))
    lax = DeterminantParams(date_from=MONDAY, date_to=MONDAY + timedelta(days=1), missing_limit=48)
    rows = pl.concat([build_finals(START, [9_000] * 48 + [3_000] * 48), quadrants[0], half])
    found = compute_determinants(rows, build_meters(), build_reads({}), parse_tariffs(TARIFFS), lax)
    assert line(found, "apparent_demand_max")["value_milli"] == 20_000


def test_without_any_energy_there_is_no_load_factor() -> None:
    found = bill(build_finals(START, [0] * 96)).determinants
    assert "load_factor" not in found["determinant"].to_list()


def test_measured_apparent_demand_is_the_highest_of_the_whole_span_not_of_a_period() -> None:
    # Quarter 8 is 02:00, off peak; the first period of the tariff is the peak.
    rows = build_finals(START, [90_000 if n in (8, 9) else 9_000 for n in range(96)], channel="apparent_delivered")
    found = line(bill(pl.concat([build_finals(START, [3_000] * 96), rows])), "apparent_demand_max")
    assert (found["value_milli"], found["occurred_at"]) == (360_000, START + timedelta(hours=2))


def test_windows_that_may_hide_the_peak_are_counted_in_all_periods_together() -> None:
    guessed = dict.fromkeys((8, 40, 50), ("estimated", "linear"))  # one window off peak, two in the peak
    found = bill(build_finals(START, [3_000] * 96, qualities=guessed)).findings
    hidden = found.filter(pl.col("reason") == "peak_may_be_hidden")
    assert dict(hidden.select("determinant", "n").rows()) == {
        "demand_max": 3, "demand_max_tou_peak": 2, "demand_max_tou_off_peak": 1,
    }  # fmt: skip


def test_net_energy_of_a_meter_that_no_register_of_places_knows() -> None:
    rows = [
        build_finals(START - timedelta(hours=4), [value] * 192, channel=channel, service_point_id=None)
        for channel, value in (("energy_delivered", 3_000), ("energy_received", 1_000))
    ]
    asked = DeterminantParams(date_from=MONDAY, date_to=MONDAY + timedelta(days=1))
    meters = build_meters(meter_id="another")
    found = compute_determinants(pl.concat(rows), meters, build_reads({}), parse_tariffs(""), asked)
    assert line(found, "energy_net")["value_milli"] == 96 * 2_000
