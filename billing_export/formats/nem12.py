"""NEM12 (AEMO Meter Data File Format): interval data of the Australian market.

100, then for every stream 200, for every day 300 and, where its quality varies, 400; last 900. Comma separated,
CRLF, NEM time. A correction is the whole day again with a later update time.
"""

from collections.abc import Iterable, Iterator
from typing import Final

import numpy as np
import polars as pl

from billing_export.ahead import ahead
from billing_export.formats.nem12_days import I64, UNIT_MILLI, Days, on_grid, quality_runs
from billing_export.formats.nem12_streams import SERIAL_LENGTH, UOM, Streams, streams_of
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
    joined,
)
from billing_export.render import stamp
from billing_export.spans import DeterminantParams
from schemas.codes import QualityClass
from schemas.errors import ContractError
from schemas.timegrid import NEM_TIMEZONE, zone

PARTICIPANT_LENGTH: Final = 10
_PLACES: Final = 10_000
_TABLE_LIMIT: Final = 1 << 21
"""Values below 209 kWh an interval are looked up in a table; above, each is written out."""


def render(parts: Iterable[ExportInputs], heading: Heading) -> Iterator[Piece]:
    """One file: 100, the streams by NMI and suffix, 900.

    Values are kWh (kvarh) with four decimals, rounded by running sum within a day. The update time of a day is the
    newest `judged_at` of its intervals.

    Raises:
        ContractError: A participant is longer than 10 characters.
    """
    params = heading.params
    for name in (params.sender, params.receiver):
        if not 0 < len(name) <= PARTICIPANT_LENGTH or "," in name:
            raise ContractError(f"NEM12 participant {name!r}: 1 to {PARTICIPANT_LENGTH} characters, no comma")
    created = stamp(heading.created, zone(NEM_TIMEZONE), "%Y%m%d%H%M")
    yield Piece("nem12", f"100,NEM12,{created},{params.sender},{params.receiver}\r\n".encode(), 1)
    asked = params.determinants(NEM_TIMEZONE)
    yield from ahead(lambda part: _streams(part, asked), parts)
    yield Piece("nem12", b"900\r\n", 1)


def _streams(part: ExportInputs, asked: DeterminantParams) -> Piece:
    found = streams_of(part, asked)
    lengths = found.streams["interval_s"].unique().sort().to_list()
    blocks = [_block(found, length) for length in lengths]
    tally = joined([block[1] for block in blocks])._replace(findings=found.findings)
    if not blocks:
        return Piece("nem12", b"", 0, tally)
    text = pl.concat([block[0] for block in blocks]).sort("nmi", "suffix", "interval_s", maintain_order=True)
    content = ("\r\n".join(text["text"].to_list()) + "\r\n").encode()
    return Piece("nem12", content, int(text["records"].sum()), tally)


def file_names(batch_id: str, params: ExportParams) -> dict[str, str]:
    """`NEM12#<unique id>#<from>#<to>.csv`; the id is the batch's."""
    return {"nem12": f"NEM12#{batch_id.replace('-', '')}#{params.sender}#{params.receiver}.csv"}


