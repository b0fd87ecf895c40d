"""Every format: golden bytes, its own strict check, a second run that is equal, a way back where there is one."""

import json
import os
import re
import subprocess
import sys
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from xml.etree import ElementTree

import polars as pl
import pytest
from billing_rows import TARIFFS, build_finals, build_meters, build_reads
from pydifact.segmentcollection import Interchange

from billing_export.check import check_file, check_manifest
from billing_export.dst import dst_rules
from billing_export.export import Export, export
from billing_export.formats import FORMATS, cmep_check, espi_check, mscons_check, nem13_check
from billing_export.formats.edifact import ADVICE, read_segments, segment
from billing_export.formats.espi_import import import_espi
from billing_export.formats.nem12_import import import_nem12
from billing_export.formats.sap_isu import read_orders
from billing_export.pieces import ExportInputs, ExportParams
from billing_export.series import coded
from billing_export.tariffs import parse_tariffs
from schemas.errors import ContractError
from schemas.frames import FINALS, UTC_US

SHARED = Path(__file__).parents[3] / "shared" / "data"
SAMPLES, XSD = SHARED / "xsd" / "samples", SHARED / "xsd" / "espi"
NEM13 = SHARED / "intervals" / "nem12_conformance" / "nem13"
needs_samples = pytest.mark.skipif(not SAMPLES.is_dir(), reason="the sample files are not here")

START = datetime(2026, 7, 28, 22, tzinfo=UTC)  # midnight of 29 July in Berlin
NEM_START = datetime(2026, 7, 28, 14, tzinfo=UTC)
MELO = "DE0001455992900000000000000000001"
ORDERS = "MRIDNUMBER;MATERIAL;SERIALNO;REGISTER;MRREASON\n900001;MAT-1;M1;001;01\n900002;MAT-1;M1;002;01\n"
CODES = {"sender": "9903000000001", "receiver": "9903000000002"}


def run(
    form: str, rows: pl.DataFrame | None = None, *, registry: pl.DataFrame | None = None, **asked: object
) -> Export:
    if rows is None:
        delivered = build_finals(START, [250_123] * 96, qualities={3: ("estimated", "linear"), 4: ("edited", "manual")})
        rows = pl.concat([delivered, build_finals(START, [20_000] * 96, channel="energy_received")])
    registry = build_meters(service_point_id=MELO) if registry is None else registry
    start = NEM_START if form.startswith("nem13") else START
    reads = build_reads({start: 12_345_000_000, start + timedelta(days=1): 12_372_500_000})
    people = CODES if form == "mscons" else asked
    params = ExportParams(formats=(form,), date_from=date(2026, 7, 29), date_to=date(2026, 7, 30), **people)
    orders = read_orders(ORDERS)
    return export(ExportInputs(rows, registry, reads, parse_tariffs(TARIFFS), orders), params)


@pytest.mark.parametrize("form", sorted(FORMATS))
def test_every_format_passes_its_own_strict_check_and_its_manifest(form: str) -> None:
    registry = build_meters() if form.startswith("nem") else None
    rows = build_finals(NEM_START, [1_000] * 96) if form.startswith("nem12") else None
    found = run(form, rows, registry=registry)
    assert found.files
    for file in found.files:
        checked = check_file(file.name, file.content)
        assert checked.format is not None
        assert checked.format.startswith(form.removesuffix("02"))
        assert checked.findings == []
    contents = {file.name: file.content for file in found.files}
    assert check_manifest(found.manifest, contents) == []
    name = next(iter(contents))
    changed = {**contents, name: contents[name][:-1] + b"?"}
    assert [finding.reason for finding in check_manifest(found.manifest, changed)] == ["file_hash"]
    assert [finding.reason for finding in check_manifest(found.manifest, {})] == ["file_missing"] * len(contents)


@pytest.mark.parametrize("form", sorted(FORMATS))
def test_a_second_run_is_equal_to_the_byte_whatever_the_order_of_rows(form: str) -> None:
    rows = pl.concat([build_finals(START, list(range(96))), build_finals(START, [5] * 96, meter="M2")])
    registry = build_meters([{"meter_id": "M1"}, {"meter_id": "M2"}])
    once = run(form, rows, registry=registry)
    again = run(form, rows.sample(fraction=1, shuffle=True, seed=7), registry=registry.reverse())
    assert once.files == again.files
    assert once.manifest == again.manifest


