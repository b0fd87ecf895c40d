"""Reconciliation finds every milli-watt-hour that is not where it should be; the plan says what is due."""

import json
from datetime import date, datetime, timedelta

import polars as pl
import pytest
from billing_rows import TARIFFS, build_finals, build_meters, build_reads

from billing_export.determinants import compute_determinants
from billing_export.export import export
from billing_export.ledger import post
from billing_export.pieces import ExportInputs, ExportParams
from billing_export.plan import Cycle, plan
from billing_export.reconcile import reconcile_files, reconcile_ledger
from billing_export.reconcile_registers import reconcile_reads, reconcile_registers
from billing_export.spans import DeterminantParams
from billing_export.standing import usable_reads
from billing_export.stretches import stretches_of
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
        ({"start": 5_000, "end": 100_500}, {"register_resolution_milli": 1_000}, 500, "register_resolution"),
        ({"start": 5_000, "end": 100_000}, {"register_resolution_milli": 1_000}, 1_000, "sum_check"),
        ({"start": 5_000, "end": 100_999}, {"register_resolution_milli": 1_000}, 1, "register_resolution"),
        ({"start": 5_000, "end": 101_000}, {"service_point_id": None}, 0, None),
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
    [
        (date(2026, 8, 1), "waiting"),
        (date(2026, 8, 2), "waiting"),
        (date(2026, 8, 3), "due"),
        (date(2026, 8, 7), "due"),
        (date(2026, 8, 8), "late"),
    ],
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


# Stretches between reads ---------------------------------------------------------------------------------------------


def hourly(shown: list[int | None]) -> pl.DataFrame:
    return build_reads({START + timedelta(hours=n): value for n, value in enumerate(shown) if value is not None})


def explained(
    shown: list[int | None], values: list[int | None] | None = None, kinds: dict | None = None, **columns: int
) -> tuple[list[tuple], pl.DataFrame]:
    rows = build_finals(START, values or [1_000] * 16, qualities=kinds)
    found = stretches_of(rows, hourly(shown), build_meters(**columns))
    told = found.stretches.with_columns(hour=(pl.col("stretch_start") - START).dt.total_hours())
    return told.select("hour", "expected_milli", "difference_milli", "reason").rows(), found.left_out


def test_every_stretch_is_summed_between_the_reads_that_stand() -> None:
    assert explained([0, 4_000, 8_000, 12_000, 16_000])[0] == [(n, 4_000, 0, None) for n in range(4)]
    assert explained([0, 4_000, None, 12_000, 16_000])[0] == [
        (0, 4_000, 0, None), (1, 8_000, 0, None), (3, 4_000, 0, None),
    ]  # fmt: skip


