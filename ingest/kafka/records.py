"""Kafka messages as RAW_FRAMES: a message holds one or more link-layer messages end to end. Pure."""

from collections.abc import Sequence
from itertools import chain, pairwise
from typing import NamedTuple

import numpy as np
import polars as pl

from ingest.chains import any_blocks, pieces
from ingest.columns import taken
from ingest.dlms.framing import split_messages
from ingest.dlms.resync import wpdu_chain
from schemas.frames import RAW_FRAMES, UTC_US


class Records(NamedTuple):
    """Messages of one topic partition, columns of equal length, ascending by offset."""

    topic: str
    partition: int
    offsets: Sequence[int]
    timestamps_ms: Sequence[int]
    values: Sequence[bytes | None]


def frames_of_records(*parts: Records) -> pl.DataFrame:
    """Every link-layer message of the records, none lost, part by part in their order (`RAW_FRAMES`).

    `frame` counts from 0 in each Kafka message; `received_at` is its timestamp. A message without bytes (or a
    tombstone) is one frame without bytes, and bytes that cannot be cut are one frame: both become rejects.
    """
    payloads, counts = _cut_all([value or b"" for part in parts for value in part.values])
    of = np.repeat(np.arange(len(counts)), counts)
    first = np.cumsum(counts) - counts
    messages = [len(part.values) for part in parts]
    part_of = np.repeat(np.arange(len(parts)), messages)[of]
    names = list(dict.fromkeys(part.topic for part in parts))
    topic = np.array([names.index(part.topic) for part in parts], np.int64)
    offsets, stamps = (
        np.concatenate([np.zeros(0, np.int64), *(np.asarray(each, np.int64) for each in columns)])
        for columns in ([part.offsets for part in parts], [part.timestamps_ms for part in parts])
    )
    return pl.DataFrame(
        {
            "topic": taken(pl.Series(names, dtype=pl.String), topic[part_of]),
            "partition": np.array([part.partition for part in parts], np.int32)[part_of],
            "offset": offsets[of],
            "frame": (np.arange(len(payloads)) - first[of]).astype(np.int32),
            "received_at": pl.Series(stamps[of] * 1000).cast(UTC_US),
            "payload": payloads,
        },
        schema=RAW_FRAMES.schema,
    )


def in_place_order(frames: pl.DataFrame) -> pl.DataFrame:
    """Rows by topic and partition, those of each partition in their order; no payload is copied.

    Args:
        frames: RAW_FRAMES of one or more polls, each of which brought messages of several partitions in turn.

    Returns:
        The same rows in the order of the store's key for messages, where each partition's are ascending. The topics
        are one text each for all rows, which whoever looks for runs of one text sees without comparing them.
    """
    place = frames.select("topic", "partition")
    begins = place.select(pl.any_horizontal(pl.all().ne_missing(pl.all().shift())).arg_true()).to_series()
    heads, starts = place[begins].rows(), begins.to_list()
    runs = sorted(zip(heads, starts, [*starts, frames.height][1:], strict=True))
    ordered = pl.concat([frames.clear(), *(frames.slice(start, end - start) for _, start, end in runs)])
    names = sorted({topic for topic, _ in heads})
    of = [names.index(topic) for (topic, _), _, _ in runs]
    topic = np.repeat(np.array(of, np.int64), [end - start for _, start, end in runs])
    return ordered.with_columns(taken(pl.Series("topic", names, pl.String), topic))


def _cut_all(values: list[bytes]) -> tuple[pl.Series, np.ndarray]:
    """The frames of all values end to end (Binary), and how many each value holds (at least one)."""
    chains = [wpdu_chain(value) for value in values]
    if values and all(starts and stop == len(value) for value, (starts, stop) in zip(values, chains, strict=True)):
        data, counts = b"".join(values), np.array([len(starts) for starts, _ in chains], np.int64)
        ends = np.cumsum([len(value) for value in values], dtype=np.int64)
        begun = np.concatenate([np.zeros(1, np.int64), ends])
        starts = np.concatenate([np.asarray(each, np.int64) + at for (each, _), at in zip(chains, begun, strict=False)])
        if not any_blocks(data, starts):
            return pieces(data, np.append(starts, begun[-1])), counts
    cut = [_cut(value, *way) for value, way in zip(values, chains, strict=True)]
    counts = np.array([len(frames) for frames in cut], np.int64)
    return pl.Series(list(chain.from_iterable(cut)), dtype=pl.Binary), counts


def _cut(value: bytes, starts: list[int], stop: int) -> list[bytes]:
    if stop == len(value) and not (starts and any_blocks(value, starts)):
        return [value[at:after] for at, after in pairwise([*starts, stop])] or [value]
    return [message.payload for message in split_messages(value)] or [value]