@pytest.mark.parametrize("form", ["cmep", "espi", "mscons", "iec61968", "x12_867"])
def test_the_manifest_sum_is_the_exact_sum(form: str) -> None:
    totals = json.loads(run(form).manifest)["exports"][0]["control_totals"]
    assert {row["determinant"]: row["sum"] for row in totals} == {
        "energy_delivered": "24.011808",
        "energy_received": "1.920000",
    }


# CMEP ----------------------------------------------------------------------------------------------------------------


def test_a_cmep_record_has_a_time_flag_and_value_for_every_interval_end() -> None:
    lines = run("cmep").files[0].content.decode().split("\r\n")
    fields = lines[0].split(",")
    assert fields[:14] == [
        "MEPMD01", "19970819", "AMIHEADEND", "", "RECEIVER", "A1", "202608010215", "M1", "OK", "E", "KWH", "1.0",
        "00000015", "96",
    ]  # fmt: skip
    assert fields[14:17] == ["202607282215", "", "0.250123"]
    assert fields[23:29] == ["202607282300", "E", "0.250123", "202607282315", "A", "0.250123"]
    assert len(fields) == 14 + 3 * 96
    assert lines[2].split(",")[10:] == [
        "KWHREG", "1.0", "", "2", "202607282200", "R", "12345.000000", "202607292200", "R", "12372.500000",
    ]  # fmt: skip


def test_a_missing_value_is_empty_under_flag_n_in_cmep() -> None:
    content = run("cmep", build_finals(START, [None, *[1] * 95])).files[0].content
    assert b",202607282215,N,,202607282230," in content
    assert cmep_check.check(content) == []


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (b"MEPMD01", b"MEPMD09", "record_unknown"),
        (b",96,2026", b",95,2026", "field_count"),
        (b",202607282215,", b",,", "time_blank"),
        (b",202607282215,", b",202607282235,", "time_order"),
        (b",KWH,", b",MILES,", "unit"),
        (b",E,0.2", b",Q,0.2", "flag"),
        (b"0.250123", b"x", "value"),
        (b",OK,", b",OKAY,", "purpose"),
        (b",00000015,", b",15,", "interval"),
        (b",M1,", b",A-METER-WITH-A-LONG-NAME,", "field_length"),
    ],
)
def test_the_cmep_check_names_what_is_wrong(old: bytes, new: bytes, reason: str) -> None:
    content = run("cmep").files[0].content
    assert old in content
    assert reason in {finding.reason for finding in cmep_check.check(content.replace(old, new, 1))}


@needs_samples
@pytest.mark.parametrize("name", ["cmep_sample.csv", "espi_usage.xml", "nem12_sample.csv", "nem13_sample.csv"])
def test_the_published_samples_pass(name: str) -> None:
    assert check_file(name, (SAMPLES / name).read_bytes()).findings == []


@pytest.mark.parametrize("form", ["cmep", "espi", "mscons", "iec61968", "x12_867"])
def test_a_stream_whose_intervals_change_their_length_is_held_and_its_neighbour_goes_out(form: str) -> None:
    halves = pl.concat(
        [build_finals(START, [1] * 24, step=1800), build_finals(START + timedelta(hours=12), [1] * 48, step=900)]
    )
    rows = pl.concat([halves, build_finals(START, [7] * 96, channel="energy_received")])
    found = run(form, rows)
    held = found.tally.findings.filter("held").select("channel", "reason").rows()
    assert held == [("energy_delivered", "interval_length_changes")]
    assert found.tally.totals["determinant"].to_list() == ["energy_received"]
    assert all(check_file(file.name, file.content).findings == [] for file in found.files)


# ESPI ----------------------------------------------------------------------------------------------------------------


