"""Strict check of a NEM12 file: everything that a second reader lets pass (billing.md section 4)."""

import re
from collections.abc import Iterator
from datetime import datetime
from typing import Final

from billing_export.findings import Finding
from billing_export.formats.nem12_codes import REASONS, TRANSACTIONS, UNIT_MILLI, quality_fault
from billing_export.formats.nem12_records import Day, Records, Stream, read_records

_NMI: Final = re.compile(r"[A-Z0-9]{10}")
_SUFFIX: Final = re.compile(r"[A-Z][A-Z0-9]")
_DECIMALS: Final = 4
_ENERGY: Final = ("WH", "KWH", "MWH")


def check(data: bytes) -> list[Finding]:
    """Every breach of the format, by line; empty for a file that a receiver must take.

    Beside the findings of `read_records`: `date_time`, `participant`, `nmi`, `configuration`, `suffix`, `serial`,
    `register`, `data_stream`, `next_read`, `negative`, `decimals`, the faults of a quality field, `reason`,
    `reason_text`, `reason_missing`, `events_without_v`, `v_without_events`, `tiling`, `date_order`, `date_twice`,
    `no_update_time`, `no_days`, `transaction`, `field_length`.
    """
    records = read_records(data)
    found = list(records.findings)
    found += _header(records)
    for stream in records.streams:
        found += _stream(stream)
    for day in records.days:
        found += _day(day, records.streams[day.stream])
    found += _order(records)
    found += _transactions(data)
    return sorted(set(found))


def _header(records: Records) -> Iterator[Finding]:
    if not records.header:
        return
    if not _is_time(records.header[2], "%Y%m%d%H%M"):
        yield Finding(1, "date_time", f"created {records.header[2][:14]!r} is no DateTime12")
    for name in records.header[3:5]:
        if not 0 < len(name) <= 10:
            yield Finding(1, "participant", f"participant {name[:12]!r} is not 1 to 10 characters")


def _stream(stream: Stream) -> Iterator[Finding]:
    checks = [
        ("nmi", bool(_NMI.fullmatch(stream.nmi)), f"NMI {stream.nmi[:12]!r} is not 10 letters and digits"),
        ("suffix", bool(_SUFFIX.fullmatch(stream.suffix)), f"suffix {stream.suffix[:4]!r}"),
        ("configuration", _within(stream), f"configuration does not contain {stream.suffix[:4]!r}"),
        ("register", len(stream.register) <= 10, "register id longer than 10"),
        ("data_stream", len(stream.data_stream) <= 2, "data stream longer than 2"),
        ("serial", len(stream.serial) <= 12, "meter serial longer than 12"),
        ("next_read", not stream.next_read or _is_time(stream.next_read, "%Y%m%d"), "next scheduled read is no Date8"),
    ]
    for reason, sound, detail in checks:
        if not sound:
            yield Finding(stream.line, reason, detail)


def _within(stream: Stream) -> bool:
    text = stream.configuration
    return stream.suffix in [text[at : at + 2] for at in range(0, len(text), 2)]


def _day(day: Day, stream: Stream) -> Iterator[Finding]:
    if any(value.startswith("-") for value in day.values):
        yield Finding(day.line, "negative", "a value is below zero")
    if stream.uom.upper() in _ENERGY and UNIT_MILLI[stream.uom.upper()] >= 1_000_000:
        most = max((len(value.partition(".")[2]) for value in day.values), default=0)
        if most > _DECIMALS:
            yield Finding(day.line, "decimals", f"{most} decimals")
    if fault := quality_fault(day.quality):
        yield Finding(day.line, fault, f"quality {day.quality[:4]!r}")
    yield from _reason(day.line, day.quality, day.reason, day.text)
    if not day.updated and not day.quality.startswith("N"):
        yield Finding(day.line, "no_update_time", "update time is empty")
    elif day.updated and not _is_time(day.updated, "%Y%m%d%H%M%S"):
        yield Finding(day.line, "date_time", "update time is no DateTime14")
    if day.loaded and not _is_time(day.loaded, "%Y%m%d%H%M%S"):
        yield Finding(day.line, "date_time", "MSATS load time is no DateTime14")
    yield from _events(day)


def _events(day: Day) -> Iterator[Finding]:
    varies = day.quality.startswith("V")
    if varies and not day.events:
        yield Finding(day.line, "v_without_events", "quality V without a 400")
    if day.events and not varies:
        yield Finding(day.line, "events_without_v", f"400 under quality {day.quality[:4]!r}")
    if day.events:
        # The ranges must be 1 … N, each beginning where the one before ended.
        expected = 1
        for event in day.events:
            if event.first != expected:
                yield Finding(event.line, "tiling", f"range begins at {event.first}, {expected} expected")
            expected = event.last + 1
        if expected != len(day.values) + 1:
            yield Finding(day.events[-1].line, "tiling", f"ranges end at {expected - 1} of {len(day.values)}")
    for event in day.events:
        yield from _reason(event.line, event.quality, event.reason, event.text)


def _reason(line: int, quality: str, reason: str, text: str) -> Iterator[Finding]:
    if reason and not (reason.isdecimal() and int(reason) in REASONS):
        yield Finding(line, "reason", f"reason code {reason[:4]!r}")
    if text and reason != "0":
        yield Finding(line, "reason_text", "a text without reason code 0")
    if len(text) > 240:
        yield Finding(line, "reason_text", "a text longer than 240 characters")
    if quality[:1] in ("S", "F") and not reason:
        yield Finding(line, "reason_missing", "a substitute without a reason code")


def _order(records: Records) -> Iterator[Finding]:
    newest: dict[tuple[str, str], Day] = {}
    for day in records.days:
        stream = records.streams[day.stream]
        key = (stream.nmi, stream.suffix)
        before = newest.get(key)
        if before is not None and day.day == before.day:
            yield Finding(day.line, "date_twice", f"{day.day} of {stream.suffix} is given twice")
        elif before is not None and day.day < before.day:
            yield Finding(day.line, "date_order", f"{day.day} after {before.day}")
        newest[key] = day
    used = {day.stream for day in records.days}
    for place, stream in enumerate(records.streams):
        if place not in used:
            yield Finding(stream.line, "no_days", "a 200 without a 300")


def _transactions(data: bytes) -> Iterator[Finding]:
    for number, line in enumerate(data.split(b"\n"), 1):
        fields = line.rstrip(b"\r").split(b",")
        if fields[0] != b"500":
            continue
        _, code, order, at, index = (*(one.decode("ascii", "replace").strip() for one in fields), "", "", "", "")[:5]
        if code not in TRANSACTIONS:
            yield Finding(number, "transaction", "transaction code of the 500")
        if len(order) > 15 or len(index) > 15:
            yield Finding(number, "field_length", "service order or index read of the 500 longer than 15")
        if at and not _is_time(at, "%Y%m%d%H%M%S"):
            yield Finding(number, "date_time", "read time of the 500 is no DateTime14")


def _is_time(text: str, pattern: str) -> bool:
    try:
        datetime.strptime(text, pattern)
    except ValueError:
        return False
    return len(text) == len(datetime(2000, 1, 1).strftime(pattern))
