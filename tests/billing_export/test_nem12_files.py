"""NEM12 files: what the strict check says of ours and of others', and what an import takes from them."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
from billing_rows import TARIFFS, build_finals, build_meters
from nemreader import NEMFile

from billing_export.export import export
from billing_export.formats.nem12_check import check
from billing_export.formats.nem12_import import import_nem12
from billing_export.formats.nem12_records import read_records
from billing_export.pieces import ExportInputs, ExportParams
from billing_export.tariffs import parse_tariffs
from schemas.frames import READS

SHARED = Path(__file__).parents[3] / "shared" / "data"
CONFORMANCE = SHARED / "intervals" / "nem12_conformance"
NEM_DAY = datetime(2026, 7, 28, 14, tzinfo=UTC)

pytestmark_files = pytest.mark.skipif(not CONFORMANCE.is_dir(), reason="the NEM12 conformance files are not here")


def rendered(rows: pl.DataFrame, days: int = 1) -> bytes:
    asked = ExportParams(
        formats=("nem12",), date_from=date(2026, 7, 29), date_to=date(2026, 7, 29) + timedelta(days=days)
    )
    return export(ExportInputs(rows, build_meters(), READS.empty(), parse_tariffs(TARIFFS)), asked).files[0].content


KINDS = {
    0: ("estimated", "linear"),
    5: ("estimated", "like_day"),
    6: ("estimated", "mean_like_day"),
    7: ("edited", "manual"),
    8: ("outage", "zero"),
    9: ("suspect", None),
    10: ("missing", None),
    11: ("estimated", "forward"),
    12: ("estimated", "flat"),
    13: ("estimated", "check_meter"),
    14: ("estimated", "profile"),
    15: ("estimated", "zero"),
}


def sample() -> bytes:
    values: list[int | None] = [None if n == 10 else 0 if n in (8, 15) else 100 * n for n in range(96)]
    received = build_finals(NEM_DAY, [5_000] * 192, channel="energy_received")
    return rendered(pl.concat([build_finals(NEM_DAY, values, qualities=KINDS), received]), 2)


def test_our_own_files_have_no_finding() -> None:
    assert check(sample()) == []


def test_every_quality_comes_back_from_the_file_that_it_went_into() -> None:
    found = import_nem12(sample(), "import")
    assert not found.refused
    day = found.finals.filter(
        (pl.col("channel") == "energy_delivered") & (pl.col("interval_start") < NEM_DAY + timedelta(days=1))
    )
    kinds = list(zip(day["quality"].to_list(), day["method"].to_list(), strict=True))
    assert {place: kinds[place] for place in KINDS} == KINDS
    assert kinds[1] == ("valid", None)
    assert day["value_milli"].to_list() == [None if n == 10 else 0 if n in (8, 15) else 100 * n for n in range(96)]


def test_what_was_exported_imports_and_exports_to_the_same_bytes() -> None:
    once = sample()
    again = import_nem12(once, "import").finals
    registry = build_meters(nmi="NEM1200001")
    asked = ExportParams(formats=("nem12",), date_from=date(2026, 7, 29), date_to=date(2026, 7, 31))
    back = export(ExportInputs(again, registry, READS.empty(), parse_tariffs(TARIFFS)), asked).files[0].content
    assert back == once


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (b"900\r\n", b"", "no_trailer"),
        (b"100,NEM12", b"100,NEM13", "not_nem12"),
        (b"\r\n", b"\n", "line_end"),
        (b"NEM1200001", b"NEM120001", "nmi"),
        (b"B1E1,E1", b"B1E2,E1", "configuration"),
        (b",KWH,15,", b",KWH,30,", "value_count"),
        (b",KWH,15,", b",KWH,7,", "interval_length"),
        (b",KWH,", b",HORSES,", "uom"),
        (b"400,1,1,", b"400,1,2,", "tiling"),
        (b"400,2,5,", b"400,3,5,", "tiling"),
        (b"400,97", b"400,97", "none"),
        (b",S17,", b",Z17,", "quality_flag"),
        (b",S17,", b",S,", "method_missing"),
        (b",S17,", b",E17,", "method_not_allowed"),
        (b",S17,", b",S98,", "method_unknown"),
        (b",A,,,2026", b",A17,,,2026", "method_not_allowed"),
        (b"0.0050,0.0050", b"-0.0050,0.0050", "negative"),
        (b"0.0050,0.0050", b"0.00501,0.0050", "decimals"),
        (b"0.0050,0.0050", b"x,0.0050", "value_count"),
        (b"300,20260730", b"300,20260729", "date_twice"),
        (b"300,20260730", b"300,20260728", "date_order"),
        (b"300,20260730", b"300,20260231", "date"),
        (b",A,,,20260801121500,", b",A,,,,", "no_update_time"),
        (b",A,,,20260801121500,", b",A,,text,20260801121500,", "reason_text"),
        (b",S17,76,", b",S17,,", "reason_missing"),
        (b",S17,76,", b",S17,176,", "reason"),
        (b",V,,,", b",A,,,", "events_without_v"),
        (b"900\r\n", b"900\r\n900\r\n", "after_trailer"),
        (b"900\r\n", b"999\r\n900\r\n", "record_unknown"),
        (b"900\r\n", b"500,X,,,\r\n900\r\n", "transaction"),
    ],
)
def test_the_strict_check_names_what_second_readers_let_pass(old: bytes, new: bytes, reason: str) -> None:
    file = sample()
    if reason == "none":
        assert old not in file
        return
    assert old in file
    broken = file.replace(old, new) if old in (b"\r\n", b"NEM1200001") else file.replace(old, new, 1)
    assert reason in {finding.reason for finding in check(broken)}


@pytest.mark.parametrize("cut", range(0, 1500, 97))
def test_a_file_cut_anywhere_is_refused_and_never_raises(cut: int) -> None:
    assert import_nem12(sample()[:cut], "import").refused


@pytestmark_files
def test_every_invalid_file_is_refused_with_a_named_reason() -> None:
    expected = {
        "Example_NEM12_15min_200_30min_300.csv": "value_count",
        "Example_NEM12_15min_200_30min_400.csv": "tiling",
        "Example_NEM12_30min_200_15min_300.csv": "value_count",
        "Example_NEM12_30min_200_15min_400.csv": "value_count",
        "Example_NEM12_empty.csv": "empty",
        "Example_NEM12_incomplete_interval.csv": "value_count",
        "Example_NEM12_missing_header.csv": "no_header",
        "Example_NEM12_powercor.csv": "after_trailer",
        "Example_NEM12_powercor.csv__Example_NEM12_powercor.csv": "after_trailer",
        "Example_NEM12_powercor_missing_fields.csv": "no_header",
        "Example_empty_file.csv": "no_trailer",
    }
    for file in sorted((CONFORMANCE / "invalid").iterdir()):
        found = import_nem12(file.read_bytes(), "import")
        assert found.refused, file.name
        assert found.finals.is_empty()
        assert expected.pop(file.name) in {finding.reason for finding in found.findings}, file.name
    assert not expected


@pytestmark_files
def test_the_files_of_market_participants_are_read_as_the_second_reader_reads_them_or_refused_by_name() -> None:
    read, refused = 0, {}
    for folder in ("nem12", "unzipped", "top"):
        for file in sorted((CONFORMANCE / folder).iterdir()):
            if "NEM13" in file.name:
                continue
            found = import_nem12(file.read_bytes(), "import")
            if found.refused:
                refused[file.name] = {finding.reason for finding in found.findings}
                continue
            read += 1
            ours = found.finals.filter(pl.col("value_milli").is_not_null())["value_milli"].sum()
            assert abs(ours - _second_reading(file)) <= 1_000, file.name
    assert read >= 100
    assert len(refused) <= 8, refused


def _second_reading(file: Path) -> int:
    units = {"kwh": 10**6, "wh": 10**3, "kvarh": 10**6, "varh": 10**3}
    readings = NEMFile(str(file), strict=False).nem_data().readings
    return int(
        sum(
            Decimal(str(reading.read_value)) * units[str(reading.uom).lower()]
            for channels in readings.values()
            for series in channels.values()
            for reading in series
            if not reading.quality_method.startswith("N")
        )
    )


@pytest.mark.parametrize("last", ["99999999", "9" * 20, "9" * 5_000])
def test_a_range_of_any_length_costs_no_more_than_its_day_and_is_refused(last: str) -> None:
    content = rendered(build_finals(NEM_DAY, [1] * 96, qualities={5: ("estimated", "linear")}))
    forged = content.replace(b"400,7,96,", f"400,7,{last},".encode())
    assert forged != content
    (day,) = read_records(forged).days
    assert max(event.last for event in day.events) == 96
    assert "range" in [finding.reason for finding in check(forged)]
    assert import_nem12(forged, "x").finals.is_empty()


def test_an_interval_length_of_any_number_of_digits_is_refused() -> None:
    content = rendered(build_finals(NEM_DAY, [1] * 96))
    forged = content.replace(b"KWH,15,", b"KWH," + b"9" * 5_000 + b",")
    assert "interval_length" in [finding.reason for finding in check(forged)]
    assert import_nem12(forged, "x").finals.is_empty()


def test_each_day_of_a_stream_is_a_record_with_the_newest_judgement_of_its_own() -> None:
    early, late = datetime(2026, 8, 1, tzinfo=UTC), datetime(2026, 8, 3, 2, tzinfo=UTC)
    first = build_finals(NEM_DAY, [1_000] * 95 + [None], judged_at=early, qualities={95: ("suspect", None)})
    rows = pl.concat([first.head(50).with_columns(judged_at=pl.lit(late)), first.tail(46)])
    second = build_finals(NEM_DAY + timedelta(days=1), [2_000] * 96, judged_at=early)
    lines = [line.split(",") for line in rendered(pl.concat([rows, second]), 2).decode().split("\r\n")]
    days = [line for line in lines if line[0] == "300"]
    assert [(line[1], line[2], line[97], line[98], line[101]) for line in days] == [
        ("20260729", "0.0010", "0.0000", "V", "20260803120000"),
        ("20260730", "0.0020", "0.0020", "A", "20260801100000"),
    ]
    assert [line[1:4] for line in lines if line[0] == "400"] == [["1", "95", "A"], ["96", "96", "N"]]