def test_espi_comes_back_exactly_and_with_its_qualities() -> None:
    rows = build_finals(START, [250_123 + n for n in range(96)], qualities={3: ("estimated", "linear")})
    back = import_espi(run("espi", rows).files[0].content, "import")
    assert not back.refused
    assert back.finals["value_milli"].to_list() == [250_123 + n for n in range(96)]
    assert back.finals["interval_start"].to_list() == rows["interval_start"].to_list()
    assert Counter(back.finals["quality"].to_list()) == {"valid": 95, "estimated": 1}
    assert back.finals["method"][3] == "linear"


def test_an_entry_keeps_its_id_when_its_values_change_and_says_when_it_did() -> None:
    later = datetime(2026, 8, 5, tzinfo=UTC)
    once = run("espi", build_finals(START, [1] * 96)).files[0].content.decode()
    corrected = run("espi", build_finals(START, [2] * 96, version=2, judged_at=later)).files[0].content.decode()
    ids = r"<entry><id>(.*?)</id>"
    assert re.findall(ids, once) == re.findall(ids, corrected)
    assert "<updated>2026-08-05T00:00:00Z</updated>" in corrected


def test_no_name_of_a_customer_is_in_the_usage_feed() -> None:
    content = run("espi", registry=build_meters(service_point_id=MELO, account_id="SECRETACCOUNT")).files[0].content
    assert b"SECRETACCOUNT" not in content
    assert MELO.encode() not in content


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (b"<espi:value>250123</espi:value>", b"<espi:value>250.1</espi:value>", "value"),
        (b"<espi:quality>9<", b"<espi:quality>99<", "quality"),
        (b"<espi:duration>900<", b"<espi:duration>99999<", "time"),
        (b'rel="self"', b'rel="me"', "links"),
        (b"<espi:uom>72</espi:uom></espi:ReadingType>", b"</espi:ReadingType>", "required"),
        (b"</feed>", b"", "not_xml"),
        (b"<feed", b"<!DOCTYPE feed [<!ENTITY a 'b'>]><feed", "document_type"),
        (b"/ReadingType/", b"/ReadingKind/", "link_broken"),
    ],
)
def test_the_espi_check_names_what_is_wrong_and_an_import_refuses_it(old: bytes, new: bytes, reason: str) -> None:
    content = run("espi").files[0].content
    assert old in content
    broken = content.replace(old, new) if reason == "links" else content.replace(old, new, 1)
    assert reason in {finding.reason for finding in espi_check.check(broken)}
    assert import_espi(broken, "import").refused


@pytest.mark.parametrize("cut", range(0, 3000, 211))
def test_a_feed_cut_anywhere_is_refused_and_never_raises(cut: int) -> None:
    assert import_espi(run("espi").files[0].content[:cut], "import").refused


@pytest.mark.skipif(not XSD.is_dir(), reason="the ESPI schema is not here")
def test_our_order_of_children_is_that_of_the_schema() -> None:
    names = {"xs": "http://www.w3.org/2001/XMLSchema"}
    types = {
        element.get("name"): element
        for element in ElementTree.parse(XSD / "espi_4.0.xsd").getroot().iterfind("xs:complexType", names)
    }
    for kind in espi_check.ORDER.keys() & types.keys():
        declared = [element.get("name") for element in types[kind].iterfind(".//xs:sequence/xs:element", names)]
        assert [name for name in espi_check.ORDER[kind] if name != "batchItemInfo"] == declared, kind


@pytest.mark.skipif(not XSD.is_dir(), reason="the ESPI schema is not here")
def test_the_feed_is_valid_against_the_schema() -> None:
    etree = pytest.importorskip("lxml.etree", reason="lxml is not installed")
    schema = etree.XMLSchema(etree.parse(str(XSD / "espi_4.0.xsd")))
    assert schema.validate(etree.fromstring(run("espi").files[0].content).getroottree()), schema.error_log


@pytest.mark.parametrize(
    ("zone", "start", "end"),
    [
        ("America/New_York", "360E2000", "B40E2000"),  # as in the published sample
        ("Europe/Berlin", "3E0E2000", "AE0E3000"),
        ("Australia/Lord_Howe", "A40E2000", "440E2000"),
        ("Australia/Brisbane", "FFFFFFFF", "FFFFFFFF"),
    ],
)
def test_clock_changes_are_written_as_bit_fields(zone: str, start: str, end: str) -> None:
    rules = dst_rules(zone, 2026)
    assert (rules.start, rules.end) == (start, end)


