"""The records of a NEM12 file, read once: for the strict check and for the import.

Reading keeps what can be understood and names what cannot; it never guesses. What files in the wild get wrong without
becoming ambiguous (padding commas to the right, LF, a missing last empty field) is named too, and tolerated.
"""

import re
from datetime import date, datetime
from typing import Final, NamedTuple

from billing_export.findings import Finding
from billing_export.formats.nem12_codes import LENGTHS_MIN, UNIT_MILLI, quality_fault

DAY_MIN: Final = 1440
FIELDS: Final = {"100": 5, "200": 10, "400": 6, "500": 5, "900": 1}
"""Fields of a record with its indicator; a 300 has as many as its values, and 7."""
_NUMBER: Final = re.compile(r"-?([0-9]+(\.[0-9]*)?|\.[0-9]+)")
_LIKE_NUMBER: Final = re.compile(r"[-+.\d]")


class Event(NamedTuple):
    """A 400 record."""

    line: int
    first: int
    last: int
    quality: str
    reason: str
    text: str


class Day(NamedTuple):
    """A 300 record and its 400s."""

    line: int
    stream: int
    """Index of the 200 record."""
    day: date
    values: list[str]
    quality: str
    reason: str
    text: str
    updated: str
    loaded: str
    """When MSATS loaded it."""
    events: list[Event]


class Stream(NamedTuple):
    """A 200 record."""

    line: int
    nmi: str
    configuration: str
    register: str
    suffix: str
    data_stream: str
    serial: str
    uom: str
    length_min: int
    next_read: str


class Records(NamedTuple):
    """What a file holds."""

    header: list[str]
    streams: list[Stream]
    days: list[Day]
    findings: list[Finding]


