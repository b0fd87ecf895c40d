"""aseXML around NEM12 and NEM13: one whole file a transaction, equal to the byte to what the format itself writes."""

from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest
from billing_rows import TARIFFS, build_finals, build_meters, build_reads

from billing_export.check import check_file
from billing_export.export import Export, export
from billing_export.formats.asexml_check import check, contents
from billing_export.formats.nem12_import import import_nem12
from billing_export.pieces import ExportInputs, ExportParams
from billing_export.reconcile import reconcile_files
from billing_export.tariffs import parse_tariffs

DAY = date(2026, 7, 29)
START = datetime(2026, 7, 28, 14, tzinfo=UTC)
POINTS = {"M1": "NEM1200001", "M2": "NEM1200002", "M3": "NEM1200001"}


def made(*formats: str) -> Export:
    rows = [build_finals(START, [1_000 * n] * 96, meter=name) for n, name in enumerate(POINTS, 1)]
    rows.append(build_finals(START, [7_700] * 96, meter="M2", channel="energy_received"))
    reads = [build_reads({START: 5_000_000, START + timedelta(days=1): 8_000_000}, meter=name) for name in POINTS]
    registry = build_meters([{"meter_id": name, "nmi": nmi, "service_point_id": nmi} for name, nmi in POINTS.items()])
    inputs = ExportInputs(pl.concat(rows), registry, pl.concat(reads), parse_tariffs(TARIFFS))
    return export(inputs, ExportParams(formats, DAY, DAY + timedelta(days=1), sender="MDP&CO"))


def content(form: str) -> bytes:
    (file,) = made(form).files
    return file.content


@pytest.mark.parametrize("form", ["nem12", "nem13"])
def test_the_files_inside_are_those_of_the_format_cut_by_nmi(form: str) -> None:
    plain = content(form).split(b"\r\n")
    inside = contents(content(f"{form}_asexml"))
    assert [kind for kind, _ in inside] == [form] * 2
    cut = [csv.split(b"\r\n") for _, csv in inside]
    assert all((lines[0], lines[-2:]) == (plain[0], plain[-2:]) for lines in cut)
    assert [line for lines in cut for line in lines[1:-2]] == plain[1:-2]
    assert {line.split(b",")[1] for line in cut[0] if line[:3] in (b"200", b"250")} == {b"NEM1200001"}


def test_a_message_passes_its_check_imports_whole_and_sums_to_its_manifest() -> None:
    found = made("nem12", "nem12_asexml")
    files = {file.name: file.content for file in found.files}
    (name,) = (name for name in files if name.endswith(".xml"))
    assert check_file(name, files[name]) == ("nem12_asexml", [])
    energy = sum(import_nem12(csv, "run").finals["value_milli"].sum() for _, csv in contents(files[name]))
    assert energy == 96 * (1_000 + 2_000 + 3_000 + 7_700)
    compared = reconcile_files(found.manifest, files).filter(pl.col("subject").str.contains(".xml"))
    assert compared.height == 2 and compared["difference_milli"].to_list() == [0, 0]
    forged = {**files, name: files[name].replace(b"0.0010", b"0.0019", 1)}
    assert {"file_hash", "control_total"} <= set(reconcile_files(found.manifest, forged)["reason"])


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (b"<?xml", b"<!DOCTYPE x><?xml", "document_type"),
        (b"</Transactions>", b"", "not_xml"),
        (b"urn:aseXML:r38", b"urn:aseXML:r0", "root"),
        (b"<Priority>Medium</Priority>\n", b"", "header"),
        (b">MTRD<", b">CATS<", "header"),
        (b"<To>RECEIVER</To>", b"<To>RECEIVERLONG</To>", "participant"),
        (b"+10:00</MessageDate>", b"</MessageDate>", "date_time"),
        (b"-2\" transactionDate", b"-1\" transactionDate", "transaction_twice"),
        (b'transactionID="TNS-', b'transactionID="TNS-0123456789012', "transaction_id"),
        (b"<RecordCount>6<", b"<RecordCount>7<", "record_count"),
        (b"CSVIntervalData>", b"CSVData>", "content"),
        (b",MDP&amp;CO,RECEIVER&#13;", b",OTHER,RECEIVER&#13;", "parties"),
        (b"900&#13;", b"901&#13;", "record_unknown"),
        (b"0.0010,", b"-0.0010,", "negative"),
    ],
)  # fmt: skip
def test_the_check_names_what_is_wrong(old: bytes, new: bytes, reason: str) -> None:
    good = content("nem12_asexml")
    assert old in good
    found = check(good.replace(old, new) if reason == "content" else good.replace(old, new, 1))
    assert reason in {one.reason for one in found}, found


def test_a_message_without_transactions_says_nothing_and_one_cut_anywhere_never_raises() -> None:
    good = content("nem13_asexml")
    start, end = good.index(b"<Transactions>") + 14, good.index(b"</Transactions>")
    assert {one.reason for one in check(good[:start] + good[end:])} == {"no_transactions"}
    for cut in range(0, len(good) - 2, 61):
        assert check(good[:cut]) != []
        assert contents(good[:cut]) == []
