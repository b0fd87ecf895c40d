"""Intervals that an installation or a removal cuts: the meter was there for a part of them, and its final is that part.

A meter is hardly ever exchanged on a boundary of its grid. Of the interval of the exchange the old meter has the part
up to its removal, the new one the part from its installation on, each as long as the whole minutes in it. A part is
judged where something is known of it, by which it can be held to the truth: a register was read in it, or the meter
itself sent a value and called it partial. Without either it is nobody's interval: nothing is invented.
"""

from typing import Final

import numpy as np
import polars as pl

from schemas.codes import Status
from validation.block import ABSENT, Cut, Ints, Mask
from validation.fleet import Fleet
from validation.place import CHANNEL_CODE, Layout, Part, Parts, channel_of, installation_of
from validation.reads import UNUSABLE, for_both
from validation.rules.definition import ACCUMULATED

_MINUTE_US: Final = 60_000_000
_ACCUMULATED: Final = sorted(channel.value for channel in ACCUMULATED)


def parts_of(fleet: Fleet, layout: Layout, intervals: pl.DataFrame, reads: pl.DataFrame) -> Parts:
    """The parts of a run, of series that count energy or volume."""
    installed, removed = (_instants(fleet, name) for name in ("installed_at", "removed_at"))
    first, last = _cut(fleet, layout, installed, at_end=False), _cut(fleet, layout, removed, at_end=True)
    # Both in one interval: less than an interval in all, of which no grid is known.
    both = (first.slot >= 0) & (first.slot == last.slot)
    first, last = _kept(first, ~both), _kept(last, ~both)
    cut = (first.slot >= 0) | (last.slot >= 0)
    if not cut.any():
        return Parts(first, last)
    meters = fleet.installs["meter_id"].gather(np.unique(layout.install[cut])).unique()
    mine = pl.col("meter_id").is_in(meters.implode()), pl.col("channel").cast(pl.String).is_in(_ACCUMULATED)
    known = _read(reads.filter(*mine), fleet, layout, (first, last), (installed, removed))
    sent = _sent(intervals.filter(*mine), fleet, layout, (first, last))
    return Parts(*(_kept(one, read | came) for one, read, came in zip((first, last), known, sent, strict=True)))


def parts_within(parts: Parts, numbers: Ints, step_s: int) -> Cut:
    """The parts of some series of one interval length, which are the rows."""
    found = []
    for part, whole in ((parts.first, step_s), (parts.last, 0)):
        row = np.flatnonzero(part.slot[numbers] >= 0)
        slot, seconds = part.slot[numbers][row], part.seconds[numbers][row]
        found.append((row, slot, seconds, np.maximum(whole - seconds, 0)))
    return Cut(*(np.concatenate(column) for column in zip(*found, strict=True)))


def _instants(fleet: Fleet, name: str) -> Ints:
    instants: Ints = fleet.installs[name].to_physical().fill_null(ABSENT).to_numpy()
    return instants


def _kept(part: Part, chosen: Mask) -> Part:
    return Part(np.where(chosen, part.slot, -1), np.where(chosen, part.seconds, 0))


def _cut(fleet: Fleet, layout: Layout, instants: Ints, *, at_end: bool) -> Part:
    """The intervals that the instants cut, by at least a minute."""
    at = instants[layout.install]
    step_us, phase_us = layout.step * 1_000_000, layout.phase * 1_000_000
    origin, width = np.array([(one.first_slot, one.slots) for one in fleet.groups] or [(0, 0)])[layout.group].T
    since = np.where(at == ABSENT, 0, at - phase_us)
    slot, within = since // step_us - origin, since % step_us
    seconds = 60 * ((within if at_end else step_us - within) // _MINUTE_US)
    counted = np.isin(channel_of(layout), [CHANNEL_CODE[name] for name in _ACCUMULATED])
    cut = (at != ABSENT) & (within > 0) & (seconds > 0) & (slot >= 0) & (slot < width) & counted
    return _kept(Part(slot, seconds), cut)


def _read(
    reads: pl.DataFrame, fleet: Fleet, layout: Layout, cut: tuple[Part, Part], instants: tuple[Ints, Ints]
) -> list[Mask]:
    """Series whose register was read in their first part, and in their last one."""
    rows = reads.filter(pl.col("value_milli").is_not_null(), (pl.col("status") & UNUSABLE) == 0)
    rows, install = for_both(rows, installation_of(rows, fleet, "read_at"), fleet)
    at = rows["read_at"].to_physical().to_numpy()
    series = layout.of[install, rows["channel"].to_physical().to_numpy()]
    known = []
    for which, (part, bound) in enumerate(zip(cut, instants, strict=True)):
        own = (install >= 0) & (series >= 0)
        slot, exact = _slot_of(fleet, layout, series, at)
        # A boundary of the grid is no news of the part that ends or begins there.
        inside = (slot == part.slot[series]) & ~exact & own
        inside &= (at <= bound[install]) if which else (at >= bound[install])
        mask = np.zeros(len(layout.base), dtype=np.bool_)
        mask[series[inside]] = True
        known.append(mask)
    return known


def _sent(intervals: pl.DataFrame, fleet: Fleet, layout: Layout, cut: tuple[Part, Part]) -> list[Mask]:
    """Series of which a value that the meter calls partial arrived for their first part, and for their last one."""
    rows = intervals.filter((pl.col("status") & int(Status.PARTIAL)) != 0, pl.col("value_milli").is_not_null())
    install = installation_of(rows, fleet, "interval_start")
    series = layout.of[install, rows["channel"].to_physical().to_numpy()]
    own = (install >= 0) & (series >= 0)
    slot, exact = _slot_of(fleet, layout, series, rows["interval_start"].to_physical().to_numpy())
    own &= exact & (rows["interval_s"].to_numpy() == layout.step[series])
    known = []
    for part in cut:
        mask = np.zeros(len(layout.base), dtype=np.bool_)
        mask[series[own & (slot == part.slot[series])]] = True
        known.append(mask)
    return known


def _slot_of(fleet: Fleet, layout: Layout, series: Ints, at: Ints) -> tuple[Ints, Mask]:
    """Interval of each instant on the grid of its series, and whether it begins there."""
    origin = np.array([one.first_slot for one in fleet.groups])[layout.group[series]]
    step_us = layout.step[series] * 1_000_000
    since = at - layout.phase[series] * 1_000_000
    return since // step_us - origin, since % step_us == 0
