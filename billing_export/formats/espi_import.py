"""An ESPI feed read into finals."""

from datetime import UTC, datetime
from typing import Final

import polars as pl

from billing_export.findings import Finding
from billing_export.formats.espi_check import check
from billing_export.formats.espi_records import ESPI, Entry, number_of, read_feed
from billing_export.formats.nem12_import import Imported
from schemas.codes import Channel, Method, Quality
from schemas.frames import FINALS, conform

REFUSED: Final = frozenset(
    {
        "too_large", "document_type", "not_xml", "not_a_feed", "link_broken", "value", "time", "required", "quality",
        "unit", "precision", "no_readings",
    }
)  # fmt: skip
"""Findings after which no value of the feed is taken; others are said and tolerated."""
_CHANNEL: Final = {
    (72, 1): Channel.ENERGY_DELIVERED,
    (72, 19): Channel.ENERGY_RECEIVED,
    (73, 1): Channel.REACTIVE_DELIVERED,
    (73, 19): Channel.REACTIVE_RECEIVED,
}
"""(uom, flowDirection) → channel."""
_QUALITY: Final[dict[int, tuple[Quality, Method | None]]] = {
    0: (Quality.VALID, None), 7: (Quality.EDITED, Method.MANUAL), 8: (Quality.ESTIMATED, Method.LIKE_DAY),
    9: (Quality.ESTIMATED, Method.LINEAR), 10: (Quality.SUSPECT, None), 11: (Quality.ESTIMATED, None),
    12: (Quality.ESTIMATED, Method.FORWARD), 13: (Quality.ESTIMATED, None), 14: (Quality.VALID, None),
    15: (Quality.VALID, None), 16: (Quality.SUSPECT, None), 17: (Quality.VALID, None), 18: (Quality.VALID, None),
    19: (Quality.VALID, None),
}  # fmt: skip
_TIMES: Final = {name: pl.Datetime("us", "UTC") for name in ("interval_start", "judged_at")}


def import_espi(data: bytes, run_id: str) -> Imported:
    """Finals of a feed, or a refusal that names why.

    `service_point_id` and `meter_id` are the last parts of the links of usage point and meter reading. Values are
    scaled by the type's power of ten, exactly; one that is finer than a thousandth is refused. `judged_at` is the
    update time of the block's entry. A reading without a quality is valid unless its type says otherwise.

    Args:
        data: The feed.
        run_id: Becomes `FINALS.run_id`.
    """
    feed = read_feed(data)
    found = check(data)
    types = {entry.link("self"): entry for entry in feed.entries if entry.kind == "ReadingType"}
    readings = {entry.link("related", "IntervalBlock"): entry for entry in feed.entries if entry.kind == "MeterReading"}
    rows: list[tuple[object, ...]] = []
    for block in feed.entries:
        reading = readings.get(block.link("up")) if block.kind == "IntervalBlock" else None
        kind = types.get(reading.link("related", "ReadingType")) if reading else None
        if reading is not None and kind is not None:
            taken, said = _block(block, reading, kind)
            rows += taken
            found += said
    if not rows:
        found.append(Finding(0, "no_readings", "no interval reading"))
    refused = any(finding.reason in REFUSED for finding in found)
    return Imported(FINALS.empty() if refused else _finals(rows, run_id), sorted(set(found)), refused)


def _block(block: Entry, reading: Entry, kind: Entry) -> tuple[list[tuple[object, ...]], list[Finding]]:
    uom, flow = number_of(kind.resource, "uom"), number_of(kind.resource, "flowDirection")
    channel = _CHANNEL.get((uom or 0, flow or 0))
    if channel is None:
        return [], [Finding(kind.number, "unit", f"uom {uom} with flow {flow} is no channel of ours")]
    power = (number_of(kind.resource, "powerOfTenMultiplier") or 0) + 3
    point = (reading.link("up") or "").removesuffix("/MeterReading").rpartition("/")[2]
    meter = (reading.link("self") or "").rpartition("/")[2]
    default = number_of(kind.resource, "defaultQuality") or 0
    judged = _instant(block.updated)
    rows: list[tuple[object, ...]] = []
    for element in block.resource.findall(f"{ESPI}IntervalReading"):
        value, start = number_of(element, "value") or 0, number_of(element, "timePeriod/start") or 0
        if power < 0 and value % 10**-power:
            return [], [Finding(block.number, "precision", "a value finer than a thousandth of the unit")]
        code = number_of(element, "ReadingQuality/quality")
        quality, method = _QUALITY.get(default if code is None else code, (Quality.SUSPECT, None))
        milli = value * 10**power if power >= 0 else value // 10**-power
        length = number_of(element, "timePeriod/duration") or 0
        at = datetime.fromtimestamp(start, UTC)
        rows.append((meter, point, channel.value, at, length, milli, quality.value, method, judged))
    return rows, []


def _finals(rows: list[tuple[object, ...]], run_id: str) -> pl.DataFrame:
    names = (
        "meter_id", "service_point_id", "channel", "interval_start", "interval_s", "value_milli", "quality", "method",
        "judged_at",
    )  # fmt: skip
    schema = {name: _TIMES.get(name, FINALS.schema[name]) for name in names}
    filled = pl.DataFrame(rows, schema=schema, orient="row").with_columns(
        failed=pl.lit(0, dtype=pl.UInt64),
        unjudged=pl.lit(0, dtype=pl.UInt64),
        is_final_estimate=pl.lit(value=False),
        version=pl.lit(1, dtype=pl.Int64),
        author=pl.lit(None, dtype=pl.String),
        run_id=pl.lit(run_id),
    )
    return conform(filled, FINALS).sort("meter_id", "channel", "interval_start")


def _instant(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except ValueError:
        return datetime(1970, 1, 1, tzinfo=UTC)