def _block(found: Streams, length_s: int) -> tuple[pl.DataFrame, Tally]:
    rows = found.rows
    if found.streams["interval_s"].n_unique() > 1:  # else a filter would copy every column of them
        rows = rows.filter(pl.col("interval_s") == length_s)
    days = on_grid(rows, length_s // 60)
    described = found.streams[days.days["stream"]].with_columns(
        days.days.get_columns(), serial=found.members["meter_id"].gather(days.days["member"])
    )
    flags, detail, extra = _qualities(days)
    judged = pl.col("judged_at").dt.convert_time_zone(NEM_TIMEZONE).dt.strftime("%Y%m%d%H%M%S")
    lines = described.with_columns(
        values=_values(days.units), flag=flags, detail=detail, extra=extra,
        serial=pl.col("serial").str.slice(-SERIAL_LENGTH),
        letter=pl.col("suffix").str.slice(0, 1),
    )  # fmt: skip
    new = pl.struct("stream", "serial")
    opens = (new != new.shift(1)).fill_null(value=True)
    uom = pl.col("letter").replace_strict(UOM, default="")
    head = pl.concat_str(
        pl.lit("200"), "nmi", "configuration", "suffix", "suffix", pl.lit(""), "serial", uom,
        pl.lit(str(length_s // 60)), pl.lit(""), separator=",",
    )  # fmt: skip
    day = pl.concat_str(
        pl.lit("300"), pl.col("day").dt.strftime("%Y%m%d"), "values", "flag", "detail", judged, pl.lit(""),
        separator=",",
    )  # fmt: skip
    text = pl.when(opens).then(head + "\r\n" + day).otherwise(day) + pl.col("extra")
    written = lines.with_columns(
        text=text, records=1 + opens.cast(pl.Int64) + pl.col("extra").str.count_matches("\r\n").cast(pl.Int64)
    )
    return written.select("nmi", "suffix", "interval_s", "text", "records"), _tally(found, days, described, rows)


def _qualities(days: Days) -> tuple[pl.Series, pl.Series, pl.Series]:
    # Flag and "reason code,reason text" of the 300, and its 400 records, each after a line break.
    flags = np.array([code[0] for code in days.codes], dtype=object)
    reasons = np.array([f"{code[1]},{code[2]}" for code in days.codes], dtype=object)
    first = days.quality[:, 0]
    varies = (days.quality != first[:, None]).any(axis=1)
    flag = np.where(varies, "V", flags[first])
    detail = np.where(varies, ",", reasons[first])
    extra = np.full(len(first), "", dtype=object)
    runs = quality_runs(days.quality[varies]) if varies.any() else None
    if runs is not None:
        of_day = np.flatnonzero(varies)[runs.day]
        records = pl.DataFrame(
            {
                "day": of_day, "first": runs.first, "last": runs.last,
                "flag": flags[runs.code].tolist(), "reason": reasons[runs.code].tolist(),
            }
        )  # fmt: skip
        text = pl.concat_str(pl.lit("\r\n400"), "first", "last", "flag", "reason", separator=",")
        joined_up = records.group_by("day", maintain_order=True).agg(text.str.join(""))
        extra[joined_up["day"].to_numpy()] = joined_up.to_series(1).to_list()
    return tuple(pl.Series(column.tolist(), dtype=pl.String) for column in (flag, detail, extra))  # type: ignore[return-value]


def _values(units: I64) -> pl.Series:
    """A row of comma-separated values with four decimals for each day."""
    highest = int(units.max(initial=0))
    if highest < _TABLE_LIMIT:
        table = _decimals(pl.int_range(highest + 1, eager=True))
        cells = table.gather(units.ravel())
    else:
        cells = _decimals(pl.Series(units.ravel()))
    return cells.reshape(units.shape).arr.join(",")


def _decimals(units: pl.Series) -> pl.Series:
    whole, rest = units // _PLACES, units % _PLACES
    return pl.select(pl.concat_str(whole, pl.lit("."), rest.cast(pl.String).str.zfill(4))).to_series()


def _tally(found: Streams, days: Days, described: pl.DataFrame, rows: pl.DataFrame) -> Tally:
    rendered = described.select("channel", "nmi", "suffix", "day").with_columns(
        value_milli=pl.Series(days.units.sum(axis=1) * UNIT_MILLI),
        difference_milli=pl.Series(days.difference_milli),
        whole=pl.Series((days.quality == 1).all(axis=1)),
        none=pl.Series((days.quality != 1).all(axis=1)),
    )
    kind = (
        pl.when("whole").then(pl.lit(QualityClass.ACTUAL.value))
        .when("none").then(pl.lit(QualityClass.ESTIMATED.value)).otherwise(pl.lit(QualityClass.MIXED.value))
    )  # fmt: skip
    reactive = pl.col("channel").cast(pl.String).str.starts_with("reactive_")
    totals = rendered.group_by(
        uom=pl.when(reactive).then(pl.lit("kvarh")).otherwise(pl.lit("kWh")),
        determinant=pl.col("channel").cast(pl.String), quality_class=kind,
    ).agg(lines=pl.len().cast(pl.Int64), value_milli=pl.col("value_milli").sum())  # fmt: skip
    by_member = rows.group_by("member").agg(
        first_interval=pl.col("interval_start").min(),
        last_interval=pl.col("interval_start").max(),
        source_revision=pl.col("version").max(),
        value_milli=pl.col("value_milli").sum(),
    )
    members = found.members.join(by_member, on="member", how="inner", maintain_order="left")
    roundings = rendered.select(
        stream=pl.col("nmi") + "/" + pl.col("suffix"), day="day", difference_milli="difference_milli"
    )
    return Tally(
        totals.select(TOTALS.names()).cast(TOTALS),
        members.select(PARTIES.names()).cast(PARTIES),
        roundings.cast(ROUNDINGS),
        members.rename({"suffix": "stream"}).select(REVISIONS.names()).cast(REVISIONS),
        found.findings.clear(),
    )


FORMAT: Final = Format("nem12", "MDFF", NEM_TIMEZONE, render, file_names)
