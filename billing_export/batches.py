"""Billing batches: their states, acknowledgements of the receiver, and what follows a refusal."""

import csv
import io
from datetime import datetime, timedelta
from typing import Final, Literal, NamedTuple

import msgspec
import polars as pl

from billing_export.determinants import seal
from billing_export.findings import Finding
from billing_export.identity import lines_id_of
from billing_export.spans import DeterminantParams
from schemas.errors import ContractError
from schemas.frames import BILLING_BATCHES, DETERMINANTS, conform

NEXT: Final[dict[str, tuple[str, ...]]] = {
    "": ("planned", "written"),
    "planned": ("written",),
    "written": ("delivered",),
    "delivered": ("acknowledged", "partly_rejected", "rejected"),
    "partly_rejected": (),
    "rejected": (),
    "acknowledged": (),
}
"""State → states that may follow. After a refusal the refused lines live on in another batch; an acknowledged batch
is locked: only reversals from there."""
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
    """BILLING_BATCHES: the new step; empty where the batch had an answer already, or the files do not match."""
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


def acknowledge(batches: pl.DataFrame, ledger: pl.DataFrame, said: Acknowledgement, at: datetime) -> Acknowledged:
    """The batch's next state by the receiver's answer, and the lines that he refused.

    An answer counts only if every file it names has the hash of the batch's manifest. A second answer to an answered
    batch changes nothing. A file refused as a whole refuses all lines of the batch.

    Args:
        batches: BILLING_BATCHES, every step.
        ledger: DETERMINANTS of the batch, among others.
        said: The answer.
        at: Time of the step.
    """
    nothing = conform(ledger, DETERMINANTS).clear().with_columns(reason=pl.lit(None, dtype=pl.String))
    steps = batches.filter(pl.col("batch_id") == said.batch_id).sort("step")
    if steps.is_empty():
        return Acknowledged(BILLING_BATCHES.empty(), nothing, [Finding(0, "batch_unknown", said.batch_id)])
    lines = conform(ledger.filter(pl.col("batch_id") == said.batch_id), DETERMINANTS)
    found = _mismatches(steps["manifest"][-1], lines, said)
    if found or steps["state"][-1] != "delivered":
        return Acknowledged(BILLING_BATCHES.empty(), nothing, found)
    refused = _refused(lines, said)
    state = (
        "acknowledged" if refused.is_empty() else "rejected" if refused.height == lines.height else "partly_rejected"
    )
    if refused.is_empty() and any(row.status == "rejected" for row in said.rows):
        state = "rejected"  # a file without lines of the ledger, refused as a whole
    reasons = "; ".join(dict.fromkeys(row.reason for row in said.rows if row.status == "rejected" and row.reason))
    return Acknowledged(advance(batches, said.batch_id, state, at, reasons or None), refused, [])


def resubmit(refused: pl.DataFrame, params: DeterminantParams) -> pl.DataFrame:
    """The refused lines as a new batch: DETERMINANTS with another batch id, line numbers from 1."""
    origin = ",".join(sorted(refused["batch_id"].unique().to_list()))
    again = msgspec.structs.replace(params, cycle=f"{params.cycle}|again:{origin}")
    lines = conform(refused, DETERMINANTS)
    return seal(lines, lines_id_of(lines, again))


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


def _refused(lines: pl.DataFrame, said: Acknowledgement) -> pl.DataFrame:
    rejected = [row for row in said.rows if row.status == "rejected"]
    whole = next((row.reason for row in rejected if row.line_no is None), None)
    by_line = {row.line_no: row.reason for row in rejected if row.line_no is not None}
    reason = pl.col("line_no").replace_strict(by_line, default=whole, return_dtype=pl.String)
    return lines.with_columns(reason=reason).filter(pl.col("reason").is_not_null())
