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

A meter may bring a new key, wrapped, with each message: each is a stream. As many are kept as `MAX_WRAPPED`, and none
leaves: whoever recorded a message under a key that left could send it as news. What comes under one key more is
refused (BEYOND) until the meter has a new master key, under which it begins anew.
"""

from functools import reduce
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from ingest.key_names import NO_PART, join_names, names_now, split_names
from ingest.replay_table import (
    BEYOND,
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

MAX_WRAPPED: Final = 10_000
"""Keys that came wrapped of one meter under one master key in one lane: at one a day 27 years, at 96 a day 104 days; 6
MB of memory."""
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

    Changes of a batch lie in the last of three tables, the newest windows in the smallest. One is folded into the
    table before when it has grown to a quarter of that, so a batch costs what it touches, not what the worker knows.
    """

    __slots__ = ("_contexts", "_tables")

    def __init__(self) -> None:
        self._tables: tuple[WindowTable, ...] = (NOTHING, NOTHING, NOTHING)
        self._contexts: dict[tuple[str, str], int] = {}

    @classmethod
    def empty(cls) -> "Windows":
        """Nothing was ever seen."""
        return cls()

    def __len__(self) -> int:
        return len(self._table().highest)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Windows) and self.to_frame().equals(other.to_frame())

    def judge(self, streams: Streams) -> tuple[npt.NDArray[np.int8], "Windows"]:
        """What each counter is, and the windows after all of them.

        Args:
            streams: Messages whose tags have verified, in order of arrival.

        Returns:
            FRESH, LATE, COPY, REUSE, REPLAY, QUARANTINED or BEYOND a message; FRESH and LATE ones are recorded, and
            that there was a REUSE.
        """
        if not len(streams.title):
            return np.zeros(0, np.int8), self
        contexts = dict(self._contexts)
        keys, member = _stream_keys(streams, contexts).sorted_unique()
        table, known = self._lookup(keys)
        verdicts = np.full(len(member), BEYOND, np.int8)
        kept = ~self._beyond(keys, known, member)
        if kept.all():
            verdicts = judge_counters(table, member, streams.counter, streams.digest)
        else:
            rows, table = np.flatnonzero(kept[member]), table.take(np.flatnonzero(kept))
            place = (np.cumsum(kept) - 1)[member[rows]]
            if len(rows):
                verdicts[rows] = judge_counters(table, place, streams.counter[rows], streams.digest[rows])
        after = Windows()
        after._contexts = contexts
        after._tables = _folded(self._tables, table)
        return verdicts, after

    def to_frame(self) -> pl.DataFrame:
        """Every counter still in its window, sorted; `from_frame` of it is the same value."""
        table = self._table()
        names = {number: name for name, number in self._contexts.items()}
        rows, slots = np.nonzero(table.seen)
        highest = table.highest[rows]
        counter = highest - (highest - slots) % WINDOW
        reused = np.flatnonzero(table.reused != NOT_REUSED)
        counter = np.concatenate([counter, marked_reused(table.reused[reused])])
        digest = np.concatenate([table.digest[rows, slots], table.second[reused]])
        rows = np.concatenate([rows, reused])
        contexts = table.keys.context[rows].tolist()
        families = pl.Series([names[context][0] for context in contexts], dtype=pl.String)
        columns = {
            "topic": pl.Series([names[context][1] for context in contexts], dtype=pl.String),
            "system_title": titles_to_hex(table.keys.title[rows]),
            "key_id": join_names(families, table.keys.part[rows]),
            "counter": counter,
            "digest": digest,
        }
        return pl.DataFrame(columns, schema=SCHEMA).sort("topic", "system_title", "key_id", "counter")

    @classmethod
    def from_frame(cls, rows: pl.DataFrame) -> "Windows":
        """The windows that `to_frame` wrote, or those of REPLAY_WINDOWS: verified counters in any order.

        Rebuilt from all counters ever seen it is the same value as the one that saw them arrive: what has left its
        window leaves it again, and a reused counter keeps its stream in quarantine. What was stored under a name that
        two keys had (`key_names`) is in the windows of both.

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
        meant = [(stored, now) for stored in asked["key_id"].unique().sort().to_list() for now in names_now(stored)]
        names = sorted({now for _, now in meant})
        split = split_names(names)
        places = {name: place for place, name in enumerate(names)}
        at = [places[now] for _, now in meant]
        numbers = pl.DataFrame(
            {"key_id": [stored for stored, _ in meant], "family": split.family[at], "part": split.part[at]}
        )
        asked = asked.join(numbers, on="key_id", maintain_order="left")
        used = asked.select("family", "topic").unique().sort("family", "topic")
        contexts = [(split.families[family], topic) for family, topic in used.rows()]
        windows._contexts = {context: number for number, context in enumerate(contexts)}
        asked = asked.join(used.with_row_index("context"), on=["family", "topic"], maintain_order="left")
        keys = StreamKeys(
            titles_from_hex(asked["system_title"]),
            asked["context"].to_numpy().astype(np.int64),
            asked["part"].to_numpy(),
        )
        counter = asked["counter"].to_numpy()
        # A store gives them almost in this order, which makes the sort cheap.
        order = np.lexsort((counter, keys.part, keys.context, keys.title))
        base = table_of_counters(keys.take(order), counter[order], asked["digest"].to_numpy()[order])
        windows._tables = (base, NOTHING, NOTHING)
        return windows

    def _table(self) -> WindowTable:
        return reduce(WindowTable.merged, self._tables)

    def _lookup(self, keys: StreamKeys) -> tuple[WindowTable, npt.NDArray[np.bool_]]:
        """A table of its own for these streams, filled from what is known; and which of them are."""
        table = WindowTable.new(keys)
        is_known = np.zeros(len(keys.title), np.bool_)
        for known in self._tables:
            if not len(known.highest):
                continue
            at = known.keys.places(keys)
            found = np.flatnonzero(at >= 0)
            table.adopt(found, known, at[found])
            is_known[found] = True
        return table, is_known

    def _beyond(
        self, keys: StreamKeys, known: npt.NDArray[np.bool_], member: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.bool_]:
        """Streams of wrapped keys for which there is no more room; who came first is kept."""
        beyond = np.zeros(len(known), np.bool_)
        new = np.flatnonzero(~known & (keys.part != NO_PART))
        if not len(new):
            return beyond
        arrival = np.full(len(known), len(member), np.int64)
        np.minimum.at(arrival, member, np.arange(len(member)))
        fresh = keys.take(new)
        new = new[np.lexsort((arrival[new], fresh.context, fresh.title))]
        fresh = keys.take(new)
        first = fresh._replace(part=np.zeros(len(new), np.uint64)).begins()
        begins = np.flatnonzero(first)
        rank = np.arange(len(new)) - np.repeat(begins, np.diff(np.append(begins, len(new))))
        room = MAX_WRAPPED - self._wrapped_of(fresh.take(begins))
        beyond[new] = rank >= room[np.cumsum(first) - 1]
        return beyond

    def _wrapped_of(self, families: StreamKeys) -> npt.NDArray[np.int64]:
        """How many wrapped keys of each of these (title, context) are known."""
        low = families._replace(part=np.full(len(families.title), NO_PART + 1, np.uint64))
        high = families._replace(context=families.context + 1, part=np.zeros(len(families.title), np.uint64))
        counts = np.zeros(len(families.title), np.int64)
        for level, known in enumerate(self._tables):
            first, after = known.keys.first_not_below(low), known.keys.first_not_below(high)
            counts += after - first
            if level and (after > first).any():  # what lies in tables before is counted once
                of = np.repeat(np.arange(len(counts)), after - first)
                rows = np.arange(len(of)) - np.repeat(np.cumsum(after - first) - after, after - first)
                keys = known.keys.take(rows)
                again = np.any([before.keys.places(keys) >= 0 for before in self._tables[:level]], axis=0)
                counts -= np.bincount(of[again], minlength=len(counts))
        return counts


def _folded(tables: tuple[WindowTable, ...], newest: WindowTable) -> tuple[WindowTable, ...]:
    """These tables with the newest windows in the last."""
    *held, last = tables
    folded = [*held, last.merged(newest)]
    for level in range(len(folded) - 1, 0, -1):
        if len(folded[level].highest) > max(_COMPACT_FLOOR, len(folded[level - 1].highest) // _COMPACT_SHARE):
            folded[level - 1], folded[level] = folded[level - 1].merged(folded[level]), NOTHING
    return tuple(folded)


def _stream_keys(streams: Streams, contexts: dict[tuple[str, str], int]) -> StreamKeys:
    split = split_names(streams.key_names)
    if len(split.families) == len(streams.lane_names) == 1:
        number = contexts.setdefault((split.families[0], streams.lane_names[0]), len(contexts))
        return StreamKeys(streams.title, np.full(len(streams.lane), number, np.int64), split.part[streams.key_id])
    pair = split.family[streams.key_id] * len(streams.lane_names) + streams.lane
    used, where = np.unique(pair, return_inverse=True)
    numbers = []
    for code in used.tolist():
        family_at, lane_at = divmod(code, len(streams.lane_names))
        numbers.append(contexts.setdefault((split.families[family_at], streams.lane_names[lane_at]), len(contexts)))
    return StreamKeys(streams.title, np.array(numbers, np.int64)[where.reshape(-1)], split.part[streams.key_id])
