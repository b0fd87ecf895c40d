"""Every reason that a strict check can give has a fault planted in an otherwise right file; none is a name alone."""

import ast
import io
import random
import re
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from billing_export import check
from billing_export.check import check_file, check_manifest
from billing_export.formats import (
    asexml_check,
    cmep_check,
    determinants_check,
    edifact,
    espi_check,
    espi_records,
    flat_check,
    iec61968_check,
    mscons_check,
    nem12_check,
    nem12_codes,
    nem12_records,
    nem13_check,
    x12_867_check,
    xml_root,
)
from billing_export.formats.espi_import import REFUSED as ESPI_REFUSED
from billing_export.formats.espi_import import import_espi
from billing_export.formats.nem12_import import REFUSED as NEM12_REFUSED
from billing_export.formats.nem12_import import import_nem12

GOLDEN = Path(__file__).parents[1] / "golden" / "billing"
Fault = Callable[[bytes], bytes]


def put(old: bytes, new: bytes, times: int = 1) -> Fault:
    """The first places of `old` become `new`; the file must hold it."""

    def planted(content: bytes) -> bytes:
        assert old in content, old
        return content.replace(old, new, times)

    return planted


def line(number: int, change: Callable[[bytes], bytes]) -> Fault:
    """One line, from 0, is changed; an empty result takes it out."""

    def planted(content: bytes) -> bytes:
        lines = content.split(b"\r\n")
        made = change(lines[number])
        return b"\r\n".join([*lines[:number], *([made] if made else []), *lines[number + 1 :]])

    return planted


def field(number: int, place: int, value: bytes, separator: bytes = b",") -> Fault:
    """One field of one line, both from 0."""

    def changed(text: bytes) -> bytes:
        fields = text.split(separator)
        fields[place] = value
        return separator.join(fields)

    return line(number, changed)


def lines_changed(change: Callable[[pl.DataFrame], pl.DataFrame]) -> Fault:
    """The lines of a determinants CSV, written again after the change."""

    def planted(content: bytes) -> bytes:
        rows = pl.read_csv(io.BytesIO(content), infer_schema=False)
        return change(rows).write_csv(line_terminator="\r\n").encode()

    return planted


def cell(determinant: str, column: str, value: str | None) -> Fault:
    chosen = pl.col("determinant") == determinant
    return lines_changed(
        lambda rows: rows.with_columns(pl.when(chosen).then(pl.lit(value)).otherwise(column).alias(column))
    )


def both(*faults: Fault) -> Fault:
    def planted(content: bytes) -> bytes:
        for fault in faults:
            content = fault(content)
        return content

    return planted


def amount(determinant: str, kilo: str) -> Fault:
    """Another value, well rendered."""
    milli = str(int(kilo.replace(".", "")))
    return both(cell(determinant, "value_milli", milli), cell(determinant, "value", kilo))


def doubled(pattern: bytes) -> Fault:
    """What the pattern finds first stands twice."""
    return lambda content: re.sub(pattern, lambda found: found[0] * 2, content, count=1, flags=re.DOTALL)


def without(pattern: bytes) -> Fault:
    """What the pattern finds first is gone."""
    return lambda content: re.sub(pattern, b"", content, count=1, flags=re.DOTALL)


