"""Blocks of a batch to frames: provenance and names are repeated by message, codes become enums.

Rows of one message stand together, in the order sent; messages stand by layout, not by arrival.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from ingest.blocks import CODE_BITS, NO_NUMBER, Events, Quantities, Refused, once
from ingest.columns import KEPT_ROWS, NULL_TEXT, constant, framed, named, nulls, taken
from ingest.faults import NO_FAULT, REASONS, Faults
from ingest.meter_names import MeterNames
from ingest.places import Located
from ingest.refusals import told_once
from ingest.spans import Flags, Places, every
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
_NO_OBIS: Final = NULL_TEXT.alias("obis")
_CHANNELS: Final = pl.Series("channel", [each.value for each in Channel], dtype=CHANNEL)
_KINDS: Final = pl.Series([each.value for each in EventKind], dtype=EVENT)
_ORIGINS: Final = pl.Series([each.value for each in Origin], dtype=ORIGIN)
_REASONS: Final = pl.Series([each.value for each in REASONS], dtype=REASON)


class Senders(NamedTuple):
    """Of each message of the batch: provenance, the meter, and what its security header said."""

    topic: pl.Series
    partition: pl.Series
    offset: pl.Series
    frame: pl.Series
    received: pl.Series  # the message's own time where reception is not known
    name: Places  # place in `names`
    names: MeterNames
    sequence: pl.Series  # invocation counter; null where there is none
    authenticated: Flags


def assemble_quantities(
    blocks: Sequence[Quantities], senders: Senders, obis: Sequence[str], frame: Frame
) -> pl.DataFrame:
    """INTERVALS or READS of all blocks."""
    blocks = [block for block in blocks if len(block.message)]
    if not blocks:
        return frame.empty()
    milli = pl.Series("value_milli", _joined([_cells(block, block.milli) for block in blocks]))
    if any(block.unknown is not None for block in blocks):
        milli = milli.set(pl.Series(_joined([_cells(block, _unknown(block)) for block in blocks])), None)
    rows = len(milli)
    columns = _provenance(blocks, senders, rows) | {
        "channel": _channels(blocks, rows),
        "obis": _obis(blocks, obis),
        "value_milli": milli,
        "status": _status(blocks, rows),
        "interval_s": _interval_s(blocks, rows),
    }
    at = _instants(blocks, rows)
    columns |= {"interval_start": at, "read_at": at}
    return framed([named(columns[name], name) for name in frame.schema])


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
        "partition": taken(senders.partition, message),
        "offset": taken(senders.offset, message),
        "frame": taken(senders.frame, message),
        "received_at": taken(senders.received, message),
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
    """REJECTS: a row a message with a fault, and a row a reason and detail for parts that could not become rows.

    `at` is a byte of the payload, 0 where the message as a whole is at fault.
    """
    faults = undecoded.faults
    if not faults.any and not undecoded.refused:
        return REJECTS.empty()
    faulty = np.flatnonzero(faults.reason != NO_FAULT)
    parts = told_once(undecoded.refused)
    details = [*(faults.detail.get(row, "") for row in faulty.tolist()), *parts.details]
    rows = np.concatenate((faulty.astype(np.int64), parts.message))
    located = undecoded.located
    in_bodies = located.of_bodies(parts.message, parts.at)
    return (
        frames[rows]
        .with_columns(
            reason=taken(_REASONS, np.concatenate((faults.reason[faulty].astype(np.int64), parts.reason))),
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


def _provenance(blocks: Sequence[Quantities], senders: Senders, rows: int) -> dict[str, pl.Series]:
    name = senders.name.astype(np.uint32)
    names = [_by_message(block, name[every(block.message, len(name))]) for block in blocks]
    return {
        "topic": _topics(blocks, senders.topic, rows),
        "partition": _numbers("partition", blocks, senders.partition, rows),
        "offset": _by_value(blocks, senders.offset, rows),
        "frame": _numbers("frame", blocks, senders.frame, rows),
        "received_at": _by_value(blocks, senders.received, rows),
        "meter_id": senders.names.taken(_joined(names)),
    }


def _numbers(name: str, blocks: Sequence[Quantities], column: pl.Series, rows: int) -> pl.Series:
    numbers = column.to_numpy()
    if _is_same(numbers):  # one partition, frames of their own: nothing to look up
        return _repeated(name, int(numbers[0]), rows)
    return _by_value(blocks, column, rows)


def _by_value(blocks: Sequence[Quantities], column: pl.Series, rows: int) -> pl.Series:
    numbers = column.to_numpy()
    if _is_same(numbers):
        return constant(column, rows)
    of_each = [_by_message(block, numbers[every(block.message, len(numbers))]) for block in blocks]
    return pl.Series(_joined(of_each)).cast(column.dtype)


def _is_same(numbers: npt.NDArray[Any]) -> bool:
    return bool(numbers[0] == numbers[-1]) and bool((numbers == numbers[0]).all())


def _repeated(name: str, value: int | str, rows: int) -> pl.Series:
    """A column of one value: one that most batches have, such as their topic, is kept and not written again."""
    kept = _kept_of(name, value)
    return kept.head(rows) if rows <= KEPT_ROWS else constant(kept, rows)


@lru_cache(maxsize=256)
def _kept_of(name: str, value: int | str) -> pl.Series:
    dtype = READS.schema[name] if name in READS.schema else INTERVALS.schema[name]
    return constant(pl.Series(name, [value], dtype=dtype), KEPT_ROWS)


def _topics(blocks: Sequence[Quantities], topic: pl.Series, rows: int) -> pl.Series:
    least = topic.min()
    if isinstance(least, str) and least == topic.max():  # the usual batch comes from one topic
        return _repeated("topic", least, rows)
    return taken(topic, _joined([_by_message(block, block.message) for block in blocks]))


def _instants(blocks: Sequence[Quantities], rows: int) -> pl.Series:
    first = blocks[0]
    if len(blocks) == 1 and first.kept is None and not first.at.strides[0] and rows <= KEPT_ROWS:
        return _instants_of(first.at[0].tobytes(), first.milli.shape[2]).head(rows)
    return pl.Series(_joined([_by_row(block, block.at) for block in blocks])).cast(UTC_US)


@lru_cache(maxsize=64)
def _instants_of(at: bytes, columns: int) -> pl.Series:
    """The instants of rows that all messages have, `KEPT_ROWS` values at least: one hour's push says them again."""
    of_one = np.frombuffer(at, np.int64).repeat(columns)
    return pl.Series(np.tile(of_one, -(-KEPT_ROWS // len(of_one)))).cast(UTC_US)


def _interval_s(blocks: Sequence[Quantities], rows: int) -> pl.Series:
    columns = [block.interval_s for block in blocks]
    if _is_one_value(columns):
        return _repeated("interval_s", int(columns[0][0]), rows)
    return pl.Series(_joined([_by_message(block, block.interval_s) for block in blocks]))


def _status(blocks: Sequence[Quantities], rows: int) -> pl.Series:
    columns = [block.status for block in blocks]
    if _is_one_value(columns):  # clocks that have nothing to say of themselves
        return _repeated("status", int(columns[0][0, 0]), rows)
    return pl.Series(_joined([_by_row(block, block.status) for block in blocks]))


def _is_one_value(columns: Sequence[npt.NDArray[Any]]) -> bool:
    first = columns[0].flat[0]
    return all((once(column) == first).all() for column in columns)


def _channels(blocks: Sequence[Quantities], rows: int) -> pl.Series:
    codes = {block.channel.tobytes() for block in blocks}
    if len(codes) == 1 and rows <= KEPT_ROWS and all(block.kept is None for block in blocks):
        return _channels_of(codes.pop()).head(rows)
    return taken(_CHANNELS, _joined([_by_column(block, block.channel.astype(np.uint32)) for block in blocks]))


@lru_cache(maxsize=64)
def _channels_of(codes: bytes) -> pl.Series:
    """The channels of rows of these, `KEPT_ROWS` values at least: what a plan repeats, made once."""
    return taken(_CHANNELS, np.tile(np.frombuffer(codes, np.uint8), -(-KEPT_ROWS // len(codes))))


def _obis(blocks: Sequence[Quantities], obis: Sequence[str]) -> pl.Series:
    if not obis:
        return nulls(_NO_OBIS, sum(_rows(block) for block in blocks))
    codes = _joined([_by_column(block, block.obis) for block in blocks])
    return taken(pl.Series([*obis, None], dtype=pl.String), codes % (len(obis) + 1))  # -1 is the last


def _joined(columns: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    return columns[0] if len(columns) == 1 else np.concatenate(columns)


def _rows(block: Quantities) -> int:
    return block.milli.size if block.kept is None else int(block.kept.sum())


def _by_message(block: Quantities, column: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return _kept(block, column.repeat(block.milli.shape[1] * block.milli.shape[2]))


def _by_row(block: Quantities, column: npt.NDArray[Any]) -> npt.NDArray[Any]:
    messages, rows, columns = block.milli.shape
    if column.strides[0]:
        return _kept(block, column.reshape(-1) if columns == 1 else np.repeat(column, columns))
    shared = np.empty((messages, rows * columns), column.dtype)
    shared[...] = np.repeat(column[0], columns)
    return _kept(block, shared.reshape(-1))


def _by_column(block: Quantities, column: npt.NDArray[Any]) -> npt.NDArray[Any]:
    repeated = np.empty((block.milli.shape[0] * block.milli.shape[1], len(column)), column.dtype)
    repeated[...] = column  # what `tile` does, dearer
    return _kept(block, repeated.reshape(-1))


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
