"""CMEP MEPMD02: time of use, one record per installation and span.

Fields 1 to 12 as in MEPMD01, 13 count of triplets, 14 season, 15 time (end of the span, UTC), then triplets of period,
quality flag and value. The place of the count is general knowledge, not confirmed against a text.
"""

from collections.abc import Iterable, Iterator
from typing import Final

import polars as pl

from billing_export.determinants import compute_lines
from billing_export.formats.cmep import LENGTHS, VERSION, purpose
from billing_export.pieces import ExportInputs, ExportParams, Format, Heading, Piece
from billing_export.render import kilo_decimal
from billing_export.tallies import lines_tally
from schemas.errors import ContractError

_FLAG: Final = {"actual": "", "estimated": "E", "mixed": "E", "unbillable": "N"}
_KEYS: Final = ["service_point_id", "account_id", "meter_id", "period_start", "period_end"]


def render(parts: Iterable[ExportInputs], heading: Heading) -> Iterator[Piece]:
    """One file of `energy_tou_<p>`, a record per installation; values in kWh with six decimals, exact.

    Raises:
        ContractError: A participant does not fit.
    """
    params = heading.params
    for name in (params.sender, params.receiver):
        if not 0 < len(name) <= LENGTHS["sender"] or "," in name:
            raise ContractError(f"CMEP participant {name!r}: 1 to {LENGTHS['sender']} characters, no comma")
    computed = compute_lines(parts, params.determinants())
    periods = computed.determinants.filter(pl.col("determinant").str.starts_with("energy_tou_"))
    records = _records(periods, heading)
    text = "".join(f"{record}\r\n" for record in records)
    yield Piece("cmep02", text.encode(), len(records), lines_tally(periods, computed.findings))


def file_names(batch_id: str, params: ExportParams) -> dict[str, str]:
    """Name by period and batch."""
    return {"cmep02": f"cmep02_{params.date_from:%Y%m%d}_{params.date_to:%Y%m%d}_{batch_id[:8]}.csv"}


def _records(lines: pl.DataFrame, heading: Heading) -> list[str]:
    params = heading.params
    flag = pl.col("quality_class").cast(pl.String).replace_strict(_FLAG)
    label = pl.col("determinant").str.strip_prefix("energy_tou_").str.replace_all(",", " ")
    triplet = pl.concat_str(label, flag, kilo_decimal(pl.col("value_milli")).cast(pl.String), separator=",")
    grouped = (
        lines.sort(*_KEYS, "determinant", nulls_last=False)
        .group_by(_KEYS, maintain_order=True)
        .agg(triplets=triplet.str.join(","), count=pl.len())
    )
    customer = pl.coalesce("account_id", "service_point_id", pl.lit("")).str.tail(LENGTHS["customer"])
    record = pl.concat_str(
        pl.lit(f"MEPMD02,{VERSION},{params.sender},,{params.receiver}"), customer,
        pl.lit(heading.created.strftime("%Y%m%d%H%M")), pl.col("meter_id").str.tail(LENGTHS["meter"]),
        pl.lit(f"{purpose(params)},E,KWH,1.0"), pl.col("count").cast(pl.String), pl.lit(""),
        pl.col("period_end").dt.strftime("%Y%m%d%H%M"), "triplets", separator=",",
    )  # fmt: skip
    return grouped.select(record).to_series().to_list()


FORMAT: Final = Format("cmep02", f"MEPMD02 {VERSION}", None, render, file_names)
