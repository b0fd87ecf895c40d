"""Billing batches: their states, acknowledgements of the receiver, and what follows a refusal."""

import csv
import io
from datetime import datetime, timedelta
from typing import Final, Literal, NamedTuple

import msgspec
import polars as pl

from billing_export.findings import Finding
from billing_export.reentry import Books, Refusal, refused_among, refused_lines, sent_lines
from schemas.errors import ContractError
from schemas.frames import BILLING_BATCHES, DETERMINANTS, conform

NEXT: Final[dict[str, tuple[str, ...]]] = {
    "": ("planned", "written"),
    "planned": ("written",),
    "written": ("delivered",),
    "delivered": ("acknowledged", "partly_rejected", "rejected"),
    "partly_rejected": ("partly_rejected", "rejected"),
    "rejected": (),
    "acknowledged": (),
}
"""State → states that may follow. A receiver may refuse line by line, in several answers. Refused lines live on in
another batch; an acknowledged batch is locked: only reversals from there."""
HEADER: Final = ("batch_id", "file", "sha256", "line_no", "status", "reason")
"""Columns of an acknowledgement file (our own design): CSV, a row for a file (`line_no` empty) or for a line."""


class AcknowledgedLine(msgspec.Struct, frozen=True):
    """One row of an acknowledgement."""

    file: str
    sha256: str
    line_no: int | None
    status: Literal["accepted", "rejected"]
    reason: str


class Acknowledgement(NamedTuple):
    """What a receiver says of one batch."""

    batch_id: str
    rows: tuple[AcknowledgedLine, ...]


class Acknowledged(NamedTuple):
    """What follows from an acknowledgement."""

    step: pl.DataFrame
    """BILLING_BATCHES: the new step, its `reason` the refusals as JSON (`reentry.Refusal`); empty where the answer says
    nothing new, or the files do not match."""
    refused: pl.DataFrame
    """DETERMINANTS and `reason` of the lines refused."""
    findings: list[Finding]
    """`batch_unknown`, `file_unknown`, `file_hash`, `line_unknown`."""


def advance(batches: pl.DataFrame, batch_id: str, state: str, at: datetime, reason: str | None = None) -> pl.DataFrame:
    """The next step of a batch: one row of BILLING_BATCHES.

    Raises:
        ContractError: There is no such batch, or its state allows no such step.
    """
    steps = batches.filter(pl.col("batch_id") == batch_id).sort("step")
    if steps.is_empty():
        raise ContractError(f"batch {batch_id}: unknown")
    last = steps.tail(1)
    if state not in NEXT[last["state"].item()]:
        raise ContractError(f"batch {batch_id}: {last['state'].item()} does not become {state}")
    moved = last.with_columns(
        step=pl.col("step") + 1,
        state=pl.lit(state),
        reason=pl.lit(reason, dtype=pl.String),
        updated_at=pl.lit(at).cast(BILLING_BATCHES.schema["updated_at"]),
    )
    return conform(moved, BILLING_BATCHES)


def read_acknowledgement(text: str) -> Acknowledgement:
    """An acknowledgement file.

    Raises:
        ContractError: Another header, no row, several batches, or a field out of range; names the row.
    """
    rows = list(csv.DictReader(io.StringIO(text)))
    if not rows or tuple(rows[0]) != HEADER:
        raise ContractError(f"acknowledgement: the columns are not {', '.join(HEADER)}, or there is no row")
    if len({row["batch_id"] for row in rows}) != 1:
        raise ContractError("acknowledgement: more than one batch")
    lines = []
    for number, row in enumerate(rows, 2):
        try:
            lines.append(msgspec.convert({**row, "line_no": row["line_no"] or None}, AcknowledgedLine, strict=False))
        except msgspec.ValidationError as error:
            raise ContractError(f"acknowledgement, row {number}: {error}") from error
    return Acknowledgement(rows[0]["batch_id"], tuple(lines))


def acknowledge(books: Books, said: Acknowledgement, at: datetime) -> Acknowledged:
    """The batch's next state by the receiver's answer, and the lines that he refused.

    An answer counts only if every file it names has the hash of the batch's manifest. A second answer to an answered
    batch changes nothing. A file refused as a whole refuses all lines of the batch.

    Args:
        books: The batch with its steps and lines, among others.
        said: The answer.
        at: Time of the step.
    """
    nothing = DETERMINANTS.empty().with_columns(reason=pl.lit(None, dtype=pl.String))
    steps = books.batches.filter(pl.col("batch_id") == said.batch_id).sort("step")
    if steps.is_empty():
        return Acknowledged(BILLING_BATCHES.empty(), nothing, [Finding(0, "batch_unknown", said.batch_id)])
    lines = sent_lines(books, said.batch_id)
    found = _mismatches(steps["manifest"][-1], lines, said)
    before = steps["state"][-1]
    rejected = [Refusal(row.line_no, row.reason) for row in said.rows if row.status == "rejected"]
    if found or before not in ("delivered", "partly_rejected", "acknowledged"):
        return Acknowledged(BILLING_BATCHES.empty(), nothing, found)
    if before == "acknowledged":
        late = [Finding(0, "locked", "the batch was acknowledged; only a reversal follows")] if rejected else []
        return Acknowledged(BILLING_BATCHES.empty(), nothing, late)
    known = refused_lines(lines, steps)
    refused = refused_among(lines, rejected).join(known, on="line_no", how="anti", maintain_order="left")
    if before == "partly_rejected" and refused.is_empty():
        return Acknowledged(BILLING_BATCHES.empty(), nothing, [])
    every = refused.height + known.height
    state = "acknowledged" if not rejected else "rejected" if every >= lines.height else "partly_rejected"
    reasons = msgspec.json.encode(rejected).decode() if rejected else None
    return Acknowledged(advance(books.batches, said.batch_id, state, at, reasons), refused, [])


def silent(batches: pl.DataFrame, now: datetime, limit: timedelta) -> pl.DataFrame:
    """Batches delivered longer ago than `limit` without an answer: an alarm each."""
    last = batches.sort("batch_id", "step").group_by("batch_id", maintain_order=True).last()
    return last.filter((pl.col("state") == "delivered") & (pl.col("updated_at") < now - limit))


def _mismatches(manifest: str, lines: pl.DataFrame, said: Acknowledgement) -> list[Finding]:
    stated = {str(file["name"]): str(file["sha256"]) for file in msgspec.json.decode(manifest)["files"]}
    numbers = set(lines["line_no"].to_list())
    found = []
    for number, row in enumerate(said.rows, 2):
        if row.file not in stated:
            found.append(Finding(number, "file_unknown", row.file))
        elif stated[row.file] != row.sha256:
            found.append(Finding(number, "file_hash", f"{row.file}: another content than was delivered"))
        elif row.line_no is not None and row.line_no not in numbers:
            found.append(Finding(number, "line_unknown", f"line {row.line_no}"))
    return found