def test_a_zone_whose_changes_follow_no_rule_is_refused() -> None:
    with pytest.raises(ContractError, match="Casablanca"):
        dst_rules("Africa/Casablanca", 2026)


# MSCONS --------------------------------------------------------------------------------------------------------------


def segments(found: Export) -> list[str]:
    return found.files[0].content.decode("latin-1").removeprefix("UNA:+.? '").split("'")[:-1]


def test_an_mscons_message_holds_one_location_and_channel_and_counts_its_segments() -> None:
    got = segments(run("mscons"))
    assert got[0].startswith("UNB+UNOC:3+9903000000001:500+9903000000002:500+260801:0215+")
    assert got[1:10] == [
        "UNH+00000001+MSCONS:D:04B:UN:2.4c", "BGM+7+2026080102150000000001+9", "DTM+137:202608010215?+00:303",
        "RFF+Z13:13008", "NAD+MS+9903000000001::293", "NAD+MR+9903000000002::293", "UNS+D", "NAD+DP",
        f"LOC+172+{MELO}",
    ]  # fmt: skip
    assert got[12:17] == [
        "LIN+1", "PIA+5+1-1?:1.29.0:SRW", "QTY+220:0.250123", "DTM+163:202607282200?+00:303",
        "DTM+164:202607282215?+00:303",
    ]  # fmt: skip
    assert got[14 + 9] == "QTY+67:0.250123"  # the estimated fourth value
    first_end = got.index("UNT+302+00000001")
    assert first_end == 302
    assert got[-1].startswith("UNZ+2+")


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (b"UNT+302", b"UNT+301", "segment_count"),
        (b"UNZ+2", b"UNZ+3", "message_count"),
        (b"QTY+220", b"QTY+221", "qualifier"),
        (b"163:202607282230", b"163:202607282231", "gap"),
        (b"LOC+172+DE", b"LOC+172+", "location"),
        (b"1-1?:1.29.0", b"ONE", "obis"),
        (b"500+9903000000002", b"500+99", "participant"),
        (b"UNA:+.? '", b"", "no_advice"),
    ],
)
def test_the_mscons_check_names_what_a_syntax_checker_lets_pass(old: bytes, new: bytes, reason: str) -> None:
    content = run("mscons").files[0].content
    assert old in content
    assert reason in {finding.reason for finding in mscons_check.check(content.replace(old, new, 1))}


def test_a_profile_with_a_hole_is_held() -> None:
    for rows in (
        build_finals(START, [None, *[1] * 95]),
        build_finals(START, [1] * 96).filter(pl.int_range(pl.len()) != 9),
    ):
        found = run("mscons", rows)
        assert found.tally.findings["reason"].to_list() == ["missing"]
        assert segments(found)[-1].startswith("UNZ+0+")


def test_participants_without_a_market_code_are_refused() -> None:
    inputs = ExportInputs(build_finals(START, [1] * 96), build_meters(), build_reads({}))
    with pytest.raises(ContractError, match="13 digits"):
        export(inputs, ExportParams(formats=("mscons",), date_from=date(2026, 7, 29), date_to=date(2026, 7, 30)))


# NEM13 ---------------------------------------------------------------------------------------------------------------


def test_a_nem13_record_is_the_advance_between_two_reads() -> None:
    got = run("nem13", registry=build_meters()).files[0].content.decode().split("\r\n")
    assert got[1].split(",") == [
        "250", "NEM1200001", "11", "11", "11", "11", "M1", "E", "12345.000000", "20260729000000", "A", "", "",
        "12372.500000", "20260730000000", "A", "", "", "27.500000", "KWH", "", "20260801121500", "",
    ]  # fmt: skip
    assert got[2:] == ["550,N,,N,", "900", ""]


