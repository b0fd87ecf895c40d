"""Door: a billing run of any size into a folder, part by part; the same bytes as `bill_run` gives for the whole."""

from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import polars as pl

from billing_export.corrections import SUFFIX, Held, preceded
from billing_export.determinants import Determinants, lines_from, seal
from billing_export.formats import FORMATS
from billing_export.formats.determinants import LINES, line_pieces
from billing_export.manifest import FileEntry
from billing_export.pieces import ExportParams, Heading
from billing_export.reentry import Books
from billing_export.run import enter, first_steps, market_formats, sent_again
from billing_export.stream import Parts, grow, grow_pieces, settled
from billing_export.survey import survey
from schemas.errors import ContractError, TransientError
from schemas.frames import BILLING_BATCHES


class StreamedRun(NamedTuple):
    """What a run delivered and posts; as `BillRun`, the files in their folder."""

    batch_id: str | None
    """None where nothing changed since the last run: then there is no folder."""
    files: list[FileEntry]
    lines: pl.DataFrame
    steps: pl.DataFrame
    findings: pl.DataFrame
    unchanged: int
    reentered: int


def bill_parts(books: Books, parts: Parts, params: ExportParams, at: datetime, out: Path) -> StreamedRun:
    """Bill a period against a ledger; the batch stands in a folder of its name in `out`.

    Lines, of which there are some dozen a meter, are held; intervals only those of three parts. The parts are asked for
    once for the lines and once for each market format, and must be the same each time.

    Args:
        books: As for `bill_run`.
        parts: Gives the inputs part by part.
        params: As for `bill_run`.
        at: Time of the steps.
        out: Folder of the batches.

    Raises:
        ContractError: As `bill_run`; a file to cancel is looked for where `out` has its batch.
        TransientError: The folder cannot be written; what a manifest there names is whole.
    """
    forms, form, asked = market_formats(params), FORMATS[LINES], params.determinants()
    known = survey(parts(resting=True), [form, *forms], params, measured=True)
    lines = lines_from(known.measured, asked)
    # The batch has its name only once the ledger is known: `enter` seals the lines anew.
    entry = enter(books, Determinants(seal(lines.determinants, ""), lines.findings, lines.spans), asked)
    findings = lines.findings
    if entry.batch_id is None:
        return StreamedRun(None, [], entry.lines, BILLING_BATCHES.empty(), findings, entry.unchanged, 0)
    folder, again = out / entry.batch_id, sent_again(books, params)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        grown = [grow_pieces(form, line_pieces(entry.sent, findings), known.created[form.name], folder)]
        for other in preceded(forms, books, params, known.meters, lambda held: _delivered(out, held)):
            created = known.created[other.name.removesuffix(SUFFIX)]
            heading = Heading(created, entry.batch_id, again)
            grown.append(grow(other, parts, heading, folder))
        heading = Heading(known.created[form.name], entry.batch_id, params)
        done = settled(grown, heading, known.runs, folder)
    except OSError as error:
        raise TransientError(f"{folder}: {error.strerror or error}") from error
    steps = first_steps(entry.batch_id, done.manifest, params, at)
    return StreamedRun(entry.batch_id, done.files, entry.lines, steps, findings, entry.unchanged, entry.again)


def _delivered(out: Path, held: Held) -> bytes:
    file = out / held.batch_id / held.name
    try:
        return file.read_bytes()
    except OSError as error:
        raise ContractError(
            f"{file}: {error.strerror or error}: it is to be cancelled before it is sent anew"
        ) from error
