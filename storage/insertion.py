"""Rows of a frame as a table takes them: checked, with its own columns beside, in the order of its key."""

import polars as pl

from schemas.errors import ContractError
from schemas.frames import conform
from storage.key_order import in_key_order
from storage.tables import Table


def as_inserted(rows: pl.DataFrame, target: Table) -> pl.DataFrame:
    """The rows with every column of the table, those of its extras that they lack null.

    Raises:
        ContractError: They are not of the table's frame, or an extra is of another type.
    """
    checked = conform(rows, target.frame)
    extras = [_extra(rows, name, dtype) for name, dtype in target.extras.items()]
    if checked.is_empty():
        return checked
    return _listed(in_key_order(checked.with_columns(extras), target))


def _extra(rows: pl.DataFrame, name: str, dtype: pl.DataType) -> pl.Series:
    if name not in rows.columns:
        return pl.Series(name, [None] * rows.height, dtype=dtype)
    if not (rows[name].dtype == dtype or (dtype.is_integer() and rows[name].dtype.is_integer())):
        raise ContractError(f"{name}: {rows[name].dtype} where {dtype} is needed")
    return rows[name].cast(dtype)


def _listed(rows: pl.DataFrame) -> pl.DataFrame:
    """Lists as lists of text; a null list is an empty one."""
    return rows.with_columns(
        pl.col(name).cast(pl.List(pl.String)).fill_null([])
        for name, dtype in rows.schema.items()
        if isinstance(dtype, pl.List)
    )
