"""Versions of finals: an equal judgement is not written again, another one becomes a higher version."""

from typing import Final, NamedTuple

import polars as pl

from schemas.codes import Quality
from schemas.frames import FINALS

IDENTITY: Final = ("meter_id", "channel", "interval_start")
JUDGEMENT: Final = (
    "service_point_id", "interval_s", "value_milli", "quality", "method", "failed", "unjudged", "is_final_estimate",
    "author",
)  # fmt: skip


def newest(finals: pl.DataFrame) -> pl.DataFrame:
    """The current version of every interval."""
    return finals.sort("version").unique(IDENTITY, keep="last", maintain_order=True)


class Versions(NamedTuple):
    """Finals after a run."""

    current: pl.DataFrame
    """The current row of every interval judged, in its order."""
    appended: pl.DataFrame
    """Those that are new."""
    replaced: pl.DataFrame
    """Measured values that replace another measured one (V24): the identity, `value_milli`, `value_milli_past`."""


_NO_REPLACED: Final = FINALS.empty().select(*IDENTITY, "value_milli", value_milli_past="value_milli")


def with_versions(judged: pl.DataFrame, previous: pl.DataFrame) -> Versions:
    """The current finals after this run, and those of them that are new.

    Args:
        judged: One FINALS row an interval, as this run sees it; their versions are set here.
        previous: Finals of earlier runs, any versions, any intervals.

    Returns:
        The current row of every interval of `judged`, in its order: the row of `previous` with its version, time and
        run where the judgement is equal or ranks above this one (an edit of a person, a final estimate), else the new
        one with the next version. Then only the new ones.
    """
    if not previous.height:
        return Versions(judged, judged, _NO_REPLACED)
    past = newest(previous)
    both = judged.with_row_index("_at").join(past, on=list(IDENTITY), how="left", suffix="_past", maintain_order="left")
    equal = pl.all_horizontal(pl.col(name).eq_missing(pl.col(f"{name}_past")) for name in JUDGEMENT)
    edited = pl.col("quality_past") == Quality.EDITED.value
    held = edited | pl.col("is_final_estimate_past")
    kept = pl.col("version_past").is_not_null() & (equal | (held & (pl.col("quality") != Quality.EDITED.value)))
    names = [name for name in judged.columns if name not in IDENTITY]
    chosen = both.with_columns(_kept=kept.fill_null(value=False)).with_columns(
        pl.when("_kept").then(f"{name}_past").otherwise(name).alias(name) for name in names if name != "version"
    )
    chosen = chosen.with_columns(
        version=pl.when("_kept").then("version_past").otherwise(pl.col("version_past").fill_null(0) + 1)
    )
    current = chosen.select(judged.columns)
    measured = [Quality.VALID.value, Quality.SUSPECT.value]
    replaced = both.filter(
        ~chosen["_kept"],
        pl.col("quality").is_in(measured) & pl.col("quality_past").is_in(measured),
        pl.col("value_milli") != pl.col("value_milli_past"),
    )
    replaced = replaced.select("meter_id", "channel", "interval_start", "value_milli", "value_milli_past")
    return Versions(current, current.filter(~chosen["_kept"]), replaced)