@pytest.mark.skipif(not NEM13.is_dir(), reason="the NEM13 conformance files are not here")
def test_the_nem13_files_of_market_participants_are_read_or_refused_by_name() -> None:
    read = 0
    for file in sorted(NEM13.iterdir()):
        found = nem13_check.import_nem13(file.read_bytes())
        assert found.refused == found.rows.is_empty(), (file.name, found.findings)
        if found.refused:
            continue
        read += 1
        text = [line.split(",") for line in file.read_text().splitlines() if line.startswith("250")]
        units = {"KWH": 6, "WH": 3, "KVARH": 6, "VARH": 3}
        stated = sum(Decimal(fields[18].strip()).scaleb(units[fields[19].strip().upper()]) for fields in text)
        assert found.rows["quantity_milli"].sum() == stated
    assert read >= 55


# Others --------------------------------------------------------------------------------------------------------------


def test_a_time_of_use_record_sums_to_the_bill() -> None:
    (record, end) = run("cmep02").files[0].content.decode().split("\r\n")
    fields = record.split(",")
    assert (fields[0], fields[12], fields[14], end) == ("MEPMD02", "2", "202607292200", "")
    assert fields[15:] == ["off_peak", "E", "10.004920", "peak", "", "14.006888"]


def test_a_reading_type_has_18_fields_and_a_quality_its_cim_code() -> None:
    text = run("iec61968").files[0].content.decode()
    assert '<ReadingType ref="0.0.2.4.1.1.12.0.0.0.0.0.0.0.0.3.72.0"/>' in text
    assert '<ReadingType ref="0.0.2.4.19.1.12.0.0.0.0.0.0.0.0.3.72.0"/>' in text
    estimated = '<value>0.250123</value><ReadingQualities><ReadingQualityType ref="3.8.0"/>'
    assert f"<timeStamp>2026-07-28T23:00:00Z</timeStamp>{estimated}" in text
    assert text.count("<Readings>") == 2


def test_absent_data_is_never_a_zero_in_an_867() -> None:
    text = run("x12_867", build_finals(START, [None, *[1] * 95])).files[0].content.decode()
    segments_ = text.split("~\n")
    assert segments_[2:6] == [
        "ST*867*0001",
        "BPT*00*2026080102150000000001*20260801*DD",
        f"REF*Q5**{MELO}",
        "N1*8S*AMIHEADEND",
    ]
    assert segments_[10:12] == ["QTY*20**KH", "DTM*582*20260728*2215*UT"]
    assert segments_[-4:] == [f"SE*{4 + 4 + 192 + 1}*0001", "GE*1*785550500", segments_[-2], ""]


@pytest.mark.parametrize(
    ("form", "old", "new", "reason"),
    [
        ("x12_867", b"GE*1", b"GE*2", "set_count"),
        ("x12_867", b"SE*", b"SE*1", "segment_count"),
        ("x12_867", b"QTY*KA*0", b"QTY*KA*", "quantity"),
        ("x12_867", b"REF*Q5**", b"REF*Q6**", "service_point"),
        ("iec61968", b"3.8.0", b"3.8", "quality"),
        ("iec61968", b"3.72.0", b"3.72", "reading_type"),
        ("iec61968", b"<value>0.250123</value>", b"", "value"),
        ("iec61968", b"</MeterReadings>", b"", "not_xml"),
        ("sap_isu", b"900002", b"900001", "order_twice"),
        ("sap_isu", b"12372.500000", b"12372", "quantity"),
        ("oracle_ccb", b",KWH,", b",MWH,", "unit"),
        ("oracle_ccb", b"QUANTITY", b"AMOUNT", "header"),
        ("cmep02", b",2,,2026", b",3,,2026", "field_count"),
    ],
)
def test_their_checks_name_what_is_wrong(form: str, old: bytes, new: bytes, reason: str) -> None:
    registers = pl.concat(
        [
            build_reads({START + timedelta(days=1): 12_372_500_000}, channel=name)
            for name in ("energy_delivered", "energy_received")
        ]
    )
    inputs = ExportInputs(
        build_finals(START, [250_123] * 96, qualities={3: ("estimated", "linear")}),
        build_meters(service_point_id=MELO),
        registers, parse_tariffs(TARIFFS), read_orders(ORDERS),
    )  # fmt: skip
    asked = ExportParams(formats=(form,), date_from=date(2026, 7, 29), date_to=date(2026, 7, 30))
    made = export(inputs, asked).files[0]
    assert check_file(made.name, made.content).findings == []
    assert old in made.content
    found = check_file(made.name, made.content.replace(old, new, 1)).findings
    assert reason in {finding.reason for finding in found}


