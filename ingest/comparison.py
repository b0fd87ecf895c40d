"""Rows of words compared with one row, or with each other: the structure of messages, and what all of them say."""

from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from ingest.spans import Flags

Words: TypeAlias = npt.NDArray[np.uint64]

_ROWS_AT_ONCE: Final = 1024
"""Rows compared at once: few enough that what differs stays in the cache."""
_ROWS_READ_TWICE: Final = 2048
"""Likewise of rows of which nothing is kept."""
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


def varying(words: Words) -> Words:
    """One row: the bits in which not all rows are alike."""
    rows, width = words.shape
    if rows == 1:
        return np.zeros(width, np.uint64)
    either: Words = words[0].copy()
    both: Words = words[0].copy()
    long = rows - rows % _ROWS_END_TO_END
    end_to_end = words[:long].reshape(-1, _ROWS_END_TO_END * width)
    at_once = _ROWS_READ_TWICE // _ROWS_END_TO_END
    pieces = [end_to_end[first : first + at_once] for first in range(0, len(end_to_end), at_once)]
    for piece in pieces:
        some, all_ = np.bitwise_or.reduce(piece, axis=0), np.bitwise_and.reduce(piece, axis=0)
        either |= np.bitwise_or.reduce(some.reshape(-1, width), axis=0)
        both &= np.bitwise_and.reduce(all_.reshape(-1, width), axis=0)
    if long < rows:
        either |= np.bitwise_or.reduce(words[long:], axis=0)
        both &= np.bitwise_and.reduce(words[long:], axis=0)
    either ^= both
    return either


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
