"""Exports: manifests that prove their files, runs that repeat to the byte, deliveries that never end half way."""

import hashlib
import io
import json
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
from billing_rows import JUDGED, TARIFFS, build_finals, build_meters

from billing_export.delivery import folder as delivery
from billing_export.delivery.folder import deliver
from billing_export.export import Export, export, parts_of
from billing_export.pieces import ExportInputs, ExportParams
from billing_export.stream import export_parts, parquet_parts
from billing_export.tariffs import parse_tariffs
from schemas.errors import ContractError, TransientError
from schemas.frames import DETERMINANTS, READS, conform
from schemas.timegrid import day_bounds

MONDAY, TUESDAY = date(2026, 7, 27), date(2026, 7, 28)
START = day_bounds(MONDAY, "Europe/Berlin")[0]


def run(
    rows: pl.DataFrame | None = None, formats: tuple[str, ...] = ("determinants", "nem12"), **columns: object
) -> Export:
    rows = build_finals(START, [250_000] * 96) if rows is None else rows
    inputs = ExportInputs(rows, build_meters(**columns), READS.empty(), parse_tariffs(TARIFFS))
    return export(inputs, ExportParams(formats=formats, date_from=MONDAY, date_to=TUESDAY))


def test_the_manifest_states_size_hash_and_records_of_every_file() -> None:
    found = run()
    manifest = json.loads(found.manifest)
    assert [file["name"] for file in manifest["files"]] == [file.name for file in found.files]
    for stated, file in zip(manifest["files"], found.files, strict=True):
        assert stated["bytes"] == len(file.content)
        assert stated["sha256"] == hashlib.sha256(file.content).hexdigest()
        assert stated["records"] == file.records
    totals = {row["determinant"]: row["sum"] for row in manifest["exports"][0]["control_totals"]}
    assert totals["energy_total"] == "24.000000"
    assert manifest["exports"][0]["parties"]["service_points"] == 1


def test_the_batch_of_the_lines_is_the_batch_of_the_manifest_and_ratios_have_no_sum() -> None:
    found = run()
    manifest = json.loads(found.manifest)
    lines = pl.read_parquet(io.BytesIO(found.files[0].content))
    assert lines["batch_id"].unique().to_list() == [manifest["batch_id"]]
    assert json.loads(run(formats=("nem12",)).manifest)["batch_id"] == manifest["batch_id"]
    sums = {row["determinant"]: row["sum"] for row in manifest["exports"][0]["control_totals"]}
    assert sums["load_factor"] is None


def test_without_created_the_newest_judgement_dates_the_export_and_a_second_run_is_equal_to_the_byte() -> None:
    once, again = run(), run()
    assert once.files == again.files
    assert once.manifest == again.manifest
    assert json.loads(once.manifest)["created"] == JUDGED.isoformat()


def test_a_judgement_outside_the_period_does_not_date_the_export() -> None:
    later = build_finals(
        day_bounds(date(2026, 8, 5), "Europe/Berlin")[0], [1], judged_at=datetime(2026, 9, 1, tzinfo=UTC)
    )
    assert (
        json.loads(run(pl.concat([build_finals(START, [1] * 96), later]), ("determinants",)).manifest)["created"]
        == JUDGED.isoformat()
    )


def test_the_parquet_keeps_the_contract_and_shows_each_value_in_its_unit() -> None:
    lines = pl.read_parquet(io.BytesIO(run().files[0].content))
    assert conform(lines, DETERMINANTS).height == lines.height
    total = lines.filter(pl.col("determinant") == "energy_total")
    assert total["value"].item() == Decimal("24.000000")
    assert total["value"].dtype == pl.Decimal(18, 6)


def test_a_text_cell_never_runs_in_a_spreadsheet_but_a_negative_number_stays_a_number() -> None:
    rows = pl.concat([build_finals(START, [1] * 96), build_finals(START, [3] * 96, channel="energy_received")])
    text = run(rows, ("determinants",), account_id="=1+2").files[1].content.decode()
    assert ",'=1+2," in text
    assert ",-0.000192\r\n" in text


def test_an_unknown_format_and_an_empty_period_are_refused() -> None:
    with pytest.raises(ContractError, match="format 'nem99'"):
        run(formats=("nem99",))
    inputs = ExportInputs(build_finals(START, [1]), build_meters(), READS.empty())
    with pytest.raises(ContractError, match="no day"):
        export(inputs, ExportParams(formats=("nem12",), date_from=MONDAY, date_to=MONDAY))


