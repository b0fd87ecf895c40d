"""Oracle CC&B / C2M: usage transactions as a flat file, a row per service quantity.

Column names are those of the usage that a customer's configuration maps; the codes are defaults to be mapped there.
"""

from collections.abc import Iterable, Iterator
from typing import Final

import polars as pl

from billing_export.determinants import compute_lines, seal
from billing_export.pieces import ExportInputs, ExportParams, Format, Heading, Piece
from billing_export.render import kilo_decimal, spreadsheet_safe
from billing_export.tallies import lines_tally

COLUMNS: Final = (
    "USAGE_ID", "LINE", "ACCT_ID", "SP_ID", "BADGE_NBR", "START_DTTM", "END_DTTM", "SQI_CD", "TOU_CD", "UOM_CD",
    "QUANTITY", "USG_TYPE", "PEAK_DTTM",
)  # fmt: skip
UNIT: Final = {"kWh": "KWH", "kW": "KW", "kVA": "KVA", "kvarh": "KVARH", "1": "RATIO"}
USAGE: Final = {"actual": "R", "estimated": "E", "mixed": "M", "unbillable": "X"}
_TOU: Final = r"_tou_(.+)$"
_TIME: Final = "%Y-%m-%d-%H.%M.%S"


def render(parts: Iterable[ExportInputs], heading: Heading) -> Iterator[Piece]:
    """One CSV with header and CRLF: `USAGE_ID` the batch, `SQI_CD` the determinant without its period, `TOU_CD` the
    period, `QUANTITY` with six decimals, times UTC."""
    computed = compute_lines(parts, heading.params.determinants())
    lines = seal(computed.determinants, heading.batch_id)
    yield Piece("oracle_ccb", _csv(lines), lines.height, lines_tally(lines, computed.findings))


def file_names(batch_id: str, params: ExportParams) -> dict[str, str]:
    """Name by period and batch."""
    return {"oracle_ccb": f"oracle_ccb_{params.date_from:%Y%m%d}_{params.date_to:%Y%m%d}_{batch_id[:8]}.csv"}


def _csv(lines: pl.DataFrame) -> bytes:
    determinant = pl.col("determinant")
    quantity = pl.coalesce(kilo_decimal(pl.col("value_milli")), "ratio")
    signed = pl.when(pl.col("sign") < 0).then(-quantity).otherwise(quantity)
    shown = lines.select(
        USAGE_ID="batch_id",
        LINE="line_no",
        ACCT_ID=spreadsheet_safe(pl.col("account_id")),
        SP_ID=spreadsheet_safe(pl.col("service_point_id")),
        BADGE_NBR=spreadsheet_safe(pl.col("meter_id")),
        START_DTTM=pl.col("period_start").dt.strftime(_TIME),
        END_DTTM=pl.col("period_end").dt.strftime(_TIME),
        SQI_CD=determinant.str.replace(_TOU, "").str.to_uppercase(),
        TOU_CD=determinant.str.extract(_TOU).str.to_uppercase(),
        UOM_CD=pl.col("uom").cast(pl.String).replace_strict(UNIT),
        QUANTITY=signed,
        USG_TYPE=pl.col("quality_class").cast(pl.String).replace_strict(USAGE),
        PEAK_DTTM=pl.col("occurred_at").dt.strftime(_TIME),
    )
    return shown.select(COLUMNS).write_csv(line_terminator="\r\n").encode()


FORMAT: Final = Format("oracle_ccb", "1", None, render, file_names)
