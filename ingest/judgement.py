"""Invocation counters of a batch judged by the replay windows: copies, replays, reused counters, late messages."""

from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from ingest import replay_table as verdict
from ingest.columns import NULL_TEXT, constant, nulls, taken
from ingest.faults import NO_FAULT, Faults
from ingest.keyring import Keyring
from ingest.protection import NO_KEY, Opened
from ingest.replay import Streams, Windows
from ingest.spans import Flags, Places
from schemas.codes import RejectReason

_MOVES: Final = np.isin(np.arange(verdict.QUARANTINED + 1), (verdict.FRESH, verdict.LATE, verdict.REUSE))
"""By verdict: whether the message moved its window."""


class Judged(NamedTuple):
    """Verdicts of the replay windows by message.

    `seen`: messages that moved their window, with what REPLAY_WINDOWS keeps of each in `counter`: its counter, or that
    it was used twice (`replay.marked_reused`).
    """

    is_copy: Flags
    is_late: Flags
    seen: Places
    counter: npt.NDArray[np.int64]
    windows: Windows


def key_names_of(opened: Opened, keyring: Keyring) -> pl.Series:
    """Name of the key that opened each message; null where none did."""
    with_key = np.flatnonzero(opened.key_row != NO_KEY)
    if not len(with_key) and not opened.brought:
        return nulls(NULL_TEXT, len(opened.key_row))
    names, used = keyring.key_ids(opened.key_row[with_key])
    if len(names) == 1 and len(with_key) == len(opened.key_row):
        return constant(_name(names[0]), len(with_key))
    place = np.full(len(opened.key_row), len(names), np.int64)
    place[with_key] = used
    named = taken(pl.Series([*names, None], dtype=pl.String), place)
    return named.scatter(list(opened.brought), list(opened.brought.values())) if opened.brought else named


@lru_cache(maxsize=64)
def _name(name: str) -> pl.Series:
    return pl.Series([name], dtype=pl.String)


def judge_batch(opened: Opened, key_names: pl.Series, frames: pl.DataFrame, windows: Windows, faults: Faults) -> Judged:
    """Counters of all messages whose tag has verified, in order of arrival; a replay or a reused counter is a fault."""
    rows = np.flatnonzero(opened.authenticated)
    rows = rows[faults.reason[rows] == NO_FAULT] if faults.any and len(rows) else rows
    is_copy, is_late = np.zeros(frames.height, np.bool_), np.zeros(frames.height, np.bool_)
    if not len(rows):
        return Judged(is_copy, is_late, rows, np.zeros(0, np.int64), windows)
    lanes, lane = _numbered(lanes_of(frames), rows)
    names, key = _numbered(key_names, rows)
    headers = opened.headers
    streams = Streams(headers.title[rows], key, lane, headers.counter[rows], opened.digest[rows], names, lanes)
    verdicts, after = windows.judge(streams)
    faults.record(rows[verdicts == verdict.REUSE], RejectReason.NONCE_REUSE, 0, "the counter was used for other bytes")
    faults.record(rows[verdicts == verdict.REPLAY], RejectReason.REPLAY, 0, "the counter lies below the window")
    held = rows[verdicts == verdict.QUARANTINED]
    faults.record(held, RejectReason.QUARANTINED, 0, "a counter of this key was used twice: the key proves nothing")
    beyond = rows[verdicts == verdict.BEYOND]
    faults.record(beyond, RejectReason.KEYS_EXHAUSTED, 0, "more wrapped keys than are kept: renew its master key")
    is_copy[rows[verdicts == verdict.COPY]] = True
    is_late[rows[verdicts == verdict.LATE]] = True
    moved = _MOVES[verdicts]
    seen = rows[moved]
    counter = headers.counter[seen]
    counter = np.where(verdicts[moved] == verdict.REUSE, verdict.marked_reused(counter), counter)
    return Judged(is_copy, is_late, seen, counter, after)


def lanes_of(frames: pl.DataFrame) -> pl.Series:
    """The lane of each message, which chooses its window: column `lane` where there is one, else the topic."""
    return frames["lane"] if "lane" in frames.columns else frames["topic"]


def _numbered(column: pl.Series, rows: Places) -> tuple[tuple[str, ...], npt.NDArray[np.int64]]:
    """The texts that stand in these rows, which all have one, and which of them each has."""
    least = column.min()
    if least == column.max():
        return (str(least),), np.zeros(len(rows), np.int64)
    texts = taken(column, rows)
    names = tuple(texts.unique().sort().to_list())
    places = {name: place for place, name in enumerate(names)}
    return names, texts.replace_strict(places, return_dtype=pl.Int64).to_numpy()
