"""The ledger folder of the billing verbs: `ledger.parquet` and `batches.parquet`, which only ever grow.

A run that writes has the folder alone: what two runs append to what both have read would lose the lines of one.
"""

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import polars as pl

from app.files import output_folder, parse_instant, read_frame, write_outputs
from app.inputs import load_meters, load_tariffs, load_types
from billing_export.ledger import standing
from billing_export.pieces import ExportInputs
from billing_export.reentry import Books
from schemas.errors import TransientError
from schemas.frames import BILLED, BILLING_BATCHES, DETERMINANTS, FINALS, READS, Frame, conform

LINES, BATCHES = "ledger.parquet", "batches.parquet"
COPY: Final = ".period."
"""Beginning of the name of a folder that holds the copy of a period while it is billed."""
_LOCK: Final = "ledger.lock"
_STEP: Final = ["batch_id", "step"]


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Meanwhile no other run writes to the ledger; what one that was killed left in it is cleared away first.

    The lock is the operating system's and goes with the process, however it ends.

    Raises:
        TransientError: Another run is at work.
        ContractError: The folder cannot be made.
    """
    output_folder(folder)
    with (folder / _LOCK).open("wb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise TransientError(f"{folder}: another billing run is at work on this ledger") from error
        for left in folder.glob(f"{COPY}*"):
            shutil.rmtree(left)
        for part in folder.glob(".*.part"):
            part.unlink()
        yield


def load_books(folder: Path) -> Books:
    """The ledger in that folder; empty where there is none yet."""
    return Books(_held(folder / LINES, DETERMINANTS), _held(folder / BATCHES, BILLING_BATCHES))


def load_billed(place: Path) -> pl.DataFrame:
    """BILLED: spans of the lines that stand in a ledger, which is given as its folder or as the file of its lines.

    Raises:
        ContractError: There is none, or it is not one.
    """
    lines = standing(read_frame(place / LINES if place.is_dir() else place, DETERMINANTS))
    spans = lines.select("meter_id", "channel", billed_from="period_start", billed_to="period_end")
    return conform(spans.unique().sort(spans.columns), BILLED)


def append_steps(folder: Path, books: Books, steps: pl.DataFrame) -> Books:
    """The steps are added; one that stands there already is kept as it is, so that a run may be repeated."""
    batches = pl.concat([books.batches, steps]).unique(_STEP, keep="first", maintain_order=True)
    write_outputs(folder, {BATCHES: batches})
    return Books(books.lines, batches)


def append_lines(folder: Path, books: Books, lines: pl.DataFrame) -> Books:
    """The lines are added."""
    grown = pl.concat([books.lines, lines])
    write_outputs(folder, {LINES: grown})
    return Books(grown, books.batches)


def load_inputs(finals: Path, meters: Path, tariffs: Path | None, reads: Path | None) -> ExportInputs:
    """What a bill is computed from, as files."""
    return ExportInputs(
        read_frame(finals, FINALS),
        load_meters(meters, load_types(None)),
        READS.empty() if reads is None else read_frame(reads, READS),
        load_tariffs(tariffs),
    )


def instant_or_now(text: str | None, name: str = "--at") -> datetime:
    """The instant given, else now."""
    return datetime.now(UTC) if text is None else parse_instant(text, name)


def _held(file: Path, frame: Frame) -> pl.DataFrame:
    return read_frame(file, frame) if file.exists() else frame.empty()
