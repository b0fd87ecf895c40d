"""`ami bill plan|run|status`: billing windows on files, against a ledger folder."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import msgspec
import polars as pl
import typer

from app.billing import Outlet, bill_into, load_target
from app.billing_metrics import telling
from app.calendar import load_calendar
from app.commands import bill_answers, bill_trace, bill_window
from app.commands.bill_cycles import billed_cycles, load_cycles
from app.files import digest_of, parse_day
from app.inputs import load_meters, load_tariffs, load_types
from app.ledger import alone, instant_or_now, load_books
from app.options import CalendarFile, Json, MetricsFile, Out
from app.summary import counts, progress, say, timed
from billing_export.batches import silent
from billing_export.export import formats_of
from billing_export.pieces import ExportInputs, ExportParams
from billing_export.plan import plan
from billing_export.stream import parquet_parts, parquet_rows
from schemas.frames import FINALS, READS

Finals = Annotated[Path, typer.Argument(metavar="FINALS.parquet")]
Meters = Annotated[Path, typer.Option("--meters", metavar="F", help="METERS.csv.")]
From = Annotated[str, typer.Option("--from", metavar="D", help="First local day.")]
To = Annotated[str, typer.Option("--to", metavar="D", help="Local day after the last.")]
Tariffs = Annotated[Path | None, typer.Option("--tariffs", metavar="F", help="TARIFFS.toml.")]
Reads = Annotated[Path | None, typer.Option("--reads", metavar="F", help="READS: boundary registers.")]
LedgerFolder = Annotated[Path, typer.Option("--ledger", metavar="DIR", help="Folder of ledger and batches.")]
At = Annotated[str | None, typer.Option("--at", metavar="T", help="Time of the step; default: now.")]


def register(ami: typer.Typer) -> None:
    """Add the verbs."""
    bill = typer.Typer(help="Billing windows: what is due, runs against the ledger, deliveries, answers, traces.")
    ami.add_typer(bill, name="bill")
    _register_plan(bill)
    _register_run(bill)
    _register_status(bill)
    bill_window.register(bill)
    bill_answers.register(bill)
    bill_trace.register(bill)


def _register_plan(bill: typer.Typer) -> None:
    @bill.command("plan")
    def plan_windows(
        cycles: Annotated[Path, typer.Option("--cycles", metavar="F", help="CYCLES.toml.")],
        ledger: LedgerFolder,
        today: Annotated[str | None, typer.Option("--today", metavar="D", help="Default: today in UTC.")] = None,
        json: Json = False,
    ) -> None:
        """List the periods that ended and whether they wait for late reads, are due, late, or done."""
        day = datetime.now(UTC).date() if today is None else parse_day(today, "--today")
        due = plan(load_cycles(cycles), day, billed_cycles(load_books(ledger).batches))
        say({"today": day.isoformat(), "states": counts(due, "state"), "periods": _rows(due, "cycle")}, as_json=json)


def _register_run(bill: typer.Typer) -> None:
    @bill.command("run")
    def run(
        finals: Finals,
        meters: Meters,
        date_from: From,
        date_to: To,
        ledger: LedgerFolder,
        out: Out,
        formats: Annotated[list[str] | None, typer.Option("--format", metavar="F", help="Beside determinants.")] = None,
        tariffs: Tariffs = None,
        rules: Annotated[Path | None, typer.Option("--rules", metavar="F", help="RULES.toml of the finals.")] = None,
        reads: Reads = None,
        calendar: CalendarFile = None,
        cycle: Annotated[str, typer.Option("--cycle", metavar="C", help="As `bill plan` names it.")] = "",
        sender: Annotated[str, typer.Option("--sender", metavar="S", help="Participant.")] = "AMIHEADEND",
        receiver: Annotated[str, typer.Option("--receiver", metavar="S", help="Participant.")] = "RECEIVER",
        target: Annotated[
            Path | None, typer.Option("--target", metavar="F", help="TARGET.toml; default: --out is the receiver's.")
        ] = None,
        missing_limit: Annotated[
            int, typer.Option("--missing-limit", min=0, help="Missing intervals above which a stream is held.")
        ] = 0,
        estimated_limit: Annotated[
            int, typer.Option("--estimated-limit", min=0, max=1000, help="Estimated share, permille, above: held.")
        ] = 1000,
        at: At = None,
        metrics: MetricsFile = None,
        json: Json = False,
    ) -> None:
        """Bill a period: what is new, corrected or was refused goes into a folder of its batch and into the ledger."""
        params = ExportParams(
            formats=tuple(formats or ("determinants",)),
            date_from=parse_day(date_from, "--from"),
            date_to=parse_day(date_to, "--to"),
            sender=sender,
            receiver=receiver,
            cycle=cycle,
            missing_limit=missing_limit,
            estimated_limit_permille=estimated_limit,
            holidays=frozenset(load_calendar(calendar).holidays),
        )
        formats_of(params)
        outlet = Outlet(ledger, out, load_target(target))
        book = load_tariffs(tariffs)
        rest = ExportInputs(FINALS.empty(), load_meters(meters, load_types(None)), READS.empty(), book)
        calendars = book.labels(params.date_from, params.date_to)
        params = msgspec.structs.replace(params, rule_set=digest_of(rules), calendars=calendars)
        parts, moment = parquet_parts(finals, rest, reads=reads), instant_or_now(at)
        with progress(f"billing {parquet_rows(finals)} intervals"), telling(metrics, ledger), alone(ledger):
            summary, seconds = timed(lambda: bill_into(outlet, parts, params, moment))
        say(summary | {"seconds": seconds}, as_json=json)


def _register_status(bill: typer.Typer) -> None:
    @bill.command("status")
    def status(
        ledger: LedgerFolder,
        now: Annotated[str | None, typer.Option("--now", metavar="T", help="Default: now.")] = None,
        silent_hours: Annotated[int, typer.Option("--silent-hours", help="Limit for an answer.")] = 48,
        json: Json = False,
    ) -> None:
        """Show every batch with its state; exit 1 where a receiver is silent past the limit."""
        batches = load_books(ledger).batches
        last = batches.sort("batch_id", "step").group_by("batch_id", maintain_order=True).last()
        quiet = silent(batches, instant_or_now(now, "--now"), timedelta(hours=silent_hours))["batch_id"].to_list()
        states = {row["batch_id"]: row["state"] for row in last.select("batch_id", "state").rows(named=True)}
        say({"batches": states, "states": counts(last, "state"), "silent": quiet}, as_json=json)
        if quiet:
            raise typer.Exit(1)


def _rows(rows: pl.DataFrame, key: str) -> dict[str, Any]:
    return {str(row.pop(key)): row for row in rows.rows(named=True)}
