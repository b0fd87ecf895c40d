"""Rows of words compared with one row, in the bits that matter: the structure of messages, and what all of them say."""

from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from ingest.spans import Flags

Words: TypeAlias = npt.NDArray[np.uint64]

_ROWS_AT_ONCE: Final = 1024
"""Rows compared at once: few enough that what differs stays in the cache."""
_ROWS_END_TO_END: Final = 32
"""Rows that are compared as one long one: numpy starts anew at the end of each row, which short rows pay for."""


def differing(words: Words, wanted: Words, relevant: Words) -> Flags:
    """Rows that differ from the wanted one in a relevant bit."""
    differs = np.zeros(len(words), np.bool_)
    for first in range(0, len(words), _ROWS_AT_ONCE):
        rest = _rest(words[first : first + _ROWS_AT_ONCE], wanted, relevant)
        if rest.any():
            differs[first : first + _ROWS_AT_ONCE] = np.bitwise_or.reduce(rest, axis=1) != 0
    return differs


def are_alike(words: Words, relevant: Words) -> bool:
    """All rows have the same relevant bits."""
    pieces = (words[first : first + _ROWS_AT_ONCE] for first in range(0, len(words), _ROWS_AT_ONCE))
    return not any(_rest(piece, words[0], relevant).any() for piece in pieces)


def _rest(words: Words, wanted: Words, relevant: Words) -> Words:
    rows, width = words.shape
    if rows < _ROWS_END_TO_END:
        return (words ^ wanted) & relevant
    long = rows - rows % _ROWS_END_TO_END
    repeated = np.empty((2, _ROWS_END_TO_END, width), np.uint64)
    repeated[0], repeated[1] = wanted, relevant
    wanteds, relevants = repeated.reshape(2, -1)
    rest = np.empty_like(words)
    np.bitwise_xor(words[:long].reshape(-1, wanteds.size), wanteds, out=rest[:long].reshape(-1, wanteds.size))
    rest[:long].reshape(-1, wanteds.size)[...] &= relevants
    rest[long:] = (words[long:] ^ wanted) & relevant
    return rest
