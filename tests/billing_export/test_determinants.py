"""Determinants: sums to the milli-watt-hour, local civil time, peaks that were measured."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest
from billing_rows import TARIFFS, build_finals, build_meters, build_reads
from hypothesis import given, settings
from hypothesis import strategies as st

from billing_export.determinants import Determinants, compute_determinants
from billing_export.spans import DeterminantParams
from billing_export.tariffs import parse_tariffs
from schemas.codes import RULE_BIT, Rule, Status
from schemas.frames import DETERMINANTS, METERS, READS, conform
from schemas.timegrid import day_bounds

MONDAY = date(2026, 7, 27)
BERLIN = "Europe/Berlin"


def bill(
    rows: pl.DataFrame, start: date, end: date, *, toml: str = TARIFFS, registry: pl.DataFrame | None = None,
    reads: pl.DataFrame | None = None, **limits: object,
) -> Determinants:  # fmt: skip
    asked = DeterminantParams(date_from=start, date_to=end, **limits)  # type: ignore[arg-type]
    registry = build_meters() if registry is None else registry
    return compute_determinants(rows, registry, READS.empty() if reads is None else reads, parse_tariffs(toml), asked)


def line(found: Determinants, determinant: str) -> dict[str, object]:
    rows = found.determinants.filter(pl.col("determinant") == determinant)
    assert rows.height == 1, (determinant, found)
    return rows.row(0, named=True)


def day_of(values: Callable[[int], int | None], day: date = MONDAY, step: int = 900) -> list[int | None]:
    start, end = day_bounds(day, BERLIN)
    return [values(place) for place in range(int((end - start).total_seconds()) // step)]


@pytest.mark.parametrize(("day", "quarters"), [(date(2026, 3, 29), 92), (date(2026, 10, 25), 100), (MONDAY, 96)])
def test_a_local_day_of_23_24_or_25_hours_is_billed_whole_and_with_nothing_of_its_neighbours(
    day: date, quarters: int
) -> None:
    start, _ = day_bounds(day, BERLIN)
    rows = build_finals(start - timedelta(hours=1), [7] * (quarters + 8))
    total = line(bill(rows, day, day + timedelta(days=1)), "energy_total")
    assert (total["value_milli"], total["n_intervals"], total["n_actual"]) == (7 * quarters, quarters, quarters)
    assert total["quality_class"] == "actual"


def test_time_of_use_follows_the_wall_clock_not_utc() -> None:
    start, _ = day_bounds(MONDAY, BERLIN)
    # Quarter 28 begins at 07:00 local time, quarter 84 at 21:00.
    found = bill(build_finals(start, day_of(lambda q: 1 if 28 <= q < 84 else 1000)), MONDAY, date(2026, 7, 28))
    assert line(found, "energy_tou_peak")["value_milli"] == 56
    assert line(found, "energy_tou_off_peak")["value_milli"] == 40_000


def test_the_repeated_hour_is_counted_twice_in_its_period() -> None:
    toml = TARIFFS.replace('start = "07:00"', 'start = "02:00"').replace('end = "21:00"', 'end = "03:00"')
    toml = toml.replace('"workday"', '"all"')
    day = date(2026, 10, 25)
    start, _ = day_bounds(day, BERLIN)
    found = bill(build_finals(start, day_of(lambda _: 1, day)), day, day + timedelta(days=1), toml=toml)
    assert line(found, "energy_tou_peak")["n_intervals"] == 8


def test_a_holiday_is_no_workday() -> None:
    start, _ = day_bounds(MONDAY, BERLIN)
    found = bill(build_finals(start, day_of(lambda _: 5)), MONDAY, date(2026, 7, 28), holidays=frozenset({MONDAY}))
    assert line(found, "energy_tou_peak")["n_intervals"] == 0


@settings(max_examples=40, deadline=None)
@given(
    values=st.lists(st.integers(0, 10**12), min_size=100, max_size=100),
    cuts=st.lists(st.integers(0, 95), min_size=2, max_size=6, unique=True),
    day=st.sampled_from([date(2026, 3, 29), date(2026, 10, 25), MONDAY]),
    words=st.lists(st.sampled_from(["mon", "sun", "workday", "weekend", "all", "holiday"]), min_size=6, max_size=6),
)
def test_the_periods_of_any_calendar_sum_to_the_total_exactly(
    values: list[int], cuts: list[int], day: date, words: list[str]
) -> None:
    clock = [f"{cut // 4:02d}:{cut % 4 * 15:02d}" for cut in cuts]
    periods = "".join(
        f'[[tariff.period]]\nname = "p{n}"\ndays = "{words[n]}"\nstart = "{clock[n]}"\nend = "{clock[n - 1]}"\n'
        for n in range(len(clock))
    )
    toml = f'[[tariff]]\nname = "tou"\ntimezone = "{BERLIN}"\n{periods}'
    start, _ = day_bounds(day, BERLIN)
    rows = build_finals(start, list(values[: len(day_of(lambda _: 0, day))]))
    found = bill(rows, day, day + timedelta(days=1), toml=toml).determinants
    parts = found.filter(pl.col("determinant").str.starts_with("energy_tou_"))
    total = found.filter(pl.col("determinant") == "energy_total")
    assert parts.height == len(clock)
    assert parts["value_milli"].sum() == total["value_milli"].item() == rows["value_milli"].sum()
    assert parts["n_intervals"].sum() == total["n_intervals"].item()


def test_the_highest_window_is_the_earliest_of_equals() -> None:
    start, _ = day_bounds(MONDAY, BERLIN)
    high = {10, 11, 50, 51}
    found = line(
        bill(build_finals(start, day_of(lambda q: 900 if q in high else 1)), MONDAY, date(2026, 7, 28)), "demand_max"
    )
    assert found["value_milli"] == (900 + 900) * 2  # half an hour: mWh doubled are mW
    assert found["occurred_at"] == start + timedelta(minutes=150)
    assert found["uom"] == "kW"


def test_block_windows_start_at_local_midnight_and_sliding_ones_at_every_interval() -> None:
    start, _ = day_bounds(MONDAY, BERLIN)
    rows = build_finals(start, day_of(lambda q: 900 if q in {11, 12} else 0))
    block = line(bill(rows, MONDAY, date(2026, 7, 28)), "demand_max")
    sliding = TARIFFS.replace("demand_window_min = 30", 'demand_window_min = 30\ndemand = "sliding"')
    slid = line(bill(rows, MONDAY, date(2026, 7, 28), toml=sliding), "demand_max")
    assert (block["value_milli"], slid["value_milli"]) == (1800, 3600)
    assert slid["occurred_at"] == start + timedelta(minutes=165)


@pytest.mark.parametrize("mode", ["block", "sliding"])
@pytest.mark.parametrize("kind", [("estimated", "linear"), ("suspect", None), ("missing", None)])
def test_a_window_that_was_not_measured_never_sets_the_maximum_and_the_bill_says_so(
    kind: tuple[str, str | None], mode: str
) -> None:
    start, _ = day_bounds(MONDAY, BERLIN)
    rows = build_finals(start, day_of(lambda q: 10**6 if q == 20 else 10), qualities={20: kind})
    toml = TARIFFS.replace("demand_window_min = 30", f'demand_window_min = 30\ndemand = "{mode}"')
    found = bill(rows, MONDAY, date(2026, 7, 28), toml=toml, missing_limit=1)
    assert line(found, "demand_max")["value_milli"] == 40
    assert "peak_may_be_hidden" in found.findings["reason"].to_list()


def test_an_estimate_sets_the_maximum_where_the_tariff_takes_it() -> None:
    start, _ = day_bounds(MONDAY, BERLIN)
    rows = build_finals(start, day_of(lambda q: 1000 if q == 20 else 10), qualities={20: ("estimated", "linear")})
    toml = TARIFFS.replace("demand_window_min = 30", "demand_window_min = 30\ndemand_takes_estimates = true")
    assert line(bill(rows, MONDAY, date(2026, 7, 28), toml=toml), "demand_max")["value_milli"] == 2020


def test_a_partial_interval_never_sets_the_maximum() -> None:
    start, _ = day_bounds(MONDAY, BERLIN)
    rows = build_finals(start, day_of(lambda q: 1000 if q == 20 else 10))
    partial = pl.when(pl.int_range(pl.len()) == 20).then(pl.lit(1 << 19, dtype=pl.UInt64)).otherwise("failed")
    found = bill(rows.with_columns(failed=partial), MONDAY, date(2026, 7, 28))
    assert line(found, "demand_max")["value_milli"] == 40


def test_net_energy_stands_beside_delivered_and_received() -> None:
    start, _ = day_bounds(MONDAY, BERLIN)
    rows = pl.concat(
        [
            build_finals(start, day_of(lambda _: 3)),
            build_finals(start, day_of(lambda _: 5), channel="energy_received"),
            build_finals(start, day_of(lambda _: 2), channel="reactive_delivered"),
        ]
    )
    found = bill(rows, MONDAY, date(2026, 7, 28))
    got = {name: line(found, name)["value_milli"] for name in ("energy_delivered", "energy_received", "energy_net")}
    assert got == {"energy_delivered": 288, "energy_received": 480, "energy_net": -192}
    assert line(found, "energy_net")["channel"] is None
    assert (line(found, "reactive_energy")["value_milli"], line(found, "reactive_energy")["uom"]) == (192, "kvarh")


def test_only_the_newest_version_of_an_interval_counts_whatever_the_order_of_rows() -> None:
    start, _ = day_bounds(MONDAY, BERLIN)
    old, new = build_finals(start, day_of(lambda _: 1)), build_finals(start, day_of(lambda _: 4), version=2)
    for rows in (
        pl.concat([old, new]),
        pl.concat([new, old]),
        pl.concat([new, old]).sample(fraction=1, shuffle=True, seed=1),
    ):
        total = line(bill(rows, MONDAY, date(2026, 7, 28)), "energy_total")
        assert (total["value_milli"], total["source_revision"]) == (384, 2)


def test_of_two_judgements_of_one_version_the_later_counts_whatever_the_order_of_rows() -> None:
    """While a partition changes hands two workers may take one version at once: a store keeps both."""
    start, _ = day_bounds(MONDAY, BERLIN)
    at = datetime(2026, 7, 29, tzinfo=UTC)
    old = build_finals(start, day_of(lambda _: 1), version=2, judged_at=at)
    new = build_finals(start, day_of(lambda _: 4), version=2, judged_at=at + timedelta(seconds=1))
    for rows in (pl.concat([old, new]), pl.concat([new, old])):
        assert line(bill(rows, MONDAY, date(2026, 7, 28)), "energy_total")["value_milli"] == 384


def test_what_an_earlier_date_of_installation_left_of_an_interval_is_not_billed_beside_what_took_its_place() -> None:
    """A day of 1 a quarter; M1 seemed to come at 12:07 and its part was 9: it was there from 12:05, or 11:45."""
    start, _ = day_bounds(MONDAY, BERLIN)
    noon, old = start + timedelta(hours=12), datetime(2026, 7, 29, tzinfo=UTC)

    def part(minute: int, value: int, judged_at: datetime) -> pl.DataFrame:
        row = build_finals(noon + timedelta(minutes=minute), [value], judged_at=judged_at)
        return row.with_columns(interval_s=pl.lit(900 - minute * 60, pl.Int32))

    rows = build_finals(start, day_of(lambda _: 1))
    after = rows.filter(pl.col("interval_start") > noon)
    for minutes, finals, billed in (
        (-15, [rows.filter(pl.col("interval_start") >= noon - timedelta(minutes=15))], 49),
        (5, [after, part(5, 6, old + timedelta(days=1))], 47 + 6),
    ):
        registry = build_meters(installed_at=noon + timedelta(minutes=minutes))
        for order in (1, -1):
            told = pl.concat([part(7, 9, old), *finals][::order])
            found = bill(told, MONDAY, date(2026, 7, 28), registry=registry)
            assert line(found, "energy_total")["value_milli"] == billed


def test_what_is_missing_is_not_billed_but_told() -> None:
    start, _ = day_bounds(MONDAY, BERLIN)
    found = bill(build_finals(start, day_of(lambda q: None if q == 3 else 1)), MONDAY, date(2026, 7, 28))
    assert found.determinants.is_empty()
    assert found.findings.filter(pl.col("determinant") == "energy_total").row(0, named=True)["n"] == 1


@pytest.mark.parametrize(("missing", "held"), [(2, False), (3, True)])
def test_as_many_may_be_missing_as_the_limit_says(missing: int, held: bool) -> None:
    start, _ = day_bounds(MONDAY, BERLIN)
    rows = build_finals(start, day_of(lambda q: None if q < missing else 1))
    found = bill(rows, MONDAY, date(2026, 7, 28), missing_limit=2)
    assert found.determinants.is_empty() == held


def test_a_stream_without_a_service_point_is_held_as_a_whole_too() -> None:
    start, _ = day_bounds(MONDAY, BERLIN)
    rows = build_finals(start, day_of(lambda q: None if q == 40 else 1)).with_columns(
        service_point_id=pl.lit(None, pl.String)
    )
    found = bill(rows, MONDAY, date(2026, 7, 28), registry=build_meters(service_point_id=None))
    assert found.determinants.is_empty()
    assert "stream_held" in found.findings["reason"].to_list()  # of the period that misses nothing


def test_an_interval_without_a_final_is_missing_in_its_period_of_use() -> None:
    start, _ = day_bounds(MONDAY, BERLIN)
    rows = build_finals(start, day_of(lambda _: 1)).filter(pl.int_range(pl.len()) != 40)
    found = bill(rows, MONDAY, date(2026, 7, 28), missing_limit=1)
    assert line(found, "energy_tou_peak")["n_missing"] == 1
    assert line(found, "energy_tou_off_peak")["n_missing"] == 0
    assert line(found, "energy_total")["quality_class"] == "unbillable"


def test_counts_add_up_and_name_the_quality_of_the_line() -> None:
    start, _ = day_bounds(MONDAY, BERLIN)
    kinds = {1: ("estimated", "linear"), 2: ("edited", "manual"), 3: ("suspect", None), 4: ("outage", "zero")}
    total = line(
        bill(build_finals(start, day_of(lambda _: 0), qualities=kinds), MONDAY, date(2026, 7, 28)), "energy_total"
    )
    counts = [total[f"n_{name}"] for name in ("actual", "estimated", "edited", "suspect", "outage", "missing")]
    assert counts == [92, 1, 1, 1, 1, 0]
    assert sum(counts) == total["n_intervals"] == 96
    assert total["quality_class"] == "mixed"


def test_a_meter_exchanged_at_midday_gives_a_line_for_each_installation() -> None:
    start, end = day_bounds(MONDAY, BERLIN)
    noon = start + timedelta(hours=12)
    registry = build_meters([{"meter_id": "M1", "removed_at": noon}, {"meter_id": "M2", "installed_at": noon}])
    rows = pl.concat([build_finals(start, [1] * 48), build_finals(noon, [10] * 48, meter="M2")])
    found = bill(rows, MONDAY, date(2026, 7, 28), registry=registry).determinants
    totals = found.filter(pl.col("determinant") == "energy_total")
    assert totals.select("meter_id", "value_milli", "period_start", "period_end").rows() == [
        ("M1", 48, start, noon), ("M2", 480, noon, end),
    ]  # fmt: skip


def test_without_registry_and_tariff_a_meter_is_billed_in_utc_without_time_of_use() -> None:
    rows = build_finals(datetime(2026, 7, 27, tzinfo=UTC), [2] * 96)
    found = bill(rows, MONDAY, date(2026, 7, 28), toml="", registry=METERS.empty())
    assert line(found, "energy_total")["timezone"] == "UTC"
    assert not found.determinants["determinant"].str.contains("_tou_").any()


def test_a_tariff_that_does_not_exist_holds_the_meter() -> None:
    start, _ = day_bounds(MONDAY, BERLIN)
    found = bill(build_finals(start, [1] * 96), MONDAY, date(2026, 7, 28), registry=build_meters(tariff="none"))
    assert found.determinants.is_empty()
    assert found.findings["reason"].to_list() == ["tariff_unknown"]


def test_without_a_book_of_tariffs_every_meter_is_billed_in_its_own_zone_without_time_of_use() -> None:
    start, _ = day_bounds(MONDAY, BERLIN)
    found = bill(
        build_finals(start, [1] * 96), MONDAY, date(2026, 7, 28), toml="", registry=build_meters(timezone=BERLIN)
    )
    assert line(found, "energy_total")["timezone"] == BERLIN
    assert line(found, "energy_total")["tou_calendar"] is None


def test_boundary_reads_are_multiplied_like_the_intervals() -> None:
    start, end = day_bounds(MONDAY, BERLIN)
    reads = conform(
        pl.DataFrame(
            {
                "topic": "t", "partition": 0, "offset": 0, "frame": [0, 1, 2], "received_at": end,
                "meter_id": "M1", "channel": "energy_delivered", "obis": None,
                "read_at": [start, start + timedelta(hours=3), end], "value_milli": [1000, 5000, 9000], "status": 0,
            }
        ).with_columns(pl.col("status").cast(pl.UInt32), pl.col("received_at").cast(pl.Datetime("us", "UTC"))),
        READS,
    )  # fmt: skip
    found = bill(
        build_finals(start, [1] * 96), MONDAY, date(2026, 7, 28), registry=build_meters(multiplier=40_000), reads=reads
    )
    assert line(found, "register_start")["value_milli"] == 40_000
    assert line(found, "register_end")["value_milli"] == 360_000
    assert line(found, "register_end")["occurred_at"] == end


@pytest.mark.parametrize("mode", ["block", "sliding"])
def test_a_window_with_a_hole_never_sets_the_maximum(mode: str) -> None:
    start, _ = day_bounds(MONDAY, BERLIN)
    toml = TARIFFS.replace("demand_window_min = 30", f'demand_window_min = 30\ndemand = "{mode}"')
    rows = build_finals(start, day_of(lambda q: 9_000 if q in (40, 42) else 10))
    holed = rows.filter(~pl.col("interval_start").is_in([start + timedelta(minutes=15 * q) for q in (39, 41, 43)]))
    found = bill(holed, MONDAY, date(2026, 7, 28), toml=toml, missing_limit=3)
    assert line(found, "demand_max")["value_milli"] == 40
    assert "peak_may_be_hidden" in found.findings["reason"].to_list()


def test_a_partial_estimate_sets_no_maximum_even_where_the_tariff_takes_estimates() -> None:
    start, _ = day_bounds(MONDAY, BERLIN)
    toml = TARIFFS.replace("demand_window_min = 30", "demand_window_min = 30\ndemand_takes_estimates = true")
    kinds = {40: ("estimated", "linear"), 50: ("estimated", "linear")}
    rows = build_finals(start, day_of(lambda q: {40: 500, 50: 900}.get(q, 10)), qualities=kinds)
    partial = pl.lit(1 << RULE_BIT[Rule.PARTIAL_INTERVAL], dtype=pl.UInt64)
    at = pl.col("interval_start") == start + timedelta(minutes=15 * 50)
    marked = rows.with_columns(failed=pl.when(at).then(partial).otherwise(pl.col("failed")))
    assert line(bill(marked, MONDAY, date(2026, 7, 28), toml=toml), "demand_max")["value_milli"] == 510 * 2


@pytest.mark.parametrize(
    ("kinds", "name"),
    [
        ({3: ("outage", "zero")}, "actual"),
        (dict.fromkeys(range(96), ("outage", "zero")), "actual"),
        ({3: ("estimated", "linear")}, "mixed"),
        ({3: ("edited", "manual")}, "mixed"),
        (dict.fromkeys(range(96), ("estimated", "flat")), "estimated"),
    ],
)
def test_the_class_of_a_line_is_what_its_intervals_are(kinds: dict[int, tuple[str, str]], name: str) -> None:
    start, _ = day_bounds(MONDAY, BERLIN)
    found = bill(build_finals(start, [1] * 96, qualities=kinds), MONDAY, date(2026, 7, 28))
    assert line(found, "energy_total")["quality_class"] == name


@pytest.mark.parametrize(("limit", "held"), [(250, False), (249, True)])
def test_the_share_that_was_not_measured_may_reach_the_limit_and_suspect_values_count(limit: int, held: bool) -> None:
    start, _ = day_bounds(MONDAY, BERLIN)
    kinds = {place: ("estimated", "linear") if place % 2 else ("suspect", None) for place in range(24)}
    rows = build_finals(start, [1] * 96, qualities=kinds)
    found = bill(rows, MONDAY, date(2026, 7, 28), toml="", registry=build_meters(timezone=BERLIN),
                 estimated_limit_permille=limit)  # fmt: skip
    assert ("energy_total" in found.determinants["determinant"].to_list()) != held
    assert ("estimated_share" in found.findings["reason"].to_list()) == held


def test_windows_run_in_elapsed_time_where_the_clock_goes_back_by_half_an_hour() -> None:
    zone, day = "Australia/Lord_Howe", date(2026, 4, 5)  # 02:00 becomes 01:30 a second time
    start, end = day_bounds(day, zone)
    assert end - start == timedelta(hours=24, minutes=30)
    toml = TARIFFS.replace(BERLIN, zone).replace("window_min = 30", "window_min = 60")
    rows = build_finals(start, [9_000 if place in (8, 11) else 10 for place in range(98)])
    found = line(bill(rows, day, day + timedelta(days=1), toml=toml), "demand_max")
    assert (found["value_milli"], found["occurred_at"]) == (18_020, start + timedelta(hours=2))


def test_the_first_period_that_matches_wins_and_one_may_run_over_midnight() -> None:
    start, _ = day_bounds(MONDAY, BERLIN)
    night = """
