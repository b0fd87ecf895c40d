"""NEM13 checked strictly and read back."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final, NamedTuple

import polars as pl

from billing_export.findings import Finding
from billing_export.formats.nem12_codes import REASONS, TRANSACTIONS, UNIT_MILLI, quality_fault
from billing_export.formats.nem12_import import NEM_OFFSET

FIELDS: Final = 23
_NUMBER: Final = re.compile(r"-?([0-9]+(\.[0-9]*)?|\.[0-9]+)")
REFUSED: Final = frozenset(
    {
        "not_text", "empty", "no_header", "not_nem13", "no_trailer", "after_trailer", "record_order",
        "record_unknown", "field_count", "value", "uom",
    }
)  # fmt: skip
"""Findings after which no value of the file is taken."""


class Consumption(NamedTuple):
    """What a NEM13 file gave."""

    rows: pl.DataFrame
    """`nmi`, `suffix`, `meter_id`, `direction` ("delivered" or "received"), `previous_at`?, `current_at`?, `quality`
    (flag and method of the current read), `quantity_milli`; empty where the file is refused."""
    findings: list[Finding]
    refused: bool


def check(data: bytes) -> list[Finding]:
    """Every breach of the format, by line.

    Findings: those in `REFUSED`, and `line_end`, `blank_in_field`, `date_time`, `participant`, `nmi`, `direction`,
    the faults of a quality field, `reason`, `reason_text`, `time_order`, `quantity` (not current less previous),
    `negative`, `no_update_time`, `no_550`, `transaction`.
    """
    return sorted(set(_check(data)))


def import_nem13(data: bytes) -> Consumption:
    """Consumption of each register, exact; what is merely untidy is said and tolerated."""
    found = check(data)
    refused = any(finding.reason in REFUSED for finding in found)
    schema = {
        "nmi": pl.String(), "suffix": pl.String(), "meter_id": pl.String(), "direction": pl.String(),
        "previous_at": pl.Datetime("us", "UTC"), "current_at": pl.Datetime("us", "UTC"), "quality": pl.String(),
        "quantity_milli": pl.Int64(),
    }  # fmt: skip
    rows = [] if refused else [_consumption(fields) for _, fields in _records(data) if fields[0] == "250"]
    return Consumption(pl.DataFrame(rows, schema=schema, orient="row"), found, refused)


def _records(data: bytes) -> list[tuple[int, list[str]]]:
    lines = data.decode("utf-8-sig").splitlines()
    return [(number, [field.strip() for field in line.split(",")]) for number, line in enumerate(lines, 1) if line]


def _consumption(fields: list[str]) -> tuple[object, ...]:
    direction = "delivered" if fields[7] == "E" else "received"
    quantity = fields[18]
    whole, _, rest = quantity.lstrip("-").partition(".")
    milli = (int(whole or 0) * 10**6 + int(rest.ljust(6, "0")[:6])) * UNIT_MILLI[fields[19].upper()] // 10**6
    name = fields[6] or fields[1]
    at = (_time(fields[9]), _time(fields[14]))
    return fields[1], fields[4], name, direction, *at, fields[15], -milli if quantity.startswith("-") else milli


def _check(data: bytes) -> Iterator[Finding]:
    try:
        records = _records(data)
    except UnicodeDecodeError as error:
        yield Finding(0, "not_text", f"byte {error.start} is no UTF-8")
        return
    if b"\n" in data.replace(b"\r\n", b""):
        yield Finding(0, "line_end", "lines do not all end in CRLF")
    if b" ," in data or b", " in data:
        yield Finding(0, "blank_in_field", "blanks around a field")
    yield from _frame(records)
    following = [*(fields[0] for _, fields in records[1:]), ""][: len(records)]
    for (number, fields), after in zip(records, following, strict=True):
        if fields[0] == "250":
            yield from _record(number, fields)
            if after != "550":
                yield Finding(number, "no_550", "a 250 without its 550")
        elif fields[0] == "550" and not _transactions(fields):
            yield Finding(number, "transaction", "transaction codes of the 550")


def _transactions(fields: list[str]) -> bool:
    codes = [fields[at] for at in (1, 3) if at < len(fields)]
    return len(codes) == 2 and all(code in TRANSACTIONS for code in codes)


def _frame(records: list[tuple[int, list[str]]]) -> Iterator[Finding]:
    kinds = [fields[0] for _, fields in records]
    head = records[0][1] if records else []
    checks = [
        ("no_header", kinds[:1] == ["100"], "no 100 record"),
        ("not_nem13", kinds[:1] != ["100"] or head[1:2] == ["NEM13"], "the 100 is not of NEM13"),
        ("participant", all(0 < len(name) <= 10 for name in head[3:5]), "a participant is not 1 to 10 characters"),
        ("no_trailer", "900" in kinds, "no 900 record: the file may be cut short"),
        ("after_trailer", "900" not in kinds[:-1], "a record after the 900"),
        ("record_order", kinds.count("100") <= 1, "a second 100"),
        ("empty", "250" in kinds, "no 250 record"),
    ]
    for reason, sound, detail in checks:
        if not sound:
            yield Finding(0, reason, detail)
    for number, fields in records:
        if fields[0] not in ("100", "250", "550", "900"):
            yield Finding(number, "record_unknown", f"record {fields[0][:8]!r}")


def _record(number: int, fields: list[str]) -> Iterator[Finding]:
    if len(fields) != FIELDS:
        yield Finding(number, "field_count", f"{len(fields)} fields, {FIELDS} expected")
        return
    checks = [
        ("nmi", len(fields[1]) == 10, "NMI is not 10 characters"),
        ("direction", fields[7] in ("E", "I"), f"direction {fields[7][:2]!r}"),
        ("value", bool(_NUMBER.fullmatch(fields[18])), "quantity is no number"),
        ("uom", fields[19].upper() in UNIT_MILLI, f"unit {fields[19][:8]!r}"),
        ("negative", not fields[18].startswith("-"), "quantity is below zero"),
        ("no_update_time", bool(fields[21]), "update time is empty"),
        ("time_order", fields[9] <= fields[14] or not fields[9], "the current read is older than the previous"),
        ("quantity", _adds_up(fields), "quantity is not current less previous"),
    ]
    for reason, sound, detail in checks:
        if not sound:
            yield Finding(number, reason, detail)
    for read in (8, 13):
        yield from _read(number, fields[read : read + 5])


def _read(number: int, fields: list[str]) -> Iterator[Finding]:
    _, at, quality, reason, text = fields
    if at and _time(at) is None:
        yield Finding(number, "date_time", f"time of a read {at[:16]!r}")
    if quality and (fault := quality_fault(quality)):
        yield Finding(number, fault, f"quality {quality[:4]!r}")
    if reason and not (reason.isdecimal() and int(reason) in REASONS):
        yield Finding(number, "reason", f"reason code {reason[:4]!r}")
    if text and reason != "0":
        yield Finding(number, "reason_text", "a text without reason code 0")


def _adds_up(fields: list[str]) -> bool:
    # Only our own registers are primary; others may multiply or roll over. Equal decimals are compared as text.
    numbers = [fields[place] for place in (8, 13, 18)]
    if not all(re.fullmatch(r"\d+\.\d{6}", number) for number in numbers):
        return True
    previous, current, quantity = (int(number.replace(".", "")) for number in numbers)
    return current - previous == quantity


def _time(text: str) -> datetime | None:
    try:
        return datetime.strptime(text, "%Y%m%d%H%M%S").replace(tzinfo=UTC) - NEM_OFFSET
    except ValueError:
        return None
