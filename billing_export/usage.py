"""Sums and quality counts of every segment by period of use."""

from collections.abc import Mapping
from datetime import date, datetime
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from billing_export.civil import CivilTable, civil_table
from billing_export.located import I64
from billing_export.segments import MISSING, QUALITIES, VALID, Rows, Segments, runs
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
    window: npt.NDArray[np.int32]
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
    """Energy and intervals of each segment by period of use; the sum over the periods is the total, exactly.

    Rows are summed by the unbroken stretches of the calendar, of which a day has a few; periods are sums of those.
    """
    segments, kinds = len(rows.starts), len(QUALITIES)
    periods = max((len(names) for names in civil.names), default=1) or 1
    if not segments:
        none = np.zeros((0, periods), np.int64)
        return Usage(none, np.zeros((0, periods, kinds), np.int64), np.zeros(0, np.int64))
    first = runs(rows, civil.stretch[civil.entry])
    cell = rows.segment[first].astype(np.int64) * periods + civil.period[civil.entry[first]]
    value = _by_cell(np.add.reduceat(rows.value, first), cell, segments * periods)
    others = np.flatnonzero(rows.quality != VALID)
    cells = rows.segment[others].astype(np.int64) * periods + civil.period[civil.entry[others]]
    found = np.bincount(cells * kinds + rows.quality[others], minlength=segments * periods * kinds)
    counts: I64 = found.astype(np.int64).reshape(segments, periods, kinds)
    every = _by_cell(np.diff(first, append=len(rows.value)), cell, segments * periods)
    counts[:, :, VALID] = every.reshape(segments, periods) - counts.sum(axis=2)
    covered = _covered(rows, first, cell, counts)
    counts[:, :, MISSING] += _absent(rows, civil, covered)
    return Usage(value.reshape(segments, periods), counts, _straddling(rows, civil, segments))


def _by_cell(values: I64, cell: I64, cells: int) -> I64:
    sums = np.zeros(cells, np.int64)
    np.add.at(sums, cell, values)
    return sums


def _covered(rows: Rows, first: I64, cell: I64, counts: I64) -> I64:
    """Seconds of each segment and period that intervals cover."""
    length = int(rows.seconds[0])
    if (rows.seconds == length).all():
        covered: I64 = counts.sum(axis=2) * length
        return covered
    seconds = np.add.reduceat(rows.seconds, first, dtype=np.int64)
    return _by_cell(seconds, cell, counts.shape[0] * counts.shape[1]).reshape(counts.shape[:2])


def _absent(rows: Rows, civil: Civil, covered: I64) -> I64:
    # Time of the span that no interval covers, in intervals of the segment's shortest length.
    shortest = np.minimum.reduceat(rows.seconds, rows.starts).astype(np.int64)[:, None]
    first, after = civil.bounds
    minutes = np.empty(covered.shape, np.int64)
    for period in range(covered.shape[1]):
        so_far = np.concatenate([[0], np.cumsum(civil.period == period)])
        minutes[:, period] = so_far[after] - so_far[first]
    absent: I64 = np.maximum(minutes * 60 - covered, 0) // shortest
    return absent


def _straddling(rows: Rows, civil: Civil, segments: int) -> I64:
    # Whether an interval of a length is cut by a boundary is told by the entry that it starts at.
    entries = np.arange(len(civil.stretch))
    across = np.zeros(len(rows.seconds), dtype=bool)
    length = int(rows.seconds[0])
    lengths = [length] if (rows.seconds == length).all() else np.unique(rows.seconds).tolist()
    for length in lengths:
        last = np.minimum(entries + max(length // 60 - 1, 0), len(entries) - 1)
        cut = (civil.stretch != civil.stretch[last])[civil.entry]
        across = cut if len(lengths) == 1 else across | (cut & (rows.seconds == length))
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
        entry=found.rows.minute + _of_rows(shift, found.rows.segment),
        period=np.concatenate([np.zeros(0, np.int16), *(table.period for table in every)]),
        stretch=np.concatenate([np.zeros(0, np.int32), *(table.stretch for table in every)]),
        window=np.concatenate(
            [np.zeros(0, np.int32), *(table.window + np.int32(offsets[key]) for key, table in tables.items())]
        ),
        window_min=np.concatenate([np.zeros(0, np.int32), *(table.window_min for table in every)]),
        slides=np.concatenate([np.zeros(0, bool), *(table.slides for table in every)]),
        takes=np.concatenate([np.zeros(0, bool), *(table.takes for table in every)]),
        bounds=(first, after),
    )


def _of_rows(shift: I64, segment: npt.NDArray[np.int32]) -> I64 | int:
    if len(shift) and (shift == shift[0]).all():
        return int(shift[0])  # one tariff: nothing to look up
    return shift[segment] if len(shift) else 0
