"""Replay windows: which invocation counters were seen, per (system title, key, lane), as a value.

A window goes in with a batch and comes out with it; it is stored with the offset that it belongs to and reloaded as of
the committed offset, so a redelivery after a crash meets the window as it was before (law 5 of ARCHITECTURE.md).

Only counters of messages whose tag has verified are judged and recorded: a forged high counter locks nobody out, and
`replay` and `nonce_reuse` are never said of bytes that anyone could have sent. What tells a copy from a reused counter
is the message's own tag: it is a MAC of the protected bytes, so two verified messages with one counter and one tag are
one message.
"""

from typing import Final, NamedTuple, Self, TypeAlias

import numpy as np
import numpy.typing as npt
import polars as pl

from ingest.titles import titles_from_hex, titles_to_hex
from schemas.errors import ContractError

WINDOW: Final = 64
"""Counters below the highest that are still told apart (dlms.md section 9)."""

Numbers: TypeAlias = npt.NDArray[np.uint64]

FRESH: Final = 0
LATE: Final = 1
COPY: Final = 2
REUSE: Final = 3
REPLAY: Final = 4
"""What a counter is: newer than all; below the highest, within the window and unseen; seen with the same digest; seen
with another; below the window."""

SCHEMA: Final = pl.Schema(
    {
        "topic": pl.String(),
        "system_title": pl.String(),
        "key_id": pl.String(),
        "counter": pl.Int64(),
        "digest": pl.UInt64(),
    }
)
"""`Windows.to_frame`: one row a counter that was seen and still lies in its window; columns of REPLAY_WINDOWS."""

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


class _Keys(NamedTuple):
    """Streams as two columns: system title, and the number that the windows gave to (key, lane)."""

    title: Numbers
    context: npt.NDArray[np.int64]

    def take(self, rows: npt.NDArray[np.int64]) -> "_Keys":
        return _Keys(self.title[rows], self.context[rows])

    def sorted_unique(self) -> tuple["_Keys", npt.NDArray[np.int64]]:
        """Each stream once, ascending, and where each of ours is among them."""
        order = np.lexsort((self.context, self.title))
        ordered = self.take(order)
        first = np.r_[True, (ordered.title[1:] != ordered.title[:-1]) | (ordered.context[1:] != ordered.context[:-1])]
        member = np.empty(len(order), np.int64)
        member[order] = np.cumsum(first) - 1
        return ordered.take(np.flatnonzero(first)), member

    def places(self, wanted: "_Keys") -> npt.NDArray[np.int64]:
        """Row of each wanted stream in these ascending ones, -1 where it is not among them."""
        if not len(self.title):
            return np.full(len(wanted.title), -1, np.int64)
        at = np.searchsorted(self.title, wanted.title, "left").astype(np.int64)
        last = len(self.title) - 1
        while True:  # a title has as many streams as keys and lanes: a few steps at most
            inside = np.minimum(at, last)
            same_title = (at <= last) & (self.title[inside] == wanted.title)
            short = same_title & (self.context[inside] < wanted.context)
            if not short.any():
                return np.where(same_title & (self.context[inside] == wanted.context), inside, -1)
            at = at + short


