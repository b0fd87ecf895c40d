"""Edits that finals hold and nobody gave to the run: they stand, and so the rest is judged around them."""

from typing import Final

import polars as pl

from schemas.codes import EditAction, Quality
from schemas.frames import EDITS, conform
from validation.versions import IDENTITY, newest

STORED: Final = ""
"""`edit_id` of such a row; no edit of a person has it."""


def with_stored(edits: pl.DataFrame, finals: pl.DataFrame) -> pl.DataFrame:
    """EDITS, and the values of edited finals that none of them speaks of, as edits that `set` them.

    They were approved when they were applied: `approved_by` is the run that did.
    """
    ever = finals.filter(pl.col("quality") == Quality.EDITED.value)
    if not ever.height:
        return edits
    known = newest(finals.join(ever.select(IDENTITY).unique(), on=list(IDENTITY), how="semi"))
    rows = known.filter(
        pl.col("quality") == Quality.EDITED.value, pl.col("value_milli").is_not_null(), pl.col("author").is_not_null()
    ).with_row_index("row")
    spoken = rows.join(_reach(edits), on=["meter_id", "channel"]).filter(
        pl.col("interval_start") >= pl.col("begins"), pl.col("interval_start") < pl.col("ends")
    )
    stored = rows.join(spoken, on="row", how="anti").with_columns(
        pl.col("interval_start").alias("from"),
        (pl.col("interval_start") + pl.duration(seconds="interval_s")).alias("to"),
        edit_id=pl.lit(STORED),
        action=pl.lit(EditAction.SET.value),
        reason=pl.lit("stored"),
        approved_by="run_id",
        made_at="judged_at",
    )
    return pl.concat([edits, conform(stored, EDITS)])


def _reach(edits: pl.DataFrame) -> pl.DataFrame:
    """From when to when each edit may change values."""
    moved = pl.when(pl.col("action") == EditAction.SHIFT.value).then("value_milli").otherwise(0).fill_null(0)
    by = pl.duration(milliseconds=moved)
    return edits.select(
        "meter_id",
        "channel",
        begins=pl.min_horizontal("from", pl.col("from") + by),
        ends=pl.max_horizontal("to", pl.col("to") + by),
    )