def test_a_delivery_that_is_repeated_writes_nothing_twice(tmp_path: Path) -> None:
    found = run()
    assert len(deliver(found, tmp_path).written) == 4
    assert deliver(found, tmp_path).written == ()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        [file.name for file in found.files] + ["manifest.json"]
    )


@pytest.mark.parametrize("steps", range(12))
def test_a_crash_between_any_two_steps_leaves_no_manifest_without_its_files(
    steps: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = run(), run(build_finals(START, [111] * 96))
    deliver(old, tmp_path)
    left = [steps]

    def fails(handle: int) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(delivery.os, "fsync", fails)
    if steps < 9:
        with pytest.raises(TransientError):
            deliver(new, tmp_path)
    else:
        deliver(new, tmp_path)
    manifest = tmp_path / "manifest.json"
    if manifest.exists():
        for stated in json.loads(manifest.read_bytes())["files"]:
            assert hashlib.sha256((tmp_path / stated["name"]).read_bytes()).hexdigest() == stated["sha256"]
    monkeypatch.undo()
    deliver(new, tmp_path)
    assert manifest.read_bytes() == new.manifest


FLEET = {"M1": "NEM0000003", "M2": "NEM0000001", "M3": "NEM0000002", "M4": "NEM0000001"}


def fleet(tmp_path: Path, *, ordered: bool = False) -> ExportInputs:
    rows = [build_finals(START, [n * 1000 + q for q in range(96)], meter=name) for n, name in enumerate(FLEET, 1)]
    rows += [build_finals(START, [7] * 96, meter="M2", channel="energy_received")]
    finals = pl.concat(rows).sample(fraction=1, shuffle=True, seed=3)
    finals = finals.sort("meter_id", "channel", "interval_start") if ordered else finals
    finals.write_parquet(tmp_path / "finals.parquet")
    registry = build_meters([{"meter_id": name, "nmi": nmi, "service_point_id": nmi} for name, nmi in FLEET.items()])
    book = parse_tariffs(TARIFFS + '[[virtual]]\nmeter = "V"\nterm = [{meter = "M1"}, {meter = "M3"}]\n')
    return ExportInputs(finals, registry, READS.empty(), book)


@pytest.mark.parametrize(("size", "ordered"), [(1, False), (100, False), (1, True), (100, True)])
def test_an_export_in_parts_gives_the_same_bytes_as_one_of_the_whole(size: int, ordered: bool, tmp_path: Path) -> None:
    inputs = fleet(tmp_path, ordered=ordered)
    asked = ExportParams(
        formats=(
            "determinants",
            "nem12",
            "nem12_asexml",
            "nem13_asexml",
            "cmep",
            "cmep02",
            "espi",
            "iec61968",
            "x12_867",
            "oracle_ccb",
        ),
        date_from=MONDAY,
        date_to=TUESDAY,
    )
    whole = export(inputs, asked)
    out = tmp_path / "out"
    streamed = export_parts(parquet_parts(tmp_path / "finals.parquet", inputs, size), asked, out)
    assert streamed.manifest == whole.manifest
    for file in whole.files:
        assert (out / file.name).read_bytes() == file.content, file.name
    assert sorted(path.name for path in out.iterdir()) == sorted(
        [*(file.name for file in whole.files), "manifest.json"]
    )
    again = export_parts(parquet_parts(tmp_path / "finals.parquet", inputs, size), asked, out)
    assert again.delivered.written == ()
    assert [len(list(parts_of(inputs, 1))), len(list(parts_of(inputs, 100)))] == [4, 1]


def test_an_export_in_parts_that_fails_leaves_the_delivery_before_it_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs, out = fleet(tmp_path), tmp_path / "out"
    asked = ExportParams(formats=("determinants", "nem12"), date_from=MONDAY, date_to=TUESDAY)
    parts = parquet_parts(tmp_path / "finals.parquet", inputs, 1)
    export_parts(parts, asked, out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    left = [2]

    def fails(handle: int) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(5, "Input/output error")

    monkeypatch.setattr(delivery.os, "fsync", fails)

    def changed(*, resting: bool = False) -> Iterator[ExportInputs]:
        return (part._replace(finals=part.finals.with_columns(value_milli=pl.lit(1, pl.Int64))) for part in parts())

    with pytest.raises(TransientError):
        export_parts(changed, asked, out)
    assert {name: content for name, content in before.items() if (out / name).read_bytes() != content} == {}
