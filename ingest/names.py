"""Device names found among the meters at once: names as fixed rows of bytes, looked up by a hash and then compared."""

from typing import Final, NamedTuple, Self, cast

import numpy as np
import numpy.typing as npt
import polars as pl

from ingest.lookup import NOT_FOUND, Lookup
from ingest.spans import Flags, Octets, Places, Spans, rows_at
from schemas.errors import ContractError

MAX_NAME_OCTETS: Final = 64
"""Longest meter id that a message is matched with; logical device names have 16 octets, identifiers up to 32."""
_WORD_OCTETS: Final = 8
_SPACE: Final = np.uint8(0x20)
_SEEDS: Final = 8
"""Two of ten million names share a 64-bit hash once in 400,000 seeds; eight seeds in a row never do."""
_MIX: Final = np.uint64(0xFF51AFD7ED558CCD)  # of MurmurHash3's finaliser
_SHIFT: Final = np.uint64(33)

Words = npt.NDArray[np.uint64]


class Names(NamedTuple):
    """Meter ids as rows of words, zeros behind the last byte, and where each stands."""

    words: Words
    by_hash: Lookup
    seed: np.uint64

    @classmethod
    def of(cls, names: pl.Series) -> Self:
        """The index of these names, which must be distinct.

        Raises:
            ContractError: A name is longer than 64 bytes in UTF-8.
        """
        spans = Spans.of_column(names.cast(pl.Binary))
        longest = int(spans.length.max(initial=0))
        if longest > MAX_NAME_OCTETS:
            raise ContractError(f"METERS.meter_id: a name of {longest} bytes, {MAX_NAME_OCTETS} are possible")
        width = max(1, -(-longest // _WORD_OCTETS)) * _WORD_OCTETS
        words = _rows(spans, width).view(np.uint64)
        for seed in range(_SEEDS):
            index = Lookup.of(_hash(words, np.uint64(seed)))
            if index.is_distinct():
                return cls(words, index, np.uint64(seed))
        raise ContractError(f"METERS.meter_id: {len(names)} names cannot be told apart")

    def find(self, octets: Octets) -> Places:
        """The meter of each name, one name a row, padding at its end allowed; `NOT_FOUND` where there is none."""
        if not octets.shape[1]:
            return np.full(len(octets), NOT_FOUND, np.int64)
        sent = _trimmed(octets)
        width = self.words.shape[1] * _WORD_OCTETS
        too_long: Flags | None = None
        if sent.shape[1] > width:
            too_long = (sent[:, width:] != 0).any(axis=1)
            sent = sent[:, :width]
        if sent.shape[1] == width:
            padded = np.ascontiguousarray(sent)
        else:
            padded = np.empty((len(sent), width), np.uint8)
            padded[:, : sent.shape[1]] = sent
            padded[:, sent.shape[1] :] = 0
        found = self._find(padded.view(np.uint64))
        return found if too_long is None else np.where(too_long, NOT_FOUND, found)

    def places_of(self, names: pl.Series) -> Places:
        """The place of each name (String, no null), to the letter; `NOT_FOUND` where there is none."""
        spans = Spans.of_column(names.cast(pl.Binary))
        width = self.words.shape[1] * _WORD_OCTETS
        found = self._find(_rows(spans, width).view(np.uint64))
        return np.where(spans.length <= width, found, NOT_FOUND)

    def _find(self, words: Words) -> Places:
        found = self.by_hash.find(_hash(words, self.seed))
        if not len(self.words):
            return found
        same = found != NOT_FOUND
        for column in range(words.shape[1]):  # equal hashes are not yet equal names
            same &= self.words[found, column] == words[:, column]
        return np.where(same, found, NOT_FOUND)


def _rows(spans: Spans, width: int) -> Octets:
    """The first octets of each name, zeros behind its end."""
    octets = rows_at(spans.octets, spans.start, width)
    octets[np.arange(width) >= spans.length[:, None]] = 0
    return octets


def _trimmed(octets: Octets) -> Octets:
    """Spaces at the end of a name become zeros; names with leading padding are shifted to their first byte."""
    if not is_padding(octets[:, :: max(1, octets.shape[1] - 1)]).any():
        return octets
    kept = ~is_padding(octets)
    stop = np.where(kept.any(axis=1), octets.shape[1] - kept[:, ::-1].argmax(axis=1), 0)
    first = np.where(kept.any(axis=1), kept.argmax(axis=1), 0)
    places = np.arange(octets.shape[1]) + first[:, None]
    shifted = np.take_along_axis(octets, np.minimum(places, octets.shape[1] - 1), axis=1)
    return cast(Octets, np.where(places < stop[:, None], shifted, np.uint8(0)))


def is_padding(octets: Octets) -> Flags:
    """Octets that fill a name up: zeros and spaces."""
    padding: Flags = (octets | _SPACE) == _SPACE  # a space has one bit
    return padding


def _hash(words: Words, seed: np.uint64) -> Words:
    state = np.full(len(words), seed, np.uint64)
    for column in range(words.shape[1]):
        state = (state ^ words[:, column]) * _MIX
        state ^= state >> _SHIFT
    return state
