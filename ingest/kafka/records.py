"""Kafka messages as RAW_FRAMES: a message holds one or more link-layer messages end to end. Pure."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np
import polars as pl

from ingest.dlms.blocks import DATABLOCK, TRANSFER_BLOCK
from ingest.dlms.framing import split_messages
from ingest.dlms.resync import wpdu_chain
from schemas.frames import RAW_FRAMES, UTC_US

_WPDU_HEAD_OCTETS: Final = 8


class Records(NamedTuple):
    """Messages of one topic partition, columns of equal length, ascending by offset."""

    topic: str
    partition: int
    offsets: Sequence[int]
    timestamps_ms: Sequence[int]
    values: Sequence[bytes | None]


def frames_of_records(records: Records) -> pl.DataFrame:
    """Every link-layer message of the records, none lost, in their order (`RAW_FRAMES`).

    `frame` counts from 0 in each Kafka message; `received_at` is its timestamp. A message without bytes (or a
    tombstone) is one frame without bytes, and bytes that cannot be cut are one frame: both become rejects.
    """
    payloads, counts = _cut_all([value or b"" for value in records.values])
    of = np.repeat(np.arange(len(counts)), counts)
    first = np.cumsum(counts) - counts
    return pl.DataFrame(
        {
            "topic": pl.repeat(records.topic, len(payloads), dtype=pl.String, eager=True),
            "partition": pl.repeat(records.partition, len(payloads), dtype=pl.Int32, eager=True),
            "offset": np.asarray(records.offsets, np.int64)[of],
            "frame": (np.arange(len(payloads)) - first[of]).astype(np.int32),
            "received_at": pl.Series(np.asarray(records.timestamps_ms, np.int64)[of] * 1000).cast(UTC_US),
            "payload": pl.Series(payloads, dtype=pl.Binary),
        },
        schema=RAW_FRAMES.schema,
    )


def _cut_all(values: list[bytes]) -> tuple[list[bytes], np.ndarray]:
    """The frames of all values end to end, and how many each value holds (at least one)."""
    payloads: list[bytes] = []
    counts = np.zeros(len(values), np.int64)
    for i, value in enumerate(values):
        pieces = _cut(value)
        payloads += pieces
        counts[i] = len(pieces)
    return payloads, counts


def _cut(value: bytes) -> list[bytes]:
    starts, stop = wpdu_chain(value)
    if stop == len(value) and not _any_blocks(value, starts):
        return [value[at:after] for at, after in pairwise([*starts, stop])] or [value]
    return [message.payload for message in split_messages(value)] or [value]


def _any_blocks(value: bytes, starts: list[int]) -> bool:
    """Whether a WPDU holds a block of a larger APDU: those of one APDU are joined, which takes the long way."""
    return any(value.startswith((TRANSFER_BLOCK, DATABLOCK), at + _WPDU_HEAD_OCTETS) for at in starts)
