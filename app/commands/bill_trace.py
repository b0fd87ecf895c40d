"""`ami bill trace`: a line of a delivered file, through ledger, finals and raw values, to the bytes of the frame."""

import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Final
from zoneinfo import ZoneInfo

import polars as pl
import typer

from app.commands.trace import DEFAULT_STORE, bytes_told, explain_messages, keyring_beside, store_folder
from app.files import parse_instant, read_bytes
from app.inputs import load_tariffs
from app.options import Json, KeysFile, StoreFolder
from app.summary import counts, say
from billing_export.determinants import compute_determinants
from billing_export.lineage import FileLine, chosen_interval, line_at, lines_of_account
from billing_export.spans import DeterminantParams
from billing_export.tariffs import TariffBook
from schemas.errors import ContractError
from storage.embedded import open_embedded
from storage.store import ReadingStore, Scope
from storage.trace import explain

_HOUR: Final = timedelta(hours=1)
_HALF_A_UNIT: Final = 50
"""A day of NEM12 is off by half of the last place at most: 0.00005 kWh."""


def register(bill: typer.Typer) -> None:
    """Add the verb."""

    @bill.command("trace")
    def trace(
        file: Annotated[Path, typer.Argument(metavar="FILE", help="determinants.csv, or a NEM12 file.")],
        line: Annotated[int | None, typer.Argument(metavar="[LINE]", help="Line of the file, from 1.")] = None,
        account: Annotated[
            str | None, typer.Option("--account", metavar="A", help="Every line of an account instead.")
        ] = None,
        store: StoreFolder = DEFAULT_STORE,
        tariffs: Annotated[
            Path | None, typer.Option("--tariffs", metavar="F", help="Default: tariffs.toml beside the store.")
        ] = None,
        instant: Annotated[
            str | None, typer.Option("--interval", metavar="T", help="Default: of the demand, or of the largest value.")
        ] = None,
        keys: KeysFile = None,
        json: Json = False,
    ) -> None:
        """Trace a line of a bill: file, ledger, finals computed anew, one interval, its raw value, the frame's bytes.

        Exit 1 where a step does not lead to the one before: the ledger has another value, or the finals give another.
        """
        data = read_bytes(file)
        if (line is None) == (account is None):
            raise ContractError("LINE or --account: one of the two")
        numbers = lines_of_account(data, account) if account is not None else [line or 0]
        folder = store_folder(store)
        beside = folder.parent / "tariffs.toml"
        book = load_tariffs(tariffs if tariffs is not None or not beside.is_file() else beside)
        at = None if instant is None else parse_instant(instant, "--interval")
        opened = open_embedded(folder)
        try:
            answers = [_traced(opened, line_at(data, number), book, at) for number in numbers]
        finally:
            opened.close()
        keyring = keyring_beside(folder, keys)
        for answer in answers:
            explain_messages(answer, keyring)
        agrees = all(answer["agrees"] for answer in answers)
        if json:
            say({"file": str(file), "lines": answers, "agrees": agrees}, as_json=True)
        else:
            told = (_told(answer, file, number) for answer, number in zip(answers, numbers, strict=True))
            sys.stdout.write("\n\n".join("\n".join(lines) for lines in told) + "\n")
        if not agrees:
            raise typer.Exit(1)


def _traced(opened: ReadingStore, billed: FileLine, book: TariffBook, at: datetime | None) -> dict[str, Any]:
    meters = opened.load_current("meters")
    meter = _meter_of(billed, meters)
    scope = Scope((meter,), billed.period_start, billed.period_end)
    finals = opened.load_finals(scope)
    reads = opened.load_current("reads", Scope((meter,), scope.start - _HOUR, scope.end + _HOUR))
    start = at or chosen_interval(finals, billed)
    if start is None:
        raise ContractError(f"nothing was judged of meter {meter!r} in the period of the line")
    evidence = _evidence(opened, meter, start, finals)
    own = meters.filter(pl.col("meter_id") == meter)
    lines = compute_determinants(finals, own, reads, book, _days(billed)).determinants
    return _chain(billed, meter, finals, lines, evidence) | evidence


def _meter_of(billed: FileLine, meters: pl.DataFrame) -> str:
    if billed.meter_id is not None:
        return billed.meter_id
    before_end = pl.col("installed_at").is_null() | (pl.col("installed_at") < billed.period_end)
    after_start = pl.col("removed_at").is_null() | (pl.col("removed_at") > billed.period_start)
    named = meters.filter((pl.col("nmi") == billed.nmi) & before_end & after_start).sort("meter_id")
    if named.is_empty():
        raise ContractError(f"NMI {billed.nmi!r}: no meter of the store has it in that period")
    return str(named["meter_id"][0])


