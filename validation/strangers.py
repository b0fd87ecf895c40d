"""Meters that master data do not know: what their intervals say of their lengths."""

from typing import Final

import polars as pl

from schemas.frames import CHANNEL

FEWEST_ROWS: Final = 4
"""A length that fewer rows have is no setting of the meter."""


def with_eras(strangers: pl.DataFrame, intervals: pl.DataFrame) -> pl.DataFrame:
    """Strangers (`meter_id`), with a row for each length of those whose intervals changed it.

    The lengths follow each other in time: each goes on until the next begins (`installed_at`, `removed_at`), with its
    own `interval_s` and `channels`. Where they do not, or the length never changed, all that is null.
    """
    if not strangers.height or intervals["interval_s"].min() == intervals["interval_s"].max():
        return strangers
    begins = pl.col("interval_start")
    eras = (
        intervals.join(strangers, on="meter_id", how="semi")
        .group_by("meter_id", "interval_s")
        .agg(
            pl.len(),
            channels=pl.col("channel").unique().sort(),
            since=begins.min(),
            until=(begins + pl.duration(seconds="interval_s")).max(),
        )
        .filter(pl.col("len") >= FEWEST_ROWS)
        .sort("meter_id", "since")
        .with_columns(following=pl.col("since").shift(-1).over("meter_id"))
        .filter(
            (pl.len().over("meter_id") > 1),
            (pl.col("following").is_null() | (pl.col("until") <= pl.col("following"))).all().over("meter_id"),
        )
        .select(
            "meter_id",
            "interval_s",
            "channels",
            installed_at=pl.when(pl.col("since") > pl.col("since").min().over("meter_id")).then("since"),
            removed_at="following",
        )
        .with_columns(pl.col("interval_s").cast(pl.Int32), pl.col("channels").cast(pl.List(CHANNEL)))
    )
    return strangers.join(eras, on="meter_id", how="left")
