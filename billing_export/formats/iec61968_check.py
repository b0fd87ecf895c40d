"""Strict check of IEC 61968-9 MeterReadings as we write them."""

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Final
from xml.etree import ElementTree

from billing_export.findings import Finding
from billing_export.formats.iec61968 import NAMESPACE
from billing_export.formats.xml_root import xml_root

_NS: Final = f"{{{NAMESPACE}}}"
_ORDER: Final = {
    "MeterReading": ("valuesInterval", "EndDeviceEvents", "IntervalBlocks", "Meter", "Readings", "UsagePoint"),
    "IntervalBlocks": ("IntervalReadings", "ReadingType"),
    "IntervalReadings": ("timeStamp", "value", "ReadingQualities"),
    "Readings": ("timeStamp", "value", "ReadingQualities", "ReadingType"),
}
_TYPE: Final = re.compile(r"(\d+\.){15}-?\d+\.\d+\.\d+")
_QUALITY: Final = re.compile(r"\d\.\d{1,2}\.\d{1,3}")
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|[+-]\d\d:\d\d)")
_NUMBER: Final = re.compile(r"-?\d+(\.\d+)?")


def check(data: bytes) -> list[Finding]:
    """Every breach, by number of the MeterReading (0 the document): `document_type`, `not_xml`, `root`, `empty`,
    `order`, `meter`, `reading_type`, `quality`, `time`, `time_order`, `value`."""
    root = xml_root(data)
    if isinstance(root, Finding):
        return [root]
    if root.tag != f"{_NS}MeterReadings":
        return [Finding(0, "root", f"root is {root.tag[-40:]!r}")]
    found = [] if len(root) else [Finding(0, "empty", "no MeterReading")]
    for number, reading in enumerate(root, 1):
        found += _reading(number, reading)
    return sorted(set(found))


def _reading(number: int, reading: ElementTree.Element) -> Iterator[Finding]:
    yield from _ordered(number, reading)
    if not reading.findtext(f"{_NS}Meter/{_NS}mRID"):
        yield Finding(number, "meter", "no meter")
    for block in reading.findall(f"{_NS}IntervalBlocks"):
        yield from _ordered(number, block)
        times = [one.findtext(f"{_NS}timeStamp", "") for one in block.findall(f"{_NS}IntervalReadings")]
        if any(after <= before for before, after in pairwise(times)):
            yield Finding(number, "time_order", "interval readings do not rise in time")
        for one in block.findall(f"{_NS}IntervalReadings"):
            yield from _ordered(number, one)
            yield from _value(number, one)
    for one in reading.findall(f"{_NS}Readings"):
        yield from _ordered(number, one)
        yield from _value(number, one)
    for kind in reading.iter(f"{_NS}ReadingType"):
        if not _TYPE.fullmatch(kind.get("ref", "")):
            yield Finding(number, "reading_type", f"{kind.get('ref', '')[:40]!r} has not 18 fields")


def _value(number: int, reading: ElementTree.Element) -> Iterator[Finding]:
    if not _TIME.fullmatch(reading.findtext(f"{_NS}timeStamp", "")):
        yield Finding(number, "time", "no time with offset")
    qualities = [one.get("ref", "") for one in reading.iter(f"{_NS}ReadingQualityType")]
    if any(not _QUALITY.fullmatch(quality) for quality in qualities):
        yield Finding(number, "quality", "a quality is not system.category.index")
    value = reading.findtext(f"{_NS}value")
    if (value is None and "3.5.259" not in qualities) or (value is not None and not _NUMBER.fullmatch(value)):
        yield Finding(number, "value", "no number, and not known missing")


def _ordered(number: int, element: ElementTree.Element) -> Iterator[Finding]:
    order = _ORDER[element.tag.removeprefix(_NS)]
    names = [child.tag.removeprefix(_NS) for child in element]
    places = [order.index(name) if name in order else -1 for name in names]
    if -1 in places or any(after < before for before, after in pairwise(places)):
        yield Finding(number, "order", f"children of {element.tag.removeprefix(_NS)} are out of order")
