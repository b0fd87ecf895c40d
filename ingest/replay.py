"""Replay windows: which invocation counters were seen, per (system title, key, lane), as a value.

A window goes in with a batch and comes out with it; it is stored with the offset that it belongs to and reloaded as of
the committed offset, so a redelivery after a crash meets the window as it was before (law 5 of ARCHITECTURE.md).

Only counters of messages whose tag has verified are judged and recorded: a forged high counter locks nobody out, and
`replay` and `nonce_reuse` are never said of bytes that anyone could have sent. What tells a copy from a reused counter
is the message's own tag: it is a MAC of the protected bytes, so two verified messages with one counter and one tag are
one message.

Two verified messages with one counter and two tags mean that a nonce was used twice: what was sealed under it can be
laid open, and the key that authenticates be computed from it. From then on the key proves nothing: the stream is in
quarantine, all it brings but copies is refused, and its window stands still. Only a new key ends that (a stream of its
own), or whoever revokes this one.
"""

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from ingest.replay_table import (
    NOT_REUSED,
    NOTHING,
    WINDOW,
    Numbers,
    StreamKeys,
    WindowTable,
    judge_counters,
    marked_reused,
    table_of_counters,
)
from ingest.titles import titles_from_hex, titles_to_hex
from schemas.errors import ContractError

SCHEMA: Final = pl.Schema(
    {
        "topic": pl.String(),
        "system_title": pl.String(),
        "key_id": pl.String(),
        "counter": pl.Int64(),
        "digest": pl.UInt64(),
    }
)
"""`Windows.to_frame`: one row a counter that was seen and still lies in its window, and one a reused counter, negative
as `marked_reused` writes it; columns of REPLAY_WINDOWS."""

_COMPACT_SHARE: Final = 4
_COMPACT_FLOOR: Final = 4096


class Streams(NamedTuple):
    """The messages of a batch as the windows see them, in the order of arrival."""

    title: Numbers
    key_id: npt.NDArray[np.int64]  # place in `key_names`
    lane: npt.NDArray[np.int64]  # place in `lane_names`
    counter: npt.NDArray[np.int64]
    digest: Numbers
    key_names: tuple[str, ...]
    lane_names: tuple[str, ...]


class Windows:
    """All windows of a worker, never changed: `judge` answers with the next value.

    Changes of a batch lie in a small table over a large one and are folded in when they have grown to a quarter of
    it, so a batch costs what it touches, not what the worker knows.
    """

    __slots__ = ("_base", "_contexts", "_recent")

    def __init__(self) -> None:
        self._base = self._recent = NOTHING
        self._contexts: dict[tuple[str, str], int] = {}

    @classmethod
    def empty(cls) -> "Windows":
        """Nothing was ever seen."""
        return cls()

    def __len__(self) -> int:
        return len(self._base.merged(self._recent).highest)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Windows) and self.to_frame().equals(other.to_frame())

    def judge(self, streams: Streams) -> tuple[npt.NDArray[np.int8], "Windows"]:
        """What each counter is, and the windows after all of them.

        Args:
            streams: Messages whose tags have verified, in order of arrival.

        Returns:
            FRESH, LATE, COPY, REUSE, REPLAY or QUARANTINED a message; FRESH and LATE ones are recorded, and that there
            was a REUSE.
        """
        if not len(streams.title):
            return np.zeros(0, np.int8), self
        contexts = dict(self._contexts)
        keys, member = _stream_keys(streams, contexts).sorted_unique()
        table = self._lookup(keys)
        verdicts = judge_counters(table, member, streams.counter, streams.digest)
        after = Windows()
        after._contexts = contexts
        after._base, after._recent = self._base, self._recent.merged(table)
        if len(after._recent.highest) > max(_COMPACT_FLOOR, len(self._base.highest) // _COMPACT_SHARE):
            after._base, after._recent = self._base.merged(after._recent), NOTHING
        return verdicts, after

    def to_frame(self) -> pl.DataFrame:
        """Every counter still in its window, sorted; `from_frame` of it is the same value."""
        table = self._base.merged(self._recent)
        names = {number: name for name, number in self._contexts.items()}
        rows, slots = np.nonzero(table.seen)
        highest = table.highest[rows]
        counter = highest - (highest - slots) % WINDOW
        reused = np.flatnonzero(table.reused != NOT_REUSED)
        counter = np.concatenate([counter, marked_reused(table.reused[reused])])
        digest = np.concatenate([table.digest[rows, slots], table.second[reused]])
        rows = np.concatenate([rows, reused])
        contexts = table.keys.context[rows].tolist()
        columns = {
            "topic": pl.Series([names[context][1] for context in contexts], dtype=pl.String),
            "system_title": titles_to_hex(table.keys.title[rows]),
            "key_id": pl.Series([names[context][0] for context in contexts], dtype=pl.String),
            "counter": counter,
            "digest": digest,
        }
        return pl.DataFrame(columns, schema=SCHEMA).sort("topic", "system_title", "key_id", "counter")

    @classmethod
    def from_frame(cls, rows: pl.DataFrame) -> "Windows":
        """The windows that `to_frame` wrote, or those of REPLAY_WINDOWS: verified counters in any order.

        Rebuilt from all counters ever seen it is the same value as the one that saw them arrive: what has left its
        window leaves it again, and a reused counter keeps its stream in quarantine.

        Raises:
            ContractError: A column of `SCHEMA` is absent.
        """
        absent = [name for name in SCHEMA if name not in rows.columns]
        if absent:
            raise ContractError(f"windows: column {absent[0]!r} is absent")
        asked = rows.select([pl.col(name).cast(dtype) for name, dtype in SCHEMA.items()])
        windows = cls()
        if asked.is_empty():
            return windows
        contexts = asked.select("key_id", "topic").unique().sort("key_id", "topic").rows()
        windows._contexts = {context: number for number, context in enumerate(contexts)}
        numbers = pl.DataFrame(contexts, schema=["key_id", "topic"], orient="row").with_row_index("context")
        context = asked.join(numbers, on=["key_id", "topic"], maintain_order="left")["context"].to_numpy()
        title, counter = titles_from_hex(asked["system_title"]), asked["counter"].to_numpy()
        # A store gives them almost in this order, which makes the sort cheap.
        order = np.lexsort((counter, context, title))
        keys, counter = StreamKeys(title[order], context[order].astype(np.int64)), counter[order]
        windows._base = table_of_counters(keys, counter, asked["digest"].to_numpy()[order])
        return windows

    def _lookup(self, keys: StreamKeys) -> WindowTable:
        """A table of its own for these streams, filled from what is known."""
        table = WindowTable.new(keys)
        for known in (self._base, self._recent):
            at = known.keys.places(keys)
            found = np.flatnonzero(at >= 0)
            table.adopt(found, known, at[found])
        return table


def _stream_keys(streams: Streams, contexts: dict[tuple[str, str], int]) -> StreamKeys:
    pair = streams.key_id * len(streams.lane_names) + streams.lane
    used, where = np.unique(pair, return_inverse=True)
    numbers = []
    for code in used.tolist():
        key_at, lane_at = divmod(code, len(streams.lane_names))
        numbers.append(contexts.setdefault((streams.key_names[key_at], streams.lane_names[lane_at]), len(contexts)))
    return StreamKeys(streams.title, np.array(numbers, np.int64)[where.reshape(-1)])