def test_a_reading_goes_back_under_the_number_of_its_order_and_an_order_without_a_read_is_held() -> None:
    found = run("sap_isu")
    assert found.files[0].content.decode().split("\r\n")[1] == (
        "900001;MAT-1;M1;001;01;12372.500000;20260730;000000;;01;"
    )
    assert found.tally.findings.select("channel", "reason").rows() == [("energy_received", "no_read")]
    with pytest.raises(ContractError, match="twice"):
        read_orders(ORDERS + "900001;MAT-1;M1;001;01\n")


def test_a_file_of_no_known_format_is_told_so() -> None:
    assert [finding.reason for finding in check_file("x.bin", b"\0\1").findings] == ["format_unknown"]
    for form in sorted(FORMATS):
        for junk in (b"", b"\xff\xfe", b"900", b"\0" * 99):
            check_file(form, junk)  # whatever the bytes: findings, never an exception


# Codes ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("system", ["cim", "espi", "cmep"])
def test_every_quality_and_method_has_a_code_in_every_system(system: str) -> None:
    methods = [None, *FINALS.schema["method"].categories]
    rows = build_finals(START, [1] * 11).with_columns(method=pl.Series(methods, dtype=FINALS.schema["method"]))
    for quality in FINALS.schema["quality"].categories:
        codes = coded(rows.with_columns(quality=pl.lit(quality, dtype=rows.schema["quality"])), system)["code"]
        assert codes.null_count() == (11 if system == "espi" and quality == "missing" else 0)


def test_segments_of_edifact_survive_their_own_separators() -> None:
    text = ADVICE + segment("FTX", "it's 1+1?", ("a:b", "c"))
    (found,), said = read_segments(text.encode())
    assert not said
    assert found.elements == [["it's 1+1?"], ["a:b", "c"]]


# Second readers ------------------------------------------------------------------------------------------------------


def test_greenbutton_objects_reads_our_feed_with_the_same_sums(tmp_path: Path) -> None:
    parse = pytest.importorskip("greenbutton_objects.parse", reason="greenbutton-objects is not installed")
    file = tmp_path / "feed.xml"
    file.write_bytes(run("espi").files[0].content)
    readings = [reading for point in parse.parse_feed(str(file)) for reading in point.meterReadings]
    values = sorted([one._value for one in reading.intervalReadings] for reading in readings)
    assert [(len(some), sum(some)) for some in values] == [(96, 96 * 20_000), (96, 96 * 250_123)]


def test_pydifact_reads_our_interchange_with_the_same_sums() -> None:
    interchange = Interchange.from_str(run("mscons").files[0].content.decode("latin-1"))
    sums = {}
    for message in interchange.get_messages():
        register = next(one.elements[1][0] for one in message.segments if one.tag == "PIA")
        values = [Decimal(one.elements[0][1]) for one in message.segments if one.tag == "QTY"]
        sums[register] = (len(values), sum(values))
    assert sums == {"1-1:1.29.0": (96, Decimal("24.011808")), "1-1:2.29.0": (96, Decimal("1.92"))}


PARSE_CMEP = Path(os.environ.get("AMI_PARSE_CMEP", ""))


