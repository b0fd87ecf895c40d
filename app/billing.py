"""A billing run on its way out: folder of the batch, ledger, target; each step safe to repeat."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from app.files import read_text
from app.ledger import append_lines, append_steps, load_books
from app.summary import counts
from billing_export.batches import advance
from billing_export.delivery.courier import carry
from billing_export.delivery.folder import Delivered
from billing_export.delivery.targets import Settings, open_target, parse_target
from billing_export.pieces import ExportParams
from billing_export.reentry import Books
from billing_export.run_stream import StreamedRun, bill_parts
from billing_export.stream import Parts


class Outlet(NamedTuple):
    """Where a run goes."""

    ledger: Path
    out: Path
    """Each batch has a folder in it."""
    target: Settings | None
    """Where the folders are carried; none: the receiver takes them from `out`."""


def bill_into(outlet: Outlet, parts: Parts, params: ExportParams, at: datetime) -> dict[str, Any]:
    """A period is billed, posted and delivered; the summary of the verb.

    The files stand before the ledger knows of them, and the batch before its lines: a run that is cut short anywhere
    is repeated with the same bytes and goes on.

    Raises:
        TransientError: The target is away: the batch stays `written`, and `deliver_written` takes it up.
    """
    books = load_books(outlet.ledger)
    billed = bill_parts(books, parts, params, at, outlet.out)
    if billed.batch_id is not None:
        append_lines(outlet.ledger, append_steps(outlet.ledger, books, billed.steps), billed.lines)
        deliver_written(outlet, at)  # batches that wait go first: a receiver takes them in their order
    return _summary(billed)


def deliver_written(outlet: Outlet, at: datetime) -> dict[str, Delivered]:
    """Every batch that was written and not delivered is carried to the target, the oldest first.

    Raises:
        ContractError: The folder of a batch is not whole.
        TransientError: The target is away; what was carried before stays carried.
    """
    books = load_books(outlet.ledger)
    last = books.batches.sort("updated_at", "step").group_by("batch_id", maintain_order=True).last()
    carried: dict[str, Delivered] = {}
    for batch_id in last.filter(pl.col("state") == "written")["batch_id"].to_list():
        books, carried[batch_id] = _carry(outlet, books, batch_id, at)
    return carried


def load_target(file: Path | None) -> Settings | None:
    """The target of a TARGET.toml."""
    return None if file is None else parse_target(read_text(file), str(file))


def _carry(outlet: Outlet, books: Books, batch_id: str, at: datetime) -> tuple[Books, Delivered]:
    done = Delivered((), ())
    if outlet.target is not None:
        target = open_target(outlet.target, batch_id, lambda: datetime.now(UTC))
        try:
            done = carry(outlet.out / batch_id, target)
        finally:
            target.close()
    step = advance(books.batches, batch_id, "delivered", at)
    return append_steps(outlet.ledger, books, step), done


def _summary(billed: StreamedRun) -> dict[str, Any]:
    held = billed.findings.filter("held")
    return {
        "batch": billed.batch_id,
        "lines": {"new": int((billed.lines["sign"] > 0).sum()), "reversed": int((billed.lines["sign"] < 0).sum())},
        "unchanged": billed.unchanged,
        "reentered": billed.reentered,
        "held": counts(held, "reason"),
        "files": {file.name: file.records for file in billed.files},
    }