def test_a_difference_has_the_reason_of_the_gravest_interval_in_its_own_stretch() -> None:
    kinds = {1: ("suspect", None), 5: ("estimated", "linear"), 6: ("edited", "manual"), 9: ("missing", None)}
    values = [1_000] * 9 + [None] + [1_000] * 6
    told, _ = explained([0, 4_500, 8_200, 12_000, 16_001], values, kinds)
    assert told == [
        (0, 4_500, -500, "suspect"), (1, 3_700, 300, "edited"), (2, 3_800, -800, "missing"),
        (3, 4_001, -1, "sum_check"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("advance", "kinds", "resolution", "reason"),
    [
        (4_999, {}, 1_000, "register_resolution"),
        (5_000, {}, 1_000, "sum_check"),
        (5_000, {0: ("estimated", "linear")}, 1_000, "register_resolution"),
        (5_001, {0: ("estimated", "linear")}, 1_000, "estimated"),
        (4_001, {0: ("estimated", "linear")}, 1, "estimated"),
    ],
)
def test_what_a_register_cannot_tell_is_its_resolution(advance: int, kinds: dict, resolution: int, reason: str) -> None:
    told, _ = explained([0, advance], [1_000] * 4, kinds, register_resolution_milli=resolution)
    assert [row[3] for row in told] == [reason]


def test_a_wild_read_is_left_out_and_named_and_a_wrap_is_not_one() -> None:
    told, wild = explained([0, 4_000, 900_000, 12_000, 16_000])
    assert [row[2:] for row in told] == [(0, None)] * 3
    assert wild.select("expected_milli", "value_milli", "reason").rows() == [(8_000, 900_000, "read_wild")]
    told, wild = explained([99_996_000, 0, 4_000, 8_000, 12_000], register_digits=5)
    assert [row[2:] for row in told] == [(0, None)] * 4
    assert wild.is_empty()
    assert explained([99_996_000, 0])[0][0][2:] == (None, "register_wrap")


STILL = [4_000] * 29  # a read and 28 copies of it
FUSE = {"phase": "A", "fuse_a": 1, "voltage_v": 16}  # 20,000 milli an hour at 125 %


@pytest.mark.parametrize(
    ("leap", "stale", "differing"),
    [
        (29 * 4_000, 28, []),  # all that flowed meanwhile
        (29 * 20_000, 28, [(1, -464_000, "sum_check")]),  # what the whole run lets through: one stretch, one reason
        (29 * 20_000 + 2, 0, 29),  # more than that: nothing proves that the copies were stale
        (20_001, 0, 29),  # what one hour lets through: the register may have stood still
    ],
)
def test_copies_of_a_read_before_a_leap_that_only_all_of_them_explain_are_stale(
    leap: int, stale: int, differing: list | int
) -> None:
    rows = build_finals(START, [1_000] * 128)
    reads = hourly([0, *STILL, 4_000 + leap, 8_000 + leap, 12_000 + leap])
    found = stretches_of(rows, reads, build_meters(**FUSE))
    assert found.left_out["read_at"].to_list() == [START + timedelta(hours=n) for n in range(2, 2 + stale)]
    assert set(found.left_out["reason"]) <= {"read_stale"}
    told = found.stretches.with_columns(hour=(pl.col("stretch_start") - START).dt.total_hours())
    wrong = told.filter(pl.col("reason").is_not_null()).select("hour", "difference_milli", "reason").rows()
    assert len(wrong) == differing if isinstance(differing, int) else wrong == differing


def test_without_a_fuse_nothing_is_stale_and_copies_of_each_register_are_its_own() -> None:
    rows = build_finals(START, [1_000] * 128)
    shown = hourly([0, *STILL, 120_000, 124_000])
    assert set(stretches_of(rows, shown, build_meters()).left_out["reason"]) == {"read_doubtful"}  # by the intervals
    guessed = build_finals(START, [1_000] * 128, qualities={9: ("estimated", "linear")})
    assert stretches_of(guessed, shown, build_meters()).left_out.is_empty()
    received = build_reads({START + timedelta(hours=n): 4_000 for n in range(40)}, channel="energy_received")
    both = stretches_of(rows, pl.concat([shown, received]), build_meters(**FUSE))
    assert both.left_out["channel"].to_list() == ["energy_delivered"] * 28


def test_copies_before_a_wrap_are_stale_too() -> None:
    rows = build_finals(START, [1_000] * 48)
    shown = hourly([99_990_000, *[99_994_000] * 9, 30_000, 34_000])
    found = stretches_of(rows, shown, build_meters(register_digits=5, **FUSE))
    assert found.left_out["reason"].to_list() == ["read_stale"] * 8
    assert found.stretches["difference_milli"].to_list() == [0, 0, 0]


@pytest.mark.parametrize(
    ("shown", "doubted", "differing"),
    [
        ([0, 4_000, 5_500, 12_000, 16_000], [2], []),  # read before its time: the next stretch takes it back
        ([0, 4_000, 4_000, 4_000, 16_000], [2, 3], []),  # copies of a read
        ([0, 4_000, 5_500, 9_500, 13_500], [], [(1, 2_500)]),  # the register never gets it back: energy
        ([0, 4_000, 5_500, 12_001, 16_001], [], [(1, 2_500), (2, -2_501)]),  # 1 mWh is left
        ([0, 4_000, 5_500, 9_500, 16_000], [], [(1, 2_500), (3, -2_500)]),  # two reads agree against the intervals
        ([1_500, 4_000, 8_000, 12_000, 16_000], [], [(0, 1_500)]),  # nothing stands before it
        ([0, 4_000, 8_000, 12_000, 15_000], [], [(3, 1_000)]),  # nor after it
        ([0, 5_000, 8_000, 13_000, 16_000], [], [(0, -1_000), (1, 1_000), (2, -1_000), (3, 1_000)]),  # which one?
    ],
)
def test_a_read_that_intervals_and_the_reads_around_it_contradict_is_named_and_energy_is_not_explained_away(
    shown: list[int | None], doubted: list[int], differing: list[tuple[int, int]]
) -> None:
    told, left_out = explained(shown)
    assert left_out["read_at"].to_list() == [START + timedelta(hours=n) for n in doubted]
    assert left_out["expected_milli"].to_list() == [4_000 * n for n in doubted]
    assert set(left_out["reason"]) <= {"read_doubtful"}
    assert [(row[0], row[2]) for row in told if row[3] is not None] == differing
    assert {row[3] for row in told} <= {None, "sum_check"}
    named = reconcile_reads(left_out)
    assert named["kind"].to_list() == ["read"] * len(doubted)
    assert named["difference_milli"].to_list() == [shown[n] - 4_000 * n for n in doubted]


@pytest.mark.parametrize("kind", [("estimated", "linear"), ("edited", "manual"), ("missing", None)])
def test_a_value_that_nobody_measured_proves_nothing_against_a_register(kind: tuple[str, str | None]) -> None:
    shown = [0, 4_000, 5_500, 12_000, 16_000]
    for place, doubted in ((3, 1), (4, 0), (11, 0), (12, 1)):
        told, left_out = explained(shown, None, {place: kind})
        assert left_out.height == doubted, place
        assert len([row for row in told if row[3] == kind[0]]) == (0 if doubted else 1)
    holed = build_finals(START, [1_000] * 16).filter(pl.col("interval_start") != START + timedelta(minutes=75))
    found = stretches_of(holed, hourly([0, 4_000, 5_500, 11_000, 15_000]), build_meters())
    assert found.left_out.is_empty() and "missing" in found.stretches["reason"].to_list()


def test_a_suspect_value_is_measured_and_a_coarse_register_is_doubted_only_beyond_its_last_place() -> None:
    kinds = dict.fromkeys(range(4, 12), ("suspect", None))
    assert explained([0, 4_000, 5_500, 12_000, 16_000], None, kinds)[1].height == 1
    coarse = {"register_resolution_milli": 1_000}
    assert explained([0, 4_000, 7_001, 12_000, 16_000], **coarse)[1].is_empty()
    assert explained([0, 4_000, 7_000, 12_000, 16_000], **coarse)[1].height == 1
    assert explained([0, 4_000, 6_000, 11_001, 16_000], **coarse)[1].height == 1
    assert explained([0, 4_000, 6_000, 11_000, 15_000], **coarse)[1].is_empty()


def test_a_doubtful_read_beside_a_wrap_and_under_a_multiplier_is_told_too() -> None:
    told, left_out = explained([99_990_000, 99_994_000, 99_995_000, 2_000, 6_000], register_digits=5)
    assert left_out["expected_milli"].to_list() == [99_998_000]
    assert [row[2] for row in told] == [0, 0, 0]
    told, left_out = explained([0, 2_000, 2_500, 6_000, 8_000], multiplier=2_000)
    assert left_out.select("expected_milli", "value_milli").rows() == [(8_000, 5_000)]


def test_an_exchange_in_the_period_reconciles_each_meter_alone_and_the_multiplier_counts() -> None:
    registry = build_meters(multiplier=2_000)
    found = stretches_of(build_finals(START, [1_000] * 16), hourly([7, 2_007, 4_007]), registry)
    assert found.stretches["difference_milli"].to_list() == [0, 0]


def test_the_difference_of_a_stream_is_the_sum_of_its_stretches_and_has_their_reason() -> None:
    registry = build_meters(register_resolution_milli=100)
    kinds = dict.fromkeys(range(8), ("suspect", None))
    rows = build_finals(START, [1_000] * 96, qualities=kinds)
    reads = build_reads(
        {START + timedelta(hours=n): 4_000 * n - (3_000 if n else 0) + (50 if n > 5 else 0) for n in range(25)}
    )
    lines = compute_determinants(rows, registry, reads, parse_tariffs(TARIFFS), ASKED).determinants
    found = reconcile_registers(lines, registry, stretches_of(rows, reads, registry).stretches)
    by_kind = {kind: part for (kind,), part in found.group_by("kind", maintain_order=True)}
    assert by_kind["register"].select("difference_milli", "reason").rows() == [(2_950, "suspect")]
    assert by_kind["stretch"].select("difference_milli", "reason").rows() == [
        (3_000, "suspect"), (-50, "register_resolution"),
    ]  # fmt: skip


def test_a_difference_that_no_stretch_makes_is_unexplained_or_a_read_beside_the_bound() -> None:
    registry = build_meters()
    for shift, reason in ((0, "unexplained"), (60, "read_off_boundary")):
        reads = build_reads({START + timedelta(seconds=shift): 0, END: 95_000})
        rows = build_finals(START, [1_000] * 96)
        lines = compute_determinants(rows, registry, reads, parse_tariffs(TARIFFS), ASKED).determinants
        found = reconcile_registers(lines, registry, stretches_of(rows, reads, registry).stretches.clear())
        assert found["reason"].to_list() == [reason]


def test_registers_of_energy_and_of_reactive_energy_stand_under_one_name_and_both_count() -> None:
    rows = pl.concat([build_finals(START, [9] * 96), build_finals(START, [7] * 96, channel="reactive_delivered")])
    reads = pl.concat(
        [build_reads({START: 5, END: 869}), build_reads({START: 3, END: 675}, channel="reactive_delivered")]
    )
    inputs = ExportInputs(rows, build_meters(), reads, parse_tariffs(TARIFFS))
    made = export(inputs, ExportParams(("determinants",), MONDAY, MONDAY + timedelta(days=1)))
    found = reconcile_files(made.manifest, {file.name: file.content for file in made.files})
    assert found.height > 0
    assert found["difference_milli"].unique().to_list() == [0]
    forged = {file.name: file.content.replace(b",864,", b",865,") for file in made.files}
    assert "file_hash" in reconcile_files(made.manifest, forged)["reason"].to_list()


NEXT_END = day_bounds(MONDAY + timedelta(days=1), "Europe/Berlin")[1]
BEFORE = day_bounds(MONDAY - timedelta(days=1), "Europe/Berlin")[0]
DAYS_OF_READS = [BEFORE, START, END, NEXT_END]


@pytest.mark.parametrize(
    ("shown", "start", "end", "reason"),
    [
        ([0, 96_000, 192_000, 288_000], 96_000, 192_000, None),
        ([0, 96_000, 96_000, 288_000], 96_000, None, "read_doubtful"),  # a copy, and the next read knows better
        ([0, 96_000, 96_000, None], 96_000, None, "read_doubtful"),  # a copy, and nothing comes after it
        ([0, 96_000, 900_000, 288_000], 96_000, None, "read_wild"),  # the next read takes it back
        ([0, 96_000, 150_000, 288_000], 96_000, None, "read_doubtful"),  # of some hours ago
        ([0, 0, 192_000, 288_000], None, 192_000, "read_doubtful"),  # at the start
        ([0, 96_000, 150_000, 246_000], 96_000, 150_000, None),  # the register stays behind: not the read's fault
    ],
)
def test_a_read_that_does_not_stand_is_not_printed_and_the_bill_says_so(
    shown: list[int | None], start: int | None, end: int | None, reason: str | None
) -> None:
    rows = build_finals(BEFORE, [1_000] * 288)
    registers = {at: value for at, value in zip(DAYS_OF_READS, shown, strict=True) if value is not None}
    inputs = ExportInputs(rows, build_meters(), build_reads(registers), parse_tariffs(TARIFFS))
    params = ExportParams(("determinants", "cmep"), MONDAY, MONDAY + timedelta(days=1))
    made = compute_determinants(*inputs[:4], params.determinants())
    lines = dict(made.determinants.select("determinant", "value_milli").rows())
    assert (lines.get("register_start"), lines.get("register_end")) == (start, end)
    said = made.findings.filter(pl.col("determinant").str.starts_with("register_")).select(
        "determinant", "reason", "held"
    )
    lost = "register_start" if start is None else "register_end"
    assert said.rows() == ([] if reason is None else [(lost, reason, True)])
    assert lines["energy_total"] == 96_000
    proven = reconcile_registers(made.determinants, inputs.meters)
    assert (proven["reason"].to_list() == ["register_missing"]) == (reason is not None)
    files = export(inputs, params)
    (cmep,) = (file.content for file in files.files if b"MEPMD01" in file.content)
    assert (b",R,0.150000" in cmep) == (end == 150_000)
    assert made.determinants["batch_id"][0] == json.loads(files.manifest)["batch_id"]


def test_beside_a_stale_read_another_within_the_tolerance_is_printed() -> None:
    rows = build_finals(BEFORE, [1_000] * 288)
    quarter = timedelta(minutes=15)
    reads = build_reads({BEFORE: 0, START: 96_000, END - quarter: 191_000, END: 95_000, NEXT_END: 288_000})
    made = compute_determinants(rows, build_meters(), reads, parse_tariffs(TARIFFS), ASKED)
    ends = made.determinants.filter(pl.col("determinant") == "register_end")
    assert ends.select("value_milli", "occurred_at").rows() == [(191_000, END - quarter)]
    assert made.findings.filter(pl.col("reason").str.starts_with("read_")).is_empty()


NOON_OF_IT = START + timedelta(hours=12)


def taken_down(
    reads: dict[datetime, int], removed_at: datetime | None = NOON_OF_IT, resolution_milli: int | None = None
) -> list[tuple[object, ...]]:
    """What reconciliation says of a meter with 1 Wh a quarter hour and these reads."""
    registry = build_meters(removed_at=removed_at, register_resolution_milli=resolution_milli)
    rows = build_finals(START, [1_000] * (96 if removed_at is None else 48))
    shown = build_reads(reads)
    lines = compute_determinants(rows, registry, shown, parse_tariffs(TARIFFS), ASKED).determinants
    found = reconcile_registers(lines, registry, stretches_of(rows, shown, registry).stretches)
    told = found.filter(pl.col("kind") != "stretch")
    return told.select("kind", "period_start", "expected_milli", "found_milli", "difference_milli", "reason").rows()


def test_of_a_meter_removed_unread_the_last_read_proves_its_part_and_the_rest_is_told_until_it_is_read() -> None:
    last = NOON_OF_IT - timedelta(hours=2)
    reads = {START: 0, START + timedelta(hours=5): 20_000, last: 40_000}
    proven = ("register", START, 40_000, 40_000, 0, None)
    assert taken_down(reads) == [proven, ("unread", last, None, 8_000, None, "removal_unread")]
    # The workshop reads the meter that came back: nothing is left.
    assert taken_down(reads | {NOON_OF_IT: 48_000}) == [("register", START, 48_000, 48_000, 0, None)]
    assert taken_down(reads | {NOON_OF_IT: 48_001})[0][4:] == (-1, "sum_check")
    # Without a removal it is a read that did not come.
    assert taken_down(reads, None) == [proven, ("unread", last, None, 56_000, None, "register_missing")]


def test_what_reads_between_contradict_is_a_difference_though_an_end_has_no_read() -> None:
    last = NOON_OF_IT - timedelta(hours=2)
    reads = {START: 0, START + timedelta(hours=5): 20_000, last: 41_000}
    register, unread = taken_down(reads)
    assert register == ("register", START, 41_000, 40_000, -1_000, "sum_check")
    assert unread == ("unread", last, None, 8_000, None, "removal_unread")
    assert taken_down(reads, resolution_milli=2_000)[0][4:] == (-1_000, "register_resolution")


def test_a_meter_put_up_without_a_read_owes_its_initial_one() -> None:
    registry = build_meters(installed_at=NOON_OF_IT)
    rows = build_finals(NOON_OF_IT, [1_000] * 48)
    first = NOON_OF_IT + timedelta(hours=1)
    shown = build_reads({first: 7_000, END: 51_000})
    lines = compute_determinants(rows, registry, shown, parse_tariffs(TARIFFS), ASKED).determinants
    found = reconcile_registers(lines, registry, stretches_of(rows, shown, registry).stretches)
    assert found.select("kind", "period_start", "expected_milli", "found_milli", "reason").rows() == [
        ("register", NOON_OF_IT, 44_000, 44_000, None),
        ("unread", NOON_OF_IT, None, 4_000, "installation_unread"),
    ]


def test_which_read_is_owed_is_told_by_the_end_that_has_none() -> None:
    early, noon = START + timedelta(hours=1), NOON_OF_IT
    assert taken_down({early: 0, noon: 44_000}) == [  # removed, and read then: the first read of the period is absent
        ("register", START, 44_000, 44_000, 0, None),
        ("unread", START, None, 4_000, None, "register_missing"),
    ]


def test_a_register_that_wrapped_unknown_times_proves_nothing() -> None:
    reads = {START: 90_000, START + timedelta(hours=5): 10_000, NOON_OF_IT - timedelta(hours=2): 30_000}
    assert taken_down(reads) == [("register", START, None, 48_000, None, "register_missing")]


def test_one_read_alone_proves_nothing() -> None:
    assert taken_down({START: 0}) == [("register", START, None, 48_000, None, "register_missing")]


def test_a_reactive_register_is_compared_where_it_is_read_at_both_ends_and_is_owed_by_nobody() -> None:
    rows = pl.concat([build_finals(START, [9] * 96), build_finals(START, [7] * 96, channel="reactive_delivered")])
    active = build_reads({START: 5, END: 869})
    for registers, told in (({START: 3, END: 674}, [1]), ({START: 3}, []), ({}, [])):
        shown = pl.concat([active, build_reads(registers, channel="reactive_delivered")])
        lines = compute_determinants(rows, build_meters(), shown, parse_tariffs(TARIFFS), ASKED).determinants
        found = reconcile_registers(lines, build_meters())
        reactive = found.filter(pl.col("subject") == "M1 reactive_delivered")
        assert (found.height, reactive["difference_milli"].to_list()) == (1 + len(told), told)


def test_of_a_meter_without_a_service_point_each_register_is_compared_once() -> None:
    for end, kinds in ((END, ["register"]), (END - timedelta(hours=2), ["register", "unread"])):
        registry = build_meters(service_point_id=None)
        rows = build_finals(START, [1_000] * 96, service_point_id=None)
        hours = (end - START) // timedelta(hours=1)
        shown = build_reads({START: 0, START + timedelta(hours=5): 20_000, end: 4_000 * hours})
        lines = compute_determinants(rows, registry, shown, parse_tariffs(TARIFFS), ASKED).determinants
        found = reconcile_registers(lines, registry, stretches_of(rows, shown, registry).stretches)
        told = found.filter(pl.col("kind") != "stretch")
        assert told["kind"].to_list() == kinds
        assert told["difference_milli"].to_list() == [0, None][: len(kinds)]


def test_energy_under_another_channel_than_the_manifest_names_is_told_on_both() -> None:
    inputs = ExportInputs(build_finals(START - timedelta(hours=8), [1_000] * 96), build_meters(), build_reads({}))
    made = export(inputs, ExportParams(("nem12",), MONDAY, date(2026, 7, 28)))
    files = {file.name: file.content.replace(b"E1,", b"B1,") for file in made.files}
    found = reconcile_files(made.manifest, files).filter(pl.col("reason") == "control_total")
    assert found.select("expected_milli", "found_milli").rows() == [(96_000, 0), (0, 96_000)]


def test_a_read_that_fits_no_64_bits_hides_none_and_stops_no_bill() -> None:
    registry = build_meters(multiplier=40_000)
    shown = bill({"start": 0, "end": 2**62}, registry).filter(pl.col("determinant") == "register_end")
    assert shown["value_milli"].to_list() == []
    left = usable_reads(build_reads({START: 0, END: 2**62}), registry)
    assert left["value_milli"].to_list() == [0]
