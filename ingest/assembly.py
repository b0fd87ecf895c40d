"""Blocks of a batch to frames: provenance and names are gathered by message, codes become enums."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from ingest.blocks import CHANNELS, KINDS, ORIGINS, Events, Quantities, Refused
from ingest.faults import NO_FAULT, REASONS, Faults
from ingest.spans import Flags
from schemas.frames import CHANNEL, EVENT, EVENTS, INTERVALS, ORIGIN, READS, REASON, REJECTS, UTC_US

CODE_VERSION: Final = "decode/1"
"""Version of this decoder as rejects carry it: raised when a reject of before may decode now."""


class Senders(NamedTuple):
    """Of each message of the batch: provenance, the meter's name, and what its security header said."""

    provenance: pl.DataFrame  # PROVENANCE; `received_at` filled with the message's own time where it was null
    meter_id: pl.Series
    sequence: pl.Series  # invocation counter; null where there is none
    authenticated: pl.Series


def assemble_intervals(blocks: Sequence[Quantities], senders: Senders, obis: Sequence[str]) -> pl.DataFrame:
    """INTERVALS of all blocks, in the order of messages."""
    return _quantities(blocks, senders, obis, "interval_start").select(list(INTERVALS.schema))


def assemble_reads(blocks: Sequence[Quantities], senders: Senders, obis: Sequence[str]) -> pl.DataFrame:
    """READS of all blocks, in the order of messages."""
    return _quantities(blocks, senders, obis, "read_at").select(list(READS.schema))


def assemble_events(blocks: Sequence[Events], senders: Senders) -> pl.DataFrame:
    """EVENTS of all blocks, in the order of messages."""
    if not blocks:
        return EVENTS.empty()
    joined = Events._make(np.concatenate(columns) for columns in zip(*blocks, strict=True))
    order = np.argsort(joined.message, kind="stable")
    message, kind, code, origin, at = (column[order] for column in joined)
    rows = senders.provenance[message]
    return rows.with_columns(
        meter_id=senders.meter_id.gather(message),
        event=_enum(kind, [each.value for each in KINDS], EVENT),
        code=_codes_sent(code),
        origin=_enum(origin, [each.value for each in ORIGINS], ORIGIN),
        occurred_at=pl.Series(at).cast(UTC_US),
        sequence=senders.sequence.gather(message),
        authenticated=senders.authenticated.gather(message),
    ).select(list(EVENTS.schema))


class Undecoded(NamedTuple):
    """Why messages of a batch, or parts of them, are rejects, and what their headers said."""

    faults: Faults
    refused: Sequence[Refused]
    system_title: pl.Series
    key_id: pl.Series


def assemble_rejects(undecoded: Undecoded, frames: pl.DataFrame) -> pl.DataFrame:
    """REJECTS: a row a message with a fault, and a row a reason for parts of messages that could not become rows."""
    faults = undecoded.faults
    faulty = np.flatnonzero(faults.reason != NO_FAULT)
    if not len(faulty) and not undecoded.refused:
        return REJECTS.empty()
    message = [faulty.astype(np.int64)]
    reason = [faults.reason[faulty].astype(np.int64)]
    at = [faults.at[faulty].astype(np.int64)]
    details = [faults.detail.get(row, "") for row in faulty.tolist()]
    for part in undecoded.refused:
        message.append(part.message)
        reason.append(np.full(len(part.message), part.reason, np.int64))
        at.append(np.full(len(part.message), part.at, np.int64))
        details += [f"{values} values: {part.detail}" for values in part.values.tolist()]
    rows = np.concatenate(message)
    return (
        frames[rows]
        .with_columns(
            reason=_enum(np.concatenate(reason), [each.value for each in REASONS], REASON),
            detail=pl.Series(details, dtype=pl.String),
            at=pl.Series(np.concatenate(at)).cast(pl.Int32),
            system_title=undecoded.system_title.gather(rows),
            key_id=undecoded.key_id.gather(rows),
            code_version=pl.lit(CODE_VERSION),
            message=pl.Series(rows),
        )
        .sort("message", maintain_order=True)
        .select(list(REJECTS.schema))
    )


def _quantities(blocks: Sequence[Quantities], senders: Senders, obis: Sequence[str], time_name: str) -> pl.DataFrame:
    if not blocks:
        frame = INTERVALS if time_name == "interval_start" else READS
        return frame.empty()
    joined = blocks[0]
    if len(blocks) > 1:
        joined = Quantities._make(np.concatenate(columns) for columns in zip(*blocks, strict=True))
        if (np.diff(joined.message) < 0).any():
            joined = joined.take(np.argsort(joined.message, kind="stable"))
    milli = pl.Series(joined.milli)
    if not joined.known.all():
        milli = milli.set(pl.Series(~joined.known), None)
    rows = senders.provenance[joined.message]
    return rows.with_columns(
        meter_id=senders.meter_id.gather(joined.message),
        channel=_enum(joined.channel, [each.value for each in CHANNELS], CHANNEL),
        obis=_texts(joined.obis, obis),
        interval_s=pl.Series(joined.interval_s),
        value_milli=milli,
        status=pl.Series(joined.status),
        **{time_name: pl.Series(joined.at).cast(UTC_US)},
    )


def _codes_sent(code: npt.NDArray[np.integer]) -> pl.Series:
    """Codes as sent: the 32 bits of a register as they are, so bit 31 is the sign; null beyond them."""
    fits = (code >= 0) & (code < 1 << 32)
    words = np.where(fits, code, 0).astype(np.uint32).view(np.int32)
    return pl.Series(words).set(pl.Series(~fits), None)


def _enum(codes: npt.NDArray[np.integer], values: Sequence[str], dtype: pl.Enum) -> pl.Series:
    return pl.Series(values, dtype=dtype).gather(codes)


def _texts(codes: npt.NDArray[np.integer], values: Sequence[str]) -> pl.Series:
    """Texts by number, null for -1."""
    return pl.Series([*values, None], dtype=pl.String).gather(np.where(codes < 0, len(values), codes))


def rows_kept(blocks: Sequence[Quantities], kept: Flags) -> list[Quantities]:
    """The rows of those messages alone that are kept."""
    return [each if kept[each.message].all() else each.take(kept[each.message]) for each in blocks]


def events_kept(blocks: Sequence[Events], kept: Flags) -> list[Events]:
    """The events of those messages alone that are kept."""
    return [Events._make(column[kept[each.message]] for column in each) for each in blocks]