NOT_TEXT: Fault = put(b"RECEIVER", b"RECEIV\xff\xfe")
XML: dict[str, Fault] = {
    "document_type": put(b"<?xml", b"<!DOCTYPE x><?xml"),
    "not_xml": lambda content: content[:-9],
}
QUALITY: dict[str, Fault] = {
    "quality_flag": field(6, 3, b"Z"),
    "method_not_allowed": field(6, 3, b"A17"),
    "method_missing": field(6, 3, b"S"),
    "method_unknown": field(6, 3, b"S99"),
}
PLANTED: dict[str, dict[str, Fault]] = {
    "nem12.csv": QUALITY | {
        "not_text": NOT_TEXT,
        "line_end": put(b"\r\n", b"\n"),
        "empty": without(rb"200,.*(?=900)"),
        "no_header": line(0, lambda _: b""),
        "not_nem12": put(b"NEM12,", b"NEM11,"),
        "no_trailer": put(b"900\r\n", b""),
        "after_trailer": lambda content: content + b"900\r\n",
        "blank_line": put(b"900", b"\r\n900"),
        "record_unknown": put(b"900", b"600\r\n900"),
        "record_order": put(b"900", b"100,NEM12,202608011215,A,B\r\n900"),
        "padding": put(b"900", b"900,,"),
        "field_count": put(b"900", b"900,1"),
        "field_missing": put(b"KWH,30,", b"KWH,30"),
        "blank_in_field": put(b",KWH,", b", KWH,"),
        "interval_length": put(b"KWH,30,", b"KWH,20,"),
        "uom": put(b"KWH", b"MILES"),
        "date": put(b"300,20260727", b"300,20261327"),
        "value_count": put(b"0.0200,", b""),
        "value": put(b"0.0200,", b"0.0.2,"),
        "range": field(6, 2, b"49"),
        "date_time": put(b"202608011215,", b"202608012515,"),
        "participant": put(b"AMIHEADEND", b"AMIHEADENDS"),
        "nmi": put(b"NEM1200001", b"NEM120001"),
        "configuration": put(b"B1E1Q1,B1", b"E1Q1,B1"),
        "suffix": put(b",B1,B1,", b",B1,1B,"),
        "serial": put(b",M1,", b",M123456789012,"),
        "register": put(b",B1,B1,", b",B1234567890,B1,"),
        "data_stream": put(b",B1,B1,,", b",B1,B1,N11,"),
        "next_read": put(b"KWH,30,", b"KWH,30,20261301"),
        "negative": put(b"0.0200", b"-0.020"),
        "decimals": put(b"0.0200", b"0.02000"),
        "reason": field(6, 4, b"176"),
        "reason_text": field(6, 5, b"words"),
        "reason_missing": field(6, 4, b""),
        "events_without_v": put(b",V,,,", b",A,,,"),
        "v_without_events": put(b",A,,,", b",V,,,"),
        "tiling": field(6, 2, b"5"),
        "date_order": lambda content: content.replace(
            b"300,20260727", b"300,20260728", 1).replace(b"\r\n200,NEM1200001,B1E1Q1,E1", b"\r\n"
            + content.split(b"\r\n")[2] + b"\r\n200,NEM1200001,B1E1Q1,E1", 1),
        "date_twice": lambda content: content.replace(
            b"\r\n200,NEM1200001,B1E1Q1,E1", b"\r\n" + content.split(b"\r\n")[2] + b"\r\n200,NEM1200001,B1E1Q1,E1", 1),
        "no_update_time": put(b"A,,,20260801121500,", b"A,,,,"),
        "no_days": line(2, lambda _: b""),
        "transaction": put(b"900\r\n", b"500,X,,,\r\n900\r\n"),
        "field_length": put(b"900\r\n", b"500,A,ORDER67890123456,,\r\n900\r\n"),
    },
    "nem13.csv": {
        "not_text": NOT_TEXT,
        "line_end": put(b"\r\n", b"\n"),
        "blank_in_field": put(b",KWH,", b", KWH,"),
        "empty": without(rb"250,.*(?=900)"),
        "no_header": line(0, lambda _: b""),
        "not_nem13": put(b"NEM13,", b"NEM12,"),
        "participant": put(b"AMIHEADEND", b"AMIHEADENDS"),
        "no_trailer": put(b"900\r\n", b""),
        "after_trailer": put(b"900", b"900\r\n900"),
        "record_order": put(b"900", b"100,NEM13,202608011215,A,B\r\n900"),
        "record_unknown": put(b"900", b"600\r\n900"),
        "field_count": put(b"KWH,,", b"KWH,"),
        "nmi": put(b"NEM1200001", b"NEM120001"),
        "direction": put(b",E,", b",X,"),
        "value": put(b"6.000000,KWH", b"six,KWH"),
        "uom": put(b"KWH", b"MILES"),
        "negative": put(b",6.000000,", b",-6.000000,"),
        "no_update_time": put(b"20260801121500,", b","),
        "time_order": put(b",20260728000000,", b",20260726000000,"),
        "quantity": put(b",6.000000,", b",7.000000,"),
        "date_time": put(b"20260727000000", b"20261327000000"),
        "quality_flag": put(b",A,", b",Z,"),
        "method_not_allowed": put(b",A,", b",A17,"),
        "method_missing": put(b",A,", b",S,"),
        "method_unknown": put(b",A,", b",S99,"),
        "reason": put(b",A,,", b",A,176,"),
        "reason_text": put(b",A,,,", b",A,,words,"),
        "no_550": line(2, lambda _: b""),
        "transaction": put(b"550,N", b"550,X"),
    },
    "nem12_asexml.xml": XML | {
        "root": put(b"urn:aseXML:r38", b"urn:aseXML:r0"),
        "header": put(b">MTRD<", b">CATS<"),
        "participant": put(b"<To>RECEIVER</To>", b"<To>RECEIVERLONG</To>"),
        "date_time": put(b"+10:00</MessageDate>", b"</MessageDate>"),
        "no_transactions": without(rb"<Transaction .*</Transaction>"),
        "transaction_id": put(b'transactionID="TNS-', b'transactionID="TNS-0123456789012'),
        "transaction_twice": doubled(rb"<Transaction .*</Transaction>"),
        "content": put(b"CSVIntervalData>", b"CSVData>", 2),
        "record_count": put(b"<RecordCount>14<", b"<RecordCount>13<"),
        "parties": put(b",AMIHEADEND,RECEIVER&#13;", b",OTHER,RECEIVER&#13;"),
    },
    "cmep.csv": {
        "not_text": NOT_TEXT,
        "empty": lambda _: b"",
        "record_unknown": put(b"MEPMD01", b"MEPMD09"),
        "version": put(b"19970819", b"20010101"),
        "field_length": put(b"RECEIVER,A1,", b"RECEIVER,ACCOUNT-12345,"),
        "created": put(b"202608010215", b"202613010215"),
        "purpose": put(b",OK,", b",OKAY,"),
        "commodity": put(b",E,KWH", b",X,KWH"),
        "unit": put(b",KWH,", b",MILES,"),
        "constant": put(b"KWH,1.0,", b"KWH,one,"),
        "interval": put(b",00000100,", b",100,"),
        "count": put(b",24,2026", b",all,2026"),
        "field_count": put(b",24,2026", b",23,2026"),
        "time_blank": put(b",202607262300,", b",,"),
        "time": put(b",202607262300,", b",202613262300,"),
        "time_order": put(b",202607262300,", b",202607270030,"),
        "flag": put(b",202607270200,E,", b",202607270200,Q,"),
        "value": put(b"0.250123", b"x"),
        "meter_twice": doubled(rb"^[^\r]*\r\n"),
    },
    "cmep02.csv": {"period": put(b",off_peak,", b",,")},
    "espi.xml": XML | {
        "not_a_feed": both(put(b"<feed ", b"<food "), put(b"</feed>", b"</food>")),
        "no_content": without(rb"<content .*?</content>"),
        "no_id": without(rb"(?<=<entry>)<id>.*?</id>"),
        "id_twice": doubled(rb"<entry>.*?</entry>"),
        "links": put(b' type="espi-entry/UsagePoint"', b' type=""'),
        "link_broken": put(b"/ReadingType/", b"/ReadingKind/"),
        "order": put(b"<espi:kind>12</espi:kind>", b"<espi:dataQualifier>12</espi:dataQualifier>"),
        "required": without(rb"<espi:flowDirection>.*?</espi:flowDirection>"),
        "value": put(b"<espi:value>250123<", b"<espi:value>250.1<"),
        "quality": put(b"<espi:quality>9<", b"<espi:quality>99<"),
        "time": put(b"<espi:intervalLength>3600<", b"<espi:intervalLength>900<"),
        "updated": without(rb"(?<=</published>)<updated>.*?</updated>"),
    },
    "mscons.txt": {
        "not_text": put(b"UNA:+.? '", b"\xff"),
        "no_advice": put(b"UNA:+.? '", b""),
        "cut_short": lambda content: content[:-4],
        "empty": lambda _: b"UNA:+.? '",
        "interchange": put(b"UNZ+", b"UNX+"),
        "message_count": lambda content: re.sub(rb"UNZ\+\d+", b"UNZ+99", content),
        "segment_count": lambda content: re.sub(rb"UNT\+\d+", b"UNT+99", content, count=1),
        "message_order": put(b"UNS+D'", b""),
        "participant": put(b"500+9903000000002", b"500+99"),
        "reference_twice": both(put(b"UNH+00000002", b"UNH+00000001"), lambda content: re.sub(
            rb"(UNT\+\d+)\+00000002", rb"\1+00000001", content)),
        "function": put(b"00001+9'", b"00001+8'"),
        "location": put(b"LOC+172+DE", b"LOC+172+"),
        "obis": put(b"1-1?:1.29.0", b"ONE"),
        "time": put(b"DTM+163:202607262300?+00:303", b"DTM+163:202613262300?+00:303"),
        "period": put(b"DTM+163:202607262200?+00:303'DTM+164", b"DTM+163:202607262200?+00:102'DTM+164"),
        "value": put(b"QTY+220:0.250123", b"QTY+220:x"),
        "qualifier": put(b"QTY+220", b"QTY+221"),
        "gap": put(b"DTM+163:202607262300?+00:303", b"DTM+163:202607262301?+00:303"),
    },
    "mscons_cancel.txt": {"cancellation": put(b"RFF+ACW:2026080102150000000001'", b"")},
    "iec61968.xml": XML | {
        "root": lambda content: content.replace(
            b"<MeterReadings ", b"<MeterReadinks ").replace(b"</MeterReadings>", b"</MeterReadinks>"),
        "empty": without(rb"<MeterReading>.*</MeterReading>"),
        "order": put(b"<timeStamp>2026-07-26T23:00:00Z</timeStamp><value>0.250123</value>",
                     b"<value>0.250123</value><timeStamp>2026-07-26T23:00:00Z</timeStamp>"),
        "meter": put(b"<mRID>M1</mRID>", b"<mRID></mRID>"),
        "reading_type": put(b"3.72.0", b"3.72"),
        "quality": put(b"3.8.0", b"3.8"),
        "time": put(b"2026-07-26T23:00:00Z", b"2026-07-26T23:00:00"),
        "time_order": put(b"2026-07-27T00:00:00Z", b"2026-07-26T23:00:00Z"),
        "value": put(b"<value>0.250123</value>", b""),
    },
    "x12_867.edi": {
        "not_text": NOT_TEXT,
        "cut_short": lambda content: content[:-5],
        "envelope": put(b"GE*1*", b"GX*1*"),
        "control_number": lambda content: re.sub(rb"IEA\*1\*\d+", b"IEA*1*000000001", content),
        "set_count": put(b"GE*1*", b"GE*2*"),
        "segment_count": put(b"SE*", b"SE*1"),
        "set_order": put(b"N1*8S*AMIHEADEND~\n", b""),
        "purpose": put(b"BPT*00*", b"BPT*02*"),
        "service_point": put(b"REF*Q5**SP1", b"REF*Q5**"),
        "quantity": put(b"QTY*QD*0.250123", b"QTY*QD*"),
        "time": put(b"DTM*582*20260726*2300", b"DTM*582*20260726*23"),
        "time_order": put(b"DTM*582*20260727*0000", b"DTM*582*20260726*2300"),
    },
    "x12_867_cancel.edi": {"cancellation": put(b"REF*TN*2026080102150000000001", b"REF*TN*")},
    "oracle_ccb.csv": {
        "not_text": put(b",SP1,", b",SP\xff,"),
        "line_end": put(b"\r\n", b"\n"),
        "header": put(b"QUANTITY", b"AMOUNT"),
        "field_count": put(b",A1,SP1", b",SP1"),
        "usage_id": field(1, 0, b"another"),
        "line_numbers": field(1, 1, b"9"),
        "quantity": put(b"0.277304", b"0.2773"),
        "unit": put(b",KVA,", b",MVA,"),
        "type": put(b",M,2026", b",X,2026"),
        "time": put(b"2026-07-26-22.00.00", b"2026-07-28-22.00.00"),
        "empty_field": put(b",DEMAND_MAX,", b",,"),
    },
    "sap_isu.csv": {
        "order_twice": put(b"900002", b"900001"),
        "quantity": put(b"16.000000", b"16"),
        "register": put(b";001;", b";901;"),
        "time": put(b";20260728;", b";2026-07-28;"),
        "empty_field": put(b";M1;", b";;"),
    },
    "determinants.csv": {
        "unreadable": put(b",1,A1,", b",one,A1,"),
        "line_end": put(b"\r\n", b"\n"),
        "contract": put(b",determinant,", b",determinand,"),
        "batch": field(1, 0, b"another"),
        "line_numbers": field(1, 1, b"9"),
        "counts": cell("energy_received", "n_actual", "23"),
        "value": cell("energy_received", "value_milli", None),
        "rendered": cell("energy_received", "value", "0.480001"),
        "class": cell("energy_total", "quality_class", "actual"),
        "unbillable": cell("energy_total", "quality_class", "unbillable"),
        "period": cell("demand_max", "period_end", "2026-07-26T22:00:00Z"),
        "sign": cell("energy_received", "sign", "0"),
        "tou_sum": amount("energy_tou_peak", "3.711700"),
        "total": amount("energy_delivered", "6.053911"),
        "net": amount("energy_net", "0.000001"),
    },
}  # fmt: skip

