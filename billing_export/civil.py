"""Civil time of a tariff, minute by minute: period of use and demand window of every instant.

A tariff knows wall clocks, intervals know UTC. Between them stands one table a tariff, computed once for the span of
an export, so that looking up an interval costs an index and not a calendar.
"""

from datetime import UTC, date, datetime
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from billing_export.tariffs import HOLIDAY, Period, Season, Tariff
from schemas.frames import UTC_US
from schemas.timegrid import with_local_time


class CivilTable(NamedTuple):
    """What every minute of a span is called, for the versions of one tariff."""

    origin_minute: int
    """Minute since 1970-01-01T00:00Z of the first entry."""
    periods: tuple[str, ...]
    """Names of the periods; a code is an index into them."""
    period: npt.NDArray[np.int16]
    """Code of the period; all 0 where the tariff has none."""
    stretch: npt.NDArray[np.int32]
    """Number of the unbroken stretch of one period: two minutes of one stretch have no boundary between them."""
    window: npt.NDArray[np.int32]
    """Entry at which the block window starts, aligned to local midnight."""
    window_min: npt.NDArray[np.int32]
    """Length that a demand window has there."""
    slides: npt.NDArray[np.bool_]
    """A demand window starts at every interval, not in blocks."""
    takes: npt.NDArray[np.bool_]
    """Estimated intervals may set the maximum."""


@lru_cache(maxsize=8)  # a few MB: the parts of an export ask for the same tables over and over
def civil_table(versions: tuple[Tariff, ...], start: datetime, end: datetime, holidays: frozenset[date]) -> CivilTable:
    """Periods and windows of every minute in `[start, end)`, by the version in force on each local day.

    Args:
        versions: Versions of one tariff, oldest first; the first holds for days before its `valid_from` too.
        start: UTC; taken back to a full minute.
        end: UTC, after `start`.
        holidays: Local days that are holidays.
    """
    minutes = pl.DataFrame({"at": _minutes(start, end)}).with_columns(timezone=pl.lit(versions[0].timezone))
    local = with_local_time(minutes, "at").with_columns(
        day=pl.when(pl.col("local_day").is_in(list(holidays)))
        .then(HOLIDAY)
        .otherwise(pl.col("local_day").dt.weekday()),
        of_day=pl.col("local_second") // 60,
        of_year=pl.col("local_day").dt.month().cast(pl.Int32) * 100 + pl.col("local_day").dt.day(),
    )
    names = tuple(dict.fromkeys(period.name for version in versions for period in version.period))
    code = pl.lit(0, dtype=pl.Int16)
    window_min = pl.lit(versions[0].demand_window_min, dtype=pl.Int32)
    slides = takes = pl.lit(value=False)
    for number, version in enumerate(versions):
        since = pl.lit(value=True) if not number or version.valid_from is None else _since(version.valid_from)
        code = pl.when(since).then(_period_code(version, names)).otherwise(code)
        window_min = pl.when(since).then(version.demand_window_min).otherwise(window_min)
        slides = pl.when(since).then(pl.lit(version.demand == "sliding")).otherwise(slides)
        takes = pl.when(since).then(pl.lit(version.demand_takes_estimates)).otherwise(takes)
    labelled = local.with_columns(
        code=code, window_min=window_min, slides=slides, takes=takes, entry=pl.int_range(pl.len(), dtype=pl.Int32)
    )
    labelled = labelled.with_columns(stretch=pl.col("code").rle_id().cast(pl.Int32), window=_window_start())
    return CivilTable(
        origin_minute=_origin(start),
        periods=names,
        period=labelled["code"].to_numpy(),
        stretch=labelled["stretch"].to_numpy(),
        window=labelled["window"].to_numpy(),
        window_min=labelled["window_min"].to_numpy(),
        slides=labelled["slides"].to_numpy(),
        takes=labelled["takes"].to_numpy(),
    )


def _origin(start: datetime) -> int:
    return int((start - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()) // 60


def _minutes(start: datetime, end: datetime) -> pl.Series:
    first = start.replace(second=0, microsecond=0)
    return pl.datetime_range(first, end, "1m", closed="left", eager=True, time_unit="us").cast(UTC_US)


def _since(day: date) -> pl.Expr:
    return pl.col("local_day") >= day


def _period_code(version: Tariff, names: tuple[str, ...]) -> pl.Expr:
    if not version.period:
        return pl.lit(0, dtype=pl.Int16)
    seasons = {season.name: season for season in version.season}
    *earlier, default = version.period
    code = pl.lit(names.index(default.name), dtype=pl.Int16)
    for period in reversed(earlier):  # the last `when` to be laid around is the first to match
        here = _matches(period, seasons)
        code = pl.when(here).then(pl.lit(names.index(period.name), dtype=pl.Int16)).otherwise(code)
    return code


def _matches(period: Period, seasons: dict[str, Season]) -> pl.Expr:
    start, end = period.minutes()
    of_day = pl.col("of_day")
    inside = (of_day >= start) & (of_day < end) if start < end else (of_day >= start) | (of_day < end)
    here = inside & pl.col("day").is_in(sorted(period.day_numbers()))
    if period.season is None:
        return here
    first, after = seasons[period.season].bounds()
    of_year = pl.col("of_year")
    return here & ((of_year >= first) & (of_year < after) if first < after else (of_year >= first) | (of_year < after))


def _window_start() -> pl.Expr:
    # Windows run in elapsed time from local midnight: on a day of 25 hours the repeated hour has windows of its own.
    # A day that the span enters in the middle is counted from its wall clock.
    since_entry = pl.col("entry") - pl.col("entry").first().over("local_day")
    of_day = since_entry + pl.col("of_day").first().over("local_day")
    within = of_day % pl.col("window_min")
    return (pl.col("entry") - within).clip(lower_bound=0).cast(pl.Int32)
