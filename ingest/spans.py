"""Many byte strings as one: a buffer, and where in it each message starts and how long it is.

Everything that is done to a whole batch at once is done on these columns; a message alone is a batch of one.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Self, TypeAlias

import numpy as np
import numpy.typing as npt
import polars as pl

Octets: TypeAlias = npt.NDArray[np.uint8]
Places: TypeAlias = npt.NDArray[np.int64]
Flags: TypeAlias = npt.NDArray[np.bool_]


class Spans(NamedTuple):
    """Byte strings that lie in one buffer, in any order, gaps and overlaps allowed."""

    octets: Octets
    start: Places
    length: Places

    @classmethod
    def of_column(cls, payloads: pl.Series) -> Self:
        """The values of a Binary column, copied end to end once."""
        array = payloads.to_arrow(compat_level=pl.CompatLevel.oldest())
        offsets = np.frombuffer(array.buffers()[1], np.int64)[array.offset : array.offset + len(array) + 1]
        values = array.buffers()[2]
        octets = np.zeros(0, np.uint8) if values is None or values.size == 0 else np.frombuffer(values, np.uint8)
        return cls(octets, offsets[:-1].copy(), np.diff(offsets))

    @classmethod
    def of_bytes(cls, parts: Sequence[bytes]) -> Self:
        """Each part a message, in order."""
        length = np.fromiter((len(part) for part in parts), np.int64, len(parts))
        return cls(np.frombuffer(b"".join(parts), np.uint8), np.cumsum(length) - length, length)

    def message(self, row: int) -> bytes:
        """One message's bytes."""
        start = int(self.start[row])
        return self.octets[start : start + int(self.length[row])].tobytes()

    def at(self, rows: Places, offset: int | Places) -> Octets:
        """The byte at an offset of each of these messages; 0 where the message ends before it."""
        inside = offset < self.length[rows]
        places = np.where(inside, self.start[rows] + offset, 0)
        if not len(self.octets):
            return np.zeros(len(rows), np.uint8)
        return np.where(inside, self.octets[places], np.uint8(0))

    def number(self, rows: Places, offset: int | Places, width: int) -> npt.NDArray[np.uint64]:
        """The unsigned big-endian number of `width` bytes at an offset; bytes past the end count as 0."""
        value = np.zeros(len(rows), np.uint64)
        for step in range(width):
            value = (value << np.uint64(8)) | self.at(rows, offset + step)
        return value

    def matrix(self, rows: Places, width: int) -> Octets:
        """The first `width` bytes of each of these messages, one message a row. All must be that long."""
        if not width or not len(rows):
            return np.zeros((len(rows), width), np.uint8)
        windows = np.lib.stride_tricks.as_strided(
            self.octets, (len(self.octets) - width + 1, width), (1, 1), writeable=False
        )
        return windows[self.start[rows]]

    def replaced(self, rows: Places, parts: Iterable[bytes]) -> Self:
        """The same messages, but for these rows, which become the given bytes."""
        extra = Spans.of_bytes(list(parts))
        start, length = self.start.copy(), self.length.copy()
        start[rows] = extra.start + len(self.octets)
        length[rows] = extra.length
        return type(self)(np.concatenate([self.octets, extra.octets]), start, length)