@pytest.mark.skipif(
    not PARSE_CMEP.is_file(),
    reason="parse_cmep (the script of jr-sp/parse_cmep) is in no package registry and has no licence to be copied "
    "under: AMI_PARSE_CMEP names the file",
)
def test_parse_cmep_reads_every_value_of_our_file(tmp_path: Path) -> None:
    rows = build_finals(START, [250_123 + n for n in range(96)], qualities={3: ("estimated", "linear")})
    content = run("cmep", rows).files[0].content.decode()
    # It fails at the end of a record unless a delimiter follows, as in the files that it was written for.
    (tmp_path / "cmep.csv").write_text("".join(f"{line},\n" for line in content.splitlines()))
    command = [sys.executable, str(PARSE_CMEP), "-f", "cmep.csv", "-d", ",", "--no-header"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    read = {
        file.name.split(".")[0].removeprefix("parsed_cmep_"): [
            line.split(",") for line in file.read_text().splitlines()
        ]
        for file in tmp_path.glob("parsed_cmep_*.csv")
    }
    assert sorted(read) == ["E_KWH", "E_KWHREG"]
    ends = [START + timedelta(minutes=15 * n) for n in range(1, 97)]
    assert [row[2] for row in read["E_KWH"]] == [f"{end:%Y%m%d%H%M}" for end in ends]
    assert [row[3] for row in read["E_KWH"]] == ["E" if n == 3 else "" for n in range(96)]
    assert sum(Decimal(row[4]) for row in read["E_KWH"]) == Decimal(sum(250_123 + n for n in range(96))).scaleb(-6)
    assert [row[4] for row in read["E_KWHREG"]] == ["12345.000000", "12372.500000"]


def test_a_period_that_goes_out_again_says_resend_in_cmep() -> None:
    for form in ("cmep", "cmep02"):
        first, again = run(form), run(form, resent=True)
        rows = [line.split(",") for line in again.files[0].content.decode().splitlines()]
        assert {row[8] for row in rows} == {"RESEND"}
        assert again.files[0].content.replace(b",RESEND,", b",OK,") == first.files[0].content
        assert check_file(again.files[0].name, again.files[0].content).findings == []


def exchanged(step: int, start: datetime) -> tuple[pl.DataFrame, pl.DataFrame]:
    """M1 leaves 7 min past the twelfth hour, M2 comes then: 1 kWh an hour; their parts are 0.117 and the rest."""
    at, each = start + timedelta(hours=12, minutes=7), 1_000_000 * step // 3600
    whole = 12 * 3600 // step
    first = build_finals(start, [each] * whole + [117_000], step=step, qualities={whole: ("estimated", "flat")})
    second = build_finals(start + timedelta(hours=12), [each - 117_000] + [each] * (whole - 1), meter="M2", step=step)
    part = pl.col("interval_start") == start + timedelta(hours=12)
    old = first.with_columns(interval_s=pl.when(part).then(420).otherwise("interval_s").cast(pl.Int32))
    new = second.with_columns(
        interval_start=pl.when(part).then(pl.lit(at)).otherwise("interval_start").cast(UTC_US),
        interval_s=pl.when(part).then(step - 420).otherwise("interval_s").cast(pl.Int32),
    )
    meters = [{"removed_at": at}, {"meter_id": "M2", "installed_at": at}]
    return pl.concat([old, new]), build_meters([{"service_point_id": MELO, **meter} for meter in meters])


@pytest.mark.parametrize("form", ["cmep", "espi", "mscons", "iec61968", "x12_867"])
def test_a_part_of_an_interval_that_an_exchange_left_goes_out_as_long_as_it_is(form: str) -> None:
    rows, registry = exchanged(900, START)
    found = run(form, rows, registry=registry)
    assert found.tally.findings.filter("held").rows() == []
    assert found.tally.totals["value_milli"].sum() == 24_000_000
    assert all(check_file(file.name, file.content).findings == [] for file in found.files)


def test_in_nem12_the_parts_of_an_exchanged_interval_are_one_value_of_the_stream() -> None:
    """48 half hours of half a kWh, one of them 0.117 of the old meter, estimated, and 0.383 of the new one."""
    rows, registry = exchanged(1800, NEM_START)
    found = run("nem12", rows, registry=registry.with_columns(nmi=pl.lit("6305555555")))
    assert found.tally.findings.filter("held").rows() == []
    imported = import_nem12(found.files[0].content, "back").finals
    assert imported["value_milli"].to_list() == [500_000] * 48
    assert imported.filter(pl.col("quality") == "estimated")["interval_start"].to_list() == [
        NEM_START + timedelta(hours=12)
    ]
    assert all(check_file(file.name, file.content).findings == [] for file in found.files)
