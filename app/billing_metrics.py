"""Metrics of a billing job as a Prometheus textfile: counted from the ledger, so that a lost run loses no count."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import polars as pl
from prometheus_client import write_to_textfile

from app.ledger import load_books
from app.telemetry import ExportMetrics
from schemas.errors import ContractError


class _File(msgspec.Struct, frozen=True):
    format: str


class _Total(msgspec.Struct, frozen=True):
    count: int


class _Export(msgspec.Struct, frozen=True):
    format: str
    control_totals: tuple[_Total, ...]


class _Manifest(msgspec.Struct, frozen=True):
    files: tuple[_File, ...]
    exports: tuple[_Export, ...]


def metrics_of(batches: pl.DataFrame) -> ExportMetrics:
    """Files and control counts of every batch, once for each state that it reached.

    Args:
        batches: BILLING_BATCHES, every step.
    """
    told = ExportMetrics()
    for state, manifest in batches.select("state", "manifest").rows():
        stated = msgspec.json.decode(manifest, type=_Manifest)
        for file in stated.files:
            told.files.labels(file.format, state).inc()
        for one in stated.exports:
            told.control.labels(one.format, state).inc(sum(total.count for total in one.control_totals))
    return told


@contextmanager
def telling(file: Path | None, ledger: Path) -> Iterator[None]:
    """Afterwards, also where the work failed, the file tells what the ledger holds; it is replaced as a whole.

    Raises:
        ContractError: The file cannot be written.
    """
    try:
        yield
    finally:
        if file is not None:
            try:
                file.parent.mkdir(parents=True, exist_ok=True)
                write_to_textfile(str(file), metrics_of(load_books(ledger).batches).registry)
            except OSError as error:
                raise ContractError(f"--metrics {file}: {error.strerror or error}") from error
