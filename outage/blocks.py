"""Restoration in blocks: what came back together is one step of its incident."""

import polars as pl

from outage.params import DetectParams


def number_blocks(meters: pl.DataFrame, params: DetectParams) -> pl.DataFrame:
    """The meters with `block` (0, 1 …, null: still dark) and `block_at`, the time at which their block came back.

    Args:
        meters: `incident`, `restored_at` (microseconds, null: still dark).
        params: Restorations of an incident that lie within `settle_s` of each other are one block; a block is dated
            by its median meter.
    """
    gap = params.settle_s * 1_000_000
    return (
        meters.sort("incident", "restored_at", nulls_last=True)
        .with_columns(
            step=(pl.col("restored_at") - pl.col("restored_at").shift(1).over("incident") > gap).fill_null(value=False)
        )
        .with_columns(
            block=pl.when(pl.col("restored_at").is_not_null()).then(pl.col("step").cum_sum().over("incident"))
        )
        .with_columns(
            block_at=pl.when(pl.col("block").is_not_null()).then(
                pl.col("restored_at").quantile(0.5, "higher").over("incident", "block").cast(pl.Int64)
            )
        )
        .drop("step")
    )
