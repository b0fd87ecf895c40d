"""Strict check of an X12 867 interchange as we write it: envelopes, counts, order, values."""

import re
from collections.abc import Iterator
from typing import Final

from billing_export.findings import Finding

_NUMBER: Final = re.compile(r"-?\d+(\.\d+)?")
_ELEMENTS: Final = 8
"""As many as a rule here looks at."""
_PURPOSES: Final = ("00", "01", "05")
_HEAD: Final = ("ST", "BPT", "REF", "N1")


def check(data: bytes) -> list[Finding]:
    """Every breach, by number of the segment: `not_text`, `envelope`, `control_number`, `set_count`, `segment_count`,
    `set_order`, `purpose`, `cancellation`, `service_point`, `quantity`, `time`, `time_order`, `cut_short`."""
    try:
        text = data.decode("ascii")
    except UnicodeDecodeError as error:
        return [Finding(0, "not_text", f"byte {error.start} is no ASCII")]
    parts = [part.strip("\r\n") for part in text.split("~")]
    if parts[-1]:
        return [Finding(0, "cut_short", "the last segment does not end")]
    segments = [(number, _padded(part.split("*"))) for number, part in enumerate(parts[:-1], 1)]
    tags = [fields[0] for _, fields in segments]
    if tags[:2] != ["ISA", "GS"] or tags[-2:] != ["GE", "IEA"] or parts[0].count("*") != 16:
        return [Finding(0, "envelope", "ISA and GS, GE and IEA do not enclose it")]
    return sorted(set(_enclosed(segments)))


def _padded(fields: list[str]) -> list[str]:
    # An element that is not there is an empty one.
    return fields + [""] * (_ELEMENTS - len(fields))


def _enclosed(segments: list[tuple[int, list[str]]]) -> Iterator[Finding]:
    isa, iea, group = segments[0][1], segments[-1][1], segments[-2][1]
    if isa[13] != iea[2] or segments[1][1][6] != group[2]:
        yield Finding(segments[-1][0], "control_number", "control numbers of the envelopes differ")
    sets: list[list[tuple[int, list[str]]]] = []
    for one in segments[2:-2]:
        if one[1][0] == "ST" or not sets:
            sets.append([])
        sets[-1].append(one)
    if group[1] != str(len(sets)):
        yield Finding(segments[-2][0], "set_count", f"{group[1]} for {len(sets)}")
    for one_set in sets:
        yield from _set(one_set)


def _set(segments: list[tuple[int, list[str]]]) -> Iterator[Finding]:
    first, last = segments[0], segments[-1]
    tags = tuple(fields[0] for _, fields in segments[: len(_HEAD)])
    if tags != _HEAD or last[1][0] != "SE" or last[1][2] != first[1][2]:
        yield Finding(first[0], "set_order", f"begins {'-'.join(tags)}")
        return
    if last[1][1] != str(len(segments)):
        yield Finding(last[0], "segment_count", f"{last[1][1]} for {len(segments)}")
    if segments[1][1][1] not in _PURPOSES:
        yield Finding(segments[1][0], "purpose", f"purpose {segments[1][1][1][:3]!r}")
    if segments[2][1][1] != "Q5" or not segments[2][1][3]:
        yield Finding(segments[2][0], "service_point", "no REF*Q5 with a service point")
    originals = [fields for _, fields in segments if fields[:2] == ["REF", "TN"] and fields[2]]
    if segments[1][1][1] == "01" and not originals:
        yield Finding(segments[1][0], "cancellation", "a cancellation names no original (REF*TN)")
    yield from _quantities(segments[len(_HEAD) : -1])


def _quantities(body: list[tuple[int, list[str]]]) -> Iterator[Finding]:
    before = ""
    for (number, fields), (_, following) in zip(body, [*body[1:], (0, [""])], strict=True):
        if fields[0] == "PTD":
            before = ""
        if fields[0] != "QTY":
            continue
        unavailable = fields[1] == "20" and not fields[2]
        if fields[1] not in ("QD", "KA", "20") or not (unavailable or _NUMBER.fullmatch(fields[2])):
            yield Finding(number, "quantity", "neither a number nor unavailable")
        if following[:2] != ["DTM", "582"] or not re.fullmatch(r"\d{8}\d{4}", "".join(following[2:4])):
            yield Finding(number, "time", "a quantity without its time")
            continue
        at = "".join(following[2:4])
        if at <= before:
            yield Finding(number, "time_order", f"{at} does not follow the one before")
        before = at
