"""Phases: by how much the intervals of a meter begin after whole interval lengths since 1970.

Whole local hours of Kolkata begin at half past in UTC, and days of Berlin at 22:00 or 23:00: nothing is wrong with
such rows. A clock that is seconds off has no phase.
"""

from typing import Final

import polars as pl

from validation.rules.definition import ACCUMULATED

WHOLE_PHASE_S: Final = 900
"""Phases are whole quarters of an hour: so are the offsets of all zones."""
_ACCUMULATED: Final = sorted(channel.value for channel in ACCUMULATED)
_SERIES: Final = ("meter_id", "interval_s")
_COUNTED: Final = {"meter_id": pl.String(), "interval_s": pl.Int32(), "_phase_s": pl.Int64(), "len": pl.UInt32()}
_MICROSECONDS: Final = pl.lit(1_000_000, pl.Int64)


def with_phases(installs: pl.DataFrame, intervals: pl.DataFrame, reads: pl.DataFrame) -> pl.DataFrame:
    """Installations with `_phase_s`: the commonest of the meter's intervals of that length, of two the lesser.

    Of a meter without intervals, the commonest of pairs of reads one interval apart; 0 where there is none.
    """
    counted = pl.concat([_of_intervals(intervals), _of_reads(reads, installs, intervals)])
    phases = (
        counted.filter(pl.col("_phase_s") % WHOLE_PHASE_S == 0)
        .sort(*_SERIES, "len", "_phase_s", descending=[False, False, True, False])
        .unique(_SERIES, keep="first", maintain_order=True)
    )
    if not phases.height:
        return installs.with_columns(_phase_s=pl.lit(0, pl.Int64))
    return installs.join(phases.drop("len"), on=_SERIES, how="left").with_columns(pl.col("_phase_s").fill_null(0))


def _of_intervals(intervals: pl.DataFrame) -> pl.DataFrame:
    """How many intervals of each length and phase the meters sent that sent any off the whole steps."""
    length = intervals["interval_s"]
    one = intervals.height and length.min() == length.max()
    step_us = pl.lit(length[0] * 1_000_000, pl.Int64) if one else pl.col("interval_s") * _MICROSECONDS
    phase_us = pl.col("interval_start").to_physical() % step_us
    off = intervals.filter(phase_us != 0)["meter_id"].unique()
    return (
        intervals.filter(pl.col("meter_id").is_in(off.implode()) if len(off) else pl.lit(value=False))
        .group_by(*_SERIES, _phase_s=phase_us // 1_000_000)
        .len()
    )


def _of_reads(reads: pl.DataFrame, installs: pl.DataFrame, intervals: pl.DataFrame) -> pl.DataFrame:
    """How many pairs of reads, one interval apart, each phase has of meters without intervals."""
    sent = intervals["meter_id"].rle().struct.field("value").unique()
    silent = installs.filter(~pl.col("meter_id").is_in(sent.implode()), pl.col("interval_s") > 0)
    if not silent.height:
        return pl.DataFrame(schema=_COUNTED)
    at = pl.col("read_at").to_physical()
    return (
        reads.filter(pl.col("channel").cast(pl.String).is_in(_ACCUMULATED))
        .join(silent.select(_SERIES).unique(), on="meter_id")
        .select(*_SERIES, "channel", at=at, step_us=pl.col("interval_s") * _MICROSECONDS)
        .unique()
        .sort(*_SERIES, "channel", "at")
        .filter(pl.col("at").diff().over(*_SERIES, "channel") == pl.col("step_us"))
        .group_by(*_SERIES, _phase_s=pl.col("at") % pl.col("step_us") // 1_000_000)
        .len()
    )
