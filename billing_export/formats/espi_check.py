"""Strict check of an ESPI feed: order, links, sums of time, ranges; what readers of Green Button let pass."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Final
from xml.etree import ElementTree

from billing_export.findings import Finding
from billing_export.formats.espi_records import ESPI, Entry, number_of, read_feed

ORDER: Final[dict[str, tuple[str, ...]]] = {
    "UsagePoint": (
        "batchItemInfo", "roleFlags", "ServiceCategory", "status", "serviceDeliveryPoint", "amiBillingReady",
        "checkBilling", "connectionState", "estimatedLoad", "grounded", "isSdp", "isVirtual", "minimalUsageExpected",
        "nominalServiceVoltage", "outageRegion", "phaseCode", "ratedCurrent", "ratedPower", "readCycle", "readRoute",
        "serviceDeliveryRemark", "servicePriority", "pnodeRefs", "aggregateNodeRefs",
    ),
    "MeterReading": ("batchItemInfo",),
    "ReadingType": (
        "batchItemInfo", "accumulationBehaviour", "commodity", "consumptionTier", "currency", "dataQualifier",
        "defaultQuality", "flowDirection", "intervalLength", "kind", "phase", "powerOfTenMultiplier", "timeAttribute",
        "tou", "uom", "cpp", "interharmonic", "measuringPeriod", "argument",
    ),
    "IntervalBlock": ("batchItemInfo", "interval", "IntervalReading"),
    "IntervalReading": ("cost", "ReadingQuality", "timePeriod", "value", "consumptionTier", "tou", "cpp"),
    "LocalTimeParameters": ("batchItemInfo", "dstEndRule", "dstOffset", "dstStartRule", "tzOffset"),
    "UsageSummary": (
        "batchItemInfo", "billingPeriod", "billLastPeriod", "billToDate", "costAdditionalLastPeriod",
        "costAdditionalDetailLastPeriod", "currency", "overallConsumptionLastPeriod",
        "currentBillingPeriodOverAllConsumption", "currentDayLastYearNetConsumption", "currentDayNetConsumption",
        "currentDayOverallConsumption", "peakDemand", "previousDayLastYearOverallConsumption",
        "previousDayNetConsumption", "previousDayOverallConsumption", "qualityOfReading", "ratchetDemand",
        "ratchetDemandPeriod", "statusTimeStamp", "commodity", "tariffProfile", "readCycle", "tariffRiderRefs",
        "billingChargeSource",
    ),
}  # fmt: skip
"""Children in the order of the schema (ESPI 4.0)."""
_REQUIRED: Final = {
    "LocalTimeParameters": ("dstEndRule", "dstOffset", "dstStartRule", "tzOffset"),
    "UsageSummary": ("statusTimeStamp",),
    "UsagePoint": ("ServiceCategory",),
    "ReadingType": ("flowDirection", "intervalLength", "powerOfTenMultiplier", "uom"),
    "IntervalBlock": ("interval",),
}
_QUALITIES: Final = frozenset(range(20))
_INT48: Final = 1 << 47


def check(data: bytes) -> list[Finding]:
    """Every breach, by number of the entry; empty for a feed that a receiver must take.

    Beside the findings of `read_feed`: `id_twice`, `links` (fewer than two, or one without type), `link_broken` (a
    reading without its type, a block without its reading), `order`, `required`, `value`, `quality`, `time`
    (a reading outside its block, twice, or not as long as its type says), `updated`.
    """
    feed = read_feed(data)
    found = list(feed.findings)
    seen: dict[str, int] = {}
    for entry in feed.entries:
        if entry.identity in seen:
            found.append(Finding(entry.number, "id_twice", f"id of entry {seen[entry.identity]}"))
        seen[entry.identity] = entry.number
        found += _links(entry)
        found += _order(entry.number, entry.resource, entry.kind)
        if not entry.updated:
            found.append(Finding(entry.number, "updated", "no time of update"))
        if entry.kind == "IntervalBlock":
            found += _block(entry)
    found += _joints(feed.entries)
    found += _lengths(feed.entries)
    return sorted(set(found))


def _links(entry: Entry) -> Iterator[Finding]:
    if len(entry.links) < 2 or not entry.link("self") or any(not kind for _, _, kind in entry.links):
        yield Finding(entry.number, "links", f"{len(entry.links)} links, each needs a type, one is self")


def _order(number: int, element: ElementTree.Element, kind: str) -> Iterator[Finding]:
    order = ORDER.get(kind)
    if order is None:
        return
    names = [child.tag.removeprefix(ESPI) for child in element if child.tag != f"{ESPI}extension"]
    places = [order.index(name) if name in order else -1 for name in names]
    if -1 in places or any(after < before for before, after in pairwise(places)):
        yield Finding(number, "order", f"children of {kind} are not in the order of the schema")
    for name in _REQUIRED.get(kind, ()):
        if name not in names:
            yield Finding(number, "required", f"{kind} without {name}")


def _block(entry: Entry) -> Iterator[Finding]:
    start, duration = number_of(entry.resource, "interval/start"), number_of(entry.resource, "interval/duration")
    if start is None or duration is None:
        yield Finding(entry.number, "time", "the block has no interval")
        return
    before = start
    for reading in entry.resource.findall(f"{ESPI}IntervalReading"):
        yield from _order(entry.number, reading, "IntervalReading")
        at, length = number_of(reading, "timePeriod/start"), number_of(reading, "timePeriod/duration")
        if at is None or length is None or at < before or at + length > start + duration:
            yield Finding(entry.number, "time", "a reading stands outside its block or out of order")
        else:
            before = at + length
        value = number_of(reading, "value")
        if value is None or not -_INT48 <= value < _INT48:
            yield Finding(entry.number, "value", "a reading without a 48-bit integer")
        for quality in reading.findall(f"{ESPI}ReadingQuality"):
            if number_of(quality, "quality") not in _QUALITIES:
                yield Finding(entry.number, "quality", "a quality outside the table")


def _joints(entries: list[Entry]) -> Iterator[Finding]:
    types = {entry.link("self") for entry in entries if entry.kind == "ReadingType"}
    readings = [entry for entry in entries if entry.kind == "MeterReading"]
    collections = {reading.link("related", "IntervalBlock") for reading in readings}
    points = {entry.link("self") for entry in entries if entry.kind == "UsagePoint"}
    for reading in readings:
        if reading.link("related", "ReadingType") not in types:
            yield Finding(reading.number, "link_broken", "the reading type is not in the feed")
        if (reading.link("up") or "").removesuffix("/MeterReading") not in points:
            yield Finding(reading.number, "link_broken", "the usage point is not in the feed")
    for entry in entries:
        if entry.kind == "IntervalBlock" and entry.link("up") not in collections:
            yield Finding(entry.number, "link_broken", "the meter reading of the block is not in the feed")


def _lengths(entries: list[Entry]) -> Iterator[Finding]:
    types = {entry.link("self"): entry.resource for entry in entries if entry.kind == "ReadingType"}
    readings = [entry for entry in entries if entry.kind == "MeterReading"]
    kinds = {one.link("related", "IntervalBlock"): types.get(one.link("related", "ReadingType")) for one in readings}
    for entry in entries:
        kind = kinds.get(entry.link("up")) if entry.kind == "IntervalBlock" else None
        stated = None if kind is None else number_of(kind, "intervalLength")
        if not stated:  # 0: the type promises no length
            continue
        of = [number_of(one, "timePeriod/duration") for one in entry.resource.findall(f"{ESPI}IntervalReading")]
        if any(length is not None and length != stated for length in of):
            yield Finding(entry.number, "time", f"a reading is not as long as its type says ({stated} s)")
