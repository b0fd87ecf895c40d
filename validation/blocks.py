"""Cutting the cells of a run into blocks that a processor's cache can hold."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

import numpy as np
import polars as pl

from schemas.codes import Channel
from validation.around import Surroundings, around_of
from validation.block import ABSENT, Block, Ints, Mask, Runs, Samples, Stretches, TouLinks, find_runs
from validation.days import Days, local_days
from validation.fleet import Fleet, Group
from validation.master import Facts, master_of
from validation.params import VeeParams
from validation.parts import parts_within
from validation.peaks import Peaks
from validation.place import Layout, Placed
from validation.reads import Registers, Spans
from validation.supply import mask_of, supply_of

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


class Inputs(NamedTuple):
    """All that blocks are cut from."""

    fleet: Fleet
    layout: Layout
    facts: Facts
    placed: Placed
    registers: Registers
    surroundings: Surroundings
    net: Ints | None
    """One a cell of received energy: net energy as the meters count it."""
    peaks: Peaks
    off: tuple[Ints, Ints, Ints]
    """Spans without supply: installation, from, to, sorted by installation."""
    supply_known: bool
    clock_known: bool
    history_days: int
    waiting: dict[str, tuple[Ints, Ints, Ints]]
    """By service, spans in which the head end is silent: installation, from, to, sorted by installation."""


class Series(NamedTuple):
    """Bounds of every series on its group's grid, half open; the wanted ones lie within the installation."""

    wanted_from: Ints
    wanted_to: Ints
    install: Ints
    awaited: Mask
    """(series,): later intervals were asked for, and are on their way."""
    due_from: Ints
    due_to: Ints
    """What is missing is not awaited here: between the first value of a series that nobody dates and the time from
    which on values are on their way; the whole grid where nothing is awaited."""


