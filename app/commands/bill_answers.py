"""`ami bill deliver|acknowledge`: folders to the receiver, and his answers back."""

from pathlib import Path
from typing import Annotated

import polars as pl
import typer

from app.billing import Outlet, deliver_written, load_target
from app.files import read_bytes, write_outputs
from app.inputs import load_meters, load_types
from app.ledger import append_steps, instant_or_now, load_books
from app.options import Json, Out
from app.summary import progress, say
from billing_export.answers import Delivery, Matched, match_answer, read_answer
from billing_export.batches import acknowledge, read_acknowledgement
from billing_export.export import MANIFEST
from billing_export.reentry import Books
from schemas.errors import ContractError
from schemas.frames import METERS

LedgerFolder = Annotated[Path, typer.Option("--ledger", metavar="DIR", help="Folder of ledger and batches.")]
At = Annotated[str | None, typer.Option("--at", metavar="T", help="Time of the step; default: now.")]


def register(bill: typer.Typer) -> None:
    """Add the verbs."""

    @bill.command("deliver")
    def deliver(
        ledger: LedgerFolder,
        out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder of the batches.")],
        target: Annotated[Path, typer.Option("--target", metavar="F", help="TARGET.toml: folder, sftp or s3.")],
        at: At = None,
        json: Json = False,
    ) -> None:
        """Carry every batch that was written and not delivered; taken up where an earlier attempt broke."""
        outlet = Outlet(ledger, out, load_target(target))
        with progress("delivering"):
            carried = deliver_written(outlet, instant_or_now(at))
        say({"batches": {name: list(done.written) for name, done in carried.items()}}, as_json=json)

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
        books = load_books(ledger)
        registry = METERS.empty() if meters is None else load_meters(meters, load_types(None))
        matched = _matched(read_bytes(file), delivery, books, registry, syntax_suffices=syntax_suffices)
        findings, state, refused = list(matched.findings), None, 0
        if matched.said is not None:
            found = acknowledge(books, matched.said, instant_or_now(at))
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
