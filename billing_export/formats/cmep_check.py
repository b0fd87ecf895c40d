"""Strict check of a CMEP file: every record on its own, then records against one another."""

import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

from billing_export.findings import Finding

_VERSIONS: Final = ("19970819", "19990504", "20080519")
_PURPOSES: Final = ("OK", "RESEND", "SUMMARY", "HISTORY", "PROFILE", "TEMPLATE")
_UNITS: Final = ("KWH", "KW", "KVARH", "KVAR", "KVAH", "KVA", "THERM", "CCF", "GAL")
_LIMITS: Final = {3: 16, 4: 12, 5: 16, 6: 12, 8: 12}
_NUMBER: Final = re.compile(r"-?\d+(\.\d+)?")
_FLAG: Final = re.compile(r"|E|A|N|R\d*")


def check(data: bytes) -> list[Finding]:
    """Every breach of the layout, by line; empty for a file that a receiver must take.

    Findings: `not_text`, `empty`, `record_unknown`, `version`, `field_length`, `created`, `purpose`, `commodity`,
    `unit`, `constant`, `interval`, `count`, `field_count`, `time_blank`, `time`, `time_order`, `flag`, `value`,
    `period`, `meter_twice` (two values of one meter, unit and time).
    """
    try:
        text = data.decode("ascii")
    except UnicodeDecodeError as error:
        return [Finding(0, "not_text", f"byte {error.start} is no ASCII")]
    found: list[Finding] = []
    seen: dict[tuple[str, str, str], int] = {}
    lines = text.splitlines()
    if not lines:
        found.append(Finding(0, "empty", "no record"))
    for number, line in enumerate(lines, 1):
        fields = line.split(",")
        if fields[0] == "MEPMD02" and len(fields) > 15:
            found += [*_head(number, [*fields[:12], "", *fields[12:]]), *_periods(number, fields)]
            continue
        if fields[0] != "MEPMD01" or len(fields) < 14:
            found.append(Finding(number, "record_unknown", f"record {fields[0][:8]!r} of {len(fields)} fields"))
            continue
        found += _head(number, fields)
        found += _triplets(number, fields)
        for time in fields[14::3]:
            key = (fields[7], fields[10], time)
            if key in seen:
                found.append(Finding(number, "meter_twice", f"{time} stands in line {seen[key]} too"))
            seen[key] = number
    return sorted(set(found))


def _head(number: int, fields: list[str]) -> Iterator[Finding]:
    unit = fields[10].removesuffix("REG")
    checks = [
        ("version", fields[1] in _VERSIONS, f"version {fields[1][:10]!r}"),
        ("created", _time(fields[6]) is not None, "created is no YYYYMMDDHHMM"),
        ("purpose", fields[8] in _PURPOSES, f"purpose {fields[8][:10]!r}"),
        ("commodity", fields[9] in ("E", "G", "W", "S"), f"commodity {fields[9][:4]!r}"),
        ("unit", unit in _UNITS, f"unit {fields[10][:10]!r}"),
        ("constant", not fields[11] or bool(_NUMBER.fullmatch(fields[11])), "constant is no number"),
        ("interval", _interval(fields), f"interval {fields[12][:10]!r}"),
    ]
    for reason, sound, detail in checks:
        if not sound:
            yield Finding(number, reason, detail)
    for place, limit in _LIMITS.items():
        if len(fields[place - 1]) > limit:
            yield Finding(number, "field_length", f"field {place} is longer than {limit}")
    if not fields[7]:
        yield Finding(number, "field_length", "meter id is empty")


def _periods(number: int, fields: list[str]) -> Iterator[Finding]:
    if not fields[12].isdecimal() or len(fields) != 15 + 3 * int(fields[12]):
        yield Finding(number, "field_count", f"{len(fields)} fields for {fields[12][:4]} triplets")
        return
    if _time(fields[14]) is None:
        yield Finding(number, "time", f"time {fields[14][:14]!r}")
    for label, flag, value in zip(fields[15::3], fields[16::3], fields[17::3], strict=True):
        if not label:
            yield Finding(number, "period", "a triplet without a period")
        yield from _value(number, flag, value)


def _interval(fields: list[str]) -> bool:
    if fields[0] == "MEPMD02" or fields[10].endswith("REG"):
        return fields[12] == "" or _length(fields[12]) is not None
    return _length(fields[12]) is not None


def _length(text: str) -> timedelta | None:
    if not re.fullmatch(r"\d{8}", text):
        return None
    length = timedelta(days=int(text[2:4]), hours=int(text[4:6]), minutes=int(text[6:8]))
    return length or (timedelta(days=30) if text[:2] != "00" else None)


def _triplets(number: int, fields: list[str]) -> Iterator[Finding]:
    if not fields[13].isdecimal():
        yield Finding(number, "count", f"count {fields[13][:6]!r}")
        return
    if len(fields) != 14 + 3 * int(fields[13]):
        yield Finding(number, "field_count", f"{len(fields)} fields for {fields[13]} triplets")
        return
    before: datetime | None = None
    for time, flag, value in zip(fields[14::3], fields[15::3], fields[16::3], strict=True):
        at = _time(time)
        if at is None:
            yield Finding(number, "time" if time else "time_blank", f"time {time[:14]!r}")
        elif before is not None and at <= before:
            yield Finding(number, "time_order", f"{time} does not follow the one before")
        yield from _value(number, flag, value)
        before = at or before


def _value(number: int, flag: str, value: str) -> Iterator[Finding]:
    if not _FLAG.fullmatch(flag):
        yield Finding(number, "flag", f"flag {flag[:4]!r}")
    if not (_NUMBER.fullmatch(value) or (flag == "N" and not value)):
        yield Finding(number, "value", "value is no number")


def _time(text: str) -> datetime | None:
    try:
        return datetime.strptime(text, "%Y%m%d%H%M") if len(text) == 12 else None
    except ValueError:
        return None
