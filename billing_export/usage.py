"""Sums and quality counts of every segment by period of use."""

from collections.abc import Mapping
from datetime import date, datetime
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from billing_export.civil import CivilTable, civil_table
from billing_export.located import I64
from billing_export.segments import MISSING, QUALITIES, Rows, Segments
from billing_export.spans import versions_of
from billing_export.tariffs import TariffBook


class Civil(NamedTuple):
    """Civil time of every row: the tables of all tariffs laid end to end, and where each row stands in them."""

    names: tuple[tuple[str, ...], ...]
    """Periods of each segment's tariff."""
    entry: I64
    """Entry of each row in the columns below."""
    period: npt.NDArray[np.int16]
    stretch: npt.NDArray[np.int32]
    window: I64
    window_min: npt.NDArray[np.int32]
    slides: npt.NDArray[np.bool_]
    takes: npt.NDArray[np.bool_]
    bounds: tuple[I64, I64]
    """Entries of the first minute of each segment and of the minute after its last."""


class Usage(NamedTuple):
    """Per segment and period; period 0 stands for all where the tariff has none."""

    value: I64
    """Shape (segments, periods): sums in thousandths."""
    counts: I64
    """Shape (segments, periods, 6): intervals by quality, in the order of `QUALITIES`; absent ones are missing."""
    straddling: I64
    """Intervals of each segment that lie across a boundary between periods: a master-data error."""


def civil_rows(found: Segments, book: TariffBook, holidays: frozenset[date]) -> Civil:
    """Civil time of all rows, from one table for each tariff in use."""
    segments = found.segments
    plans = segments.select("tariff", "timezone").unique(maintain_order=True)
    tables: dict[tuple[str, str], CivilTable] = {}
    for tariff, timezone in plans.rows():
        own = segments.filter((pl.col("tariff") == tariff) & (pl.col("timezone") == timezone))
        start, end = _day_edges(own["span_from"], own["span_to"])
        tables[tariff, timezone] = civil_table(versions_of(book, tariff, timezone), start, end, holidays)
    keys = list(zip(segments["tariff"].to_list(), segments["timezone"].to_list(), strict=True))
    return _laid_end_to_end(found, tables, keys)


def usage(rows: Rows, civil: Civil) -> Usage:
    """Energy and intervals of each segment by period of use; the sum over the periods is the total, exactly."""
    starts = rows.starts
    segments, periods = len(starts), max((len(names) for names in civil.names), default=1) or 1
    code = civil.period[civil.entry].astype(np.int64)
    value = np.zeros((segments, periods), np.int64)
    if segments:
        for period in range(periods):
            inside = rows.value if periods == 1 else np.where(code == period, rows.value, 0)
            value[:, period] = np.add.reduceat(inside, starts)
    cell = rows.segment * np.int64(periods) + code
    kinds = len(QUALITIES)
    counts = np.bincount(cell * kinds + rows.quality, minlength=segments * periods * kinds).astype(np.int64)
    counts = counts.reshape(segments, periods, kinds)
    counts[:, :, MISSING] += _absent(rows, civil, cell, counts)
    return Usage(value, counts, _straddling(rows, civil, segments))


def _absent(rows: Rows, civil: Civil, cell: I64, counts: I64) -> I64:
    # Time of the span that no interval covers, in intervals of the segment's shortest length.
    segments, periods, _ = counts.shape
    if not segments:
        return np.zeros((0, periods), np.int64)
    shortest = np.minimum.reduceat(rows.seconds, rows.starts)[:, None]
    if rows.seconds.min() == rows.seconds.max():
        covered = counts.sum(axis=2) * shortest
    else:
        weighed = np.bincount(cell, weights=rows.seconds.astype(np.float64), minlength=segments * periods)
        covered = weighed.reshape(segments, periods).astype(np.int64)
    first, after = civil.bounds
    minutes = np.empty((segments, periods), np.int64)
    for period in range(periods):
        so_far = np.concatenate([[0], np.cumsum(civil.period == period)])
        minutes[:, period] = so_far[after] - so_far[first]
    absent: I64 = np.maximum(minutes * 60 - covered, 0) // shortest
    return absent


def _straddling(rows: Rows, civil: Civil, segments: int) -> I64:
    last = civil.entry + np.maximum(rows.seconds // 60 - 1, 0)
    across = civil.stretch[civil.entry] != civil.stretch[np.minimum(last, len(civil.stretch) - 1)]
    return np.bincount(rows.segment[across], minlength=segments).astype(np.int64)


def _day_edges(first: pl.Series, after: pl.Series) -> tuple[datetime, datetime]:
    start, end = first.min(), after.max()
    if not isinstance(start, datetime) or not isinstance(end, datetime):
        raise TypeError("spans without bounds")
    return start, end


def _laid_end_to_end(
    found: Segments, tables: Mapping[tuple[str, str], CivilTable], keys: list[tuple[str, str]]
) -> Civil:
    offsets: dict[tuple[str, str], int] = {}
    laid = 0
    for key, table in tables.items():
        offsets[key] = laid
        laid += len(table.period)
    # What must be added to a minute since 1970 to find its entry.
    shift = np.array([offsets[key] - tables[key].origin_minute for key in keys], np.int64)
    # Whole minutes inside the span: of a minute that it enters in the middle no interval can be missing.
    first = found.segments.select(-(-pl.col("span_from").dt.epoch("us") // 60_000_000)).to_series().to_numpy() + shift
    after = found.segments.select(pl.col("span_to").dt.epoch("us") // 60_000_000).to_series().to_numpy() + shift
    every = list(tables.values())
    return Civil(
        names=tuple(tables[key].periods for key in keys),
        entry=found.rows.minute + (shift[found.rows.segment] if len(shift) else 0),
        period=np.concatenate([np.zeros(0, np.int16), *(table.period for table in every)]),
        stretch=np.concatenate([np.zeros(0, np.int32), *(table.stretch for table in every)]),
        window=np.concatenate([np.zeros(0, np.int64), *(table.window + offsets[key] for key, table in tables.items())]),
        window_min=np.concatenate([np.zeros(0, np.int32), *(table.window_min for table in every)]),
        slides=np.concatenate([np.zeros(0, bool), *(table.slides for table in every)]),
        takes=np.concatenate([np.zeros(0, bool), *(table.takes for table in every)]),
        bounds=(first, after),
    )
