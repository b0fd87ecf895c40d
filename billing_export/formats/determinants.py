"""Determinants as Parquet and as CSV: one line of a bill, one row."""

import io
from collections.abc import Iterable, Iterator
from typing import Final

import polars as pl

from billing_export.determinants import compute_lines, seal
from billing_export.pieces import ExportInputs, ExportParams, Format, Heading, Piece
from billing_export.render import kilo_decimal, spreadsheet_safe
from billing_export.tallies import lines_tally

LINES: Final = "determinants"
"""Name of the format."""
_TIMES: Final = ("period_start", "period_end", "occurred_at")
_TEXTS: Final = (
    "account_id", "service_point_id", "meter_id", "determinant", "timezone", "tou_calendar", "tou_version",
)  # fmt: skip


def render(parts: Iterable[ExportInputs], heading: Heading) -> Iterator[Piece]:
    """`determinants.parquet`: DETERMINANTS and `value`, Decimal(18, 6) in the unit `uom` (the ratio where it is one).
    `determinants.csv`: the same columns; times ISO 8601 in UTC, numbers plain, lines end in CRLF.

    A text cell that a spreadsheet would run as a formula has an apostrophe before it.
    """
    computed = compute_lines(parts, heading.params.determinants())
    lines = seal(computed.determinants, heading.batch_id)
    yield from line_pieces(lines, computed.findings)


def line_pieces(lines: pl.DataFrame, findings: pl.DataFrame) -> Iterator[Piece]:
    """Both files of lines that have their batch and numbers: of a run, or of a correction."""
    shown = lines.with_columns(value=pl.coalesce(kilo_decimal(pl.col("value_milli")), "ratio"))
    buffer = io.BytesIO()
    shown.write_parquet(buffer, statistics=True, compression="zstd")
    yield Piece("parquet", buffer.getvalue(), lines.height, lines_tally(lines, findings))
    yield Piece("csv", _csv(shown), lines.height)


def _csv(lines: pl.DataFrame) -> bytes:
    times = [pl.col(name).dt.strftime("%Y-%m-%dT%H:%M:%SZ") for name in _TIMES]
    text = [spreadsheet_safe(pl.col(name)).alias(name) for name in _TEXTS]
    return lines.with_columns(*times, *text).write_csv(line_terminator="\r\n").encode()


def file_names(_batch_id: str, _params: ExportParams) -> dict[str, str]:
    """Fixed names: the manifest beside them tells the batch."""
    return {"parquet": "determinants.parquet", "csv": "determinants.csv"}


FORMAT: Final = Format(LINES, "1", None, render, file_names)
