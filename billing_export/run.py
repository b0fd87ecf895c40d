"""Stage `bill_run`: one billing run, from finals to what is delivered and what the ledger gains."""

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

import msgspec
import polars as pl

from billing_export.corrections import preceded
from billing_export.determinants import Determinants, compute_determinants
from billing_export.export import (
    Export,
    Rendered,
    assembled,
    created_at,
    formats_of,
    render_format,
    run_ids,
)
from billing_export.formats import FORMATS
from billing_export.formats.determinants import LINES, line_pieces
from billing_export.inputs import checked_inputs
from billing_export.ledger import post, sealed, vanished
from billing_export.manifest import Section
from billing_export.pieces import ExportInputs, ExportParams, Format
from billing_export.reentry import Books, Reentry, reenter
from billing_export.spans import DeterminantParams
from schemas.frames import BILLING_BATCHES, UTC_US, conform
from schemas.timegrid import day_bounds


class BillRun(NamedTuple):
    """What a run delivers and posts."""

    export: Export | None
    """Files of the batch; none where nothing changed since the last run."""
    lines: pl.DataFrame
    """DETERMINANTS to append to the ledger: all of a first run, reversals and new lines afterwards; those that take
    back what the receiver had refused stand at the end, and are not in his file."""
    steps: pl.DataFrame
    """BILLING_BATCHES: planned and written."""
    findings: pl.DataFrame
    """FINDINGS: held lines and notes, of the whole period."""
    unchanged: int
    reentered: int
    """Refused lines that go out again as they were."""


class Entry(NamedTuple):
    """What a run adds to the ledger."""

    batch_id: str | None
    """None where there is nothing to add."""
    sent: pl.DataFrame
    """DETERMINANTS that the receiver gets."""
    lines: pl.DataFrame
    """DETERMINANTS to append: those, and after them what takes back what the receiver had refused."""
    unchanged: int
    again: int
    """Refused lines among those sent."""


def bill_run(
    books: Books, inputs: ExportInputs, params: ExportParams, at: datetime, delivered: Mapping[str, bytes] | None = None
) -> BillRun:
    """Bill a period against a ledger: what is new, what is corrected, what was refused and waits, and nothing else.

    The determinants file holds the posted lines, reversals included; market formats hold the whole period again, as
    their receivers correct by replacement, and before it the cancellation of what is replaced, where the format wants
    one (`corrections`). The same ledger and inputs give the same bytes.

    Args:
        books: What was posted so far, and what receivers said of it.
        inputs: As for `export`.
        params: As for `export`; the determinants are always among the formats.
        at: Time of the steps.
        delivered: Files by name that `corrections.held_files` asks for.

    Raises:
        ContractError: A file to cancel is not given, or another one.
    """
    checked = checked_inputs(inputs)
    asked = params.determinants()
    computed = compute_determinants(checked.finals, checked.meters, checked.reads, checked.tariffs, asked)
    entry = enter(books, computed, asked)
    if entry.batch_id is None:
        return BillRun(None, entry.lines, BILLING_BATCHES.empty(), computed.findings, entry.unchanged, 0)
    pieces = list(line_pieces(entry.sent, computed.findings))
    tally = next(piece.tally for piece in pieces if piece.tally is not None)
    form = FORMATS[LINES]
    section = Section(form, created_at(checked, form, params), tally, ())
    own = Rendered(section, {piece.part: (piece.content, piece.records) for piece in pieces})
    again = sent_again(books, params)
    files = dict(delivered or {})
    forms = preceded(market_formats(params), books, params, checked.meters, lambda held: files.get(held.name, b""))
    others = [render_format(checked, other, (entry.batch_id, again)) for other in forms]
    export = assembled(entry.batch_id, params, [own, *others], run_ids(checked))
    steps = first_steps(entry.batch_id, export.manifest, params, at)
    return BillRun(export, entry.lines, steps, computed.findings, entry.unchanged, entry.again)


def enter(books: Books, computed: Determinants, asked: DeterminantParams) -> Entry:
    """What the determinants of a period add to a ledger: new, corrected and refused lines, numbered."""
    gone = vanished(books.lines, _batches_of(books, asked), computed)
    posting = post(books.lines, computed.determinants, asked, gone)
    entry = reenter(posting.lines, books)
    if entry.sent.is_empty() and entry.silent.is_empty():
        return Entry(None, entry.sent, posting.lines, posting.unchanged, 0)
    sent, lines = _numbered(entry, asked)
    return Entry(str(lines["batch_id"][0]), sent, lines, posting.unchanged, entry.again)


def _batches_of(books: Books, asked: DeterminantParams) -> pl.Series:
    start, end = (day_bounds(day, "UTC")[0] for day in (asked.date_from, asked.date_to))
    same = (pl.col("period_start") == start) & (pl.col("period_end") == end) & (pl.col("consumer") == asked.consumer)
    return books.batches.filter(same)["batch_id"].unique()


def market_formats(params: ExportParams) -> list[Format]:
    """The formats asked for that hold the whole period."""
    return [form for form in formats_of(params) if form.name != LINES]


def sent_again(books: Books, params: ExportParams) -> ExportParams:
    """The same parameters; they say so where the receiver had a batch of this cycle and period already."""
    return msgspec.structs.replace(params, resent=_sent_before(books, params))


def _sent_before(books: Books, params: ExportParams) -> bool:
    """Whether the receiver had a batch of this cycle and period already."""
    start, end = (day_bounds(day, "UTC")[0] for day in (params.date_from, params.date_to))
    same = (pl.col("consumer") == params.receiver) & (pl.col("cycle") == params.cycle)
    period = (pl.col("period_start") == start) & (pl.col("period_end") == end)
    return not books.batches.filter(same & period & (pl.col("state") == "delivered")).is_empty()


def _numbered(entry: Reentry, asked: DeterminantParams) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The lines of the receiver, numbered from 1, and all lines, the ledger's own numbered after them."""
    every = sealed(pl.concat([entry.sent, entry.silent]), asked)
    batch_id = str(every["batch_id"][0])
    sent = sealed(entry.sent, asked).with_columns(batch_id=pl.lit(batch_id))
    silent = sealed(entry.silent, asked).with_columns(
        batch_id=pl.lit(batch_id), line_no=pl.col("line_no") + sent.height
    )
    return sent, pl.concat([sent, silent])


def first_steps(batch_id: str, manifest: bytes, params: ExportParams, at: datetime) -> pl.DataFrame:
    """BILLING_BATCHES of a batch whose files stand: planned and written."""
    period = [day_bounds(day, "UTC")[0] for day in (params.date_from, params.date_to)]
    rows = pl.DataFrame({"step": [0, 1], "state": ["planned", "written"]}, schema_overrides={"step": pl.Int32})
    return conform(
        rows.with_columns(
            batch_id=pl.lit(batch_id),
            consumer=pl.lit(params.receiver),
            format=pl.lit("+".join(dict.fromkeys((LINES, *params.formats)))),
            cycle=pl.lit(params.cycle),
            period_start=pl.lit(period[0]).cast(UTC_US),
            period_end=pl.lit(period[1]).cast(UTC_US),
            manifest=pl.lit(manifest.decode()),
            reason=pl.lit(None, dtype=pl.String),
            updated_at=pl.lit(at).cast(UTC_US),
        ),
        BILLING_BATCHES,
    )