SOURCES = {
    ("nem12.csv",): (nem12_check, nem12_records),
    ("nem13.csv",): (nem13_check,),
    ("nem12_asexml.xml",): (asexml_check, xml_root),
    ("cmep.csv", "cmep02.csv"): (cmep_check,),
    ("espi.xml",): (espi_check, espi_records, xml_root),
    ("mscons.txt", "mscons_cancel.txt"): (mscons_check, edifact),
    ("iec61968.xml",): (iec61968_check, xml_root),
    ("x12_867.edi", "x12_867_cancel.edi"): (x12_867_check,),
    ("oracle_ccb.csv", "sap_isu.csv"): (flat_check,),
    ("determinants.csv",): (determinants_check,),
}
"""Files of a format, and the modules whose rules they are held against."""
_RULES = {"checks", "rules", "broken"}
"""Names of the tables in those modules that hold rules by their reason."""
_ELSEWHERE = {"espi.xml": {"too_large"}}
"""Reasons with a test of their own below."""


def reasons_in(module: object) -> set[str]:
    """Every reason that a module can give, read from its source."""
    tree = ast.parse(Path(str(module.__file__)).read_text())  # type: ignore[attr-defined]
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and len(node.args) == 3:
            called = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
            found |= texts(node.args[1]) if called in ("Finding", "say") else set()
        named = node.targets[0] if isinstance(node, ast.Assign) else None
        if isinstance(named, ast.Name) and named.id in _RULES and isinstance(node.value, ast.Dict | ast.List):
            value = node.value
            keys = value.keys if isinstance(value, ast.Dict) else [entry.elts[0] for entry in value.elts]
            found |= {text for key in keys for text in texts(key)}
    return found


