"""The edits that reach an interval, in words: what each did, who made it, when, and why."""

import polars as pl

from schemas.codes import EditAction

_VALUE = pl.col("value_milli")
_DID = {
    EditAction.SET: pl.format("set to {}", _VALUE),
    EditAction.SCALE: pl.format("scaled by {} thousandths", _VALUE),
    EditAction.SHIFT: pl.format("moved by {} thousandths of a second", _VALUE),
    EditAction.ACCEPT: pl.lit("accepted"),
    EditAction.REJECT: pl.lit("rejected"),
    EditAction.RE_ESTIMATE: pl.lit("estimated anew"),
}


def edits_told(lines: pl.DataFrame, edits: pl.DataFrame) -> pl.Series:
    """Of each line with an author the edits that speak of it, in the order in which they were made; else null.

    A value that a shift moved here names the shift where its span reaches the interval; `edit_not_applied` tells which
    were not applied.

    Args:
        lines: `channel`, `interval_start`, `author`.
        edits: EDITS of the meter.
    """
    action = pl.col("action").cast(pl.String)
    did = pl.coalesce(*(pl.when(action == one.value).then(text) for one, text in _DID.items()))
    at = pl.col("made_at").dt.to_string("%Y-%m-%dT%H:%MZ")
    by = (pl.lit(", approved by ") + pl.col("approved_by")).fill_null("")
    text = pl.format("{} by {} at {}{} ({})", did, pl.col("author"), at, by, pl.col("reason"))
    rows = edits.sort("made_at", "edit_id").select("channel", "from", "to", text=text)
    numbered = lines.select("channel", "interval_start", "author").with_row_index("row")
    spoken = (
        numbered.filter(pl.col("author").is_not_null())
        .join(rows, on="channel", maintain_order="left_right")
        .filter(pl.col("interval_start") >= pl.col("from"), pl.col("interval_start") < pl.col("to"))
        .group_by("row", maintain_order=True)
        .agg(pl.col("text").str.join(", then "))
    )
    return numbered.join(spoken, on="row", how="left", maintain_order="left")["text"].alias("edits")
