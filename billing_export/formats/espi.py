"""ESPI 4.0 / Green Button: usage as an Atom feed, one entry a resource.

UsagePoint → MeterReading → IntervalBlock (a local day each); MeterReading → ReadingType; UsagePoint →
LocalTimeParameters, UsageSummary. Ids do not depend on the batch: a correction is the same entry, updated later. No
name, address or account of a customer is in it.
"""

import uuid
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Final, NamedTuple

import polars as pl

from billing_export.dst import dst_rules
from billing_export.pieces import ExportInputs, ExportParams, Format, Heading, Piece
from billing_export.series import Series, coded, series_of, series_tally
from schemas.codes import ESPI_UOM, UNIT_OF_CHANNEL, Channel
from schemas.timegrid import day_bounds

NAMESPACE: Final = uuid.UUID("3e3f8a74-6a43-5a55-8a49-0c5d52a3a1a6")
"""Namespace of entry ids; must never change, or a correction becomes a second customer."""
ROOT: Final = "/espi/1_1/resource"
FLOW: Final = {
    Channel.ENERGY_DELIVERED: 1,
    Channel.ENERGY_RECEIVED: 19,
    Channel.REACTIVE_DELIVERED: 1,
    Channel.REACTIVE_RECEIVED: 19,
}
"""flowDirection: 1 forward is delivered, 19 reverse is received."""
MILLI: Final = -3
"""powerOfTenMultiplier: values are thousandths, exact."""
_NAMES: Final = 'xmlns="http://www.w3.org/2005/Atom" xmlns:espi="http://naesb.org/espi"'


class Point(NamedTuple):
    """One usage point and its place in the feed."""

    key: str
    href: str
    timezone: str


def render(parts: Iterable[ExportInputs], heading: Heading) -> Iterator[Piece]:
    """One feed. Values are Wh or varh × 10⁻³, as integers; quality 0 is left out; a missing value has no reading."""
    params = heading.params
    at = _instant(heading.created)
    feed_id = uuid.uuid5(NAMESPACE, f"feed|{params.sender}|{params.receiver}|{params.date_from}|{params.date_to}")
    head = (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<feed {_NAMES}>\n<id>urn:uuid:{feed_id}</id>'
        f"<title>Green Button Usage Feed</title><updated>{at}</updated>"
        f'<link rel="self" href="{ROOT}/Batch/Subscription/1" type="espi-feed/Subscription"/>\n'
    )
    yield Piece("espi", head.encode(), 0)
    shared: set[str] = set()
    for part in parts:
        series = series_of(part, params.determinants())
        entries = list(_entries(series, heading, shared))
        yield Piece("espi", "".join(entries).encode(), len(entries), series_tally(series))
    yield Piece("espi", b"</feed>\n", 0)


def file_names(batch_id: str, params: ExportParams) -> dict[str, str]:
    """Name by period and batch."""
    return {"espi": f"espi_{params.date_from:%Y%m%d}_{params.date_to:%Y%m%d}_{batch_id[:8]}.xml"}


def _entries(series: Series, heading: Heading, shared: set[str]) -> Iterator[str]:
    readings = coded(series.rows.filter(pl.col("value_milli").is_not_null()), "espi")
    blocks = _blocks(readings)
    described = series.members.with_columns(point=pl.coalesce("service_point_id", "meter_id"))
    for (name,), members in described.group_by("point", maintain_order=True):
        timezone = str(members["timezone"][0])
        key = f"point|{name}"
        point = Point(key, f"{ROOT}/Subscription/1/UsagePoint/{_id(key)}", timezone)
        yield from _local_time(point, heading, shared)
        yield _usage_point(point, heading)
        delivered: list[int] = []
        for member, meter, channel in members.select("member", "meter_id", "channel").rows():
            own = blocks.filter(pl.col("member") == member)
            if Channel(channel) is Channel.ENERGY_DELIVERED:
                delivered.append(int(own["sum_milli"].sum()))
            yield from _meter_reading(point, f"{meter}|{channel}", (Channel(channel), own), (heading, shared))
        if delivered:
            yield _usage_summary(point, sum(delivered), heading)


def _blocks(readings: pl.DataFrame) -> pl.DataFrame:
    start = pl.col("interval_start").dt.epoch("s")
    quality = pl.when(pl.col("code").fill_null("0") == "0").then(pl.lit("")).otherwise(
        pl.format("<espi:ReadingQuality><espi:quality>{}</espi:quality></espi:ReadingQuality>", pl.col("code"))
    )  # fmt: skip
    reading = pl.format(
        "<espi:IntervalReading>{}<espi:timePeriod><espi:duration>{}</espi:duration><espi:start>{}</espi:start>"
        "</espi:timePeriod><espi:value>{}</espi:value></espi:IntervalReading>",
        quality, "interval_s", start, "value_milli",
    )  # fmt: skip
    return readings.group_by("member", "local_day", "interval_s", maintain_order=True).agg(
        readings=reading.str.join("\n"), sum_milli=pl.col("value_milli").sum()
    )


def _local_time(point: Point, heading: Heading, shared: set[str]) -> Iterator[str]:
    key = f"time|{point.timezone}"
    if key in shared:
        return
    shared.add(key)
    rules = dst_rules(point.timezone, heading.params.date_from.year)
    content = (
        f"<espi:LocalTimeParameters><espi:dstEndRule>{rules.end}</espi:dstEndRule>"
        f"<espi:dstOffset>{rules.offset_s}</espi:dstOffset><espi:dstStartRule>{rules.start}</espi:dstStartRule>"
        f"<espi:tzOffset>{rules.zone_offset_s}</espi:tzOffset></espi:LocalTimeParameters>"
    )
    href = f"{ROOT}/LocalTimeParameters/{_id(key)}"
    yield _entry(key, [("self", href, "entry/LocalTimeParameters"), _up(href)], (point.timezone, content), heading)


