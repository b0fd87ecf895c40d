"""IEC 61968-9 MeterReadings: interval blocks and register readings, with CIM reading types and qualities.

Names and order of elements follow the interface; the schema itself is sold with the standard, and no conformance
beyond our own strict check is claimed.
"""

from collections.abc import Iterable, Iterator
from typing import Final
from xml.sax.saxutils import escape

import polars as pl

from billing_export.pieces import ExportInputs, ExportParams, Format, Heading, Piece
from billing_export.registers import register_lines
from billing_export.render import kilo_decimal
from billing_export.series import Series, coded, series_of, series_tally
from schemas.codes import Channel

NAMESPACE: Final = "http://iec.ch/TC57/2011/MeterReadings#"
PERIOD: Final = {300: 6, 600: 1, 900: 2, 1800: 5, 3600: 7, 86400: 4, 60: 3}
"""measuringPeriod of the reading type by interval length in seconds; 0 where the standard has none."""
_FLOW_UOM: Final = {
    Channel.ENERGY_DELIVERED: (1, 72),
    Channel.ENERGY_RECEIVED: (19, 72),
    Channel.REACTIVE_DELIVERED: (1, 73),
    Channel.REACTIVE_RECEIVED: (19, 73),
}
_DELTA, _BULK = 4, 1
_TIME: Final = "%Y-%m-%dT%H:%M:%SZ"


def reading_type(channel: Channel, interval_s: int) -> str:
    """The 18 fields of a reading type: energy in kilo units, by interval (delta data) or, for 0 s, of a register."""
    flow, uom = _FLOW_UOM[channel]
    accumulation = _DELTA if interval_s else _BULK
    return f"0.0.{PERIOD.get(interval_s, 0)}.{accumulation}.{flow}.1.12.0.0.0.0.0.0.0.0.3.{uom}.0"


def render(parts: Iterable[ExportInputs], heading: Heading) -> Iterator[Piece]:
    """One document: a MeterReading per installation with its interval blocks, then its registers.

    The time of an interval is its end; values are in kWh or kvarh with six decimals, exact. A missing interval has
    quality 3.5.259 and no value.
    """
    yield Piece(
        "iec61968", f'<?xml version="1.0" encoding="UTF-8"?>\n<MeterReadings xmlns="{NAMESPACE}">\n'.encode(), 0
    )
    for part in parts:
        series = series_of(part, heading.params.determinants())
        blocks = _blocks(series).rows_by_key("installation", named=True)
        registers = _registers(series, part).rows_by_key("installation", named=True)
        installed = series.members.select("meter_id", "service_point_id", "span_from").unique(maintain_order=True)
        texts = []
        for meter, point, since in installed.rows():
            key = f"{meter}|{point}|{since}"
            inner = "".join(str(block["text"]) for block in blocks.get(key, []))
            ends = "".join(str(register["text"]) for register in registers.get(key, []))
            used = f"<UsagePoint><mRID>{escape(point)}</mRID></UsagePoint>" if point is not None else ""
            texts.append(
                f"<MeterReading>{inner}<Meter><mRID>{escape(meter)}</mRID></Meter>{ends}{used}</MeterReading>\n"
            )
        yield Piece("iec61968", "".join(texts).encode(), len(texts), series_tally(series))
    yield Piece("iec61968", b"</MeterReadings>\n", 0)


def file_names(batch_id: str, params: ExportParams) -> dict[str, str]:
    """Name by period and batch."""
    return {"iec61968": f"MeterReadings_{params.date_from:%Y%m%d}_{params.date_to:%Y%m%d}_{batch_id[:8]}.xml"}


def _installation() -> pl.Expr:
    since = pl.col("span_from").dt.to_string("%Y-%m-%d %H:%M:%S%:z")
    return pl.concat_str("meter_id", pl.col("service_point_id").fill_null("None"), since, separator="|")


def _blocks(series: Series) -> pl.DataFrame:
    end = pl.col("interval_start") + pl.duration(seconds=pl.col("interval_s"))
    value = pl.format("<value>{}</value>", kilo_decimal(pl.col("value_milli")).cast(pl.String)).fill_null("")
    reading = pl.format(
        "<IntervalReadings><timeStamp>{}</timeStamp>{}<ReadingQualities><ReadingQualityType ref=\"{}\"/>"
        "</ReadingQualities></IntervalReadings>\n",
        end.dt.strftime(_TIME), value, pl.col("code"),
    )  # fmt: skip
    grouped = (
        coded(series.rows, "cim")
        .group_by("member", "interval_s", maintain_order=True)
        .agg(readings=reading.str.join(""))
        .join(series.members, on="member", how="left", maintain_order="left")
    )
    kinds = [
        reading_type(Channel(channel), seconds) for channel, seconds in grouped.select("channel", "interval_s").rows()
    ]
    text = pl.format(
        '<IntervalBlocks>{}<ReadingType ref="{}"/></IntervalBlocks>\n', "readings", pl.Series(kinds, dtype=pl.String)
    )
    return grouped.select(installation=_installation(), text=text)


def _registers(series: Series, part: ExportInputs) -> pl.DataFrame:
    lines = register_lines(part, series.spans).lines
    lines = lines.filter(pl.col("channel").cast(pl.String).is_in([channel.value for channel in _FLOW_UOM]))
    kinds = pl.Series([reading_type(Channel(channel), 0) for channel in lines["channel"]], dtype=pl.String)
    text = pl.format(
        '<Readings><timeStamp>{}</timeStamp><value>{}</value><ReadingType ref="{}"/></Readings>\n',
        pl.col("occurred_at").dt.strftime(_TIME), kilo_decimal(pl.col("value_milli")).cast(pl.String), kinds,
    )  # fmt: skip
    ordered = lines.with_columns(text=text, installation=_installation()).sort("meter_id", "channel", "occurred_at")
    return ordered.select("installation", "text")


FORMAT: Final = Format("iec61968", "IEC 61968-9", None, render, file_names)
