"""NEM13 (AEMO Meter Data File Format): consumption of accumulation meters, from read to read.

100, then for every register and span a 250 and its 550, last 900.
"""

from collections.abc import Iterable, Iterator
from typing import Final

import polars as pl

from billing_export.formats.nem12_streams import LETTER, NMI_LENGTH, SERIAL_LENGTH, UOM
from billing_export.lines import findings
from billing_export.located import metered, newest, streams_in
from billing_export.pieces import (
    PARTIES,
    REVISIONS,
    ROUNDINGS,
    TOTALS,
    ExportInputs,
    ExportParams,
    Format,
    Heading,
    Piece,
    Tally,
)
from billing_export.registers import register_lines
from billing_export.render import stamp
from billing_export.spans import FINDINGS, billing_spans
from schemas.errors import ContractError
from schemas.timegrid import NEM_TIMEZONE, zone

READ_DIGITS: Final = 15
_NUMBER: Final = {"E": "1", "B": "4", "Q": "2", "K": "3"}
_PER_KILO: Final = 1_000_000


def render(parts: Iterable[ExportInputs], heading: Heading) -> Iterator[Piece]:
    """One file of the registers that have a read at both ends of their span.

    Reads and quantity are primary, in kWh or kvarh; direction E is out of the grid into the premises, I into the
    grid. Findings, held: `nmi_missing`, `read_missing` (no read at one end), `register_backwards`.

    Raises:
        ContractError: A participant is longer than 10 characters.
    """
    params = heading.params
    for name in (params.sender, params.receiver):
        if not 0 < len(name) <= 10 or "," in name:
            raise ContractError(f"NEM13 participant {name!r}: 1 to 10 characters, no comma")
    created = stamp(heading.created, zone(NEM_TIMEZONE), "%Y%m%d%H%M")
    yield Piece("nem13", f"100,NEM13,{created},{params.sender},{params.receiver}\r\n".encode(), 1)
    for part in parts:
        finals = newest(part.finals)
        known = pl.concat(
            [metered(streams_in(finals)), part.reads.select("meter_id", service_point_id=pl.lit(None, pl.String))]
        )
        meters = known.group_by("meter_id").agg(pl.col("service_point_id").drop_nulls().last())
        spans = billing_spans(meters, part.meters, part.tariffs, params.determinants(NEM_TIMEZONE))
        pairs, held = _pairs(register_lines(part, spans.spans).lines)
        text = "".join(f"{record}\r\n550,N,,N,\r\n" for record in pairs.select(_record(heading)).to_series())
        found = pl.concat([spans.findings.cast(FINDINGS), held])
        yield Piece("nem13", text.encode(), 2 * pairs.height, _tally(pairs, found))
    yield Piece("nem13", b"900\r\n", 1)


def file_names(batch_id: str, params: ExportParams) -> dict[str, str]:
    """`NEM13#<unique id>#<from>#<to>.csv`."""
    return {"nem13": f"NEM13#{batch_id.replace('-', '')}#{params.sender}#{params.receiver}.csv"}


def _pairs(lines: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    carried = lines.filter(pl.col("channel").cast(pl.String).is_in([channel.value for channel in LETTER]))
    keys = ["account_id", "service_point_id", "meter_id", "nmi", "channel", "span_from"]
    start, end = pl.col("determinant") == "register_start", pl.col("determinant") == "register_end"
    pairs = carried.group_by(keys, maintain_order=True).agg(
        first=pl.col("value_milli").filter(start).first(),
        first_at=pl.col("occurred_at").filter(start).first(),
        last=pl.col("value_milli").filter(end).first(),
        last_at=pl.col("occurred_at").filter(end).first(),
    )
    pairs = pairs.with_columns(
        nmi=pl.coalesce("nmi", "service_point_id"), determinant=pl.lit(None, dtype=pl.String)
    ).with_columns(value_milli=pl.col("last") - pl.col("first"))
    reason = (
        pl.when(pl.col("nmi").str.len_chars().fill_null(0) != NMI_LENGTH)
        .then(pl.lit("nmi_missing"))
        .when(pl.col("value_milli").is_null())
        .then(pl.lit("read_missing"))
        .when(pl.col("value_milli") < 0)
        .then(pl.lit("register_backwards"))
    )
    judged = pairs.with_columns(reason=reason)
    held = [
        findings(some, str(kind), pl.lit(1), held=True)
        for (kind,), some in judged.filter(pl.col("reason").is_not_null()).group_by("reason", maintain_order=True)
    ]
    sound = judged.filter(pl.col("reason").is_null()).sort("nmi", "channel", "span_from")
    return sound, pl.concat([pl.DataFrame(schema=FINDINGS), *(one.cast(FINDINGS) for one in held)])


def _record(heading: Heading) -> pl.Expr:
    letters = {channel.value: letter for channel, letter in LETTER.items()}
    letter = pl.col("channel").cast(pl.String).replace_strict(letters, default="")
    suffix = letter.replace_strict(_NUMBER, default="1") + "1"
    direction = pl.when(letter.is_in(["E", "Q"])).then(pl.lit("E")).otherwise(pl.lit("I"))
    updated = stamp(heading.created, zone(NEM_TIMEZONE), "%Y%m%d%H%M%S")
    at = {
        name: pl.col(name).dt.convert_time_zone(NEM_TIMEZONE).dt.strftime("%Y%m%d%H%M%S")
        for name in ("first_at", "last_at")
    }
    return pl.concat_str(
        pl.lit("250"), "nmi", suffix, suffix, suffix, suffix, pl.col("meter_id").str.tail(SERIAL_LENGTH), direction,
        _kilo("first"), at["first_at"], pl.lit("A,,"), _kilo("last"), at["last_at"], pl.lit("A,,"),
        _kilo("value_milli"), letter.replace_strict(UOM, default="KWH"), pl.lit(""), pl.lit(updated), pl.lit(""),
        separator=",",
    )  # fmt: skip


def _kilo(name: str) -> pl.Expr:
    value = pl.col(name)
    rest = (value % _PER_KILO).cast(pl.String).str.zfill(6)
    return (value // _PER_KILO).cast(pl.String) + "." + rest


def _tally(pairs: pl.DataFrame, found: pl.DataFrame) -> Tally:
    reactive = pl.col("channel").cast(pl.String).str.starts_with("reactive_")
    totals = pairs.group_by(
        uom=pl.when(reactive).then(pl.lit("kvarh")).otherwise(pl.lit("kWh")),
        determinant=pl.col("channel").cast(pl.String),
        quality_class=pl.lit("actual"),
    ).agg(lines=pl.len().cast(pl.Int64), value_milli=pl.col("value_milli").sum())
    named = pairs.with_columns(
        first_interval="first_at",
        last_interval="last_at",
        stream=pl.col("channel").cast(pl.String),
        source_revision=pl.lit(None, dtype=pl.Int64),
    )
    return Tally(
        totals.select(TOTALS.names()).cast(TOTALS),
        named.select(PARTIES.names()).cast(PARTIES),
        pl.DataFrame(schema=ROUNDINGS),
        named.select(REVISIONS.names()).cast(REVISIONS),
        found,
    )


FORMAT: Final = Format("nem13", "MDFF", NEM_TIMEZONE, render, file_names)
