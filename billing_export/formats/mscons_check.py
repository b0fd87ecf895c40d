"""Strict check of an MSCONS interchange: counts, order, times and sums that a syntax checker does not see."""

import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

from billing_export.findings import Finding
from billing_export.formats.edifact import Segment, read_segments

_HEAD: Final = ("UNH", "BGM", "DTM", "RFF", "NAD", "NAD", "UNS", "NAD", "LOC")
_QUALIFIERS: Final = ("220", "67")
_NUMBER: Final = re.compile(r"-?\d+(\.\d+)?")
_OBIS: Final = re.compile(r"1-\d{1,2}:\d{1,2}\.\d{1,2}\.\d{1,2}")
_CANCELLATION: Final = "1"
_FUNCTIONS: Final = ("9", _CANCELLATION, "5")


def check(data: bytes) -> list[Finding]:
    """Every breach, by number of the segment; empty for an interchange that a receiver must take.

    Beside the findings of `read_segments`: `interchange` (UNB first, UNZ last, same reference), `message_count`,
    `segment_count`, `message_order`, `cancellation`, `participant`, `reference_twice`, `function`, `location`, `obis`,
    `time`, `period`, `value`, `qualifier`, `gap` (quantities that do not follow one another through the period).
    """
    segments, found = read_segments(data)
    if found or not segments:
        return found or [Finding(0, "empty", "no segment")]
    found += _interchange(segments)
    messages = _messages(segments)
    if segments[-1].tag == "UNZ" and segments[-1].value(0) != str(len(messages)):
        found.append(Finding(segments[-1].number, "message_count", f"{segments[-1].value(0)} for {len(messages)}"))
    references = [message[0].value(0) for message in messages]
    for message in messages:
        if references.count(message[0].value(0)) > 1:
            found.append(Finding(message[0].number, "reference_twice", f"reference {message[0].value(0)[:14]!r}"))
        found += _message(message)
    return sorted(set(found))


def _interchange(segments: list[Segment]) -> Iterator[Finding]:
    first, last = segments[0], segments[-1]
    if first.tag != "UNB" or last.tag != "UNZ" or first.value(4) != last.value(1):
        yield Finding(first.number, "interchange", "UNB and UNZ do not enclose it under one reference")
    for element in (1, 2):
        if not re.fullmatch(r"\d{13}", first.value(element)):
            yield Finding(first.number, "participant", "no 13-digit code")


def _messages(segments: list[Segment]) -> list[list[Segment]]:
    messages: list[list[Segment]] = []
    for one in segments[1:-1]:
        if one.tag == "UNH" or not messages:
            messages.append([])
        messages[-1].append(one)
    return messages


def _message(message: list[Segment]) -> Iterator[Finding]:
    first, last = message[0], message[-1]
    cancels = message[1:2] and message[1].tag == "BGM" and message[1].value(2) == _CANCELLATION
    if cancels and not any(one.tag == "RFF" and one.value(0) == "ACW" and one.value(0, 1) for one in message):
        yield Finding(message[1].number, "cancellation", "a cancellation names no document (RFF+ACW)")
    message = [one for one in message if not (cancels and one.tag == "RFF" and one.value(0) == "ACW")]
    tags = tuple(one.tag for one in message[: len(_HEAD)])
    if tags != _HEAD or last.tag != "UNT" or last.value(1) != first.value(0):
        yield Finding(first.number, "message_order", f"begins {'-'.join(tags)}")
        return
    count = last.number - first.number + 1
    if last.value(0) != str(count):
        yield Finding(last.number, "segment_count", f"{last.value(0)} for {count}")
    if first.value(1) != "MSCONS":
        yield Finding(first.number, "message_order", "not MSCONS")
    if message[1].value(2) not in _FUNCTIONS:
        yield Finding(message[1].number, "function", f"function {message[1].value(2)[:3]!r}")
    if len(message[8].value(1)) not in (11, 33):
        yield Finding(message[8].number, "location", f"location of {len(message[8].value(1))} characters")
    if not cancels:
        yield from _profile(message[len(_HEAD) : -1])


def _profile(body: list[Segment]) -> Iterator[Finding]:
    bounds = [_time(one) for one in body[:2]]
    if len(body) < 4 or [one.tag for one in body[:4]] != ["DTM", "DTM", "LIN", "PIA"] or None in bounds:
        yield Finding(body[0].number if body else 0, "period", "no period, LIN and PIA")
        return
    # The colon inside a code is often left unescaped: then it is two components.
    if not any(_OBIS.fullmatch(code) for code in (body[3].value(1), f"{body[3].value(1)}:{body[3].value(1, 1)}")):
        yield Finding(body[3].number, "obis", "no OBIS code")
    expected = bounds[0]
    quantities = [one for one in body[4:] if one.tag != "STS"]
    for place in range(0, len(quantities), 3):
        some = quantities[place : place + 3]
        if [one.tag for one in some] != ["QTY", "DTM", "DTM"]:
            yield Finding(some[0].number, "message_order", "a quantity without its two times")
            return
        start, end = _time(some[1]), _time(some[2])
        if start is None or end is None or end - start <= timedelta(0):
            yield Finding(some[1].number, "time", "times of a quantity")
        elif start != expected:
            yield Finding(some[1].number, "gap", "a quantity does not begin where the one before ended")
        expected = end
        yield from _quantity(some[0])
    if expected != bounds[1]:
        yield Finding(body[1].number, "gap", "the quantities do not end with the period")


def _quantity(quantity: Segment) -> Iterator[Finding]:
    if quantity.value(0) not in _QUALIFIERS:
        yield Finding(quantity.number, "qualifier", f"qualifier {quantity.value(0)[:3]!r}")
    if not _NUMBER.fullmatch(quantity.value(0, 1)):
        yield Finding(quantity.number, "value", "no number")


def _time(one: Segment) -> datetime | None:
    text, form = one.value(0, 1), one.value(0, 2)
    try:
        return datetime.strptime(text + "00", "%Y%m%d%H%M%z") if form == "303" else None
    except ValueError:
        return None
