"""`ami bill plan|run|acknowledge|status` and `ami reconcile`: the billing window on files.

A ledger folder holds `ledger.parquet` and `batches.parquet`; both only ever grow.
"""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import polars as pl
import typer

from app.calendar import load_calendar
from app.commands.export import load_tariffs
from app.files import parse_day, parse_instant, read_bytes, read_frame, read_text, write_outputs
from app.inputs import load_meters, load_types
from app.options import CalendarFile, Json, Out
from app.summary import counts, progress, say, timed
from billing_export.batches import acknowledge, advance, read_acknowledgement, resubmit, silent
from billing_export.delivery.folder import deliver
from billing_export.determinants import compute_determinants
from billing_export.export import formats_of
from billing_export.pieces import ExportInputs, ExportParams
from billing_export.plan import Cycle, plan
from billing_export.reconcile import reconcile_files, reconcile_ledger, reconcile_registers
from billing_export.run import BillRun, bill_run
from schemas.errors import ContractError
from schemas.frames import BILLING_BATCHES, DETERMINANTS, FINALS, READS, Frame

LEDGER, BATCHES = "ledger.parquet", "batches.parquet"
MANIFEST: Final = "manifest.json"

Finals = Annotated[Path, typer.Argument(metavar="FINALS.parquet")]
Meters = Annotated[Path, typer.Option("--meters", metavar="F", help="METERS.csv.")]
From = Annotated[str, typer.Option("--from", metavar="D", help="First local day.")]
To = Annotated[str, typer.Option("--to", metavar="D", help="Local day after the last.")]
Tariffs = Annotated[Path | None, typer.Option("--tariffs", metavar="F", help="TARIFFS.toml.")]
Reads = Annotated[Path | None, typer.Option("--reads", metavar="F", help="READS: boundary registers.")]
LedgerFolder = Annotated[Path, typer.Option("--ledger", metavar="DIR", help="Folder of ledger and batches.")]
At = Annotated[str | None, typer.Option("--at", metavar="T", help="Time of the step; default: now.")]


