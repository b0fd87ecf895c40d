"""Door: a billing run of any size into a folder, part by part; the same bytes as `bill_run` gives for the whole."""

from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import polars as pl

from billing_export.corrections import SUFFIX, Held, preceded
from billing_export.determinants import Determinants, compute_lines, seal
from billing_export.export import checked_inputs, created_at, run_ids
from billing_export.formats import FORMATS
from billing_export.formats.determinants import line_pieces
from billing_export.located import NOTHING_JUDGED
from billing_export.manifest import FileEntry
from billing_export.pieces import ExportParams, Heading
from billing_export.reentry import Books
from billing_export.run import LINES, enter, first_steps, market_formats, sent_again
from billing_export.spans import BILLED_SPANS, FINDINGS
from billing_export.stream import Parts, grow, grow_pieces, settled
from schemas.errors import ContractError, TransientError
from schemas.frames import BILLING_BATCHES, DETERMINANTS, METERS


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


class _Computed(NamedTuple):
    """What one walk over the parts gives."""

    determinants: Determinants
    created: dict[str, datetime]
    """By format."""
    runs: list[str]
    meters: pl.DataFrame
    """`meter_id`, `nmi`."""


def bill_parts(books: Books, parts: Parts, params: ExportParams, at: datetime, out: Path) -> StreamedRun:
    """Bill a period against a ledger; the batch stands in a folder of its name in `out`.

    Lines, of which there are some dozen a meter, are held; intervals only those of one part. The parts are asked for
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
    forms, form = market_formats(params), FORMATS[LINES]
    computed = _computed(parts, params)
    entry = enter(books, computed.determinants, params.determinants())
    findings = computed.determinants.findings
    if entry.batch_id is None:
        return StreamedRun(None, [], entry.lines, BILLING_BATCHES.empty(), findings, entry.unchanged, 0)
    folder, again = out / entry.batch_id, sent_again(books, params)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        grown = [grow_pieces(form, line_pieces(entry.sent, findings), computed.created[form.name], folder)]
        for other in preceded(forms, books, params, computed.meters, lambda held: _delivered(out, held)):
            created = computed.created[other.name.removesuffix(SUFFIX)]
            heading = Heading(created, entry.batch_id, again)
            grown.append(grow(other, parts, heading, folder))
        heading = Heading(computed.created[form.name], entry.batch_id, params)
        done = settled(grown, heading, computed.runs, folder)
    except OSError as error:
        raise TransientError(f"{folder}: {error.strerror or error}") from error
    steps = first_steps(entry.batch_id, done.manifest, params, at)
    return StreamedRun(entry.batch_id, done.files, entry.lines, steps, findings, entry.unchanged, entry.again)


def _computed(parts: Parts, params: ExportParams) -> _Computed:
    asked, forms = params.determinants(), [FORMATS[LINES], *market_formats(params)]
    lines, findings, runs = [DETERMINANTS.empty()], [pl.DataFrame(schema=FINDINGS)], set[str]()
    spans = [pl.DataFrame(schema=BILLED_SPANS)]
    meters = [METERS.empty().select("meter_id", "nmi")]
    created: dict[str, list[datetime]] = {form.name: [] for form in forms}
    for part in parts():
        checked = checked_inputs(part)
        made = compute_lines(checked.finals, checked.meters, checked.reads, checked.tariffs, asked)
        lines.append(made.determinants)
        findings.append(made.findings)
        spans.append(made.spans)
        runs.update(run_ids([checked]))
        meters.append(checked.meters.select("meter_id", "nmi"))
        for form in forms:
            created[form.name].append(created_at([checked], form, params))
    # The batch has its name only once the ledger is known: `enter` seals the lines anew.
    every = Determinants(seal(pl.concat(lines), ""), pl.concat(findings), pl.concat(spans))
    newest = {name: max(each, default=NOTHING_JUDGED) for name, each in created.items()}
    return _Computed(every, newest, sorted(runs), pl.concat(meters))


def _delivered(out: Path, held: Held) -> bytes:
    file = out / held.batch_id / held.name
    try:
        return file.read_bytes()
    except OSError as error:
        raise ContractError(
            f"{file}: {error.strerror or error}: it is to be cancelled before it is sent anew"
        ) from error