class _Table(NamedTuple):
    """Windows of ascending streams. Slot `counter % WINDOW` holds a counter's digest."""

    keys: _Keys
    highest: npt.NDArray[np.int64]
    seen: npt.NDArray[np.bool_]
    digest: Numbers

    @classmethod
    def new(cls, keys: _Keys) -> Self:
        rows = len(keys.title)
        return cls(
            keys,
            np.full(rows, -1, np.int64),
            np.zeros((rows, WINDOW), np.bool_),
            np.zeros((rows, WINDOW), np.uint64),
        )

    @classmethod
    def empty(cls) -> Self:
        return cls.new(_Keys(np.zeros(0, np.uint64), np.zeros(0, np.int64)))

    def take(self, rows: npt.NDArray[np.int64]) -> "_Table":
        return _Table(self.keys.take(rows), self.highest[rows], self.seen[rows], self.digest[rows])

    def merged(self, newer: "_Table") -> "_Table":
        """Both, the newer one's windows in place of ours."""
        ours = self.take(np.flatnonzero(newer.keys.places(self.keys) < 0))
        title = np.concatenate([ours.keys.title, newer.keys.title])
        context = np.concatenate([ours.keys.context, newer.keys.context])
        joined = _Table(
            _Keys(title, context),
            np.concatenate([ours.highest, newer.highest]),
            np.concatenate([ours.seen, newer.seen]),
            np.concatenate([ours.digest, newer.digest]),
        )
        return joined.take(np.lexsort((context, title)))


