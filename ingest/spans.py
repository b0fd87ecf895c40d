"""Many byte strings as one: a buffer, and where in it each message starts and how long it is.

Everything that is done to a whole batch at once is done on these columns; a message alone is a batch of one.
"""

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple, Self, TypeAlias

import numpy as np
import numpy.typing as npt
import polars as pl

Octets: TypeAlias = npt.NDArray[np.uint8]
Places: TypeAlias = npt.NDArray[np.int64]
Flags: TypeAlias = npt.NDArray[np.bool_]
Rows: TypeAlias = Places | slice
"""Which messages: their rows, or `EVERY` of them, which looks nothing up."""
EVERY: Final = slice(None)
_WORD_OCTETS: Final = 8
_WITH_OFFSETS: Final = pl.CompatLevel.oldest()
"""Of Arrow's forms of a Binary column the one whose values lie end to end."""


class Spans(NamedTuple):
    """Byte strings that lie in one buffer, in any order, gaps and overlaps allowed."""

    octets: Octets
    start: Places
    length: Places

    @classmethod
    def of_column(cls, payloads: pl.Series) -> Self:
        """The values of a Binary column, copied end to end once."""
        array = payloads.to_arrow(compat_level=_WITH_OFFSETS)
        _, places, values = array.buffers()
        offsets = np.frombuffer(places, np.int64)[array.offset : array.offset + len(array) + 1]
        octets = np.zeros(0, np.uint8) if values is None or values.size == 0 else np.frombuffer(values, np.uint8)
        return cls(octets, offsets[:-1], offsets[1:] - offsets[:-1])

    @classmethod
    def of_bytes(cls, parts: Sequence[bytes]) -> Self:
        """Each part a message, in order."""
        length = np.fromiter((len(part) for part in parts), np.int64, len(parts))
        return cls(np.frombuffer(b"".join(parts), np.uint8), np.cumsum(length) - length, length)

    def message(self, row: int) -> bytes:
        """One message's bytes."""
        start = int(self.start[row])
        return self.octets[start : start + int(self.length[row])].tobytes()

    def at(self, rows: Rows, offset: int | Places) -> Octets:
        """The byte at an offset of each of these messages; 0 where the message ends before it."""
        inside = offset < self.length[rows]
        places = self.start[rows] + offset
        if inside.all():
            found: Octets = self.octets[places]
            return found
        if not len(self.octets):
            return np.zeros(len(places), np.uint8)
        return np.where(inside, self.octets[np.where(inside, places, 0)], np.uint8(0))

    def number(self, rows: Rows, offset: int | Places, width: int) -> npt.NDArray[np.uint64]:
        """The unsigned big-endian number of `width` bytes, at most 8, at an offset; bytes past the end count as 0."""
        places = self.start[rows] + offset
        if not len(places):
            return np.zeros(0, np.uint64)
        inside = offset + width <= self.length[rows]
        if inside.all() and int(places.max()) + _WORD_OCTETS <= len(self.octets):
            words = np.ndarray(len(self.octets) - _WORD_OCTETS + 1, ">u8", self.octets, 0, 1)
            number: npt.NDArray[np.uint64] = words[places].astype(np.uint64)
            return number if width == _WORD_OCTETS else number >> np.uint64(8 * (_WORD_OCTETS - width))
        value = np.zeros(len(places), np.uint64)
        for step in range(width):
            value = (value << np.uint64(8)) | self.at(rows, offset + step)
        return value

    def matrix(self, rows: Places, width: int) -> Octets:
        """So many bytes of each of these messages, one message a row; behind its end a row has what follows it."""
        return rows_at(self.octets, self.start[rows], width)

    def take(self, rows: Places) -> Self:
        """Those of some of the messages."""
        return self._replace(start=self.start[rows], length=self.length[rows])

    def replaced(self, rows: Places, parts: Iterable[bytes]) -> Self:
        """The same messages, but for these rows, which become the given bytes."""
        extra = Spans.of_bytes(list(parts))
        start, length = self.start.copy(), self.length.copy()
        start[rows] = extra.start + len(self.octets)
        length[rows] = extra.length
        return type(self)(np.concatenate([self.octets, extra.octets]), start, length)


def every(rows: Places, messages: int) -> Rows:
    """These rows of so many messages, which ascend; all of them as a slice, which looks nothing up."""
    return EVERY if len(rows) == messages else rows


def rows_at(octets: Octets, start: Places, width: int) -> Octets:
    """So many octets from each place on, a row each; zeros behind the last octet."""
    if not width or not len(start):
        return np.zeros((len(start), width), np.uint8)
    last = len(octets) - width
    if int(start.max()) <= last:
        return _windows(octets, width)[start]
    # What ends too soon is read from a copy of the end alone, with zeros behind it.
    end = np.concatenate([octets[max(last, 0) :], np.zeros(width, np.uint8)])
    if last < 0:
        return _windows(end, width)[start]
    late = start > last
    found = _windows(octets, width)[np.where(late, 0, start)]
    found[late] = _windows(end, width)[start[late] - last]
    return found


def _windows(octets: Octets, width: int) -> Octets:
    """So many octets from each place on."""
    return np.ndarray((len(octets) - width + 1, width), np.uint8, octets, 0, (1, 1))