def read_records(data: bytes) -> Records:
    """Every record of the file that can be understood, and a finding for everything that is not as it should be.

    Findings of this level: `not_text`, `line_end`, `empty`, `no_header`, `not_nem12`, `no_trailer`, `after_trailer`,
    `blank_line`, `record_unknown`, `record_order`, `padding`, `field_missing`, `field_count`, `blank_in_field`,
    `interval_length`, `uom`, `date`, `value_count`, `value`, `quality_flag`, `range`.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return Records([], [], [], [Finding(0, "not_text", f"byte {error.start} is no UTF-8")])
    reader = _Reader()
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    if any(not line.endswith("\r") for line in lines):
        reader.say(0, "line_end", "lines do not all end in CRLF")
    for number, line in enumerate(lines, 1):
        reader.take(number, line.removesuffix("\r"))
    return reader.finish()


class _Reader:
    """Where the reading stands between two lines."""

    def __init__(self) -> None:
        self.header: list[str] = []
        self.streams: list[Stream] = []
        self.days: list[Day] = []
        self.findings: list[Finding] = []
        self.ended = False
        self.kind = ""

    def say(self, line: int, reason: str, detail: str) -> None:
        self.findings.append(Finding(line, reason, detail))

    def take(self, number: int, line: str) -> None:
        if self.ended:
            self.say(number, "after_trailer", "a record after the 900")
        elif not line.strip():
            self.say(number, "blank_line", "a line without a record")
        else:
            fields = line.split(",")
            if any(field != field.strip() for field in fields):
                self.say(number, "blank_in_field", "blanks around a field")
                fields = [field.strip() for field in fields]
            self._record(number, fields)

    def finish(self) -> Records:
        if not self.header:
            self.say(0, "no_header", "no 100 record")
        if not self.ended:
            self.say(0, "no_trailer", "no 900 record: the file may be cut short")
        if not self.days:
            self.say(0, "empty", "no 300 record")
        return Records(self.header, self.streams, self.days, self.findings)

    def _record(self, number: int, fields: list[str]) -> None:
        kind = fields[0]
        if not self.header and kind != "100":
            self.say(number, "record_order", f"{kind} before the 100")
        if kind == "100":
            self._take_100(number, self._sized(number, fields, FIELDS["100"]))
        elif kind == "200":
            self._take_200(number, self._sized(number, fields, FIELDS["200"]))
        elif kind == "300":
            self._take_300(number, fields)
        elif kind == "400":
            self._take_400(number, self._sized(number, fields, FIELDS["400"]))
        elif kind == "500":
            self._take_500(number, fields)
        elif kind == "900":
            self._sized(number, fields, FIELDS["900"])
            self.ended = True
        else:
            self.say(number, "record_unknown", f"record {kind[:8]!r}")
        self.kind = kind

    def _sized(self, number: int, fields: list[str], count: int) -> list[str]:
        if len(fields) > count:
            padding = not any(fields[count:])
            self.say(number, "padding" if padding else "field_count", f"{len(fields)} fields, {count} expected")
            return fields[:count]
        if len(fields) < count:
            # Only what may be empty may be absent: then nothing is lost.
            self.say(number, "field_missing", f"{len(fields)} fields, {count} expected")
            return fields + [""] * (count - len(fields))
        return fields

    def _take_100(self, number: int, fields: list[str]) -> None:
        if self.header:
            self.say(number, "record_order", "a second 100")
        if fields[1] != "NEM12":
            self.say(number, "not_nem12", f"version header {fields[1][:10]!r}")
        self.header = fields

    def _take_200(self, number: int, fields: list[str]) -> None:
        length = int(fields[8]) if fields[8].isdecimal() and len(fields[8]) <= 4 else 0
        if length not in LENGTHS_MIN:
            self.say(number, "interval_length", f"{fields[8]!r} is not 5, 15 or 30 minutes")
            length = length if length and DAY_MIN % length == 0 else 0
        if fields[7].upper() not in UNIT_MILLI:
            self.say(number, "uom", f"unit {fields[7][:8]!r}")
        nmi, configuration, register, suffix, data_stream, serial, uom = fields[1:8]
        self.streams.append(
            Stream(number, nmi, configuration, register, suffix, data_stream, serial, uom, length, fields[9])
        )

    def _take_300(self, number: int, fields: list[str]) -> None:
        if not self.streams or self.kind not in ("200", "300", "400", "500"):
            self.say(number, "record_order", "300 without a 200")
            return
        length = self.streams[-1].length_min
        count = DAY_MIN // length if length else 0
        at = next((place for place, field in enumerate(fields[2:], 2) if field and not _LIKE_NUMBER.match(field)), 0)
        if at - 2 != count:
            self.say(number, "value_count", f"{max(at - 2, 0)} values, {count} expected")
            return
        fields = self._sized(number, fields, count + 7)
        day = _day(fields[1])
        if day is None:
            self.say(number, "date", f"interval date {fields[1][:10]!r}")
            return
        values = fields[2:at]
        wrong = next((place for place, value in enumerate(values, 1) if not _NUMBER.fullmatch(value)), 0)
        if wrong:
            self.say(number, "value", f"value {wrong} is no number")
            return
        quality, reason, words, updated, loaded = fields[at : at + 5]
        stream = len(self.streams) - 1
        self.days.append(Day(number, stream, day, values, quality, reason, words, updated, loaded, []))

    def _take_400(self, number: int, fields: list[str]) -> None:
        if not self.days or self.kind not in ("300", "400"):
            self.say(number, "record_order", "400 without a 300")
            return
        count = len(self.days[-1].values)
        first, last = (int(field[:9]) if field.isdecimal() else 0 for field in fields[1:3])
        if not 0 < first <= last <= count:
            self.say(number, "range", f"intervals {fields[1][:6]!r} to {fields[2][:6]!r}")
            first, last = min(first, count), min(last, count)  # who walks over it walks over the day, not over a number
        if fault := quality_fault(fields[3], in_400=True):
            self.say(number, fault, f"quality {fields[3][:4]!r}")
        self.days[-1].events.append(Event(number, first, last, *fields[3:6]))

    def _take_500(self, number: int, fields: list[str]) -> None:
        self._sized(number, fields, FIELDS["500"])
        if not self.days or self.kind not in ("300", "400", "500"):
            self.say(number, "record_order", "500 without a 300")


def _day(text: str) -> date | None:
    try:
        return datetime.strptime(text, "%Y%m%d").date() if len(text) == 8 else None
    except ValueError:
        return None