def texts(node: ast.AST) -> set[str]:
    """The texts that an expression may be."""
    if isinstance(node, ast.IfExp):
        return texts(node.body) | texts(node.orelse)
    return {node.value} if isinstance(node, ast.Constant) else set()


@pytest.mark.parametrize("name", sorted(PLANTED))
def test_a_right_file_has_no_finding_and_every_planted_fault_is_named(name: str) -> None:
    good = (GOLDEN / name).read_bytes()
    assert check_file(name, good).findings == []
    for reason, plant in PLANTED[name].items():
        bad = plant(good)
        assert bad != good, (name, reason)
        # Faults in the first bytes hide what the file is: its own check is asked, not whoever is recognised.
        found = check._CHECKS[str(check_file(name, good).format)](bad)
        assert reason in {one.reason for one in found}, (name, reason, found)


@pytest.mark.parametrize("names", sorted(SOURCES))
def test_no_reason_is_without_a_planted_fault(names: tuple[str, ...]) -> None:
    can = {reason for module in SOURCES[names] for reason in reasons_in(module)}
    if nem12_check in SOURCES[names] or nem13_check in SOURCES[names]:
        can |= reasons_of_quality()
    planted = {reason for name in names for reason in PLANTED[name]}
    assert can - planted == _ELSEWHERE.get(names[0], set())
    assert planted <= can


