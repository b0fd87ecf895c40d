"""What a judgement adds to the findings that stand open, and which of those it takes back.

A finding says what holds of some intervals. Judged again it is found again, with the same numbers, or holds no longer:
then it is withdrawn, for nobody would close it. Only what lies in the judged span as a whole can be told so: a finding
that reaches beyond it stays until all of it is judged, and what is found of a part of it is no news.
"""

from datetime import datetime
from typing import Final, NamedTuple

import polars as pl

from schemas.codes import Rule
from schemas.frames import EXCEPTIONS
from validation.periods import GATE

_SAME: Final = [name for name in EXCEPTIONS.schema if name != "run_id"]
_WHAT: Final = ["meter_id", "channel", "rule", "severity"]
_SERIES: Final = ["meter_id", "channel"]


class Compared(NamedTuple):
    """A judgement beside the findings that stand open; EXCEPTIONS both."""

    news: pl.DataFrame
    """Found, and not open yet."""
    withdrawn: pl.DataFrame
    """Open, and not found again: as they stand, with their run."""


def compare(
    known: pl.DataFrame, found: pl.DataFrame, finals: pl.DataFrame, span: tuple[datetime, datetime]
) -> Compared:
    """Which findings are new, and which no longer hold.

    Two are not told by a judgement: that one measured value took the place of another (V24) is history and stays open
    for whoever reads it; a month that is held (V36) is, as long as its finals carry the mark.

    Args:
        known: EXCEPTIONS that stand open, of the meters judged; those that begin before the span and reach into it too.
        found: EXCEPTIONS of the judgement; what begins outside the span is another judgement's to say.
        finals: FINALS of the judgement.
        span: What was judged, half open.
    """
    start, end = span
    found = found.filter(pl.col("first_interval").is_between(start, end, closed="left"))
    steps = finals.group_by(_SERIES).agg(step=pl.col("interval_s").max())
    before, now = _with_ends(known, steps), _with_ends(found, steps)
    inside = (pl.col("first_interval") >= start) & (pl.col("ends") <= end)
    gone = before.filter(inside & (pl.col("rule") != Rule.REPLACEMENT.value))
    gone = gone.join(found, on=_SAME, how="anti", nulls_equal=True)
    wider = before.filter(~inside)
    parts = (
        now.join(wider, on=_WHAT, nulls_equal=True, suffix="_wider")
        .filter(
            pl.col("first_interval_wider") <= pl.col("first_interval"),
            pl.col("ends_wider") >= pl.col("ends"),
        )
        .select(found.columns)
    )
    news = found.join(known, on=_SAME, how="anti", nulls_equal=True)
    return Compared(
        news.join(parts, on=_SAME, how="anti", nulls_equal=True), _unless_marked(gone, finals).select(known.columns)
    )


def _with_ends(findings: pl.DataFrame, steps: pl.DataFrame) -> pl.DataFrame:
    """With the end of each, `ends`; of a series without finals that is its beginning."""
    seconds = pl.col("intervals") * pl.col("step").fill_null(0)
    return (
        findings.join(steps, on=_SERIES, how="left", nulls_equal=True, maintain_order="left")
        .with_columns(ends=pl.col("first_interval") + pl.duration(seconds=seconds))
        .drop("step")
    )


def _unless_marked(gone: pl.DataFrame, finals: pl.DataFrame) -> pl.DataFrame:
    """Without those of V36 whose finals carry its mark: their month was not judged."""
    gates = gone.filter(pl.col("rule") == Rule.BILLING_GATE.value)
    if not gates.height:
        return gone
    marked = finals.filter((pl.col("failed") & int(GATE)) != 0).select(*_SERIES, "interval_start")
    standing = gates.join(marked, on=_SERIES).filter(
        pl.col("interval_start").is_between(pl.col("first_interval"), pl.col("ends"), closed="left")
    )
    return gone.join(standing, on=_SAME, how="anti", nulls_equal=True)
