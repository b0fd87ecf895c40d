"""Finding many 64-bit numbers among millions at once: a few reads a number, where a binary search takes twenty.

Numbers are spread by an odd multiplication, which is one to one, and sorted; a table by their leading bits says where
each run begins. Built once, never changed.
"""

from typing import Final, NamedTuple, Self

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.uint64]

NOT_FOUND: Final = -1
_SPREAD: Final = np.uint64(0x9E3779B97F4A7C15)
"""2^64 divided by the golden ratio, odd: neighbours (serial numbers) land far apart (Knuth, multiplicative hashing)."""
_WORD_BITS: Final = 64
_CHUNK: Final = 1 << 20
_FEW, _SPARE_BITS = 1 << 16, 2
"""Up to so many numbers the table has room for four times as many: it stays small, and hardly a run has two entries."""


class Lookup(NamedTuple):
    """Distinct numbers and their places in the order in which they were given."""

    spread: Numbers  # ascending
    place: npt.NDArray[np.int32]
    begin: npt.NDArray[np.int32]  # by leading bits: first of the run; one more than there are prefixes
    shift: np.uint64

    @classmethod
    def of(cls, numbers: Numbers) -> Self:
        """An index of these numbers, which must be distinct (`is_distinct` tells)."""
        bits = max(1, len(numbers).bit_length())
        bits += _SPARE_BITS if len(numbers) <= _FEW else 0
        shift = np.uint64(_WORD_BITS - bits)
        spread = numbers * _SPREAD
        order = np.argsort(spread).astype(np.int32)
        ordered = spread[order]
        del spread
        begin = np.zeros((1 << bits) + 1, np.int32)
        for first in range(0, len(ordered), _CHUNK):  # in pieces, so that millions take no room beside the index
            prefix = (ordered[first : first + _CHUNK] >> shift).astype(np.int64)
            counts = np.bincount(prefix - prefix[0])
            begin[1 + prefix[0] : 1 + prefix[0] + len(counts)] += counts.astype(np.int32)
        np.cumsum(begin, out=begin)
        return cls(ordered, order, begin, shift)

    def is_distinct(self) -> bool:
        """No number was given twice."""
        return not bool((self.spread[1:] == self.spread[:-1]).any())

    def find(self, wanted: Numbers) -> npt.NDArray[np.int64]:
        """Place of each wanted number, `NOT_FOUND` where it is not among them."""
        if not len(self.spread) or not len(wanted):
            return np.full(len(wanted), NOT_FOUND, np.int64)
        spread = wanted * _SPREAD
        prefix = (spread >> self.shift).view(np.int64)
        at = self.begin.take(prefix)
        # Most are the first of their run. Where a run has no entry the next one's is looked at: it is never equal.
        met = self.spread.take(at, mode="clip") == spread
        found = self.place.take(at, mode="clip").astype(np.int64)
        if met.all():
            return found
        found[~met] = NOT_FOUND
        rows = np.flatnonzero(~met)
        at[rows] += 1
        rows = rows[at[rows] < self.begin[prefix[rows] + 1]]
        while len(rows):  # runs have two entries on average, and a dozen at most
            here = at[rows]
            met = self.spread[here] == spread[rows]
            found[rows[met]] = self.place[here[met]]
            rows = rows[~met]
            at[rows] += 1
            rows = rows[at[rows] < self.begin[prefix[rows] + 1]]
        return found
