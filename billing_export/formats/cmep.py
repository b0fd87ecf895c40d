"""CMEP (California Metering Exchange Protocol): MEPMD01, interval data and register reads, record by record.

One record is one meter, channel and local day. Every triplet has its time: receivers drop or refuse blank ones.
"""

from collections.abc import Iterable, Iterator
from typing import Final

import polars as pl

from billing_export.pieces import ExportInputs, ExportParams, Format, Heading, Piece
from billing_export.registers import register_lines
from billing_export.render import kilo_decimal
from billing_export.series import Series, coded, series_of, series_tally
from schemas.codes import Channel
from schemas.errors import ContractError

VERSION: Final = "19970819"
LENGTHS: Final = {"sender": 16, "receiver": 16, "customer": 12, "meter": 12}
RECEIVED: Final = "R"
"""CMEP has no field for the direction: a record of received energy has its meter id end in this (our own design)."""
_UNIT: Final = {
    Channel.ENERGY_DELIVERED: "KWH",
    Channel.ENERGY_RECEIVED: "KWH",
    Channel.REACTIVE_DELIVERED: "KVARH",
    Channel.REACTIVE_RECEIVED: "KVARH",
}


def render(parts: Iterable[ExportInputs], heading: Heading) -> Iterator[Piece]:
    """One file: per installation the interval records, day by day, then its register reads (`KWHREG`).

    A triplet is interval end in UTC, data quality flag, value with six decimals, exact; a missing value is empty with
    flag N. Constant 1.0: values are primary. Records end in CRLF.

    Raises:
        ContractError: A participant does not fit.
    """
    params = heading.params
    for name in (params.sender, params.receiver):
        if not 0 < len(name) <= LENGTHS["sender"] or "," in name:
            raise ContractError(f"CMEP participant {name!r}: 1 to {LENGTHS['sender']} characters, no comma")
    for part in parts:
        series = series_of(part, params.determinants())
        intervals = _interval_records(series, heading)
        registers = _register_records(series, part, heading)
        point = pl.coalesce("nmi", "service_point_id", "meter_id")
        records = pl.concat([intervals, registers]).sort(point, "meter_id", "order", "day", "channel")
        text = "".join(f"{record}\r\n" for record in records["record"].to_list())
        yield Piece("cmep", text.encode(), records.height, series_tally(series))


def purpose(params: ExportParams) -> str:
    """What a record is for: the first time, or again. Receivers take the newest file of each meter and hour."""
    return "RESEND" if params.resent else "OK"


def file_names(batch_id: str, params: ExportParams) -> dict[str, str]:
    """Name by period and batch."""
    return {"cmep": f"cmep_{params.date_from:%Y%m%d}_{params.date_to:%Y%m%d}_{batch_id[:8]}.csv"}


def _interval_records(series: Series, heading: Heading) -> pl.DataFrame:
    end = pl.col("interval_start") + pl.duration(seconds=pl.col("interval_s"))
    value = kilo_decimal(pl.col("value_milli")).cast(pl.String).fill_null("")
    triplet = pl.concat_str(end.dt.strftime("%Y%m%d%H%M"), pl.col("code").fill_null("N"), value, separator=",")
    days = (
        coded(series.rows, "cmep")
        .group_by("member", "local_day", "interval_s", maintain_order=True)
        .agg(triplets=triplet.str.join(","), count=pl.len())
    )
    seconds = pl.col("interval_s")
    length = pl.concat_str(
        (seconds // 86_400 * 10_000 + seconds % 86_400 // 3600 * 100 + seconds % 3600 // 60)
        .cast(pl.String)
        .str.zfill(8)
    )
    owned = days.join(series.members, on="member", how="left", maintain_order="left")
    return owned.select(
        "nmi", "service_point_id", "meter_id", "channel", order=pl.lit(0), day="local_day",
        record=_record(heading, "", length),
    )  # fmt: skip


def _register_records(series: Series, part: ExportInputs, heading: Heading) -> pl.DataFrame:
    lines = register_lines(part, series.spans).lines
    channels = [channel.value for channel in _UNIT]
    value = kilo_decimal(pl.col("value_milli")).cast(pl.String)
    triplet = pl.concat_str(pl.col("occurred_at").dt.strftime("%Y%m%d%H%M"), pl.lit("R"), value, separator=",")
    keys = ["nmi", "service_point_id", "account_id", "meter_id", "channel", "span_from"]
    grouped = (
        lines.filter(pl.col("channel").cast(pl.String).is_in(channels))
        .sort("occurred_at")
        .group_by(keys, maintain_order=True)
        .agg(triplets=triplet.str.join(","), count=pl.len())
    )
    return grouped.select(
        "nmi", "service_point_id", "meter_id", "channel", order=pl.lit(1), day=pl.col("span_from").dt.date(),
        record=_record(heading, "REG", pl.lit("")),
    )  # fmt: skip


def _record(heading: Heading, suffix: str, length: pl.Expr) -> pl.Expr:
    params, text = heading.params, pl.col("channel").cast(pl.String)
    unit = text.replace_strict({channel.value: unit for channel, unit in _UNIT.items()}, default="KWH") + suffix
    received = text.str.ends_with("_received")
    room = pl.when(received).then(LENGTHS["meter"] - 1).otherwise(LENGTHS["meter"])
    # The end of a long name tells meters apart, its beginning names the maker.
    name = pl.col("meter_id").str.tail(room) + pl.when(received).then(pl.lit(RECEIVED)).otherwise(pl.lit(""))
    customer = pl.coalesce("account_id", "service_point_id", pl.lit("")).str.tail(LENGTHS["customer"])
    created = pl.lit(heading.created.strftime("%Y%m%d%H%M"))
    return pl.concat_str(
        pl.lit(f"MEPMD01,{VERSION},{params.sender},,{params.receiver}"), customer, created, name,
        pl.lit(f"{purpose(params)},E"), unit, pl.lit("1.0"), length, pl.col("count").cast(pl.String), "triplets",
        separator=",",
    )  # fmt: skip


FORMAT: Final = Format("cmep", f"MEPMD01 {VERSION}", None, render, file_names)
