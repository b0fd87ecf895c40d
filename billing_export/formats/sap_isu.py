"""SAP IS-U: meter readings uploaded against the reading orders that SAP issued.

A row answers an order: its MRIDNUMBER must come back. Orders come as a CSV of SAP; a register without one is held.
"""

import io
from collections.abc import Iterable, Iterator
from typing import Final

import polars as pl

from billing_export.lines import findings
from billing_export.located import metered, streams_in
from billing_export.pieces import ExportInputs, ExportParams, Format, Heading, Piece
from billing_export.registers import register_lines
from billing_export.render import kilo_decimal, spreadsheet_safe
from billing_export.spans import FINDINGS, billing_spans
from billing_export.tallies import lines_tally
from schemas.codes import Channel
from schemas.errors import ContractError
from schemas.frames import DETERMINANTS, conform

ORDERS: Final = pl.Schema(
    {
        "MRIDNUMBER": pl.String(),
        "MATERIAL": pl.String(),
        "SERIALNO": pl.String(),  # meter_id
        "REGISTER": pl.String(),  # see REGISTER_CHANNEL
        "MRREASON": pl.String(),  # 01 periodic, 03 final …, as SAP sent it
    }
)
REGISTER_CHANNEL: Final = {
    "001": Channel.ENERGY_DELIVERED,
    "002": Channel.ENERGY_RECEIVED,
    "003": Channel.REACTIVE_DELIVERED,
    "004": Channel.REACTIVE_RECEIVED,
}
"""Register numbers of the device; others are not ours to answer."""
COLUMNS: Final = (
    "MRIDNUMBER", "MATERIAL", "SERIALNO", "REGISTER", "MRREASON", "READINGRESULT", "MRDATEOFREADING",
    "MRTIMEOFREADING", "METERREADINGNOTE", "ACTUALCUSTOMERMRTYPE", "METERREADER",
)  # fmt: skip
READ_BY_SYSTEM: Final = "01"
"""ACTUALCUSTOMERMRTYPE of a read by the utility (K)."""


def read_orders(text: str) -> pl.DataFrame:
    """ORDERS of a semicolon-separated file with header.

    Raises:
        ContractError: A column is absent, or an order number is given twice.
    """
    rows = pl.read_csv(io.StringIO(text), separator=";", infer_schema=False)
    for name in ORDERS.names():
        if name not in rows.columns:
            raise ContractError(f"reading orders: column {name} is absent")
    if rows["MRIDNUMBER"].is_duplicated().any():
        raise ContractError("reading orders: an MRIDNUMBER is given twice")
    return rows.select(ORDERS.names())


def render(parts: Iterable[ExportInputs], heading: Heading) -> Iterator[Piece]:
    """One semicolon-separated file with header and CRLF: `register_end` of each ordered register, in kWh or kvarh.

    Findings, held: `no_order` (a register that SAP did not ask for), `no_read` (an order that cannot be answered).
    """
    answers, said = [], []
    for part in parts:
        spans = billing_spans(
            metered(streams_in(part.finals)), part.meters, part.tariffs, heading.params.determinants()
        )
        registers = register_lines(part, spans.spans).lines
        ends = registers.filter(pl.col("determinant") == "register_end")
        answered, held = _answered(ends, part.orders)
        answers.append(answered)
        said += [spans.findings.cast(FINDINGS), held]
    every = pl.concat(answers).sort("MRIDNUMBER")
    tally = lines_tally(_as_lines(every), pl.concat(said))
    yield Piece("sap_isu", (";".join(COLUMNS) + "\r\n").encode() + _csv(every), every.height, tally)


def file_names(batch_id: str, params: ExportParams) -> dict[str, str]:
    """Name by period and batch."""
    return {"sap_isu": f"sap_isu_{params.date_from:%Y%m%d}_{params.date_to:%Y%m%d}_{batch_id[:8]}.csv"}


def _answered(ends: pl.DataFrame, orders: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    channels = {register: channel.value for register, channel in REGISTER_CHANNEL.items()}
    known = orders if orders.width else pl.DataFrame(schema=ORDERS)
    asked = known.with_columns(
        name=pl.col("REGISTER").replace_strict(channels, default=None, return_dtype=pl.String), meter_id="SERIALNO"
    )
    named = ends.with_columns(name=pl.col("channel").cast(pl.String))
    keys = ["meter_id", "name"]
    answered = named.join(asked, on=keys, how="inner", maintain_order="left")
    unasked = named.join(asked, on=keys, how="anti", maintain_order="left")
    nothing = {name: pl.lit(None, dtype=pl.String) for name in ("account_id", "service_point_id", "determinant")}
    silent = asked.join(named, on=keys, how="anti", maintain_order="left").with_columns(channel="name", **nothing)
    held = [findings(unasked, "no_order", pl.lit(1), held=True), findings(silent, "no_read", pl.lit(1), held=True)]
    return answered, pl.concat([one.cast(FINDINGS) for one in held])


def _as_lines(answered: pl.DataFrame) -> pl.DataFrame:
    text = pl.lit(None, dtype=pl.String)
    lines = answered.with_columns(
        batch_id=pl.lit(""),
        line_no=pl.int_range(pl.len(), dtype=pl.Int32),
        period_start="span_from",
        period_end="span_to",
        tou_calendar=text,
        tou_version=text,
        determinant_revision=pl.lit(1, dtype=pl.Int32),
        supersedes=text,
        sign=pl.lit(1, dtype=pl.Int8),
    )
    return conform(lines, DETERMINANTS)


def _csv(answered: pl.DataFrame) -> bytes:
    local = pl.col("occurred_at")  # the day that SAP books is that of the contract, in the tariff's zone
    zones = answered["timezone"].unique().to_list()
    day, time = pl.lit(""), pl.lit("")
    for name in zones:
        here, at = pl.col("timezone") == name, local.dt.convert_time_zone(name)
        day = pl.when(here).then(at.dt.strftime("%Y%m%d")).otherwise(day)
        time = pl.when(here).then(at.dt.strftime("%H%M%S")).otherwise(time)
    shown = answered.with_columns(
        MATERIAL=spreadsheet_safe(pl.col("MATERIAL")),
        SERIALNO=spreadsheet_safe(pl.col("SERIALNO")),
        READINGRESULT=kilo_decimal(pl.col("value_milli")),
        MRDATEOFREADING=day,
        MRTIMEOFREADING=time,
        METERREADINGNOTE=pl.lit(None, dtype=pl.String),
        ACTUALCUSTOMERMRTYPE=pl.lit(READ_BY_SYSTEM),
        METERREADER=pl.lit(None, dtype=pl.String),
    )
    return shown.select(COLUMNS).write_csv(separator=";", line_terminator="\r\n", include_header=False).encode()


FORMAT: Final = Format("sap_isu", "1", None, render, file_names)
