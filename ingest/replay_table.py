"""Windows of many streams as columns, and the judgement of counters against them."""

from typing import Any, Final, NamedTuple, Self, TypeAlias

import numpy as np
import numpy.typing as npt

WINDOW: Final = 64
"""Counters below the highest that are still told apart (dlms.md section 9)."""

Numbers: TypeAlias = npt.NDArray[np.uint64]

FRESH: Final = 0
LATE: Final = 1
COPY: Final = 2
REUSE: Final = 3
REPLAY: Final = 4
BEYOND: Final = 5
QUARANTINED: Final = 6
"""What a counter is: newer than all; below the highest, within the window and unseen; seen with the same digest; seen
with another; below the window; under one more wrapped key than are kept; anything but a copy once a counter of the
stream was seen with two digests."""
NOT_REUSED: Final = -1
_FEW_STEPS: Final = 8
"""Counters that a window is moved by one after the other; by more at once."""


class StreamKeys(NamedTuple):
    """Streams as three columns: system title, the number that the windows gave to (key or family of keys, lane), and
    the number of a key within its family (`key_names`), 0 of one that the meter holds."""

    title: Numbers
    context: npt.NDArray[np.int64]
    part: Numbers

    def take(self, rows: npt.NDArray[np.int64]) -> "StreamKeys":
        return StreamKeys(self.title[rows], self.context[rows], self.part[rows])

    def order(self) -> npt.NDArray[np.int64]:
        """Rows ascending; equal ones as they stand."""
        columns = (self.part, self.context, self.title) if self.part.any() else (self.context, self.title)
        return np.lexsort(columns)

    def begins(self) -> npt.NDArray[np.bool_]:
        """Of ascending rows those that are another stream than the one before."""
        differs = np.ones(len(self.title), np.bool_)
        differs[1:] = self.title[1:] != self.title[:-1]
        differs[1:] |= self.context[1:] != self.context[:-1]
        differs[1:] |= self.part[1:] != self.part[:-1]
        return differs

    def sorted_unique(self) -> tuple["StreamKeys", npt.NDArray[np.int64]]:
        """Each stream once, ascending, and where each of ours is among them."""
        order = self.order()
        ordered = self.take(order)
        first = ordered.begins()
        member = np.empty(len(order), np.int64)
        member[order] = np.cumsum(first) - 1
        return ordered.take(np.flatnonzero(first)), member

    def places(self, wanted: "StreamKeys") -> npt.NDArray[np.int64]:
        """Row of each wanted stream in these ascending ones, -1 where it is not among them."""
        if not len(self.title):
            return np.full(len(wanted.title), -1, np.int64)
        at = self.first_not_below(wanted)
        inside = np.minimum(at, len(self.title) - 1)
        found = (self.title[inside] == wanted.title) & (self.context[inside] == wanted.context)
        found &= (self.part[inside] == wanted.part) & (at < len(self.title))
        return np.where(found, inside, -1)

    def first_not_below(self, wanted: "StreamKeys") -> npt.NDArray[np.int64]:
        """The first row of these ascending ones that is no less than each wanted stream; their number where all are."""
        at = np.searchsorted(self.title, wanted.title, "left").astype(np.int64)
        searched = np.flatnonzero(self._is_below(at, wanted))
        if not len(searched):
            return at
        # A title may have thousands of keys that came wrapped: its rows are halved, not walked along.
        sought = wanted.take(searched)
        low, high = at[searched], np.searchsorted(self.title, sought.title, "right").astype(np.int64)
        while (low < high).any():
            middle = (low + high) // 2
            below = (low < high) & self._is_below(middle, sought)
            low, high = np.where(below, middle + 1, low), np.where(below, high, np.minimum(high, middle))
        at[searched] = low
        return at

    def _is_below(self, at: npt.NDArray[np.int64], wanted: "StreamKeys") -> npt.NDArray[np.bool_]:
        """Whether the row at each place is of the wanted title and less than the wanted stream."""
        if not len(self.title):
            return np.zeros(len(at), np.bool_)
        inside = np.minimum(at, len(self.title) - 1)
        context = self.context[inside]
        less = (context < wanted.context) | ((context == wanted.context) & (self.part[inside] < wanted.part))
        flags: npt.NDArray[np.bool_] = (at < len(self.title)) & (self.title[inside] == wanted.title) & less
        return flags


