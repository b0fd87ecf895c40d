"""Names looked up by the hundred thousand: tables of hashes in numpy, several times faster than a join on names."""

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

TABLES: Final = 4
"""Names that find their place taken in every one of so many tables, one in millions, are looked up by a join."""
SPARSE: Final = 8
"""Places for each name: one in sixteen finds its place taken in the first table."""
_SHIFT: Final = 13
_NOBODY: Final = -1


class NameIndex(NamedTuple):
    """Names and where each stands in its series."""

    names: pl.Series
    """String, each once."""
    hashes: npt.NDArray[np.uint64]
    tables: tuple[npt.NDArray[np.int32], ...]
    """By the bits of the hash that the table looks at: the place of a name, or -1."""
    crowded: bool
    """Some are in no table."""


def index_names(names: pl.Series) -> NameIndex:
    """An index of the names, each of which stands there once."""
    hashes = names.hash().to_numpy()
    left = np.arange(len(names), dtype=np.int32)
    tables = []
    for turn in range(TABLES):
        table = np.full(1 << max(4, (SPARSE * len(left)).bit_length()), _NOBODY, np.int32)
        place = _places(hashes[left], turn, table)
        table[place] = left
        tables.append(table)
        left = left[table[place] != left]
        if not len(left):
            break
    return NameIndex(names, hashes, tuple(tables), len(left) > 0)


def numbers_in(index: NameIndex, asked: pl.Series) -> pl.Series:
    """For every name asked for its place in the index (Int64), null for those that are not there.

    The hash finds the name and the name itself decides: names of one hash are told apart.
    """
    hashes = asked.hash().to_numpy()
    found = np.full(len(asked), _NOBODY, np.int32)
    left = np.empty(0, np.int64)
    for turn, table in enumerate(index.tables):
        sought = hashes[left] if turn else hashes
        candidate = table[_places(sought, turn, table)]
        # Nobody's place reads the last hash, which is another one: its name has a place of its own.
        hit = index.hashes[candidate] == sought if len(index.hashes) else candidate != _NOBODY
        if turn:
            found[left[hit]] = candidate[hit]
        else:
            found = np.where(hit, candidate, _NOBODY)
        missed = np.flatnonzero(~hit)
        left = left[missed] if turn else missed
        if not len(left):
            break
    numbers = pl.Series(found, dtype=pl.Int64)
    if len(left):
        numbers = numbers.set(numbers == _NOBODY, None)
    # A name that was not found is null on both sides of this, and doubtful only where it may be in no table.
    doubtful = (index.names.gather(numbers) != asked).fill_null(value=index.crowded)
    if not doubtful.any():
        return numbers
    whole = pl.DataFrame({"name": index.names, "number": np.arange(len(index.names))})
    by_name = asked.filter(doubtful).alias("name").to_frame()
    return numbers.scatter(
        doubtful.arg_true(), by_name.join(whole, on="name", how="left", maintain_order="left")["number"]
    )


def _places(hashes: npt.NDArray[np.uint64], turn: int, table: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
    """Where the table of this turn would keep the names of these hashes."""
    places: npt.NDArray[np.int64] = ((hashes >> np.uint64(_SHIFT * turn)) & np.uint64(len(table) - 1)).astype(np.int64)
    return places
