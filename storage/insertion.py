"""Rows of a frame as a table takes them: checked, with its own columns beside, in the order of its key."""

from typing import Final

import numpy as np
import polars as pl

from schemas.errors import ContractError
from schemas.frames import CHANNEL, conform
from storage.tables import Table

_BY_CHANNEL: Final = ("intervals", "reads", "finals")
_CHANNEL_RANK: Final = CHANNEL.categories.rank().to_numpy().astype(np.int64)
"""Place of each channel among their names: so engines order them."""
_MICROS: Final = 1_000_000
_TIMES: Final = 2**32


def as_inserted(rows: pl.DataFrame, target: Table) -> pl.DataFrame:
    """The rows with every column of the table, those of its extras that they lack null.

    Raises:
        ContractError: They are not of the table's frame, or an extra is of another type.
    """
    checked = conform(rows, target.frame)
    extras = [_extra(rows, name, dtype) for name, dtype in target.extras.items()]
    if checked.is_empty():
        return checked
    return _listed(_in_key_order(checked.with_columns(extras), target))


def _extra(rows: pl.DataFrame, name: str, dtype: pl.DataType) -> pl.Series:
    if name not in rows.columns:
        return pl.Series(name, [None] * rows.height, dtype=dtype)
    if not (rows[name].dtype == dtype or (dtype.is_integer() and rows[name].dtype.is_integer())):
        raise ContractError(f"{name}: {rows[name].dtype} where {dtype} is needed")
    return rows[name].cast(dtype)


def _in_key_order(rows: pl.DataFrame, table: Table) -> pl.DataFrame:
    """Rows of measurements by meter, channel and time as the table's key has them, else as they came.

    An engine compares whole keys, texts first, and skips that where it finds the rows in order.
    """
    if table.name not in _BY_CHANNEL or table.starts is None:
        return rows
    # Seconds since the earliest, as far as they fit beside the others: what lies beyond is the engine's to sort.
    time = rows[table.starts].to_physical().to_numpy() // _MICROS
    later = np.minimum(time - time.min(initial=np.iinfo(np.int64).max), _TIMES - 1)
    meter = rows["meter_id"].rank("dense").to_numpy().astype(np.int64)
    channel = _CHANNEL_RANK[rows["channel"].to_physical().to_numpy()]
    return rows[np.argsort((meter * len(_CHANNEL_RANK) + channel) * _TIMES + later, kind="stable")]


def _listed(rows: pl.DataFrame) -> pl.DataFrame:
    """Lists as lists of text; a null list is an empty one."""
    return rows.with_columns(
        pl.col(name).cast(pl.List(pl.String)).fill_null([])
        for name, dtype in rows.schema.items()
        if isinstance(dtype, pl.List)
    )
