"""Edits of persons into the store, and the days they touch to VEE: the same road as that of any late datum."""

from datetime import datetime, timedelta
from typing import Final

import polars as pl

from app.messages import to_messages
from app.supply_days import SupplyDays
from app.workers import DIRTY_DAYS_TOPIC, Publisher
from schemas.codes import EditAction
from schemas.errors import ContractError
from storage.store import ReadingStore

FARTHEST_BACK: Final = timedelta(days=3_650)
"""What is older is judged by no grid: those end at ten years."""
FARTHEST_AHEAD: Final = timedelta(days=366)
"""Every day of the span is made dirty, for all meters of the bucket: one without an end would never be through."""
_VALUED: Final = [EditAction.SET.value, EditAction.SCALE.value, EditAction.SHIFT.value]


def check_edits(edits: pl.DataFrame, meters: pl.DataFrame, now: datetime) -> None:
    """Every row of EDITS can be carried out: none is stored before all are good.

    Args:
        edits: EDITS.
        meters: METERS.
        now: From here a span reaches at most `FARTHEST_BACK` and `FARTHEST_AHEAD`.

    Raises:
        ContractError: The first row at fault: which edit, and what is wrong with it.
    """
    valued = pl.col("action").cast(pl.String).is_in(_VALUED)
    faults = {
        "edit_id is empty": pl.col("edit_id") == "",
        "edit_id stands twice": pl.col("edit_id").is_duplicated(),
        "the span ends before it begins": pl.col("to") <= pl.col("from"),
        f"the span begins more than {FARTHEST_BACK.days} days ago": pl.col("from") < now - FARTHEST_BACK,
        f"the span ends more than {FARTHEST_AHEAD.days} days from now": pl.col("to") > now + FARTHEST_AHEAD,
        "an edit names its author": pl.col("author").str.strip_chars() == "",
        "an edit gives a reason": pl.col("reason").str.strip_chars() == "",
        "the author cannot approve": pl.col("approved_by").eq_missing(pl.col("author")),
        "set, scale and shift need value_milli": valued & pl.col("value_milli").is_null(),
        "the meter is not in METERS": ~pl.col("meter_id").is_in(meters["meter_id"].unique().implode()),
    }
    for text, fault in faults.items():
        wrong = edits.with_row_index("row").filter(fault)
        if wrong.height:
            row, edit_id = wrong.select("row", "edit_id").row(0)
            raise ContractError(f"edits: row {row}, edit {edit_id!r}: {text} ({wrong.height} rows)")


def enter_edits(
    store: ReadingStore, publisher: Publisher, edits: pl.DataFrame, meters: pl.DataFrame, now: datetime
) -> pl.DataFrame:
    """Edits stored and acknowledged, then the days they touch published and flushed: DIRTY_DAYS.

    Nothing is judged here: the VEE worker does it, as higher versions that name the author. Doing it again after a
    failure changes nothing.

    Raises:
        ContractError: A row cannot be carried out; nothing was stored.
        TransientError: Store or broker are away; to be repeated.
    """
    check_edits(edits, meters, now)
    store.append("edits", edits, f"edits {edits.hash_rows(seed=0).sum()} {edits.height}")
    dirty = SupplyDays(meters).of_meters(_spans(edits))
    messages = to_messages(dirty, dirty["bucket"])
    if messages.height:
        publisher.publish(DIRTY_DAYS_TOPIC, messages)
    publisher.flush()
    return dirty


def _spans(edits: pl.DataFrame) -> pl.DataFrame:
    """What each edit touches: `meter_id`, `begin`, `end` (the last instant); a shift reaches to where values come."""
    moved = pl.when(pl.col("action") == EditAction.SHIFT.value).then("value_milli").otherwise(0)
    by = pl.duration(milliseconds=moved)
    last = pl.col("to") - timedelta(microseconds=1)
    return edits.select(
        "meter_id",
        begin=pl.min_horizontal("from", pl.col("from") + by),
        end=pl.max_horizontal(last, last + by),
    )
