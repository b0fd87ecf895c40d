"""Blocks of a batch to frames: provenance and names are repeated by message, codes become enums.

Rows of one message stand together, in the order sent; messages stand by layout, not by arrival.
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from ingest.blocks import CODE_BITS, NO_NUMBER, Events, Quantities, Refused
from ingest.clocks import Micros
from ingest.columns import constant, nulls, taken
from ingest.faults import NO_FAULT, REASONS, Faults
from ingest.meter_names import MeterNames
from ingest.places import Located
from ingest.spans import Flags, Places
from schemas.codes import Channel, EventKind, Origin
from schemas.frames import (
    CHANNEL,
    EVENT,
    EVENTS,
    INTERVALS,
    ORIGIN,
    READS,
    REASON,
    REJECTS,
    UTC_US,
    Frame,
)

CODE_VERSION: Final = "decode/1"
"""Version of this decoder as rejects carry it: raised when a reject of before may decode now."""
_CHANNELS: Final = pl.Series([each.value for each in Channel], dtype=CHANNEL)
_KINDS: Final = pl.Series([each.value for each in EventKind], dtype=EVENT)
_ORIGINS: Final = pl.Series([each.value for each in Origin], dtype=ORIGIN)
_REASONS: Final = pl.Series([each.value for each in REASONS], dtype=REASON)


class Senders(NamedTuple):
    """Of each message of the batch: provenance, the meter, and what its security header said."""

    topic: pl.Series
    partition: npt.NDArray[np.int32]
    offset: npt.NDArray[np.int64]
    frame: npt.NDArray[np.int32]
    received: Micros  # the message's own time where reception is not known
    name: Places  # place in `names`
    names: MeterNames
    sequence: pl.Series  # invocation counter; null where there is none
    authenticated: Flags

    @classmethod
    def of(cls, frames: pl.DataFrame, received: Micros, name: Places, names: MeterNames) -> "Senders":
        """Senders of RAW_FRAMES, nothing yet known of their security."""
        partition, offset, frame = (frames[column].to_numpy() for column in ("partition", "offset", "frame"))
        nothing = nulls(pl.Int64(), frames.height)
        nobody = np.zeros(frames.height, np.bool_)
        return cls(frames["topic"], partition, offset, frame, received, name, names, nothing, nobody)


def assemble_quantities(
    blocks: Sequence[Quantities], senders: Senders, obis: Sequence[str], frame: Frame
) -> pl.DataFrame:
    """INTERVALS or READS of all blocks."""
    blocks = [block for block in blocks if len(block.message)]
    if not blocks:
        return frame.empty()
    milli = pl.Series(_joined([_cells(block, block.milli) for block in blocks]))
    if any(block.unknown is not None for block in blocks):
        milli = milli.set(pl.Series(_joined([_cells(block, _unknown(block)) for block in blocks])), None)
    columns = _provenance(blocks, senders) | {
        "channel": taken(_CHANNELS, _joined([_by_column(block, block.channel.astype(np.uint32)) for block in blocks])),
        "obis": _obis(blocks, obis),
        "value_milli": milli,
        "status": pl.Series(_joined([_by_row(block, block.status) for block in blocks])),
        "interval_s": pl.Series(_joined([_by_message(block, block.interval_s) for block in blocks])),
    }
    at = pl.Series(_joined([_by_row(block, block.at) for block in blocks])).cast(UTC_US)
    columns |= {"interval_start": at, "read_at": at}
    return pl.DataFrame([columns[name].alias(name) for name in frame.schema])


def assemble_intervals(blocks: Sequence[Quantities], senders: Senders, obis: Sequence[str]) -> pl.DataFrame:
    """INTERVALS of all blocks."""
    return assemble_quantities(blocks, senders, obis, INTERVALS)


def assemble_reads(blocks: Sequence[Quantities], senders: Senders, obis: Sequence[str]) -> pl.DataFrame:
    """READS of all blocks."""
    return assemble_quantities(blocks, senders, obis, READS)


def assemble_events(blocks: Sequence[Events], senders: Senders) -> pl.DataFrame:
    """EVENTS of all blocks, in the order of messages."""
    if not blocks:
        return EVENTS.empty()
    joined = Events._make(np.concatenate(columns) for columns in zip(*blocks, strict=True))
    order = np.argsort(joined.message, kind="stable")
    message, kind, code, origin, at = (column[order] for column in joined)
    columns = {
        "topic": taken(senders.topic, message),
        "partition": pl.Series(senders.partition[message]),
        "offset": pl.Series(senders.offset[message]),
        "frame": pl.Series(senders.frame[message]),
        "received_at": pl.Series(senders.received[message]).cast(UTC_US),
        "meter_id": senders.names.taken(senders.name[message]),
        "event": taken(_KINDS, kind),
        "code": _codes_sent(code),
        "origin": taken(_ORIGINS, origin),
        "occurred_at": pl.Series(at).cast(UTC_US),
        "sequence": taken(senders.sequence, message),
        "authenticated": pl.Series(senders.authenticated[message]),
    }
    return pl.DataFrame({name: columns[name] for name in EVENTS.schema})


class Undecoded(NamedTuple):
    """Why messages of a batch, or parts of them, are rejects, and what their headers said."""

    faults: Faults
    refused: Sequence[Refused]
    system_title: pl.Series
    key_id: pl.Series
    located: Located


def assemble_rejects(undecoded: Undecoded, frames: pl.DataFrame) -> pl.DataFrame:
    """REJECTS: a row a message with a fault, and a row a reason for parts of messages that could not become rows.

    `at` is a byte of the payload, 0 where the message as a whole is at fault.
    """
    faults = undecoded.faults
    faulty = np.flatnonzero(faults.reason != NO_FAULT)
    if not len(faulty) and not undecoded.refused:
        return REJECTS.empty()
    message = [faulty.astype(np.int64)]
    reason = [faults.reason[faulty].astype(np.int64)]
    at = [np.full(len(part.message), part.at, np.int64) for part in undecoded.refused]
    details = [faults.detail.get(row, "") for row in faulty.tolist()]
    for part in undecoded.refused:
        message.append(part.message)
        reason.append(np.full(len(part.message), part.reason, np.int64))
        details += [f"{values} values: {part.detail}" for values in part.values.tolist()]
    rows = np.concatenate(message)
    located = undecoded.located
    in_bodies = located.of_bodies(rows[len(faulty) :], _joined([*at, faulty[:0]]))
    return (
        frames[rows]
        .with_columns(
            reason=taken(_REASONS, np.concatenate(reason)),
            detail=pl.Series(details, dtype=pl.String),
            at=pl.Series(np.concatenate((located.of_faults(faulty, faults), in_bodies))).cast(pl.Int32),
            system_title=taken(undecoded.system_title, rows),
            key_id=taken(undecoded.key_id, rows),
            code_version=pl.lit(CODE_VERSION),
            message=pl.Series(rows),
        )
        .sort("message", maintain_order=True)
        .select(list(REJECTS.schema))
    )


def _provenance(blocks: Sequence[Quantities], senders: Senders) -> dict[str, pl.Series]:
    rows = sum(_rows(block) for block in blocks)
    names = [_by_message(block, senders.name[block.message]) for block in blocks]
    return {
        "topic": _topics(blocks, senders.topic, rows),
        "partition": _by_value(blocks, senders.partition, rows),
        "offset": _by_value(blocks, senders.offset, rows),
        "frame": _by_value(blocks, senders.frame, rows),
        "received_at": _by_value(blocks, senders.received, rows).cast(UTC_US),
        "meter_id": senders.names.taken(_joined(names)),
    }


def _by_value(blocks: Sequence[Quantities], column: npt.NDArray[Any], rows: int) -> pl.Series:
    if (column == column[0]).all():  # one partition, frames of their own: nothing to look up
        return constant(pl.Series(column[:1]), rows)
    return pl.Series(_joined([_by_message(block, column[block.message]) for block in blocks]))


def _topics(blocks: Sequence[Quantities], topic: pl.Series, rows: int) -> pl.Series:
    if (topic == topic[0]).all():  # the usual batch comes from one topic
        return constant(topic, rows)
    return taken(topic, _joined([_by_message(block, block.message) for block in blocks]))


def _obis(blocks: Sequence[Quantities], obis: Sequence[str]) -> pl.Series:
    if not obis:
        return nulls(pl.String(), sum(_rows(block) for block in blocks))
    codes = _joined([_by_column(block, block.obis) for block in blocks])
    return taken(pl.Series([*obis, None], dtype=pl.String), codes % (len(obis) + 1))  # -1 is the last


def _joined(columns: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    return columns[0] if len(columns) == 1 else np.concatenate(columns)


def _rows(block: Quantities) -> int:
    return block.milli.size if block.kept is None else int(block.kept.sum())


def _by_message(block: Quantities, column: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return _kept(block, np.repeat(column, block.milli.shape[1] * block.milli.shape[2]))


def _by_row(block: Quantities, column: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return _kept(block, _repeated(column.reshape(-1), block.milli.shape[2]))


def _repeated(column: npt.NDArray[Any], times: int) -> npt.NDArray[Any]:
    return column if times == 1 else np.repeat(column, times)


def _by_column(block: Quantities, column: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return _kept(block, np.tile(column, block.milli.shape[0] * block.milli.shape[1]))


def _cells(block: Quantities, column: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return _kept(block, column.reshape(-1))


def _kept(block: Quantities, column: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return column if block.kept is None else column[block.kept.reshape(-1)]


def _unknown(block: Quantities) -> Flags:
    return np.zeros(block.milli.shape, np.bool_) if block.unknown is None else block.unknown


def _codes_sent(code: npt.NDArray[np.integer]) -> pl.Series:
    """Codes as sent: the 32 bits of a register as they are, so bit 31 is the sign; null beyond them."""
    fits = (code != NO_NUMBER) & (code >= 0) & (code < 1 << CODE_BITS)
    words = np.where(fits, code, 0).astype(np.uint32).view(np.int32)
    return pl.Series(words).set(pl.Series(~fits), None)


def rows_kept(blocks: Sequence[Quantities], sound: Flags) -> list[Quantities]:
    """The rows of those messages alone that are sound."""
    if sound.all():
        return list(blocks)
    return [each if sound[each.message].all() else each.take(sound[each.message]) for each in blocks]


def events_kept(blocks: Sequence[Events], sound: Flags) -> list[Events]:
    """The events of those messages alone that are sound."""
    return [Events._make(column[sound[each.message]] for column in each) for each in blocks]