def reasons_of_quality() -> set[str]:
    tree = ast.parse(Path(str(nem12_codes.__file__)).read_text())
    return {text for node in ast.walk(tree) if isinstance(node, ast.Return) and node.value for text in texts(node.value)
            if text}  # fmt: skip


def test_every_module_of_checks_is_held_to_it() -> None:
    folder = Path(str(check.__file__)).parent / "formats"
    known = {Path(str(module.__file__)).name for modules in SOURCES.values() for module in modules}
    said = {path.name for path in folder.glob("*.py") if "Finding(" in path.read_text()}
    # Imports and answers have tests of their own; what they refuse is below and in test_answers.
    assert said - known <= {"nem12_import.py", "espi_import.py"}


def test_a_feed_too_large_to_read_is_refused_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(espi_records, "MAX_BYTES", 99)
    assert [one.reason for one in check_file("espi.xml", (GOLDEN / "espi.xml").read_bytes()).findings] == ["too_large"]


@pytest.mark.parametrize(
    ("name", "reason", "plant"),
    [
        ("nem12.csv", "value_size", put(b"0.0200", b"99999999999999999999")),
        ("nem12.csv", "decimals", put(b"0.0200", b"0.0200001")),
        ("nem12.csv", "tiling", field(6, 2, b"5")),
        ("nem12.csv", "v_without_events", put(b",A,,,", b",V,,,")),
        ("nem12.csv", "date_twice", PLANTED["nem12.csv"]["date_twice"]),
        ("espi.xml", "unit", put(b"<espi:uom>72<", b"<espi:uom>29<")),
        ("espi.xml", "precision", put(b"Multiplier>-3<", b"Multiplier>-6<")),
        ("espi.xml", "no_readings", lambda content: re.sub(rb"<espi:IntervalReading>.*?</espi:IntervalReading>", b"",
                                                           content, flags=re.DOTALL)),
    ],
)  # fmt: skip
def test_an_import_refuses_what_it_cannot_take_exactly(name: str, reason: str, plant: Fault) -> None:
    good = (GOLDEN / name).read_bytes()
    read, refusals = (import_nem12, NEM12_REFUSED) if name == "nem12.csv" else (import_espi, ESPI_REFUSED)
    assert not read(good, "run").refused
    found = read(plant(good), "run")
    assert reason in refusals
    assert reason in {one.reason for one in found.findings}
    assert found.refused and found.finals.is_empty()


