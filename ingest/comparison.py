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
        unlike = _unlike(words[first : first + _ROWS_AT_ONCE], wanted, relevant)
        if unlike.any():
            differs[first : first + _ROWS_AT_ONCE] = unlike.any(axis=1)
    return differs


def are_alike(words: Words, relevant: Words) -> bool:
    """All rows have the same relevant bits."""
    pieces = (words[first : first + _ROWS_AT_ONCE] for first in range(0, len(words), _ROWS_AT_ONCE))
    return not any(_unlike(piece, words[0], relevant).any() for piece in pieces)


def _unlike(words: Words, wanted: Words, relevant: Words) -> Flags:
    rows, width = words.shape
    wanted = wanted & relevant
    if rows < _ROWS_END_TO_END:
        few: Flags = (words & relevant) != wanted
        return few
    long = rows - rows % _ROWS_END_TO_END
    end_to_end = np.empty((2, _ROWS_END_TO_END, width), np.uint64)
    end_to_end[0], end_to_end[1] = wanted, relevant
    wanteds, relevants = end_to_end.reshape(2, -1)
    unlike = np.empty((rows, width), np.bool_)
    masked = words[:long].reshape(-1, len(wanteds)) & relevants
    np.not_equal(masked, wanteds, out=unlike[:long].reshape(masked.shape))
    unlike[long:] = (words[long:] & relevant) != wanted
    return unlike
