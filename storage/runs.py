"""Runs of one text in a column: a push brings many rows of one meter, and rows in the order of a key stand by meter."""

from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt
import polars as pl

Places: TypeAlias = npt.NDArray[np.int64]

_AS_HELD: Final = pl.CompatLevel.newest()
"""Texts as views, which is how polars holds them: nothing is copied."""


def run_starts(texts: pl.Series) -> Places:
    """Rows (ascending) with another text than the row before them, the first row among them.

    No text is looked at: what is compared is where and how long each is (those of at most 12 octets are there whole),
    so that a row may be among them though its text is that of the row before.

    Args:
        texts: String or Binary, without nulls.
    """
    arrow = texts.to_arrow(compat_level=_AS_HELD)
    if not len(arrow):
        return np.zeros(0, np.int64)
    views = np.frombuffer(arrow.buffers()[1], np.uint64).reshape(-1, 2)[arrow.offset : arrow.offset + len(arrow)]
    begins = np.ones(len(views), np.bool_)
    np.not_equal(views[1:, 1], views[:-1, 1], out=begins[1:])
    begins[1:] |= views[1:, 0] != views[:-1, 0]
    return np.flatnonzero(begins)


def run_lengths(starts: Places, rows: int) -> Places:
    """How many rows each run has, of so many in all."""
    return np.diff(starts, append=rows)


def at_rows(column: pl.Series, rows: Places) -> pl.Series:
    """Entries of a column by their rows."""
    return column if len(rows) == len(column) else column[pl.Series(rows.astype(np.uint32))]
