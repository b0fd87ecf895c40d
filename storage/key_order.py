"""Rows in the order of their table's key, before they are sent. Pure.

An engine compares whole keys, texts first, and skips that where it finds the rows in order.
"""

from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from schemas.frames import CHANNEL
from storage.runs import at_rows, run_lengths, run_starts
from storage.tables import Table

_BY_CHANNEL: Final = ("intervals", "reads", "finals")
_CHANNEL_RANK: Final = CHANNEL.categories.rank().to_numpy().astype(np.int64)
"""Place of each channel among their names: so engines order them."""
_MICROS: Final = 1_000_000
_TIMES: Final = 2**32


def in_key_order(rows: pl.DataFrame, table: Table) -> pl.DataFrame:
    """Rows of measurements by meter, channel and time as the table's key has them, else as they came.

    Rows that are in order already are looked at and not copied: who has the time to spare sorts them beforehand.
    """
    if table.name not in _BY_CHANNEL or table.starts is None:
        return rows
    # Seconds since the earliest, as far as they fit beside the others: what lies beyond is the engine's to sort.
    time = rows[table.starts].to_physical().to_numpy() // _MICROS
    later = np.minimum(time - time.min(initial=np.iinfo(np.int64).max), _TIMES - 1)
    channel = _CHANNEL_RANK[rows["channel"].to_physical().to_numpy()]
    key = (_ranks(rows["meter_id"]) * len(_CHANNEL_RANK) + channel) * _TIMES + later
    if (key[1:] >= key[:-1]).all():
        return rows
    # A column without a value is the same in any order.
    empty = [name for name in rows.columns if rows[name].null_count() == rows.height]
    ordered = rows.drop(empty)[np.argsort(key, kind="stable")]
    return ordered.with_columns(rows.select(empty)).select(rows.columns)


def _ranks(texts: pl.Series) -> npt.NDArray[np.int64]:
    """Place of each text among the distinct ones. A push brings many rows of one meter: only its first is compared."""
    starts = run_starts(texts)
    ranks = at_rows(texts, starts).rank("dense").to_numpy().astype(np.int64)
    return np.repeat(ranks, run_lengths(starts, len(texts)))
