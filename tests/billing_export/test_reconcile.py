"""Reconciliation finds every milli-watt-hour that is not where it should be; the plan says what is due."""

from datetime import date, timedelta

import polars as pl
import pytest
from billing_rows import TARIFFS, build_finals, build_meters, build_reads

from billing_export.determinants import compute_determinants
from billing_export.export import export
from billing_export.ledger import post
from billing_export.pieces import ExportInputs, ExportParams
from billing_export.plan import Cycle, plan
from billing_export.reconcile import reconcile_files, reconcile_ledger, reconcile_registers
from billing_export.spans import DeterminantParams
from billing_export.tariffs import parse_tariffs
from schemas.errors import ContractError
from schemas.frames import DETERMINANTS
from schemas.timegrid import day_bounds

MONDAY = date(2026, 7, 27)
START, END = day_bounds(MONDAY, "Europe/Berlin")
ASKED = DeterminantParams(date_from=MONDAY, date_to=MONDAY + timedelta(days=1))


def bill(registers: dict[str, int], registry: pl.DataFrame | None = None, value: int = 1_000) -> pl.DataFrame:
    instants = {"start": START, "end": END}
    reads = build_reads({instants[name]: shown for name, shown in registers.items()})
    rows = build_finals(START, [value] * 96, version=value)
    registry = build_meters() if registry is None else registry
    return compute_determinants(rows, registry, reads, parse_tariffs(TARIFFS), ASKED).determinants


@pytest.mark.parametrize(
    ("registers", "columns", "difference", "reason"),
    [
        ({"start": 5_000, "end": 101_000}, {}, 0, None),
        ({"start": 5_000, "end": 101_001}, {}, -1, "sum_check"),
        ({"start": 5_000, "end": 100_500}, {"register_resolution_milli": 1_000}, 500, None),
        ({"start": 5_000, "end": 100_000}, {"register_resolution_milli": 1_000}, 1_000, "sum_check"),
        ({"start": 99_990_000, "end": 86_000}, {"register_digits": 5}, 0, None),
        ({"start": 5_000}, {}, None, "register_missing"),
    ],
)
def test_intervals_are_held_against_the_advance_of_the_register(
    registers: dict[str, int], columns: dict[str, int], difference: int | None, reason: str | None
) -> None:
    registry = build_meters(**columns)
    found = reconcile_registers(bill(registers, registry), registry)
    assert found.select("subject", "difference_milli", "reason").rows() == [("M1 energy_delivered", difference, reason)]


def test_a_multiplied_meter_reconciles() -> None:
    registry = build_meters(multiplier=2_000)
    found = reconcile_registers(bill({"start": 5_000, "end": 53_000}, registry), registry)
    assert found["difference_milli"].to_list() == [0]


def test_the_ledger_is_held_against_what_is_computed_now() -> None:
    old, new = bill({}), bill({}, value=2_000)
    ledger = post(DETERMINANTS.empty(), old, ASKED).lines
    assert reconcile_ledger(ledger, old)["reason"].null_count() == reconcile_ledger(ledger, old).height > 0
    late = reconcile_ledger(ledger, new)
    assert {"ledger_differs", None} >= set(late["reason"]) and "ledger_differs" in set(late["reason"])
    ledger = pl.concat([ledger, post(ledger, new, ASKED).lines])
    assert reconcile_ledger(ledger, new)["reason"].null_count() == late.height
    assert set(reconcile_ledger(DETERMINANTS.empty(), new)["reason"]) == {"not_posted"}
    assert set(reconcile_ledger(ledger, new.clear())["reason"]) == {"not_computed"}


def test_files_are_held_against_their_manifest_down_to_the_sums_in_them() -> None:
    inputs = ExportInputs(build_finals(START - timedelta(hours=8), [33_333] * 96), build_meters(), build_reads({}))
    asked = ExportParams(formats=("nem12", "determinants"), date_from=MONDAY, date_to=date(2026, 7, 28))
    made = export(inputs, asked)
    files = {file.name: file.content for file in made.files}
    found = reconcile_files(made.manifest, files)
    assert found["reason"].null_count() == found.height == 1
    assert found["expected_milli"].to_list() == found["found_milli"].to_list()
    name = made.files[0].name
    broken = {**files, name: files[name].replace(b"0.0333", b"0.0444", 1)}
    reasons = set(reconcile_files(made.manifest, broken)["reason"])
    assert {"file_hash", "control_total"} <= reasons


# Plan ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("today", "state"),
    [(date(2026, 8, 2), "waiting"), (date(2026, 8, 3), "due"), (date(2026, 8, 7), "due"), (date(2026, 8, 8), "late")],
)
def test_a_period_waits_for_late_reads_then_is_due_then_late(today: date, state: str) -> None:
    found = plan((Cycle("monthly"),), today, frozenset(), months=1)
    assert found.row(0) == (
        "monthly/2026-07-01",
        date(2026, 7, 1),
        date(2026, 8, 1),
        date(2026, 8, 3),
        date(2026, 8, 8),
        state,
    )


def test_a_billed_period_is_done_and_periods_join_without_a_gap() -> None:
    found = plan((Cycle("c", first_day=15),), date(2027, 1, 3), frozenset({"c/2026-11-15"}), months=3)
    assert found["state"].to_list()[-1] == "done"
    assert found["date_from"].to_list()[1:] == found["date_to"].to_list()[:-1]
    with pytest.raises(ContractError, match="first_day"):
        Cycle("c", first_day=31)