class WindowTable(NamedTuple):
    """Windows of ascending streams. Slot `counter % WINDOW` holds a counter's digest.

    `reused` is the counter that was seen with a second digest, `NOT_REUSED` where none was: such a stream is in
    quarantine, its window stands still.
    """

    keys: StreamKeys
    highest: npt.NDArray[np.int64]
    seen: npt.NDArray[np.bool_]
    digest: Numbers
    reused: npt.NDArray[np.int64]
    second: Numbers  # the other digest of `reused`

    @classmethod
    def new(cls, keys: StreamKeys) -> Self:
        rows = len(keys.title)
        return cls(
            keys,
            np.full(rows, -1, np.int64),
            np.zeros((rows, WINDOW), np.bool_),
            np.zeros((rows, WINDOW), np.uint64),
            np.full(rows, NOT_REUSED, np.int64),
            np.zeros(rows, np.uint64),
        )

    def take(self, rows: npt.NDArray[np.int64]) -> "WindowTable":
        return WindowTable(
            self.keys.take(rows),
            self.highest[rows],
            self.seen[rows],
            self.digest[rows],
            self.reused[rows],
            self.second[rows],
        )

    def adopt(self, rows: npt.NDArray[np.int64], other: "WindowTable", at: npt.NDArray[np.int64]) -> None:
        """These windows become those of the other table, in place."""
        for ours, theirs in zip(self[1:], other[1:], strict=True):
            ours[rows] = theirs[at]

    def merged(self, newer: "WindowTable") -> "WindowTable":
        """Both, the newer one's windows in place of ours. Each row is written once: a window is half a kilobyte."""
        if not len(self.highest) or not len(newer.highest):
            return newer if len(newer.highest) else self
        at = self.keys.places(newer.keys)
        new, known = np.flatnonzero(at < 0), np.flatnonzero(at >= 0)
        place = self.keys.first_not_below(newer.keys.take(new)) + np.arange(len(new))
        is_ours = np.ones(len(self.highest) + len(new), np.bool_)
        is_ours[place] = False
        ours = np.flatnonzero(is_ours)
        changed = ours[at[known]]

        def joined(mine: npt.NDArray[Any], theirs: npt.NDArray[Any]) -> npt.NDArray[Any]:
            column = np.empty((len(is_ours), *mine.shape[1:]), mine.dtype)
            if len(new):
                column[ours], column[place] = mine, theirs[new]
            else:
                column[...] = mine
            column[changed] = theirs[known]
            return column

        keys = StreamKeys._make(map(joined, self.keys, newer.keys))
        return WindowTable(keys, *map(joined, self[1:], newer[1:]))


NOTHING: Final = WindowTable.new(StreamKeys(np.zeros(0, np.uint64), np.zeros(0, np.int64), np.zeros(0, np.uint64)))
"""No windows; nobody changes a table that is not their own."""