def _evidence(opened: ReadingStore, meter: str, start: datetime, finals: pl.DataFrame) -> dict[str, Any]:
    at = finals.filter(pl.col("interval_start") == start)
    if at.is_empty():
        raise ContractError(f"--interval {start.isoformat()}: no interval of {meter!r} begins then")
    return explain(opened.load_evidence(meter, start, int(at["interval_s"][0])), meter, start)


def _days(billed: FileLine) -> DeterminantParams:
    """The local days that hold the period of the line."""
    local = ZoneInfo(billed.timezone)
    first = billed.period_start.astimezone(local).date()
    last = (billed.period_end - timedelta(microseconds=1)).astimezone(local).date()
    return DeterminantParams(date_from=first, date_to=last + timedelta(days=1), missing_limit=1 << 30)


def _chain(
    billed: FileLine, meter: str, finals: pl.DataFrame, lines: pl.DataFrame, answer: dict[str, Any]
) -> dict[str, Any]:
    own = finals if billed.channel is None else finals.filter(pl.col("channel").cast(pl.String) == billed.channel)
    booked = [row for row in answer["ledger"] if _same(row, billed)]
    at_line = [row for row in booked if row["batch_id"] == billed.batch_id and row["line_no"] == billed.line_no]
    sums = {"intervals": own.height, "sum_milli": own["value_milli"].sum(), "quality": counts(own, "quality")}
    if billed.line_no is None:  # a day of intervals: each is rounded to four decimals of a kilo unit
        agrees = abs(int(own["value_milli"].sum()) - (billed.value_milli or 0)) <= _HALF_A_UNIT
        return {"file": _file(billed, meter), "booked": booked, "sums": sums, "agrees": agrees and bool(booked)}
    found = lines.filter(
        (pl.col("determinant") == billed.determinant)
        & pl.col("channel").cast(pl.String).eq_missing(pl.lit(billed.channel, dtype=pl.String))
    )
    computed = [_amount(row) for row in found.select("value_milli", "ratio").rows(named=True)]
    ledger = [_amount(row) for row in at_line]
    agrees = ledger == computed == [_amount(billed._asdict())]
    return {
        "file": _file(billed, meter),
        "booked": at_line,
        "sums": sums | {"computed": computed[0] if computed else None},
        "agrees": agrees,
    }


def _amount(row: dict[str, Any]) -> str:
    """Value or ratio, as text that can be compared."""
    return f"{row['value_milli']} milli" if row["value_milli"] is not None else f"ratio {row['ratio']}"


def _same(row: dict[str, Any], billed: FileLine) -> bool:
    return bool(row["determinant"] == billed.determinant and (row["channel"] or None) == billed.channel)


def _file(billed: FileLine, meter: str) -> dict[str, Any]:
    told = billed._asdict() | {"meter_id": meter}
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in told.items()}


def _told(answer: dict[str, Any], file: Path, line: int) -> Iterator[str]:
    billed, sums = answer["file"], answer["sums"]
    yield f"file      {file.name}, line {line}: {billed['determinant']} of meter {billed['meter_id']}:"
    yield f"          {_amount(billed)}, {billed['period_start']} to {billed['period_end']}"
    for row in answer["booked"]:
        link = f", takes the place of {row['supersedes']}" if row["supersedes"] else ""
        where = f"batch {row['batch_id']}, line {row['line_no']}"
        yield f"ledger    {where}: sign {row['sign']}, {_amount(row)}{link}"
    yield f"finals    {sums['intervals']} intervals sum to {sums['sum_milli']} milli; {_qualities(sums['quality'])}"
    if "computed" in sums:
        yield f"          computed anew from them: {sums['computed']}"
    yield f"          {'each step agrees with the one before' if answer['agrees'] else 'THE STEPS DO NOT AGREE'}"
    yield f"interval  {answer['interval_start']}"
    yield from (f"          {sentence}" for sentence in answer["story"] if not sentence.startswith("line "))
    yield from (
        f"bytes     {told}" if not told.startswith(" ") else f"        {told}"
        for told in bytes_told(answer["messages"])
    )


def _qualities(quality: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in quality.items())
