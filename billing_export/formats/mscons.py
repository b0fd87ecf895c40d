"""MSCONS (UN D.04B, BDEW 2.4c): load profiles for the German, Austrian and Luxembourg market.

One interchange, one message per market or metering location and channel. Times carry their offset (format 303).
"""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Final

import polars as pl

from billing_export.formats.edifact import ADVICE, segment
from billing_export.lines import findings
from billing_export.pieces import ExportInputs, ExportParams, Format, Heading, Piece
from billing_export.render import kilo_decimal
from billing_export.series import Series, series_of, series_tally
from billing_export.spans import FINDINGS
from schemas.codes import Channel, Quality
from schemas.errors import ContractError

RELEASE: Final = ("MSCONS", "D", "04B", "UN", "2.4c")
LOAD_PROFILE: Final = "13008"
OBIS: Final = {
    Channel.ENERGY_DELIVERED: "1-1:1.29.0",
    Channel.ENERGY_RECEIVED: "1-1:2.29.0",
    Channel.REACTIVE_DELIVERED: "1-1:3.29.0",
    Channel.REACTIVE_RECEIVED: "1-1:4.29.0",
}
"""Load profile codes of the market."""
MEASURED: Final = "220"
SUBSTITUTE: Final = "67"
LOCATION_LENGTHS: Final = (11, 33)
"""A market location has 11 characters, a metering location 33."""
PARTICIPANT_LENGTH: Final = 13
_ACTUAL: Final = (Quality.VALID.value, Quality.OUTAGE.value)


def render(parts: Iterable[ExportInputs], heading: Heading) -> Iterator[Piece]:
    """One interchange in ISO 8859-1 without line breaks; quantities in kWh (kvarh) with six decimals, exact.

    The location is the service point, else the NMI field, of 11 or 33 characters. Findings, held: `location_id`
    (neither fits), `missing` (a stream with a missing value: the market takes whole profiles only).

    Raises:
        ContractError: A participant is no 13-digit code.
    """
    params = heading.params
    for name in (params.sender, params.receiver):
        if len(name) != PARTICIPANT_LENGTH or not name.isdigit():
            raise ContractError(f"MSCONS participant {name!r}: a code of {PARTICIPANT_LENGTH} digits")
    reference = f"{params.date_from:%y%m%d}{heading.created:%d%H%M%S}"
    made = (f"{heading.created:%y%m%d}", f"{heading.created:%H%M}")
    interchange = segment(
        "UNB", ("UNOC", "3"), (params.sender, "500"), (params.receiver, "500"), made, reference, "", "TL"
    )
    yield Piece("mscons", (ADVICE + interchange).encode("latin-1"), 1)
    messages = 0
    for part in parts:
        series = series_of(part, params.determinants())
        sound, held = _sound(series)
        texts: list[str] = []
        for member in sound.members.rows(named=True):
            rows = sound.rows.filter(pl.col("member") == member["member"])
            if rows.height:
                messages += 1
                texts.append(_message(messages, member, rows, heading))
        tally = series_tally(sound)._replace(findings=pl.concat([series.findings.cast(FINDINGS), held]))
        yield Piece("mscons", "".join(texts).encode("latin-1"), len(texts), tally)
    yield Piece("mscons", segment("UNZ", str(messages), reference).encode("latin-1"), 1)


def file_names(batch_id: str, params: ExportParams) -> dict[str, str]:
    """Name by participants, period and batch."""
    dates = f"{params.date_from:%Y%m%d}_{params.date_to:%Y%m%d}"
    return {"mscons": f"MSCONS_{params.sender}_{params.receiver}_{dates}_{batch_id[:8]}.txt"}


def _sound(series: Series) -> tuple[Series, pl.DataFrame]:
    location = pl.coalesce(
        pl.when(pl.col(name).str.len_chars().is_in(LOCATION_LENGTHS)).then(pl.col(name))
        for name in ("service_point_id", "nmi")
    )
    counted = series.rows.group_by("member").agg(
        rows=pl.len(), values=pl.col("value_milli").count(), seconds=pl.col("interval_s").cast(pl.Int64).sum()
    )
    members = series.members.with_columns(location=location).join(counted, on="member", how="left")
    # Intervals without a final are as missing as those without a value.
    absent = ((pl.col("span_to") - pl.col("span_from")).dt.total_seconds() - pl.col("seconds")) // pl.col("length_s")
    members = members.with_columns(n=pl.col("rows") - pl.col("values") + absent.clip(lower_bound=0))
    members = members.sort("member").with_columns(determinant=pl.lit(None, dtype=pl.String))
    nameless, holed = pl.col("location").is_null(), pl.col("n") > 0
    held = [
        findings(members.filter(nameless), "location_id", pl.col("rows"), held=True),
        findings(members.filter(~nameless & holed), "missing", pl.col("n"), held=True),
    ]
    kept = members.filter(~nameless & ~holed)
    rows = series.rows.filter(pl.col("member").is_in(kept["member"].implode()))
    return series._replace(members=kept.drop("n", "rows", "values", "seconds", "determinant"), rows=rows), pl.concat(
        held
    ).cast(FINDINGS)


def _message(number: int, member: dict[str, object], rows: pl.DataFrame, heading: Heading) -> str:
    params = heading.params
    reference, channel = f"{number:08d}", Channel(str(member["channel"]))
    document = f"{heading.created:%Y%m%d%H%M%S}{number:08d}"
    first, last = rows["interval_start"][0], rows["interval_start"][-1]
    head = [
        segment("UNH", reference, RELEASE),
        segment("BGM", "7", document, "9"),
        segment("DTM", ("137", _time(heading.created), "303")),
        segment("RFF", ("Z13", LOAD_PROFILE)),
        segment("NAD", "MS", (params.sender, "", "293")),
        segment("NAD", "MR", (params.receiver, "", "293")),
        segment("UNS", "D"),
        segment("NAD", "DP"),
        segment("LOC", "172", str(member["location"])),
        segment("DTM", ("163", _time(first), "303")),
        segment("DTM", ("164", _time(last, int(rows["interval_s"][-1])), "303")),
        segment("LIN", "1"),
        segment("PIA", "5", (OBIS[channel], "SRW")),
    ]
    values = rows.select(_quantities()).to_series().to_list()
    # UNT counts the segments from UNH to itself.
    count = len(head) + 3 * len(values) + 1
    return "".join([*head, *values, segment("UNT", str(count), reference)])


def _quantities() -> pl.Expr:
    actual = pl.col("quality").cast(pl.String).is_in(_ACTUAL)
    kind = pl.when(actual).then(pl.lit(MEASURED)).otherwise(pl.lit(SUBSTITUTE))
    start = pl.col("interval_start")
    end = start + pl.duration(seconds=pl.col("interval_s"))
    return pl.format(
        "QTY+{}:{}'DTM+163:{}?+00:303'DTM+164:{}?+00:303'",
        kind, kilo_decimal(pl.col("value_milli")).cast(pl.String),
        start.dt.strftime("%Y%m%d%H%M"), end.dt.strftime("%Y%m%d%H%M"),
    )  # fmt: skip


def _time(at: datetime, later_s: int = 0) -> str:
    shown = datetime.fromtimestamp(at.timestamp() + later_s, UTC)
    return f"{shown:%Y%m%d%H%M}+00"


FORMAT: Final = Format("mscons", ":".join(RELEASE), None, render, file_names)
