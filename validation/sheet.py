"""The finals of a run while they are made: vectors filled block by block, a frame at the end."""

from datetime import datetime
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from schemas.codes import Quality
from schemas.frames import CHANNEL, FINALS, METHOD, QUALITY, UTC_US
from validation.block import ABSENT, Bits, Block, Ints
from validation.blocks import Series
from validation.estimate import NO_METHOD
from validation.fleet import Fleet
from validation.met_stretches import NONE, Stretch
from validation.place import Layout, channel_of

QUALITY_CODE = {quality: number for number, quality in enumerate(Quality)}
Authors = npt.NDArray[np.int32]
Codes = npt.NDArray[np.uint8]


class Stamp(NamedTuple):
    """What every final of a run carries."""

    judged_at: datetime
    run_id: str
    authors: tuple[str, ...]
    """Names of the persons whose edits the run applied."""


class Result(NamedTuple):
    """The judged values of a block, matrices (series, intervals)."""

    value: Ints
    quality: Codes
    method: Codes
    failed: Bits
    unjudged: Bits
    author: Authors
    """Position in the run's authors, -1 for none; (1, 1) where no person spoke of the block."""


class Sheet(NamedTuple):
    """One element a final, sorted by meter, channel, time."""

    first: Ints
    """Position of each series' first final."""
    length: Ints
    value: Ints
    quality: Codes
    method: Codes
    failed: Bits
    unjudged: Bits
    author: Authors
    """Empty where no person spoke."""
    stretch: Stretch
    """Number of the anchored stretch (`validation.met_stretches`); empty where nothing is billed."""


def open_sheet(fleet: Fleet, layout: Layout, series: Series, *, edited: bool, billed: bool) -> Sheet:
    """Room for every final that the run will give."""
    length = series.wanted_to - series.wanted_from
    order = _order(fleet, layout, series)
    first = np.empty_like(length)
    first[order] = np.cumsum(length[order]) - length[order]
    size = int(length.sum())
    return Sheet(
        first,
        length,
        np.empty(size, dtype=np.int64),
        np.empty(size, dtype=np.uint8),
        np.empty(size, dtype=np.uint8),
        np.empty(size, dtype=np.uint64),
        np.empty(size, dtype=np.uint64),
        np.full(size if edited else 0, -1, dtype=np.int32),
        np.full(size if billed else 0, NONE, dtype=np.int32),
    )


def enter(sheet: Sheet, numbers: Ints, block: Block, result: Result, stretch: Stretch | None = None) -> None:
    """Write the wanted cells of a block's series into their places, and their stretches where they matter."""
    length = sheet.length[numbers]
    before = np.cumsum(length) - length
    to = np.repeat(sheet.first[numbers] - before, length) + np.arange(int(length.sum()))
    wanted = block.wanted
    sheet.value[to] = result.value[wanted]
    sheet.quality[to] = result.quality[wanted]
    sheet.method[to] = result.method[wanted]
    sheet.failed[to] = result.failed[wanted]
    sheet.unjudged[to] = result.unjudged[wanted]
    if len(sheet.author) and result.author.shape == wanted.shape:
        sheet.author[to] = result.author[wanted]
    if stretch is not None:
        sheet.stretch[to] = stretch[wanted]


def finals_of(sheet: Sheet, fleet: Fleet, layout: Layout, series: Series, stamp: Stamp) -> pl.DataFrame:
    """The sheet as a FINALS frame of version 1, stamped with `judged_at` and `run_id`."""
    order = _order(fleet, layout, series)
    length = sheet.length[order]
    install = np.repeat(series.install[order], length)
    step = layout.step[order]
    origin = np.array([group.first_slot for group in fleet.groups], dtype=np.int64)[layout.group[order]]
    start = ((origin + series.wanted_from[order]) * step + layout.phase[order]) * 1_000_000
    step_us = np.repeat(step * 1_000_000, length)
    before = np.cumsum(length) - length
    ordinal = np.arange(len(sheet.value)) - np.repeat(before, length)
    starts, seconds = np.repeat(start, length) + ordinal * step_us, np.repeat(step.astype(np.int32), length)
    _shorten(starts, seconds, (before, length), _parts(layout, series, order))
    method = pl.Series(sheet.method)
    value = pl.Series(sheet.value)
    columns = pl.DataFrame(
        {
            "meter_id": fleet.installs["meter_id"].gather(install),
            "service_point_id": fleet.installs["service_point_id"].gather(install),
            "channel": pl.Series(np.repeat(channel_of(layout)[order], length)).cat.to(CHANNEL),
            "interval_start": pl.Series(starts).cast(UTC_US),
            "interval_s": pl.Series(seconds),
            "value_milli": value.set(value == ABSENT, None) if (sheet.value == ABSENT).any() else value,
            "quality": pl.Series(sheet.quality).cat.to(QUALITY),
            "method": method.set(method == NO_METHOD, None).cat.to(METHOD),
            "failed": pl.Series(sheet.failed),
            "unjudged": pl.Series(sheet.unjudged),
        }
    )
    return columns.with_columns(
        is_final_estimate=pl.lit(value=False),
        version=pl.lit(1, pl.Int64),
        judged_at=pl.lit(stamp.judged_at).cast(UTC_US),
        author=_authors(sheet, stamp),
        run_id=pl.lit(stamp.run_id),
    ).select(FINALS.schema.names())


def _parts(layout: Layout, series: Series, order: Ints) -> tuple[Ints, Ints]:
    """Seconds of the first final of each series and of its last one, 0 where that is a whole interval."""
    first, last = layout.parts
    some = series.wanted_to > series.wanted_from
    begins = np.where(some & (first.slot == series.wanted_from), first.seconds, 0)
    ends = np.where(some & (last.slot == series.wanted_to - 1), last.seconds, 0)
    return begins[order], ends[order]


def _shorten(starts: Ints, seconds: Authors, series: tuple[Ints, Ints], parts: tuple[Ints, Ints]) -> None:
    """Write the spans of the finals that are parts of intervals, in place."""
    first, length = series
    for at, part, at_end in ((first, parts[0], False), (first + length - 1, parts[1], True)):
        which = np.flatnonzero(part > 0)
        cell = at[which]
        if not at_end:
            starts[cell] += (seconds[cell] - part[which]) * 1_000_000
        seconds[cell] = part[which]


def _authors(sheet: Sheet, stamp: Stamp) -> pl.Series | pl.Expr:
    if not len(sheet.author):
        return pl.lit(None, pl.String)
    names = pl.Series([*stamp.authors, None], dtype=pl.String)
    return names.gather(np.where(sheet.author < 0, len(stamp.authors), sheet.author))


def _order(fleet: Fleet, layout: Layout, series: Series) -> Ints:
    """Series sorted by meter, channel, time."""
    meter = fleet.installs["meter_id"].rank("dense").to_numpy()[series.install]
    grid = np.array([one.first_slot * one.step_s + one.phase_s for one in fleet.groups] or [0])[layout.group]
    step = np.array([group.step_s for group in fleet.groups] or [0])[layout.group]
    order: Ints = np.lexsort((grid + series.wanted_from * step, channel_of(layout), meter))
    return order
