"""Strict check of the flat files for SAP IS-U and Oracle CC&B."""

import csv
import io
import re
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Final

from billing_export.findings import Finding
from billing_export.formats import oracle_ccb, sap_isu

_QUANTITY: Final = re.compile(r"-?\d+\.\d{6}")
Row = dict[str, str]


def check_oracle(data: bytes) -> list[Finding]:
    """Findings by line: `not_text`, `line_end`, `header`, `field_count`, `usage_id` (several), `line_numbers`,
    `quantity`, `unit`, `type`, `time`, `empty_field`."""
    return _checked(data, ",", oracle_ccb.COLUMNS, _oracle_rows)


def check_sap(data: bytes) -> list[Finding]:
    """Findings by line: `not_text`, `line_end`, `header`, `field_count`, `order_twice`, `quantity`, `register`,
    `time`, `empty_field`."""
    return _checked(data, ";", sap_isu.COLUMNS, _sap_rows)


def _checked(
    data: bytes, separator: str, columns: tuple[str, ...], rules: Callable[[list[Row]], Iterator[Finding]]
) -> list[Finding]:
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        return [Finding(0, "not_text", f"byte {error.start} is no UTF-8")]
    found = [] if "\n" not in text.replace("\r\n", "") else [Finding(0, "line_end", "lines do not all end in CRLF")]
    lines = list(csv.reader(io.StringIO(text, newline=""), delimiter=separator))
    if not lines or tuple(lines[0]) != columns:
        return [*found, Finding(1, "header", "the columns are others")]
    for number, fields in enumerate(lines[1:], 2):
        if len(fields) != len(columns):
            found.append(Finding(number, "field_count", f"{len(fields)} fields, {len(columns)} expected"))
    if not found:
        found += rules([dict(zip(columns, fields, strict=True)) for fields in lines[1:]])
    return sorted(set(found))


def _oracle_rows(rows: list[Row]) -> Iterator[Finding]:
    if len({row["USAGE_ID"] for row in rows}) > 1:
        yield Finding(0, "usage_id", "more than one usage id")
    for number, row in enumerate(rows, 2):
        checks = [
            ("line_numbers", row["LINE"] == str(number - 1)),
            ("quantity", bool(_QUANTITY.fullmatch(row["QUANTITY"]))),
            ("unit", row["UOM_CD"] in oracle_ccb.UNIT.values()),
            ("type", row["USG_TYPE"] in ("R", "E", "M")),
            ("time", _is_time(row["START_DTTM"]) and _is_time(row["END_DTTM"]) and row["START_DTTM"] < row["END_DTTM"]),
            ("empty_field", all(row[name] for name in ("USAGE_ID", "BADGE_NBR", "SQI_CD"))),
        ]
        yield from (
            Finding(number, reason, f"the row breaks the rule {reason!r}") for reason, holds in checks if not holds
        )


def _sap_rows(rows: list[Row]) -> Iterator[Finding]:
    seen: set[str] = set()
    for number, row in enumerate(rows, 2):
        checks = [
            ("order_twice", row["MRIDNUMBER"] not in seen),
            ("quantity", bool(_QUANTITY.fullmatch(row["READINGRESULT"]))),
            ("register", row["REGISTER"] in sap_isu.REGISTER_CHANNEL),
            ("time", bool(re.fullmatch(r"\d{8}", row["MRDATEOFREADING"]))),
            ("empty_field", all(row[name] for name in ("MRIDNUMBER", "SERIALNO"))),
        ]
        seen.add(row["MRIDNUMBER"])
        yield from (
            Finding(number, reason, f"the row breaks the rule {reason!r}") for reason, holds in checks if not holds
        )


def _is_time(text: str) -> bool:
    try:
        datetime.strptime(text, "%Y-%m-%d-%H.%M.%S")
    except ValueError:
        return False
    return True