[[tariff.period]]
name = "night"
days = "all"
start = "22:00"
end = "06:00"
[[tariff.period]]
name = "late"
days = "all"
start = "20:00"
end = "23:00"
[[tariff.period]]
name = "day"
"""
    toml = TARIFFS[: TARIFFS.index("[[tariff.period]]")] + night
    found = bill(build_finals(start, [1] * 96), MONDAY, date(2026, 7, 28), toml=toml)
    sums = {name: line(found, f"energy_tou_{name}")["value_milli"] for name in ("night", "late", "day")}
    assert sums == {"night": 8 * 4, "late": 2 * 4, "day": 14 * 4}


def test_a_boundary_read_is_usable_near_and_the_last_of_those_that_came() -> None:
    start, end = day_bounds(MONDAY, BERLIN)
    rows = build_finals(start, [1] * 96)
    near, far = start + timedelta(seconds=900), end + timedelta(seconds=901)
    shown = build_reads({near: 5, far: 101})
    first = line(bill(rows, MONDAY, date(2026, 7, 28), reads=shown), "register_start")
    assert (first["value_milli"], first["occurred_at"]) == (5, near)
    late = build_reads({end: 77}).with_columns(received_at=pl.col("received_at") + timedelta(hours=1))
    for order in ([late, build_reads({end: 99})], [build_reads({end: 99}), late]):
        assert line(bill(rows, MONDAY, date(2026, 7, 28), reads=pl.concat(order)), "register_end")["value_milli"] == 77
    none = bill(rows, MONDAY, date(2026, 7, 28), reads=shown).determinants
    assert "register_end" not in none["determinant"].to_list()
    for bit in (Status.CLOCK_INVALID, Status.DATA_NOT_VALID, Status.TEST_MODE, Status.OVERFLOW):
        marked = build_reads({end: 99}).with_columns(status=pl.lit(int(bit), dtype=pl.UInt32))
        found = bill(rows, MONDAY, date(2026, 7, 28), reads=marked).determinants
        assert "register_end" not in found["determinant"].to_list(), bit


def test_an_interval_that_reaches_beyond_its_installation_is_not_billed_with_it() -> None:
    start, _ = day_bounds(MONDAY, BERLIN)
    registry = build_meters(removed_at=start + timedelta(hours=12, minutes=30), timezone=BERLIN)
    found = bill(build_finals(start, [1] * 24, step=3600), MONDAY, date(2026, 7, 28), registry=registry, toml="")
    assert line(found, "energy_total")["value_milli"] == 12


def test_an_interval_that_began_before_its_installation_is_not_billed_with_it() -> None:
    start, _ = day_bounds(MONDAY, BERLIN)
    registry = build_meters(installed_at=start + timedelta(hours=12, seconds=30), timezone=BERLIN)
    found = bill(build_finals(start, [1] * 96), MONDAY, date(2026, 7, 28), registry=registry, toml="")
    assert (
        line(found, "energy_total")["value_milli"] == 47
    )  # the quarter that began half a minute before is not its own


def test_intervals_longer_than_the_periods_have_a_total_but_no_time_of_use() -> None:
    start, _ = day_bounds(MONDAY, BERLIN)
    toml = TARIFFS.replace('"07:00"', '"07:30"')
    found = bill(build_finals(start, [1] * 24, step=3600), MONDAY, date(2026, 7, 28), toml=toml)
    assert line(found, "energy_total")["value_milli"] == 24
    assert not found.determinants["determinant"].str.contains("energy_tou_").any()
    assert "straddles_period" in found.findings["reason"].to_list()


def test_the_lines_keep_the_contract_and_a_second_run_gives_the_same_batch() -> None:
    start, _ = day_bounds(MONDAY, BERLIN)
    rows = build_finals(start, [1] * 96)
    once, again = (bill(rows, MONDAY, date(2026, 7, 28)).determinants for _ in range(2))
    assert conform(once, DETERMINANTS).equals(again)
    assert once["line_no"].to_list() == list(range(1, once.height + 1))
    other = bill(rows.with_columns(version=pl.col("version") + 1), MONDAY, date(2026, 7, 28)).determinants
    assert once["batch_id"][0] != other["batch_id"][0]


def test_a_meter_without_a_tariff_takes_the_only_one_of_the_book_and_of_several_none() -> None:
    rows = build_finals(day_bounds(MONDAY, BERLIN)[0], [1] * 96 * 2)
    other = TARIFFS.replace('"tou"', '"flat"').replace('name = "peak"', 'name = "shoulder"')
    for toml, zone in ((TARIFFS, BERLIN), (TARIFFS + other, "UTC")):
        found = bill(rows, MONDAY, date(2026, 7, 28), toml=toml, registry=build_meters(tariff=None))
        named = set(found.determinants["determinant"])
        assert {"energy_tou_peak", "energy_tou_off_peak"} <= named if zone == BERLIN else "energy_tou_peak" not in named
        assert line(found, "energy_total")["period_start"] == day_bounds(MONDAY, zone)[0]
        assert "energy_tou_shoulder" not in named
