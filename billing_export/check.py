"""`ami check FILE`: which format a file is, and everything that is wrong with it."""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import PurePath
from typing import Final, NamedTuple

from billing_export.findings import Finding
from billing_export.formats import (
    asexml_check,
    cmep_check,
    determinants_check,
    espi_check,
    flat_check,
    iec61968_check,
    mscons_check,
    nem12_check,
    nem13_check,
    oracle_ccb,
    sap_isu,
    x12_867_check,
)

Check = Callable[[bytes], list[Finding]]

_CHECKS: Final[dict[str, Check]] = {
    "determinants.parquet": determinants_check.check_parquet,
    "determinants.csv": determinants_check.check_csv,
    "nem12": nem12_check.check,
    "nem13": nem13_check.check,
    "nem12_asexml": asexml_check.check,
    "nem13_asexml": asexml_check.check,
    "cmep": cmep_check.check,
    "espi": espi_check.check,
    "mscons": mscons_check.check,
    "iec61968": iec61968_check.check,
    "x12_867": x12_867_check.check,
    "sap_isu": flat_check.check_sap,
    "oracle_ccb": flat_check.check_oracle,
}
_BEGINNINGS: Final = (
    (b"PAR1", "determinants.parquet"),
    (b"batch_id,line_no,", "determinants.csv"),
    (b"100,NEM13", "nem13"),
    (b"100,", "nem12"),
    (b"MEPMD", "cmep"),
    (b"UNA", "mscons"),
    (b"UNB", "mscons"),
    (b"ISA*", "x12_867"),
    (";".join(sap_isu.COLUMNS[:3]).encode(), "sap_isu"),
    (",".join(oracle_ccb.COLUMNS[:3]).encode(), "oracle_ccb"),
)
_XML_HEAD: Final = 2048
"""Bytes in which an XML file tells what it is."""
_IN_XML: Final = ((b"MeterReadings", "iec61968"), (b"CSVConsumptionData", "nem13_asexml"), (b"aseXML", "nem12_asexml"))
_IN_NAME: Final = (("nem12", "nem12"), ("nem13", "nem13"), ("cmep", "cmep"), ("espi", "espi"), ("mscons", "mscons"))


class Checked(NamedTuple):
    """What a file is and what is wrong with it; no findings means that a receiver must take it."""

    format: str | None
    findings: list[Finding]


def check_file(name: str, data: bytes) -> Checked:
    """Findings of the strict check of the file's format, recognised by its first bytes, else by its name.

    A file of no known format has the finding `format_unknown`.
    """
    start = data[:64].removeprefix(b"\xef\xbb\xbf").lstrip()
    kind = next((form for beginning, form in _BEGINNINGS if start.startswith(beginning)), None)
    lower = PurePath(name).name.lower()
    if start.startswith(b"<"):
        kind = next((form for word, form in _IN_XML if word in data[:_XML_HEAD]), "espi")
    kind = kind or next((form for word, form in _IN_NAME if word in lower), None)
    if kind is None:
        return Checked(None, [Finding(0, "format_unknown", "neither the first bytes nor the name tell the format")])
    return Checked(kind, _CHECKS[kind](data))


def check_manifest(manifest: bytes, files: Mapping[str, bytes]) -> list[Finding]:
    """Findings of a delivery against its manifest: `not_json`, `file_missing`, `file_size`, `file_hash`,
    `file_unlisted`; line = number of the file in the manifest, 0 the manifest."""
    try:
        listed = json.loads(manifest)["files"]
        stated = [(str(file["name"]), int(file["bytes"]), str(file["sha256"])) for file in listed]
    except (ValueError, KeyError, TypeError) as error:
        return [Finding(0, "not_json", f"no manifest: {type(error).__name__}")]
    found = []
    for number, (name, size, digest) in enumerate(stated, 1):
        content = files.get(name)
        if content is None:
            found.append(Finding(number, "file_missing", name))
        elif len(content) != size:
            found.append(Finding(number, "file_size", f"{name}: {len(content)} bytes, {size} stated"))
        elif hashlib.sha256(content).hexdigest() != digest:
            found.append(Finding(number, "file_hash", f"{name}: another content than stated"))
    names = {name for name, _, _ in stated}
    found += [Finding(0, "file_unlisted", name) for name in sorted(files) if name not in names]
    return found
