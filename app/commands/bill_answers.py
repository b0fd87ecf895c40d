"""`ami bill deliver|acknowledge|cancel`: folders to the receiver, his answers back, and what is taken back."""

from pathlib import Path
from typing import Annotated

import msgspec
import polars as pl
import typer

from app.billing import Outlet, deliver_written, load_target
from app.billing_metrics import telling
from app.files import read_bytes, write_outputs
from app.inputs import load_meters, load_types
from app.ledger import alone, append_steps, instant_or_now, load_books
from app.options import Json, MetricsFile, Out
from app.summary import progress, say
from billing_export.answers import Delivery, Matched, match_answer, read_answer
from billing_export.batches import acknowledge, read_acknowledgement
from billing_export.export import MANIFEST
from billing_export.findings import Finding
from billing_export.formats.cancel import CANCEL
from billing_export.reentry import Books
from schemas.errors import ContractError
from schemas.frames import METERS

LedgerFolder = Annotated[Path, typer.Option("--ledger", metavar="DIR", help="Folder of ledger and batches.")]
At = Annotated[str | None, typer.Option("--at", metavar="T", help="Time of the step; default: now.")]


def register(bill: typer.Typer) -> None:
    """Add the verbs."""
    _register_deliver(bill)
    _register_acknowledge(bill)
    _register_cancel(bill)


def _register_deliver(bill: typer.Typer) -> None:
    @bill.command("deliver")
    def deliver(
        ledger: LedgerFolder,
        out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder of the batches.")],
        target: Annotated[Path, typer.Option("--target", metavar="F", help="TARGET.toml: folder, sftp or s3.")],
        at: At = None,
        metrics: MetricsFile = None,
        json: Json = False,
    ) -> None:
        """Carry every batch that was written and not delivered; taken up where an earlier attempt broke."""
        outlet = Outlet(ledger, out, load_target(target))
        with progress("delivering"), telling(metrics, ledger), alone(ledger):
            carried = deliver_written(outlet, instant_or_now(at))
        say({"batches": {name: list(done.written) for name, done in carried.items()}}, as_json=json)


def _register_acknowledge(bill: typer.Typer) -> None:
    @bill.command("acknowledge")
    def answer(
        file: Annotated[Path, typer.Argument(metavar="ANSWER", help="CSV of ours, CONTRL, APERAK or X12 997.")],
        ledger: LedgerFolder,
        out: Out,
        delivery: Annotated[
            Path | None, typer.Option("--delivery", metavar="DIR", help="Folder that a CONTRL, APERAK or 997 answers.")
        ] = None,
        meters: Annotated[Path | None, typer.Option("--meters", metavar="F", help="METERS.csv: NMI of points.")] = None,
        syntax_suffices: Annotated[
            bool, typer.Option("--syntax-suffices", help="An accepted CONTRL acknowledges: no APERAK follows.")
        ] = False,
        at: At = None,
        json: Json = False,
    ) -> None:
        """Take the receiver's answer: the batch moves on; what he refused goes out again with the next run."""
        answered, moment = read_bytes(file), instant_or_now(at)
        registry = METERS.empty() if meters is None else load_meters(meters, load_types(None))
        findings: list[Finding] = []
        state, refused = None, 0
        with alone(ledger):
            books = load_books(ledger)
            matched = _matched(answered, delivery, books, registry, syntax_suffices=syntax_suffices)
            findings += matched.findings
            if matched.said is not None:
                found = acknowledge(books, matched.said, moment)
                findings, refused = [*findings, *found.findings], found.refused.height
                if not found.refused.is_empty():
                    write_outputs(out, {"refused.parquet": found.refused})
                if not found.step.is_empty():
                    append_steps(ledger, books, found.step)
                    state = str(found.step["state"][0])
        batch = None if matched.said is None else matched.said.batch_id
        told = [finding._asdict() for finding in findings]
        say({"batch": batch, "state": state, "refused": refused, "findings": told}, as_json=json)
        if findings:
            raise typer.Exit(1)


def _register_cancel(bill: typer.Typer) -> None:
    @bill.command("cancel")
    def cancel(
        delivery: Annotated[Path, typer.Argument(metavar="DIR", help="Delivered folder.")],
        out: Out,
        points: Annotated[
            list[str] | None, typer.Option("--point", metavar="P", help="Only of this location; may repeat.")
        ] = None,
        at: At = None,
        json: Json = False,
    ) -> None:
        """Write cancellations of delivered MSCONS and 867 files: they go first, the next run's files follow."""
        listed = _manifest_files(delivery)
        wanted = {name: form for name, form in listed.items() if form in CANCEL}
        if not wanted:
            raise ContractError(f"{delivery}: no MSCONS or 867 file in its manifest: others correct by sending again")
        moment = instant_or_now(at)
        made = {
            f"cancel_{name}": CANCEL[form](read_bytes(delivery / name), points, moment, ())
            for name, form in wanted.items()
        }
        write_outputs(out, made)
        say({"files": {name: len(content) for name, content in made.items()}}, as_json=json)


def _manifest_files(delivery: Path) -> dict[str, str]:
    try:
        files = msgspec.json.decode(read_bytes(delivery / MANIFEST))["files"]
        return {str(file["name"]): str(file["format"]) for file in files}
    except (msgspec.MsgspecError, KeyError, TypeError) as error:
        raise ContractError(f"{delivery / MANIFEST}: no manifest: {type(error).__name__}") from error


def _matched(
    data: bytes, delivery: Path | None, books: Books, meters: pl.DataFrame, *, syntax_suffices: bool
) -> Matched:
    if not data.startswith((b"UNA", b"UNB", b"ISA")):
        return Matched(read_acknowledgement(data.decode("utf-8-sig", "replace")), [])
    if delivery is None:
        raise ContractError("--delivery: an answer of this kind names a file of ours; say in which folder it is")
    files = {path.name: read_bytes(path) for path in sorted(delivery.glob("*")) if path.name != MANIFEST}
    given = Delivery(read_bytes(delivery / MANIFEST), files)
    return match_answer(read_answer(data), given, books, meters, syntax_suffices=syntax_suffices)
