"""A line of a delivered file, told apart: what it bills, of which meter, over which time. Pure."""

import csv
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

import polars as pl

from billing_export.formats.nem12_import import NEM_OFFSET
from billing_export.formats.nem12_streams import LETTER
from schemas.codes import Channel
from schemas.errors import ContractError
from schemas.timegrid import NEM_TIMEZONE

_CHANNEL: Final = {letter: channel for channel, letter in LETTER.items()}
_DETERMINANT: Final = {
    Channel.ENERGY_DELIVERED: "energy_delivered",
    Channel.ENERGY_RECEIVED: "energy_received",
    Channel.REACTIVE_DELIVERED: "reactive_energy",
    Channel.REACTIVE_RECEIVED: "reactive_energy",
}
_HEADER: Final = "batch_id,line_no,"


class FileLine(NamedTuple):
    """What a line of a file says."""

    text: str
    meter_id: str | None
    """Null where the file names an NMI alone."""
    nmi: str | None
    channel: str | None
    """Null for what rests on several channels."""
    determinant: str
    period_start: datetime
    period_end: datetime
    value_milli: int | None
    """As the file has it, in thousandths; null for a ratio."""
    ratio: str | None
    timezone: str
    occurred_at: datetime | None
    """Start of the window of a demand."""
    batch_id: str | None
    line_no: int | None


def line_at(data: bytes, number: int) -> FileLine:
    """The line of that number, from 1, of a determinants CSV or of a NEM12 file (a 300 record).

    Raises:
        ContractError: Another format, or a line that bills nothing.
    """
    lines = data.decode("utf-8", "replace").splitlines()
    if not 1 <= number <= len(lines):
        raise ContractError(f"line {number}: the file has {len(lines)}")
    if lines[0].startswith(_HEADER):
        return _determinant(lines, number)
    if lines[0].startswith("100,NEM12"):
        return _interval_day(lines, number)
    raise ContractError("neither a determinants CSV nor a NEM12 file: lines of these can be traced")


def lines_of_account(data: bytes, account: str) -> list[int]:
    """Numbers of the lines of a determinants CSV that bill an account.

    Raises:
        ContractError: Another format, or no line of that account.
    """
    rows = list(csv.reader(data.decode("utf-8", "replace").splitlines()))
    if not rows or ",".join(rows[0][:3]) != f"{_HEADER}account_id":
        raise ContractError("no determinants CSV: its lines alone name accounts")
    numbers = [number for number, row in enumerate(rows, 1) if number > 1 and row[2].removeprefix("'") == account]
    if not numbers:
        raise ContractError(f"account {account!r}: no line bills it")
    return numbers


def chosen_interval(finals: pl.DataFrame, line: FileLine) -> datetime | None:
    """The interval to look into: where a demand occurred, else where the largest value of the line's channel stands,
    the earliest of equals."""
    if line.occurred_at is not None and finals.filter(pl.col("interval_start") == line.occurred_at).height:
        return line.occurred_at
    own = finals if line.channel is None else finals.filter(pl.col("channel").cast(pl.String) == line.channel)
    ordered = own.drop_nulls("value_milli").sort("value_milli", "interval_start", descending=[True, False])
    return None if ordered.is_empty() else ordered["interval_start"][0]


def _determinant(lines: list[str], number: int) -> FileLine:
    if number == 1:
        raise ContractError("line 1 is the header")
    fields = dict(zip(*csv.reader([lines[0], lines[number - 1]]), strict=True))
    value = fields["value_milli"]
    return FileLine(
        lines[number - 1],
        fields["meter_id"].removeprefix("'"),
        None,
        fields["channel"] or None,
        fields["determinant"].removeprefix("'"),
        datetime.fromisoformat(fields["period_start"]),
        datetime.fromisoformat(fields["period_end"]),
        int(value) if value else None,
        fields["ratio"] or None,
        fields["timezone"].removeprefix("'"),
        datetime.fromisoformat(fields["occurred_at"]) if fields["occurred_at"] else None,
        fields["batch_id"],
        int(fields["line_no"]),
    )


def _interval_day(lines: list[str], number: int) -> FileLine:
    text = lines[number - 1]
    above = next((line for line in reversed(lines[: number - 1]) if line.startswith("200,")), None)
    if not text.startswith("300,") or above is None:
        raise ContractError(f"line {number}: no 300 record")
    stream, day = above.split(","), text.split(",")
    channel = _CHANNEL[stream[4][:1]]
    count = 24 * 60 // int(stream[8])
    start = datetime.strptime(day[1], "%Y%m%d").replace(tzinfo=UTC) - NEM_OFFSET
    values = [int(value.replace(".", "")) for value in day[2 : 2 + count]]
    milli = sum(values) * 100  # four decimals of a kilo unit
    return FileLine(
        text,
        None,
        stream[1],
        channel.value,
        _DETERMINANT[channel],
        start,
        start + timedelta(days=1),
        milli,
        None,
        NEM_TIMEZONE,
        None,
        None,
        None,
    )