def marked_reused(counter: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """A reused counter as REPLAY_WINDOWS holds it, below zero and one to one; of such a mark the counter again."""
    return -1 - counter


def table_of_counters(keys: StreamKeys, counter: npt.NDArray[np.int64], digest: Numbers) -> WindowTable:
    """The windows in which these verified counters were seen, and the streams that are in quarantine.

    Args:
        keys: Stream of each counter, ascending.
        counter: Ascending in each stream; negative ones as `marked_reused` writes them. Of equal ones the first counts.
        digest: Digest of each; of a mark the second one of the counter that was used twice.
    """
    first = keys.begins()
    once = np.r_[True, counter[1:] != counter[:-1]] | first
    begins = np.flatnonzero(first)
    table = WindowTable.new(keys.take(begins))
    stream = np.cumsum(first) - 1
    last = np.append(begins[1:], len(counter)) - 1
    table.highest[:] = np.maximum(counter[last], -1)
    held = np.flatnonzero(once & (counter >= 0) & (counter > table.highest[stream] - WINDOW))
    place = counter[held] % WINDOW
    table.seen[stream[held], place] = True
    table.digest[stream[held], place] = digest[held]
    marked = begins[counter[begins] < 0]
    table.reused[stream[marked]] = marked_reused(counter[marked])
    table.second[stream[marked]] = digest[marked]
    return table


def judge_counters(
    table: WindowTable, member: npt.NDArray[np.int64], counter: npt.NDArray[np.int64], digest: Numbers
) -> npt.NDArray[np.int8]:
    """Verdicts in order of arrival; the table is brought up to date in place.

    Streams whose counters only rise, and rise above what was known, are taken at once; the rest one by one.

    Args:
        table: Windows of these streams, owned by the caller.
        member: Row of the table that each message's stream has.
        counter: Its invocation counter.
        digest: What tells its bytes from others.
    """
    order = np.argsort(member, kind="stable")
    stream, number = member[order], counter[order]
    before = table.highest[stream]
    again = stream[1:] == stream[:-1]
    if again.any():
        before[1:][again] = number[:-1][again]
    falls = table.reused != NOT_REUSED
    falls[stream[number <= before]] = True
    verdicts = np.full(len(member), FRESH, np.int8)
    if not falls.any():
        _record_rising(table, stream, number, digest[order])
        return verdicts
    rising, falling = order[~falls[stream]], order[falls[stream]]
    _record_rising(table, member[rising], counter[rising], digest[rising])
    edges = np.flatnonzero(np.diff(member[falling])) + 1
    for rows in np.split(falling, edges):
        if len(rows):
            verdicts[rows] = _judge_stream(table, int(member[rows[0]]), counter[rows].tolist(), digest[rows].tolist())
    return verdicts


def _judge_stream(table: WindowTable, stream: int, counters: list[int], digests: list[int]) -> list[int]:
    highest = int(table.highest[stream])
    seen, known = table.seen[stream].tolist(), table.digest[stream].tolist()
    quarantined = bool(table.reused[stream] != NOT_REUSED)
    verdicts = []
    for counter, digest in zip(counters, digests, strict=True):
        slot = counter % WINDOW
        is_known = highest - WINDOW < counter <= highest and seen[slot]
        if is_known and known[slot] == digest:
            verdicts.append(COPY)
            continue
        if quarantined or is_known:
            verdicts.append(QUARANTINED if quarantined else REUSE)
            if not quarantined:
                quarantined = True
                table.reused[stream], table.second[stream] = counter, digest
            continue
        if counter <= highest - WINDOW:
            verdicts.append(REPLAY)
            continue
        verdicts.append(LATE if counter <= highest else FRESH)
        for dropped in range(highest + 1, min(counter, highest + WINDOW) + 1):
            seen[dropped % WINDOW] = False
        highest = max(highest, counter)
        seen[slot], known[slot] = True, digest
    table.highest[stream] = highest
    table.seen[stream], table.digest[stream] = seen, known
    return verdicts


def _record_rising(
    table: WindowTable, stream: npt.NDArray[np.int64], counter: npt.NDArray[np.int64], digest: Numbers
) -> None:
    if not len(stream):
        return
    last = np.ones(len(stream), np.bool_)
    np.not_equal(stream[1:], stream[:-1], out=last[:-1])
    touched, new_highest = stream[last], counter[last]
    _drop_left(table, touched, new_highest)
    table.highest[touched] = new_highest
    kept = counter > table.highest[stream] - WINDOW
    place = counter[kept] % WINDOW
    table.seen[stream[kept], place] = True
    table.digest[stream[kept], place] = digest[kept]


def _drop_left(table: WindowTable, streams: npt.NDArray[np.int64], highest: npt.NDArray[np.int64]) -> None:
    """What leaves these windows as their highest counters become these is seen no longer."""
    before = table.highest[streams]
    rises = np.where(before < 0, 0, highest - before)  # of a new window nothing leaves
    if int(rises.max()) <= _FEW_STEPS:
        for step in range(1, int(rises.max()) + 1):
            passed = np.flatnonzero(rises >= step)
            table.seen[streams[passed], (before[passed] + step) % WINDOW] = False
        return
    known = before[:, None]
    held = known - ((known - np.arange(WINDOW)) & (WINDOW - 1))  # of a power of two, and much faster than a division
    table.seen[streams] &= held > highest[:, None] - WINDOW
