"""NEM12: days in NEM time, rounding by running sum, quality runs that tile, and a second reader that agrees."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from billing_rows import TARIFFS, build_finals, build_meters
from hypothesis import given, settings
from hypothesis import strategies as st
from nemreader import NEMFile

from billing_export.check import check_file
from billing_export.export import Export, export
from billing_export.formats.nem12_days import UNIT_MILLI, quality_runs, rounded
from billing_export.formats.nem12_import import import_nem12
from billing_export.pieces import ExportInputs, ExportParams
from billing_export.tariffs import parse_tariffs
from schemas.errors import ContractError
from schemas.frames import READS

NEM_DAY = datetime(2026, 7, 28, 14, tzinfo=UTC)  # midnight of 29 July in NEM time
DAY = date(2026, 7, 29)


def nem12(rows: pl.DataFrame, registry: pl.DataFrame | None = None, days: int = 1, **asked: object) -> Export:
    params = ExportParams(formats=("nem12",), date_from=DAY, date_to=DAY + timedelta(days=days), **asked)  # type: ignore[arg-type]
    registry = build_meters() if registry is None else registry
    return export(ExportInputs(rows, registry, READS.empty(), parse_tariffs(TARIFFS)), params)


def records(found: Export) -> list[list[str]]:
    text = found.files[0].content.decode()
    assert text.endswith("\r\n")
    assert "\n" not in text.replace("\r\n", "")
    return [line.split(",") for line in text.split("\r\n")[:-1]]


def test_a_file_is_one_100_the_streams_and_one_900() -> None:
    rows = pl.concat(
        [
            build_finals(NEM_DAY, [250_000] * 48, step=1800),
            build_finals(NEM_DAY, [20_000] * 288, step=300, channel="energy_received"),
        ]
    )
    created = datetime(2026, 7, 30, 22, 30, tzinfo=UTC)
    found = nem12(rows, created=created, sender="MDPEXMPL", receiver="RETEXMPL")
    got = records(found)
    assert got[0] == ["100", "NEM12", "202607310830", "MDPEXMPL", "RETEXMPL"]
    assert got[1] == ["200", "NEM1200001", "B1E1", "B1", "B1", "", "M1", "KWH", "5", ""]
    assert got[2][:4] == ["300", "20260729", "0.0200", "0.0200"]
    assert got[2][-5:] == ["A", "", "", "20260801121500", ""]
    assert len(got[2]) == 2 + 288 + 5
    assert got[3][3] == "E1"
    assert got[-1] == ["900"]
    assert found.files[0].records == len(got)
    assert found.files[0].name.startswith("NEM12#")
    assert found.files[0].name.endswith("#MDPEXMPL#RETEXMPL.csv")


def test_a_day_of_several_qualities_says_v_and_its_400s_tile_the_day() -> None:
    kinds = dict.fromkeys(range(20, 24), ("estimated", "like_day")) | {30: ("outage", "zero"), 40: ("missing", None)}
    values: list[int | None] = [0 if n == 30 else None if n == 40 else 1000 for n in range(48)]
    got = records(nem12(build_finals(NEM_DAY, values, step=1800, qualities=kinds)))
    assert got[2][50:53] == ["V", "", ""]
    assert [row[1:] for row in got if row[0] == "400"] == [
        ["1", "20", "A", "", ""],
        ["21", "24", "S14", "76", ""],
        ["25", "30", "A", "", ""],
        ["31", "31", "S19", "79", ""],
        ["32", "40", "A", "", ""],
        ["41", "41", "N", "", ""],
        ["42", "48", "A", "", ""],
    ]


@pytest.mark.parametrize(
    ("kind", "final", "flag"),
    [
        (("estimated", "linear"), False, "S17"),
        (("estimated", "mean_like_day"), True, "F15"),
        (("estimated", "forward"), False, "E52"),
        (("edited", "manual"), False, "S16"),
        (("estimated", "flat"), False, "S18"),
        (("estimated", "check_meter"), False, "S11"),
    ],
)
def test_every_quality_has_its_flag_and_method(kind: tuple[str, str], final: bool, flag: str) -> None:
    rows = build_finals(NEM_DAY, [5] * 48, step=1800, qualities=dict.fromkeys(range(48), kind), is_final_estimate=final)
    assert records(nem12(rows))[2][50] == flag


def test_slots_without_a_final_are_null_and_the_day_stays_whole() -> None:
    rows = build_finals(NEM_DAY, [5] * 48, step=1800).filter(pl.int_range(pl.len()) >= 10)
    got = records(nem12(rows))
    assert [row[1:4] for row in got if row[0] == "400"] == [["1", "10", "N"], ["11", "48", "A"]]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 10**8), min_size=48, max_size=48))
def test_rounding_is_off_by_half_a_unit_a_day_and_by_less_than_one_a_value(values: list[int]) -> None:
    day = np.array([values], np.int64)
    units = rounded(day)
    assert abs(int(units.sum()) * UNIT_MILLI - sum(values)) <= UNIT_MILLI // 2
    assert (np.abs(units * UNIT_MILLI - day) <= UNIT_MILLI).all()
    assert (units >= 0).all()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 2), min_size=96, max_size=96))
def test_quality_runs_tile_every_day(codes: list[int]) -> None:
    quality = np.array(codes, np.int64).reshape(2, 48)
    runs = quality_runs(quality)
    again = np.full((2, 48), -1)
    for day, first, last, code in zip(runs.day, runs.first, runs.last, runs.code, strict=True):
        assert (again[day, first - 1 : last] == -1).all()
        again[day, first - 1 : last] = code
    assert (again == quality).all()


def test_the_manifest_tells_the_rounding_difference_of_each_stream_and_day() -> None:
    found = nem12(build_finals(NEM_DAY, [33_333] * 48, step=1800))
    exact, shown = Decimal(33_333 * 48).scaleb(-6), sum(Decimal(cell) for cell in records(found)[2][2:50])
    assert f'"difference": "{shown - exact:.6f}"' in found.manifest.decode()
    assert f'"sum": "{shown:.6f}"' in found.manifest.decode()


def test_nemreader_reads_the_same_totals(tmp_path: Path) -> None:
    rows = pl.concat(
        [
            build_finals(NEM_DAY, [123_456 + n for n in range(96)]),
            build_finals(NEM_DAY, [7_000] * 96, channel="energy_received"),
        ]
    )
    found = nem12(rows)
    file = tmp_path / "nem12.csv"
    file.write_bytes(found.files[0].content)
    read = NEMFile(str(file), strict=True).nem_data().readings["NEM1200001"]
    shown = {row[3]: None for row in records(found) if row[0] == "200"}
    assert set(read) == set(shown) == {"E1", "B1"}
    assert sum(Decimal(str(reading.read_value)) for reading in read["B1"]) == Decimal("0.672")
    total = sum(Decimal(str(round(reading.read_value, 4))) for reading in read["E1"])
    assert abs(total - Decimal(sum(123_456 + n for n in range(96))).scaleb(-6)) <= Decimal("0.00005")


def test_meters_that_follow_one_another_share_a_suffix_and_meters_side_by_side_count_up() -> None:
    noon = NEM_DAY + timedelta(hours=12)
    registry = build_meters(
        [{"meter_id": "M1", "removed_at": noon}, {"meter_id": "M2", "installed_at": noon}, {"meter_id": "M3"}]
    )
    rows = pl.concat(
        [build_finals(NEM_DAY, [1000] * 24, step=1800), build_finals(noon, [2000] * 24, step=1800, meter="M2"),
         build_finals(NEM_DAY, [3000] * 48, step=1800, meter="M3")]
    )  # fmt: skip
    heads = [row for row in records(nem12(rows, registry)) if row[0] == "200"]
    assert [(row[3], row[6]) for row in heads] == [("E1", "M2"), ("E2", "M3")]
    assert heads[0][2] == "E1E2"


@pytest.mark.parametrize(
    ("rows", "registry", "reason"),
    [
        (build_finals(NEM_DAY, [1] * 24, step=3600), build_meters(), "interval_length"),
        (build_finals(NEM_DAY, [1] * 96), build_meters(nmi=None), "nmi_missing"),
        (build_finals(NEM_DAY, [1] * 95 + [-1]), build_meters(), "negative"),
        (build_finals(NEM_DAY + timedelta(minutes=1), [1] * 95), build_meters(), "off_grid"),
    ],
)
def test_what_the_format_cannot_carry_is_held_with_a_reason(
    rows: pl.DataFrame, registry: pl.DataFrame, reason: str
) -> None:
    found = nem12(rows, registry)
    assert [row[0] for row in records(found)] == ["100", "900"]
    assert found.tally.findings.filter("held")["reason"].to_list() == [reason]


def test_a_participant_name_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ContractError, match="participant"):
        nem12(build_finals(NEM_DAY, [1] * 96), sender="ELEVEN-CHARS")


@pytest.mark.parametrize(("length", "suffixes"), [(1800, ["E1"]), (900, ["E1", "E2"])])
def test_a_meter_that_follows_at_midday_shares_the_suffix_only_if_its_intervals_are_as_long(
    length: int, suffixes: list[str]
) -> None:
    noon = NEM_DAY + timedelta(hours=12)
    rows = pl.concat(
        [
            build_finals(NEM_DAY, [100_000] * 24, step=1800, meter="M1"),
            build_finals(noon, [50_000] * (12 * 3600 // length), step=length, meter="M2"),
        ]
    )
    registry = build_meters(
        [
            {"meter_id": "M1", "nmi": "NEM1200001", "removed_at": noon},
            {"meter_id": "M2", "nmi": "NEM1200001", "installed_at": noon},
        ]
    )
    found = nem12(rows, registry)
    content = found.files[0].content
    assert check_file("x.csv", content).findings == []
    assert sorted({row[4] for row in records(found) if row[0] == "200"}) == suffixes
    imported = import_nem12(content, "again")
    assert not imported.refused
    assert imported.finals["value_milli"].sum() == rows["value_milli"].sum()