class Cycles(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A CYCLES.toml: `[[cycle]]` with `name`, `first_day`, `alignment_days`, `window_days`."""

    cycle: tuple[Cycle, ...]


def register(ami: typer.Typer) -> None:
    """Add the verbs."""
    bill = typer.Typer(help="Billing windows: what is due, runs against the ledger, answers of the receiver.")
    ami.add_typer(bill, name="bill")
    _register_plan(bill)
    _register_run(bill)
    _register_answers(bill)
    _register_reconcile(ami)


def _register_plan(bill: typer.Typer) -> None:
    @bill.command("plan")
    def plan_windows(
        cycles: Annotated[Path, typer.Option("--cycles", metavar="F", help="CYCLES.toml.")],
        ledger: LedgerFolder,
        today: Annotated[str | None, typer.Option("--today", metavar="D", help="Default: today in UTC.")] = None,
        json: Json = False,
    ) -> None:
        """List the periods that ended and whether they wait for late reads, are due, late, or done."""
        batches = _held(ledger / BATCHES, BILLING_BATCHES)
        done = batches.filter(~pl.col("state").is_in(["planned", "written"]))["cycle"].drop_nulls()
        day = datetime.now(UTC).date() if today is None else parse_day(today, "--today")
        due = plan(_load_cycles(cycles), day, frozenset(done.to_list()))
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
        reads: Reads = None,
        calendar: CalendarFile = None,
        cycle: Annotated[str, typer.Option("--cycle", metavar="C", help="As `bill plan` names it.")] = "",
        sender: Annotated[str, typer.Option("--sender", metavar="S", help="Participant.")] = "AMIHEADEND",
        receiver: Annotated[str, typer.Option("--receiver", metavar="S", help="Participant.")] = "RECEIVER",
        at: At = None,
        json: Json = False,
    ) -> None:
        """Bill a period: deliver what is new or corrected into a folder of its batch, and post it to the ledger."""
        params = ExportParams(
            formats=tuple(formats or ("determinants",)),
            date_from=parse_day(date_from, "--from"),
            date_to=parse_day(date_to, "--to"),
            sender=sender,
            receiver=receiver,
            cycle=cycle,
            holidays=frozenset(load_calendar(calendar).holidays),
        )
        formats_of(params)
        inputs = _inputs(finals, meters, tariffs, reads)
        posted, batches = _held(ledger / LEDGER, DETERMINANTS), _held(ledger / BATCHES, BILLING_BATCHES)
        with progress(f"billing {inputs.finals.height} intervals"):
            billed, seconds = timed(lambda: bill_run(posted, inputs, params, _at(at)))
        if billed.export is not None:
            batch_id = str(billed.lines["batch_id"][0])
            # The files stand before the ledger knows of them: a run that is cut short between the two is repeated
            # with the same bytes.
            deliver(billed.export, out / batch_id)
            steps = pl.concat([batches, billed.steps])
            steps = pl.concat([steps, advance(steps, batch_id, "delivered", _at(at))])
            write_outputs(ledger, {LEDGER: pl.concat([posted, billed.lines]), BATCHES: steps})
        say(_billed_summary(billed, seconds), as_json=json)


def _register_answers(bill: typer.Typer) -> None:
    @bill.command("acknowledge")
    def answer(
        file: Annotated[Path, typer.Argument(metavar="ACK.csv")],
        ledger: LedgerFolder,
        out: Out,
        at: At = None,
        json: Json = False,
    ) -> None:
        """Take the receiver's answer: the batch moves on; refused lines stand in a new batch, to be sent again."""
        posted, batches = _held(ledger / LEDGER, DETERMINANTS), _held(ledger / BATCHES, BILLING_BATCHES)
        said = read_acknowledgement(read_text(file))
        found = acknowledge(batches, posted, said, _at(at))
        outputs: dict[str, pl.DataFrame] = {}
        if not found.refused.is_empty():
            steps = batches.filter(pl.col("batch_id") == said.batch_id).sort("step")
            outputs = {"refused.parquet": found.refused, "again.parquet": resubmit(found.refused, _asked(steps))}
        write_outputs(out, outputs)
        if not found.step.is_empty():
            write_outputs(ledger, {BATCHES: pl.concat([batches, found.step])})
        state = found.step["state"].to_list()[0] if not found.step.is_empty() else None
        findings = [finding._asdict() for finding in found.findings]
        summary = {"batch": said.batch_id, "state": state, "refused": found.refused.height, "findings": findings}
        say(summary, as_json=json)
        if findings:
            raise typer.Exit(1)

    @bill.command("status")
    def status(
        ledger: LedgerFolder,
        now: Annotated[str | None, typer.Option("--now", metavar="T", help="Default: now.")] = None,
        silent_hours: Annotated[int, typer.Option("--silent-hours", help="Limit for an answer.")] = 48,
        json: Json = False,
    ) -> None:
        """Show every batch with its state; exit 1 where a receiver is silent past the limit."""
        batches = _held(ledger / BATCHES, BILLING_BATCHES)
        last = batches.sort("batch_id", "step").group_by("batch_id", maintain_order=True).last()
        quiet = silent(batches, _at(now), timedelta(hours=silent_hours))["batch_id"].to_list()
        states = {row["batch_id"]: row["state"] for row in last.select("batch_id", "state").rows(named=True)}
        say({"batches": states, "states": counts(last, "state"), "silent": quiet}, as_json=json)
        if quiet:
            raise typer.Exit(1)


def _register_reconcile(ami: typer.Typer) -> None:
    @ami.command()
    def reconcile(
        finals: Finals,
        meters: Meters,
        date_from: From,
        date_to: To,
        out: Out,
        tariffs: Tariffs = None,
        reads: Reads = None,
        calendar: CalendarFile = None,
        ledger: Annotated[Path | None, typer.Option("--ledger", metavar="DIR", help="Ledger to compare with.")] = None,
        delivery: Annotated[
            list[Path] | None, typer.Option("--delivery", metavar="DIR", help="Delivered folder; may repeat.")
        ] = None,
        json: Json = False,
    ) -> None:
        """Prove intervals against registers, the ledger against determinants, files against manifests."""
        inputs = _inputs(finals, meters, tariffs, reads)
        days = frozenset(load_calendar(calendar).holidays)
        params = ExportParams(
            ("determinants",), parse_day(date_from, "--from"), parse_day(date_to, "--to"), holidays=days
        )
        formats_of(params)
        lines = compute_determinants(
            inputs.finals, inputs.meters, inputs.reads, inputs.tariffs, params.determinants()
        ).determinants
        parts = [reconcile_registers(lines, inputs.meters)]
        if ledger is not None:
            parts.append(reconcile_ledger(_held(ledger / LEDGER, DETERMINANTS), lines))
        parts += [_reconciled(folder) for folder in delivery or []]
        compared = pl.concat(parts)
        write_outputs(out, {"reconciliation.parquet": compared})
        wrong = compared.filter(pl.col("reason").is_not_null())
        summary = {
            "compared": counts(compared, "kind"),
            "reasons": counts(wrong, "reason"),
            "differences": _rows(wrong.head(20), "subject"),
        }
        say(summary, as_json=json)
        if not wrong.is_empty():
            raise typer.Exit(1)


def _reconciled(folder: Path) -> pl.DataFrame:
    if not folder.is_dir():
        raise ContractError(f"--delivery {folder}: no folder")
    files = {path.name: read_bytes(path) for path in sorted(folder.iterdir()) if path.name != MANIFEST}
    return reconcile_files(read_bytes(folder / MANIFEST), files)


def _inputs(finals: Path, meters: Path, tariffs: Path | None, reads: Path | None) -> ExportInputs:
    book = load_tariffs(tariffs)
    return ExportInputs(
        read_frame(finals, FINALS),
        load_meters(meters, load_types(None)),
        READS.empty() if reads is None else read_frame(reads, READS),
        book,
    )


def _held(file: Path, frame: Frame) -> pl.DataFrame:
    return read_frame(file, frame) if file.exists() else frame.empty()


def _at(text: str | None) -> datetime:
    return datetime.now(UTC) if text is None else parse_instant(text, "--at")


def _asked(steps: pl.DataFrame) -> Any:
    last = steps.tail(1).row(0, named=True)
    return ExportParams(
        ("determinants",), last["period_start"].date(), last["period_end"].date(), receiver=last["consumer"],
        cycle=last["cycle"] or "",
    ).determinants()  # fmt: skip


def _load_cycles(file: Path) -> tuple[Cycle, ...]:
    try:
        return msgspec.toml.decode(read_text(file), type=Cycles).cycle
    except msgspec.MsgspecError as error:
        raise ContractError(f"{file}: {error}") from error


def _rows(rows: pl.DataFrame, key: str) -> dict[str, Any]:
    return {str(row.pop(key)): row for row in rows.rows(named=True)}


def _billed_summary(billed: BillRun, seconds: float) -> dict[str, Any]:
    held = billed.findings.filter("held")
    export = billed.export
    return {
        "batch": None if export is None else str(billed.lines["batch_id"][0]),
        "lines": {"new": int((billed.lines["sign"] > 0).sum()), "reversed": int((billed.lines["sign"] < 0).sum())},
        "unchanged": billed.unchanged,
        "held": counts(held, "reason"),
        "files": {} if export is None else {file.name: file.records for file in export.files},
        "seconds": seconds,
    }
