"""Restoration in blocks: what came back together is one step of its incident."""

import numpy as np
import polars as pl

from outage.params import DetectParams
from outage.spans import NEVER


def number_blocks(meters: pl.DataFrame, params: DetectParams) -> pl.DataFrame:
    """The meters with `block` (0, 1 …, null: still dark) and `block_at`, the time at which their block came back.

    Args:
        meters: `incident`, `restored_at` (microseconds, null: still dark).
        params: Restorations of an incident that lie within `settle_s` of each other are one block; a block is dated
            by its median meter.
    """
    incident = meters["incident"].to_numpy()
    restored = meters["restored_at"].fill_null(NEVER).to_numpy()
    order = np.lexsort((restored, incident))
    incident, restored = incident[order], restored[order]
    back = restored < NEVER
    first = np.r_[True, incident[1:] != incident[:-1]][: len(order)]
    late = np.r_[False, restored[1:] - restored[:-1] > params.settle_s * 1_000_000][: len(order)]
    begins = np.flatnonzero(first | (late & back))
    count = np.diff(np.r_[begins, len(order)])
    # A block ends where the dark ones of its incident begin.
    told = np.add.reduceat(back, begins, dtype=np.int64) if len(begins) else begins
    at = np.repeat(restored[begins + told // 2] if len(begins) else begins, count)
    block = np.cumsum(late & back & ~first)
    block -= np.repeat(block[np.flatnonzero(first)], np.diff(np.r_[np.flatnonzero(first), len(order)]))
    known = pl.Series(back, dtype=pl.Boolean)
    return meters[order].with_columns(
        block=pl.when(known).then(pl.Series(block, dtype=pl.UInt32)),
        block_at=pl.when(known).then(pl.Series(at, dtype=pl.Int64)),
    )
