"""Rows that the store refuses for good: taken out of their batch, told, and the batch goes on.

Whoever stores rows stores them by `store_all`. What comes of a frame becomes a reject as well, with the frame's bytes;
findings, finals and steps of incidents come of none: a line and a count are what is left of them.

Poison is looked for with a bounded number of inserts. Where that is not enough, rows of a frame that stand beside
poison count as refused with it, since the frame's bytes can be replayed; of all others no row is left out but those of
the meter, or the incident, that has poison.
"""

import logging
from collections.abc import Callable
from itertools import count
from typing import Final, NamedTuple

import polars as pl

from app.retry import MOST_INSERTS, part_poison
from app.telemetry import REFUSED_ROWS
from ingest.assembly import CODE_VERSION
from schemas.codes import RejectReason
from schemas.errors import ContractError, TerminalError
from schemas.frames import PROVENANCE, REJECTS
from storage.store import ReadingStore

LOG = logging.getLogger("ami.refused")

_PLACE: Final = ("topic", "partition", "offset", "frame")
_DETAIL: Final = "the store refuses a row of this message, or one that came with it"


class _Told(NamedTuple):
    """What a line says of refused rows: one for each of `by`, and from where to where along `along` they reach."""

    by: tuple[str, ...]
    along: str


_OF_PLACES: Final = _Told(("topic", "partition"), "offset")
_TOLD: Final = {
    "finals": _Told(("meter_id", "channel"), "interval_start"),
    "exceptions": _Told(("meter_id", "channel"), "first_interval"),
    "outages": _Told(("incident_id",), "step"),
    "meters": _Told(("meter_id",), "installed_at"),
}


def store_all(store: ReadingStore, table: str, rows: pl.DataFrame, token: str) -> pl.DataFrame:
    """The rows that the store refuses for good, told in a line and counted; all others are stored.

    Args:
        store: Raises `ContractError` where it refuses rows.
        table: Where the rows go.
        rows: As the table has them.
        token: Names the batch. The store skips one that it knows, whatever the rows: so it says which decoder made
            them, and which part of them it stands for.

    Raises:
        ContractError: The table has other columns: the fault is the code's, and every row would be refused.
        TerminalError: So many rows without a frame are refused that nobody can tell which; none of them is left out.
    """
    token = f"{token} {rows.height} {CODE_VERSION}"
    try:
        store.append(table, rows, token)
    except ContractError:
        store.append(table, rows.clear(), token)  # raises what no row is guilty of
        parts, reasons = count(), [""]

        def insert(part: pl.DataFrame) -> None:
            try:
                store.append(table, part, f"{token} part {next(parts)}")
            except ContractError as error:
                reasons[0] = str(error)
                raise

        poison, beside = part_poison(rows, insert)
        if table in _TOLD:
            beside = _of_owners(table, beside, insert, reasons)
        refused = pl.concat([poison, beside])
        _tell(table, refused, reasons[0])
        return refused
    return rows.clear()


def _of_owners(
    table: str, rows: pl.DataFrame, insert: Callable[[pl.DataFrame], object], reasons: list[str]
) -> pl.DataFrame:
    """Rows that no frame brings again: those of the owners of which one is refused, all others are stored."""
    owner = _TOLD[table].by[0]
    if rows[owner].n_unique() > MOST_INSERTS:
        raise TerminalError(
            f"the store refuses rows of {table} of more than {MOST_INSERTS} ({owner}): {reasons[0]}: mend the cause; "
            "the batch is not committed and is done again when the worker is started again"
        )
    refused = [rows.clear()]
    for mine in rows.partition_by(owner, maintain_order=True):
        try:
            insert(mine)
        except ContractError:
            refused.append(mine)
    return pl.concat(refused)


def store_rejects(store: ReadingStore, rejects: pl.DataFrame, token: str) -> None:
    """REJECTS, stored whatever the store thinks of one: such a one without what its sender says of itself.

    Raises:
        ContractError: It is refused even so. A reject that cannot be stored stops the worker.
    """
    refused = store_all(store, "rejects", rejects, token)
    if refused.height:
        none = pl.lit(None, dtype=pl.String)
        poison = pl.lit(RejectReason.POISON.value).cast(REJECTS.schema["reason"])
        bare = refused.with_columns(reason=poison, detail=pl.lit(_DETAIL), system_title=none, key_id=none)
        store.append("rejects", bare, f"{token} bare {bare.height} {CODE_VERSION}")


def rejects_of(refused: pl.DataFrame, messages: pl.DataFrame) -> pl.DataFrame:
    """REJECTS of the messages that refused rows came of.

    Args:
        refused: Rows with their place, as far as they have one: a counter names no frame, all of its message are meant.
        messages: RAW_FRAMES. A row whose message is not among them becomes a reject without bytes.
    """
    if refused.is_empty():
        return REJECTS.empty()
    if "system_title" not in messages.columns:
        messages = messages.with_columns(system_title=pl.lit(None, dtype=pl.String))
    known = messages.select(*PROVENANCE, "payload", "system_title")
    places = [name for name in _PLACE if name in refused.columns]
    hit = known.join(refused.select(places).unique(), on=places, how="semi")
    if set(PROVENANCE) <= set(refused.columns):
        lost = refused.select(PROVENANCE).unique(places).join(known, on=places, how="anti")
        bare = lost.with_columns(payload=pl.lit(b""), system_title=pl.lit(None, dtype=pl.String))
        hit = pl.concat([hit, bare])
    filled = hit.with_columns(
        reason=pl.lit(RejectReason.POISON.value).cast(REJECTS.schema["reason"]),
        detail=pl.lit(_DETAIL),
        at=pl.lit(0, dtype=pl.Int32),
        key_id=pl.lit(None, dtype=pl.String),
        code_version=pl.lit(CODE_VERSION),
    )
    return filled.select(REJECTS.schema.names())


def _tell(table: str, refused: pl.DataFrame, why: str) -> None:
    if refused.is_empty():
        return
    REFUSED_ROWS.labels(table=table).inc(refused.height)
    by, along = _TOLD.get(table, _OF_PLACES)
    told = refused.group_by(by, maintain_order=True).agg(
        first=pl.col(along).min(), last=pl.col(along).max(), rows=pl.len()
    )
    for row in told.rows(named=True):
        LOG.error("the store refuses rows", extra={"fields": {"table": table, **row, "why": why}})