def _usage_point(point: Point, heading: Heading) -> str:
    links = [
        ("self", point.href, "entry/UsagePoint"),
        _up(point.href),
        ("related", f"{point.href}/MeterReading", "feed/MeterReading"),
        ("related", f"{point.href}/UsageSummary", "feed/UsageSummary"),
        ("related", f"{ROOT}/LocalTimeParameters/{_id(f'time|{point.timezone}')}", "entry/LocalTimeParameters"),
    ]
    content = "<espi:UsagePoint><espi:ServiceCategory><espi:kind>0</espi:kind></espi:ServiceCategory></espi:UsagePoint>"
    return _entry(point.key, links, ("Electric service", content), heading)


def _meter_reading(
    point: Point, name: str, of: tuple[Channel, pl.DataFrame], to: tuple[Heading, set[str]]
) -> Iterator[str]:
    (channel, blocks), (heading, shared) = of, to
    for (seconds,), days in blocks.group_by("interval_s", maintain_order=True):
        kind = f"type|{channel}|{seconds}"
        key = f"reading|{point.key}|{name}|{seconds}"
        href = f"{point.href}/MeterReading/{_id(key)}"
        kind_href = f"{ROOT}/ReadingType/{_id(kind)}"
        title = f"{channel.value.replace('_', ' ')}, {int(str(seconds)) // 60} min"
        links = [
            ("self", href, "entry/MeterReading"),
            _up(href),
            ("related", f"{href}/IntervalBlock", "feed/IntervalBlock"),
            ("related", kind_href, "entry/ReadingType"),
        ]
        yield _entry(key, links, (title, "<espi:MeterReading/>"), heading)
        if kind not in shared:
            shared.add(kind)
            type_links = [("self", kind_href, "entry/ReadingType"), _up(kind_href)]
            yield _entry(kind, type_links, (title, _reading_type(channel, int(str(seconds)))), heading)
        for day, readings in days.select("local_day", "readings").rows():
            block = f"{key}|{day}"
            block_href = f"{href}/IntervalBlock/{_id(block)}"
            start, end = day_bounds(day, point.timezone)
            content = (
                f"<espi:IntervalBlock><espi:interval><espi:duration>{int((end - start).total_seconds())}"
                f"</espi:duration><espi:start>{int(start.timestamp())}</espi:start></espi:interval>\n{readings}"
                "</espi:IntervalBlock>"
            )
            yield _entry(block, [("self", block_href, "entry/IntervalBlock"), _up(block_href)], (day, content), heading)


def _reading_type(channel: Channel, seconds: int) -> str:
    return (
        "<espi:ReadingType><espi:accumulationBehaviour>4</espi:accumulationBehaviour><espi:commodity>1</espi:commodity>"
        f"<espi:dataQualifier>12</espi:dataQualifier><espi:flowDirection>{FLOW[channel]}</espi:flowDirection>"
        f"<espi:intervalLength>{seconds}</espi:intervalLength><espi:kind>12</espi:kind><espi:phase>769</espi:phase>"
        f"<espi:powerOfTenMultiplier>{MILLI}</espi:powerOfTenMultiplier><espi:timeAttribute>0</espi:timeAttribute>"
        f"<espi:uom>{ESPI_UOM[UNIT_OF_CHANNEL[channel]]}</espi:uom></espi:ReadingType>"
    )


def _usage_summary(point: Point, delivered_milli: int, heading: Heading) -> str:
    params = heading.params
    start = day_bounds(params.date_from, point.timezone)[0]
    end = day_bounds(params.date_to, point.timezone)[0]
    key = f"summary|{point.key}|{params.date_from}|{params.date_to}"
    href = f"{point.href}/UsageSummary/{_id(key)}"
    content = (
        f"<espi:UsageSummary><espi:billingPeriod><espi:duration>{int((end - start).total_seconds())}</espi:duration>"
        f"<espi:start>{int(start.timestamp())}</espi:start></espi:billingPeriod><espi:overallConsumptionLastPeriod>"
        f"<espi:powerOfTenMultiplier>{MILLI}</espi:powerOfTenMultiplier><espi:uom>72</espi:uom>"
        f"<espi:value>{delivered_milli}</espi:value></espi:overallConsumptionLastPeriod>"
        f"<espi:statusTimeStamp>{int(heading.created.timestamp())}</espi:statusTimeStamp></espi:UsageSummary>"
    )
    return _entry(key, [("self", href, "entry/UsageSummary"), _up(href)], ("Usage summary", content), heading)


def _up(href: str) -> tuple[str, str, str]:
    parent = href.rpartition("/")[0]
    return "up", parent, f"feed/{parent.rpartition('/')[2]}"


def _id(key: str) -> str:
    return str(uuid.uuid5(NAMESPACE, key))


def _entry(key: str, links: list[tuple[str, str, str]], of: tuple[object, str], heading: Heading) -> str:
    title, content = of
    at = _instant(heading.created)
    linked = "".join(f'<link rel="{rel}" href="{href}" type="espi-{kind}"/>' for rel, href, kind in links)
    return (
        f"<entry><id>urn:uuid:{_id(key)}</id>{linked}<title>{title}</title>"
        f'<content type="xml">{content}</content><published>{at}</published><updated>{at}</updated></entry>\n'
    )


def _instant(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


FORMAT: Final = Format("espi", "4.0", None, render, file_names)