class Windows:
    """All windows of a worker, never changed: `judge` answers with the next value.

    Changes of a batch lie in a small table over a large one and are folded in when they have grown to a quarter of
    it, so a batch costs what it touches, not what the worker knows.
    """

    __slots__ = ("_base", "_contexts", "_recent")

    def __init__(self) -> None:
        self._base = _Table.empty()
        self._recent = _Table.empty()
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
            FRESH, LATE, COPY, REUSE or REPLAY a message; FRESH and LATE ones are recorded.
        """
        if not len(streams.title):
            return np.zeros(0, np.int8), self
        contexts = dict(self._contexts)
        keys, member = _stream_keys(streams, contexts).sorted_unique()
        table = self._lookup(keys)
        verdicts = _judge(table, member, streams.counter, streams.digest)
        after = Windows()
        after._contexts = contexts
        after._base, after._recent = self._base, self._recent.merged(table)
        if len(after._recent.highest) > max(_COMPACT_FLOOR, len(self._base.highest) // _COMPACT_SHARE):
            after._base, after._recent = self._base.merged(after._recent), _Table.empty()
        return verdicts, after

    def to_frame(self) -> pl.DataFrame:
        """Every counter still in its window, sorted; `from_frame` of it is the same value."""
        table = self._base.merged(self._recent)
        names = {number: name for name, number in self._contexts.items()}
        rows, slots = np.nonzero(table.seen)
        highest = table.highest[rows]
        counter = highest - (highest - slots) % WINDOW
        contexts = table.keys.context[rows].tolist()
        columns = {
            "topic": pl.Series([names[context][1] for context in contexts], dtype=pl.String),
            "system_title": titles_to_hex(table.keys.title[rows]),
            "key_id": pl.Series([names[context][0] for context in contexts], dtype=pl.String),
            "counter": counter,
            "digest": table.digest[rows, slots],
        }
        return pl.DataFrame(columns, schema=SCHEMA).sort("topic", "system_title", "key_id", "counter")

    @classmethod
    def from_frame(cls, rows: pl.DataFrame) -> "Windows":
        """The windows that `to_frame` wrote, or those of REPLAY_WINDOWS: verified counters in any order.

        Rebuilt from all counters ever seen it is the same value as the one that saw them arrive: what has left its
        window leaves it again.

        Raises:
            ContractError: A column of `SCHEMA` is absent.
        """
        absent = [name for name in SCHEMA if name not in rows.columns]
        if absent:
            raise ContractError(f"windows: column {absent[0]!r} is absent")
        ordered = rows.select([pl.col(name).cast(dtype) for name, dtype in SCHEMA.items()]).sort("counter")
        ordered = ordered.unique(["topic", "system_title", "key_id", "counter"], keep="first", maintain_order=True)
        key_names = tuple(ordered["key_id"].unique().sort().to_list())
        lane_names = tuple(ordered["topic"].unique().sort().to_list())
        streams = Streams(
            titles_from_hex(ordered["system_title"]),
            _codes(ordered["key_id"], key_names),
            _codes(ordered["topic"], lane_names),
            ordered["counter"].to_numpy(),
            ordered["digest"].to_numpy(),
            key_names,
            lane_names,
        )
        return cls().judge(streams)[1]

    def _lookup(self, keys: _Keys) -> _Table:
        """A table of its own for these streams, filled from what is known."""
        table = _Table.new(keys)
        for known in (self._base, self._recent):
            at = known.keys.places(keys)
            found = np.flatnonzero(at >= 0)
            table.highest[found] = known.highest[at[found]]
            table.seen[found] = known.seen[at[found]]
            table.digest[found] = known.digest[at[found]]
        return table


def _codes(column: pl.Series, names: tuple[str, ...]) -> npt.NDArray[np.int64]:
    return column.replace_strict({name: at for at, name in enumerate(names)}, return_dtype=pl.Int64).to_numpy()


def _stream_keys(streams: Streams, contexts: dict[tuple[str, str], int]) -> _Keys:
    pair = streams.key_id * len(streams.lane_names) + streams.lane
    used, where = np.unique(pair, return_inverse=True)
    numbers = []
    for code in used.tolist():
        key_at, lane_at = divmod(code, len(streams.lane_names))
        numbers.append(contexts.setdefault((streams.key_names[key_at], streams.lane_names[lane_at]), len(contexts)))
    return _Keys(streams.title, np.array(numbers, np.int64)[where.reshape(-1)])


def _judge(
    table: _Table, member: npt.NDArray[np.int64], counter: npt.NDArray[np.int64], digest: Numbers
) -> npt.NDArray[np.int8]:
    """Verdicts in order of arrival; the table is brought up to date in place (it is ours alone).

    Streams whose counters only rise, and rise above what was known, are taken at once; the rest one by one.
    """
    order = np.argsort(member, kind="stable")
    stream, number = member[order], counter[order]
    first = np.r_[True, stream[1:] != stream[:-1]]
    before = np.where(first, table.highest[stream], np.r_[np.int64(-1), number[:-1]])
    falls = np.zeros(len(table.highest), np.bool_)
    falls[stream[number <= before]] = True
    verdicts = np.full(len(member), FRESH, np.int8)
    for at in order[falls[stream]].tolist():
        verdicts[at] = _judge_one(table, int(member[at]), int(counter[at]), int(digest[at]))
    rising = order[~falls[stream]]
    _record_rising(table, member[rising], counter[rising], digest[rising])
    return verdicts


def _record_rising(
    table: _Table, stream: npt.NDArray[np.int64], counter: npt.NDArray[np.int64], digest: Numbers
) -> None:
    if not len(stream):
        return
    last = np.r_[stream[1:] != stream[:-1], True]
    touched, new_highest = stream[last], counter[last]
    # A slot stays only while its counter lies in the window of the new highest.
    known = table.highest[touched][:, None]
    slots = np.arange(WINDOW)
    held = known - (known - slots) % WINDOW
    table.seen[touched] &= held > new_highest[:, None] - WINDOW
    table.highest[touched] = new_highest
    kept = counter > table.highest[stream] - WINDOW
    place = counter[kept] % WINDOW
    table.seen[stream[kept], place] = True
    table.digest[stream[kept], place] = digest[kept]


def _judge_one(table: _Table, stream: int, counter: int, digest: int) -> int:
    highest, slot = int(table.highest[stream]), counter % WINDOW
    if counter <= highest - WINDOW:
        return REPLAY
    if counter <= highest and table.seen[stream, slot]:
        return COPY if int(table.digest[stream, slot]) == digest else REUSE
    verdict = LATE if counter <= highest else FRESH
    if counter > highest:
        dropped = range(highest + 1, min(counter, highest + WINDOW) + 1)
        table.seen[stream, [each % WINDOW for each in dropped]] = False
        table.highest[stream] = counter
    table.seen[stream, slot] = True
    table.digest[stream, slot] = digest
    return verdict
