"""Columns that hold one value in every row, and instants as plain numbers: what a batch needs without an expression."""

from collections.abc import Iterable
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from ingest.clocks import Micros

KEPT_ROWS: Final = 1 << 14
"""Rows of a column that is kept and cut to what is asked for: one of more rows is made, which then costs little of it.
"""
NULL_TEXT: Final = pl.Series([None], dtype=pl.String).new_from_index(0, KEPT_ROWS)
NULL_NUMBER: Final = pl.Series([None], dtype=pl.Int64).new_from_index(0, KEPT_ROWS)
"""For `nulls`."""


def constant(value: pl.Series, rows: int) -> pl.Series:
    """The one value of a series, in so many rows."""
    return value.new_from_index(0, rows)


def nulls(kept: pl.Series, rows: int) -> pl.Series:
    """So many nulls of the type of `NULL_TEXT` or `NULL_NUMBER`."""
    return kept.head(rows) if rows <= KEPT_ROWS else constant(kept, rows)


def named(column: pl.Series, name: str) -> pl.Series:
    """The same column by this name."""
    return column if column.name == name else column.alias(name)


def taken(column: pl.Series, places: npt.NDArray[np.integer]) -> pl.Series:
    """Entries of a column by their places; `Series.gather` does the same by way of a query, at 20 times the price."""
    return column[pl.Series(places.astype(np.uint32, copy=False))]


def framed(columns: Iterable[pl.Series]) -> pl.DataFrame:
    """A frame of columns of one length; `pl.DataFrame` looks at each of them first, at five times the price."""
    first, *others = columns
    return first.to_frame().hstack(others)


def micros_of(instants: pl.Series) -> Micros:
    """Microseconds since 1970 UTC of a Datetime("us") column, `blocks.NO_TIME` where it is null, as numpy has it."""
    micros: Micros = instants.to_numpy().view(np.int64)
    return micros


def gathered(column: npt.NDArray[Any], rows: npt.NDArray[np.int64], default: int) -> npt.NDArray[Any]:
    """Entries of a column by row; the default where there is no row."""
    known = rows >= 0
    if not len(column) or not known.any():
        return np.full(len(rows), default, column.dtype if len(column) else np.int64)
    if known.all():
        return column[rows]
    return np.where(known, column[np.maximum(rows, 0)], np.array(default, column.dtype))
