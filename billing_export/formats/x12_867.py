"""X12 867 (version 004010): product transfer, as retail-choice markets exchange monthly interval usage.

One interchange and functional group; one transaction set per installation. The layout follows a market sample
(`BPT`, `REF*Q5`, `N1*8S`, then `PTD` loops of `QTY` and `DTM`); qualifiers beyond it are general knowledge.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Final

import polars as pl

from billing_export.pieces import ExportInputs, ExportParams, Format, Heading, Piece
from billing_export.render import kilo_decimal
from billing_export.series import Series, series_of, series_tally
from schemas.codes import Channel, Quality
from schemas.errors import ContractError

PARTICIPANT_LENGTH: Final = 15
UNIT: Final = {
    Channel.ENERGY_DELIVERED: "KH",
    Channel.ENERGY_RECEIVED: "KH",
    Channel.REACTIVE_DELIVERED: "K3",
    Channel.REACTIVE_RECEIVED: "K3",
}
"""Kilowatt hours and kilovar hours."""
FLOW: Final = {Channel.ENERGY_RECEIVED: "R", Channel.REACTIVE_RECEIVED: "R"}
"""Received quantities are told by their measurement reference; delivered ones have none (our own design)."""
ACTUAL, ESTIMATED, UNAVAILABLE = "QD", "KA", "20"
_MEASURED: Final = (Quality.VALID.value, Quality.OUTAGE.value)


def render(parts: Iterable[ExportInputs], heading: Heading) -> Iterator[Piece]:
    """One interchange; elements end in `*`, segments in `~` and a line break.

    Quantities have six decimals, exact; QD measured, KA estimated, 20 unavailable with an empty quantity: absent data
    is never written as 0. Times are interval ends in UTC (`UT`).

    Raises:
        ContractError: A participant is longer than 15 characters or holds a separator.
    """
    params = heading.params
    for name in (params.sender, params.receiver):
        if not 0 < len(name) <= PARTICIPANT_LENGTH or set("*~>") & set(name):
            raise ContractError(f"867 participant {name!r}: 1 to {PARTICIPANT_LENGTH} characters, no * ~ >")
    at = heading.created
    sender, receiver = params.sender.ljust(15), params.receiver.ljust(15)
    number = f"{int(at.timestamp()) % 10**9:09d}"
    open_ = (
        f"ISA*00*{'':10}*00*{'':10}*ZZ*{sender}*ZZ*{receiver}*{at:%y%m%d}*{at:%H%M}*U*00401*{number}*0*P*>~\n"
        f"GS*PT*{params.sender}*{params.receiver}*{at:%Y%m%d}*{at:%H%M}*{int(number)}*X*004010~\n"
    )
    yield Piece("x12_867", open_.encode("ascii"), 2)
    sets = 0
    for part in parts:
        series = series_of(part, params.determinants())
        texts = []
        for (meter, since), members in series.members.group_by("meter_id", "span_from", maintain_order=True):
            sets += 1
            texts.append(_set(sets, str(meter), (series, members, since), heading))
        yield Piece("x12_867", "".join(texts).encode("ascii", "replace"), len(texts), series_tally(series))
    yield Piece("x12_867", f"GE*{sets}*{int(number)}~\nIEA*1*{number}~\n".encode("ascii"), 2)


def file_names(batch_id: str, params: ExportParams) -> dict[str, str]:
    """Name by period and batch."""
    return {"x12_867": f"867_{params.date_from:%Y%m%d}_{params.date_to:%Y%m%d}_{batch_id[:8]}.edi"}


def _set(number: int, meter: str, of: tuple[Series, pl.DataFrame, object], heading: Heading) -> str:
    series, members, _ = of
    point = _plain(members["service_point_id"][0] or meter)
    first, last = members["span_from"][0], members["span_to"][0]
    control = f"{number:04d}"
    segments = [
        f"ST*867*{control}",
        f"BPT*00*{heading.created:%Y%m%d%H%M%S}{number:08d}*{heading.created:%Y%m%d}*DD",
        f"REF*Q5**{point}",
        f"N1*8S*{_plain(heading.params.sender)}",
    ]
    for member, channel in members.select("member", "channel").rows():
        kind = Channel(channel)
        rows = series.rows.filter(pl.col("member") == member)
        segments += [
            f"PTD*PM***MG*{_plain(meter)}",
            f"DTM*150*{_day(first)}",
            f"DTM*151*{_day(last)}",
            f"REF*MT*{UNIT[kind]}{int(members['length_s'][0]) // 60:03d}{FLOW.get(kind, '')}",
            *rows.select(_quantity(UNIT[kind])).to_series().to_list(),
        ]
    count = sum(segment.count("~") + 1 for segment in segments) + 1
    return "~\n".join([*segments, f"SE*{count}*{control}"]) + "~\n"


def _quantity(unit: str) -> pl.Expr:
    measured = pl.col("quality").cast(pl.String).is_in(_MEASURED)
    kind = (
        pl.when(pl.col("value_milli").is_null())
        .then(pl.lit(UNAVAILABLE))
        .when(measured)
        .then(pl.lit(ACTUAL))
        .otherwise(pl.lit(ESTIMATED))
    )
    end = pl.col("interval_start") + pl.duration(seconds=pl.col("interval_s"))
    value = kilo_decimal(pl.col("value_milli")).cast(pl.String).fill_null("")
    return pl.format("QTY*{}*{}*{}~\nDTM*582*{}*UT", kind, value, pl.lit(unit), end.dt.strftime("%Y%m%d*%H%M"))


def _day(at: datetime) -> str:
    return f"{at:%Y%m%d}"


def _plain(text: str) -> str:
    return text.replace("*", " ").replace("~", " ").replace(">", " ")


FORMAT: Final = Format("x12_867", "004010", None, render, file_names)