@pytest.mark.parametrize(
    ("reason", "line_no", "plant"),
    [
        ("not_json", 0, lambda manifest, files: (manifest[:-9], files)),
        ("file_missing", 1, lambda manifest, _: (manifest, {})),
        ("file_size", 1, lambda manifest, files: (manifest, {name: text + b"," for name, text in files.items()})),
        ("file_hash", 1, lambda manifest, files: (manifest, {name: text[::-1] for name, text in files.items()})),
        ("file_unlisted", 0, lambda manifest, files: (manifest, files | {"more.csv": b""})),
    ],
)
def test_a_delivery_that_is_not_what_its_manifest_states_is_named(
    reason: str, line_no: int, plant: Callable[[bytes, dict[str, bytes]], tuple[bytes, dict[str, bytes]]]
) -> None:
    manifest = (GOLDEN / "cmep.manifest.json").read_bytes()
    name = re.findall(rb'"name":\s*"([^"]+)"', manifest)[0].decode()
    files = {name: (GOLDEN / "cmep.csv").read_bytes()}
    assert check_manifest(manifest, files) == []
    assert [(one.reason, one.line) for one in check_manifest(*plant(manifest, files))] == [(reason, line_no)]
    assert {"not_json", "file_missing", "file_size", "file_hash", "file_unlisted"} <= reasons_in(check)


SEPARATORS = (b",", b"+", b":", b"*", b"~", b"'", b"\r\n", b";", b"<", b">", b"/", b" ", b'"')
JUNK = (b"-1", b"99999999999999999999999999", b"x", b"\xff", b"\xc2\xb2", b"0", b"1e9", b"NaN", b"\xd9\xa1", b"\0")


def mangled(content: bytes, chance: random.Random) -> bytes:
    """The file with some pieces between separators lost, emptied, doubled, exchanged or replaced, or cut short."""
    for _ in range(chance.choice((1, 1, 2, 4))):
        separator = chance.choice([one for one in SEPARATORS if one in content] or [b"a"])
        parts = content.split(separator)
        place = chance.randrange(min(len(parts), 80))
        other = chance.randrange(len(parts))
        match chance.randrange(7):
            case 0:
                del parts[place]
            case 1:
                parts[place] = b""
            case 2:
                parts.insert(place, parts[other])
            case 3:
                parts[place], parts[other] = parts[other], parts[place]
            case 4:
                parts[place] = chance.choice(JUNK)
            case 5:
                parts = parts[: place + 1]
            case _:
                parts = parts[place:]
        content = separator.join(parts)
    return content


@pytest.mark.parametrize("name", sorted(PLANTED))
def test_a_mangled_file_gives_findings_and_never_an_exception(name: str) -> None:
    good, chance = (GOLDEN / name).read_bytes(), random.Random(name)
    ask = check._CHECKS[str(check_file(name, good).format)]
    for _ in range(250):
        bad = mangled(good, chance)
        check_file(name, bad)
        ask(bad)
        if name in ("nem12.csv", "espi.xml"):
            (import_nem12 if name == "nem12.csv" else import_espi)(bad, "run")