def bounds_of(fleet: Fleet, layout: Layout, placed: Placed, params: VeeParams, heard_us: Ints | None) -> Series:
    """The intervals that each series gets finals for: those asked for while it was installed.

    With `estimate_after_s` those that are still awaited get none, nor do those before the first value of a meter whose
    installation nobody dates. A series that was heard (`heard_us`) within that time is awaited whatever the age of
    its newest value: it brings what it kept, and what follows is on its way.
    """
    install = layout.install
    grid = np.array([(g.step_s * 1_000_000, g.first_slot, *g.wanted) for g in fleet.groups] or [(1, 0, 0, 0)])
    step_us, origin, first, after = grid[layout.group].T
    phase_us = layout.phase * 1_000_000
    installed = fleet.installs["installed_at"].to_physical().fill_null(ABSENT // 2).to_numpy()[install] - phase_us
    removed = fleet.installs["removed_at"].to_physical().fill_null(-(ABSENT // 2)).to_numpy()[install] - phase_us
    begins, ends = layout.parts.first.slot, layout.parts.last.slot
    lowest = np.maximum(first, np.where(begins >= 0, begins, -(-installed // step_us) - origin))
    until = np.minimum(after, np.where(ends >= 0, ends + 1, removed // step_us - origin))
    highest = until
    due_from, due_to = np.full((2, len(install)), 0, dtype=np.int64)
    due_to += np.iinfo(np.int64).max
    if params.estimate_after_s is not None:
        awaited_us = (params.judged_at - _EPOCH) // _MICROSECOND - params.estimate_after_s * 1_000_000
        due = -(-(awaited_us - phase_us) // step_us) - origin
        if heard_us is not None:
            due = np.where(heard_us > awaited_us, -1, due)
        oldest, newest = _first_and_last(fleet, layout, placed)
        due_to = np.maximum(newest + 1, due)
        highest = np.minimum(highest, due_to)
        unknown = fleet.installs["installed_at"].is_null().to_numpy()[install] & (newest >= 0)
        due_from = np.where(unknown, oldest, due_from)
        lowest = np.maximum(lowest, due_from)
    return Series(lowest, np.maximum(highest, lowest), install, highest < until, due_from, due_to)


def heard_of(intervals: pl.DataFrame, reads: pl.DataFrame, fleet: Fleet, layout: Layout) -> Ints:
    """When something of each series was received last, in microseconds; ABSENT where nothing is at hand.

    By its reads a series is heard only where it has no intervals: a cumulative profile.
    """
    said = [rows.group_by("meter_id", "channel").agg(pl.col("received_at").max()) for rows in (intervals, reads)]
    said[1] = said[1].join(said[0], on=["meter_id", "channel"], how="anti")
    names = fleet.installs.select("meter_id").with_row_index("install")
    heard = pl.concat(said).join(names, on="meter_id")
    series = layout.of[heard["install"].to_numpy(), heard["channel"].to_physical().to_numpy()]
    told = np.full(len(layout.base), ABSENT)
    told[series[series >= 0]] = heard["received_at"].to_physical().to_numpy()[series >= 0]
    return told


def _first_and_last(fleet: Fleet, layout: Layout, placed: Placed) -> tuple[Ints, Ints]:
    """The intervals of the first and the newest value of each series, on its group's grid; -1 where nothing came."""
    first, last = np.full((2, len(layout.group)), -1, np.int64)
    for number, group in enumerate(fleet.groups):
        mine = np.flatnonzero(layout.group == number)
        if len(mine) and group.slots:
            cells = slice(int(layout.base[mine[0]]), int(layout.base[mine[0]]) + len(mine) * group.slots)
            came = placed.value[cells].reshape(len(mine), group.slots) != ABSENT
            some = came.any(axis=1)
            first[mine] = np.where(some, came.argmax(axis=1), -1)
            last[mine] = np.where(some, group.slots - 1 - came[:, ::-1].argmax(axis=1), -1)
    return first, last


def cut_blocks(
    inputs: Inputs, series: Series, params: VeeParams, only: Mask | None = None
) -> Iterator[tuple[Ints, Block]]:
    """Blocks of at most `params.block_cells` cells, in the order of the series, with the series of their rows.

    With `only` blocks of those series alone.
    """
    at = 0
    for group in inputs.fleet.groups:
        every = (group.after - group.first) * len(group.channels)
        if only is not None and not only[at : at + every].any():
            at += every
            continue
        start_s = group.first_slot * group.step_s + group.phase_s
        days = local_days(start_s, group.slots, group.step_s, group.timezone, params.holidays)
        size = group.after - group.first
        rows = max(1, params.block_cells // max(group.slots, 1))
        for channel in group.channels:
            for numbers in _pieces(at, size, rows, only):
                yield numbers, _block(inputs, group, days, (channel, numbers), series)
            at += size


def _pieces(at: int, size: int, rows: int, only: Mask | None) -> Iterator[Ints]:
    """Consecutive series from `at` on, at most `rows` a piece; with `only` pieces of those."""
    runs = [(0, size)] if only is None else zip(*find_runs(only[None, at : at + size])[1:], strict=True)
    for start, stop in runs:
        for first in range(start, stop, rows):
            yield np.arange(at + first, at + min(first + rows, stop))


def _block(inputs: Inputs, group: Group, days: Days, what: tuple[Channel, Ints], series: Series) -> Block:
    channel, numbers = what
    layout, registers = inputs.layout, inputs.registers
    width = group.slots
    shape = (len(numbers), width)
    cells = slice(int(layout.base[numbers[0]]), int(layout.base[numbers[0]]) + len(numbers) * width)
    value = inputs.placed.value[cells].reshape(shape)
    bits = inputs.placed.status
    install = series.install[numbers]
    span, cut = _rows(registers.span, numbers)
    expected, wanted = _masks((value, span), series, numbers, (group, inputs.fleet, layout))
    parts = parts_within(layout.parts, numbers, group.step_s)
    supply = supply_of(inputs.off, int(install[0]), shape, (group.first_slot, group.step_s, group.phase_s))
    supply = supply._replace(touched=supply.touched | _at(parts.row * width + parts.slot, shape))
    covered = expected[span.row, np.minimum(span.start, width - 1)] & expected[span.row, np.maximum(span.stop - 1, 0)]
    return Block(
        disputed=_disputed(inputs.placed, cells, width),
        channel=channel,
        rate_class=group.rate_class,
        step_s=group.step_s,
        first_slot=group.first_slot,
        phase_s=group.phase_s,
        days=days,
        master=master_of(inputs.facts, install, group.step_s),
        value=value,
        status=np.zeros((1, 1), dtype=np.uint32) if bits is None else bits[cells].reshape(shape),
        expected=expected,
        wanted=wanted,
        history_days=inputs.history_days,
        awaited=series.awaited[numbers],
        past=Peaks(*(one[numbers] for one in inputs.peaks)),
        parts=parts,
        supply=supply if inputs.supply_known else supply._replace(known=np.zeros((1, 1), dtype=np.bool_)),
        waiting=_waiting(inputs, channel, install, group),
        stretches=Stretches(
            span.pick(covered),
            registers.advance[cut][covered],
            registers.tou[cut][covered],
            registers.value[cut][covered],
        ),
        tou_links=_tou_links(registers, numbers),
        broken=_clipped(_rows(registers.broken, numbers)[0], width),
        jumps=_clipped(_rows(registers.jumps, numbers)[0], width),
        clock_known=inputs.clock_known,
        has_reads=registers.read[numbers],
        has_tou=registers.tou_read[numbers],
        around=around_of(inputs.surroundings, group, (channel, install), (inputs.placed.value, layout), inputs.net),
    )


def _waiting(inputs: Inputs, channel: Channel, install: Ints, group: Group) -> Mask:
    spans = inputs.waiting.get("volume" if channel is Channel.VOLUME else "electricity")
    if spans is None:
        return np.zeros((1, 1), dtype=np.bool_)
    cut = slice(*np.searchsorted(spans[0], [install[0], install[-1] + 1]))
    start, stop = group.slot_at(spans[1][cut]), group.slot_from(spans[2][cut])
    return mask_of(spans[0][cut] - install[0], start, stop, (len(install), group.slots))


def _disputed(placed: Placed, cells: slice, width: int) -> Samples:
    at, rival = placed.disputed
    cut = slice(*np.searchsorted(at, [cells.start, cells.stop]))
    mine = at[cut] - cells.start
    return Samples(mine // width, mine % width, rival[cut])


def _at(cells: Ints, shape: tuple[int, int]) -> Mask:
    mask = np.zeros(shape if len(cells) else (1, 1), dtype=np.bool_)
    mask.ravel()[cells] = True
    return mask


def _rows(spans: Spans, numbers: Ints) -> tuple[Runs, slice]:
    cut = slice(*np.searchsorted(spans.series, [numbers[0], numbers[-1] + 1]))
    return Runs(spans.series[cut] - numbers[0], spans.start[cut], spans.stop[cut]), cut


def _tou_links(registers: Registers, numbers: Ints) -> TouLinks:
    runs, cut = _rows(registers.links, numbers)
    return TouLinks(runs, *(part[cut] for part in registers.linked))


def _clipped(runs: Runs, width: int) -> Runs:
    return Runs(runs.row, np.clip(runs.start, 0, width - 1), np.clip(runs.stop, 1, width))


def _reach(span: Runs, series: Series, numbers: Ints, group: Group) -> tuple[Ints, Ints]:
    """How far the stretches that hold wanted intervals reach, as far as nothing in them is awaited: (series,) each."""
    low, high = np.full(len(numbers), group.slots), np.zeros(len(numbers), dtype=np.int64)
    over = (span.stop > group.wanted[0]) & (span.start < group.wanted[1])
    np.minimum.at(low, span.row[over], span.start[over])
    np.maximum.at(high, span.row[over], span.stop[over])
    return np.maximum(low, series.due_from[numbers]), np.minimum(high, series.due_to[numbers])


def _masks(
    given: tuple[Ints, Runs], series: Series, numbers: Ints, where: tuple[Group, Fleet, Layout]
) -> tuple[Mask, Mask]:
    """Where a value is expected (between the data, the bounds or the reads that hold wanted intervals between them,
    while installed), and where a final is wanted."""
    (value, span), (group, fleet, layout) = given, where
    slot = np.arange(group.slots)
    low, high = series.wanted_from[numbers, None], series.wanted_to[numbers, None]
    wanted = (slot >= low) & (slot < high)
    if group.wanted == (0, group.slots):
        return wanted, wanted
    present = value != ABSENT
    some = present.any(axis=1)
    first = np.where(some, present.argmax(axis=1), group.slots)
    after = np.where(some, group.slots - present[:, ::-1].argmax(axis=1), 0)
    begun, ended = _reach(span, series, numbers, group)
    first, after = np.minimum(np.minimum(first, begun), group.wanted[0]), np.maximum(after, ended)
    expected = (slot >= first[:, None]) & (slot < np.maximum(after[:, None], high))
    installs = fleet.installs[series.install[numbers]]
    begin = group.slot_from(installs["installed_at"].to_physical().fill_null(ABSENT // 2).to_numpy())
    end = group.slot_at(installs["removed_at"].to_physical().fill_null(-(ABSENT // 2)).to_numpy())
    cut = layout.parts.first.slot[numbers], layout.parts.last.slot[numbers]
    begin, end = np.where(cut[0] >= 0, cut[0], begin), np.where(cut[1] >= 0, cut[1] + 1, end)
    return expected & (slot >= begin[:, None]) & (slot < end[:, None]), wanted
