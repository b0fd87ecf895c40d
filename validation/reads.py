"""Register reads: which are usable, and how far the register moved between two of them.

A usable read was measured, lies on the interval grid, and is believed: its clock is not invalid, and it passed V13
and V22. One backward or impossible value is never a new base: a second read confirms it first.
"""

from typing import Final, NamedTuple

import numpy as np
import polars as pl

from schemas.codes import Channel, Rule, Severity, Status
from schemas.frames import RAW_ORDER, UTC_US
from validation.believe import Register, believe
from validation.block import ABSENT, Ints, Mask
from validation.fleet import Fleet
from validation.impossible import MOST_ON_A_REGISTER, NO_FINDINGS, never_shown
from validation.master import BELIEF_PERCENT, Facts
from validation.place import CHANNEL_CODE, Layout, installation_of, primary_of
from validation.rules.definition import ACCUMULATED

UNUSABLE: Final = int(Status.CLOCK_INVALID | Status.TEST_MODE | Status.OVERFLOW | Status.DATA_NOT_VALID)
"""Status bits of a read that nothing may be anchored to."""
SECONDS_A_HOUR: Final = 3600
TOU_REGISTERS: Final = 4
TOU_OF: Final = {
    Channel.ENERGY_DELIVERED: (
        Channel.ENERGY_DELIVERED_T1, Channel.ENERGY_DELIVERED_T2, Channel.ENERGY_DELIVERED_T3,
        Channel.ENERGY_DELIVERED_T4,
    ),
    Channel.ENERGY_RECEIVED: (
        Channel.ENERGY_RECEIVED_T1, Channel.ENERGY_RECEIVED_T2, Channel.ENERGY_RECEIVED_T3, Channel.ENERGY_RECEIVED_T4,
    ),
}  # fmt: skip
"""Time-of-use registers of a total."""
_ACCUMULATED: Final = sorted(channel.value for channel in ACCUMULATED)


class Spans(NamedTuple):
    """Runs of intervals of a series, sorted by series."""

    series: Ints
    start: Ints
    stop: Ints


class _Reads(NamedTuple):
    series: Ints
    at: Ints
    """Boundary of the grid: interval `at` starts with it."""
    value: Ints
    odd: pl.DataFrame
    """Findings about those that are not among them."""


class Registers(NamedTuple):
    """What the reads of a run say."""

    span: Spans
    """Between consecutive usable reads."""
    advance: Ints
    """Of each span, primary, never negative."""
    value: Ints
    """Of the register at the end of each span, primary."""
    tou: Ints
    """(spans, 4): advance of each time-of-use register between the same reads, ABSENT where unknown."""
    broken: Spans
    """Where a register went back without a plausible rollover (V22)."""
    jumps: Spans
    """Where it moved further than supply and fuse let it (V13)."""
    read: Mask
    """(series,): reads are at hand."""
    tou_read: Mask
    """(series, 4): reads of each time-of-use register are at hand."""
    links: Spans
    """Between consecutive usable reads of a time-of-use register, where they are no span of the total."""
    linked: tuple[Ints, Ints]
    """One a link: register, 0 to 3, and its advance."""
    odd: pl.DataFrame
    """Findings about single reads: what no register can show (`validation.impossible`), and what others of the same
    instant contradict."""


def read_registers(reads: pl.DataFrame, fleet: Fleet, layout: Layout, facts: Facts) -> Registers:
    """The advances between consecutive usable reads of every series, and the places where there is none."""
    rows = reads.filter(pl.col("channel").cast(pl.String).is_in(_ACCUMULATED))
    placed = _on_grid(rows, fleet, layout, layout.of)
    links = _link(placed, layout, facts)
    has = np.zeros(len(layout.base), dtype=np.bool_)
    has[placed.series] = True
    tou = np.full((len(links.advance), TOU_REGISTERS), ABSENT)
    tou_read = np.zeros((len(layout.base), TOU_REGISTERS), dtype=np.bool_)
    lone = [(*np.empty((3, 0), dtype=np.int64), *np.empty((2, 0), dtype=np.int64))]
    odd = [placed.odd]
    told = set(rows["channel"].unique().cast(pl.String))
    for total, registers in TOU_OF.items():
        for number, register in enumerate(registers):
            if register.value not in told:
                continue
            column = _as_if(layout.of, total, register)
            read = _on_grid(rows.filter(pl.col("channel") == register.value), fleet, layout, column)
            odd.append(read.odd)
            tou_read[read.series, number] = True
            mine = _link(read, layout, facts)
            other = ~_match(links.span, mine, tou[:, number])
            count = np.count_nonzero(other)
            lone.append((*(part[other] for part in mine.span), np.full(count, number), mine.advance[other]))
    ends = _at_ends(placed, links.span)
    columns = [np.concatenate(part) for part in zip(*lone, strict=True)]
    series, start, stop, number_of, advance = (column[np.argsort(columns[0], kind="stable")] for column in columns)
    also = Spans(series, start, stop), (number_of, advance), pl.concat(odd)
    return Registers(links.span, links.advance, ends, tou, links.broken, links.jumps, has, tou_read, *also)


def _at_ends(placed: _Reads, span: Spans) -> Ints:
    """What the reads at the ends of spans say."""
    wide = int(placed.at.max(initial=0)) + 1
    return placed.value[np.searchsorted(placed.series * wide + placed.at, span.series * wide + span.stop)]


def _as_if(of: Ints, total: Channel, register: Channel) -> Ints:
    """A table of series in which a register stands where its total does, and nothing else stands anywhere."""
    table = np.full_like(of, -1)
    table[:, CHANNEL_CODE[register.value]] = of[:, CHANNEL_CODE[total.value]]
    return table


def _match(span: Spans, links: "_Links", column: Ints) -> Mask:
    """Write the advances of a register into `column`, where it was read together with the total; say of which links."""
    wide = int(max(span.stop.max(initial=0), links.span.stop.max(initial=0))) + 1
    keys = [(one.series * wide + one.start) * wide + one.stop for one in (span, links.span)]
    at = np.searchsorted(keys[0], keys[1])
    hit = keys[0][np.minimum(at, len(keys[0]) - 1)] == keys[1] if len(keys[0]) else at < 0
    column[at[hit]] = links.advance[hit]
    matched: Mask = hit
    return matched


class _Links(NamedTuple):
    span: Spans
    advance: Ints
    broken: Spans
    jumps: Spans


def _link(placed: _Reads, layout: Layout, facts: Facts) -> _Links:
    """What two consecutive reads of a register say, for every pair that can be believed."""
    same = placed.series[1:] == placed.series[:-1]
    first = np.flatnonzero(same)
    install = layout.install
    power = np.where(facts.power_mw == ABSENT, ABSENT, facts.power_mw * BELIEF_PERCENT // 100)[install]
    limit = np.where(power == ABSENT, ABSENT, power * layout.step // SECONDS_A_HOUR + facts.resolution[install])
    moved = placed.value[first + 1] - placed.value[first]
    mine = limit[placed.series[first]]
    fine = (moved >= 0) & ((mine == ABSENT) | (moved <= mine * (placed.at[first + 1] - placed.at[first])))
    odd = np.unique(placed.series[first[~fine]])
    plain = fine & ~np.isin(placed.series[first], odd)
    links = [(placed.series[first[plain]], placed.at[first[plain]], placed.at[first[plain] + 1], moved[plain])]
    broken: list[tuple[int, int, int]] = []
    jumps: list[tuple[int, int, int]] = []
    for series in odd:
        cut = slice(*np.searchsorted(placed.series, [series, series + 1]))
        wrap = int(facts.wrap[install[series]])
        believed = believe(Register(placed.at[cut].tolist(), placed.value[cut].tolist(), int(limit[series]), wrap))
        column = np.array(believed.links, dtype=np.int64).reshape(-1, 3)
        links.append((np.full(len(column), series), column[:, 0], column[:, 1], column[:, 2]))
        broken += [(int(series), *pair) for pair in believed.broken]
        jumps += [(int(series), *pair) for pair in believed.jumps]
    series_of, start, stop, advance = (np.concatenate(part) for part in zip(*links, strict=True))
    order = np.lexsort((start, series_of))
    span = Spans(series_of[order], start[order], stop[order])
    return _Links(span, advance[order], _spans(broken), _spans(jumps))


def _spans(triples: list[tuple[int, int, int]]) -> Spans:
    columns = np.array(triples, dtype=np.int64).reshape(-1, 3)
    return Spans(columns[:, 0], columns[:, 1], columns[:, 2])


def _on_grid(reads: pl.DataFrame, fleet: Fleet, layout: Layout, of: Ints) -> _Reads:
    """Reads that fall on a boundary of their series' grid, the last in raw order of each, sorted by series and time.

    In an interval that a removal cuts the last read up to it stands at its end, in one that an installation cuts the
    first one from there on at its beginning.
    """
    rows = reads.filter(pl.col("value_milli").is_not_null(), (pl.col("status") & UNUSABLE) == 0)
    rows, install = for_both(rows, installation_of(rows, fleet, "read_at"), fleet)
    series = of[install, rows["channel"].to_physical().to_numpy()]
    series[install < 0] = -1
    number = layout.group[np.maximum(series, 0)] if len(layout.group) else np.zeros_like(series)
    grid = np.array(
        [(one.step_s * 1_000_000, one.first_slot, one.slots, one.phase_s * 1_000_000) for one in fleet.groups]
        or [(1, 0, 0, 0)]
    )
    step_us, origin, width, phase_us = grid[number].T
    instant = rows["read_at"].to_physical().to_numpy() - phase_us
    at = instant // step_us - origin
    exact = instant % step_us == 0
    at, exact, near = _at_parts((at, exact, instant), series, layout, _bounds(install, phase_us, fleet))
    kept = (series >= 0) & exact & (at >= 0) & (at <= width)
    end_of = (instant - np.where(at > 0, step_us, 0) + phase_us)[kept]
    rows, install, series = rows.filter(pl.Series(kept)), install[kept], series[kept]
    at, near = at[kept], near[kept]
    ends = rows.with_columns(end_of=pl.Series(end_of).cast(UTC_US))
    wrong, odd = never_shown(ends, install, fleet)
    table = rows.select(*RAW_ORDER).with_columns(
        series=pl.Series(series),
        at=pl.Series(at),
        near=pl.Series(near),
        value=pl.Series(primary_of(rows["value_milli"], install, fleet, MOST_ON_A_REGISTER)),
    )
    fit = ~pl.Series(wrong) & (table["value"] != ABSENT)
    table = table.filter(fit)
    if table.select("series", "at").is_duplicated().any():
        table, other = _last_of_each(table.with_columns(ends.select("meter_id", "channel", "end_of").filter(fit)))
        odd = pl.concat([odd, other])
    table = table.sort("series", "at")
    return _Reads(table["series"].to_numpy(), table["at"].to_numpy(), table["value"].to_numpy(), odd)


def _last_of_each(table: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Of usable reads at one boundary the last in raw order of the instant nearest to it, and findings (V5) where
    another of that instant said something else: the value that counts, and the last one that differs from it as the
    limit; primary, both."""
    key = ["series", "at"]
    several = table.sort("near", *RAW_ORDER)
    last = several.unique(key, keep="last", maintain_order=True)
    counts = last.select(*key, "near", counts="value")
    differ = several.join(counts, on=[*key, "near"], maintain_order="left").filter(pl.col("value") != pl.col("counts"))
    told = differ.unique(key, keep="last", maintain_order=True).select(
        "meter_id", "channel",
        rule=pl.lit(Rule.DUPLICATE.value),
        severity=pl.lit(Severity.WARNING.value),
        first_interval="end_of",
        intervals=pl.lit(1),
        measured_milli="counts",
        limit_milli="value",
    )  # fmt: skip
    return last, told.cast(NO_FINDINGS.schema)


def _bounds(install: Ints, phase_us: Ints, fleet: Fleet) -> tuple[Ints, Ints]:
    """When the installation of each read begins and ends on the clock of its grid; ABSENT where that is unknown."""
    told = []
    for name in ("installed_at", "removed_at"):
        # At least one row: reads of no installation (-1) look there too.
        instants = np.append(fleet.installs[name].to_physical().fill_null(ABSENT).to_numpy(), ABSENT)[install]
        told.append(np.where(instants == ABSENT, ABSENT, instants - phase_us))
    return told[0], told[1]


def _at_parts(
    placed: tuple[Ints, Mask, Ints], series: Ints, layout: Layout, bounds: tuple[Ints, Ints]
) -> tuple[Ints, Mask, Ints]:
    """Boundaries of reads, which of them stand at one, and how near each is to the exchange that it tells of."""
    at, exact, instant = placed
    near = np.zeros_like(at)
    for part, bound, after in ((layout.parts.first, bounds[0], 0), (layout.parts.last, bounds[1], 1)):
        if not (part.slot >= 0).any():
            continue
        here = (series >= 0) & (part.slot[series] >= 0)
        there = here & ~exact & (at == part.slot[series])
        there &= (instant <= bound) if after else (instant >= bound)
        # What stands at that boundary by itself is of before the installation or after the removal.
        exact = (exact & ~(here & (at == part.slot[series] + after))) | there
        near = np.where(there, -np.abs(bound - instant), near)
        at = np.where(there, at + after, at)
    return at, exact, near


def for_both(rows: pl.DataFrame, install: Ints, fleet: Fleet) -> tuple[pl.DataFrame, Ints]:
    """Reads and their installations; one at the instant at which an installation of a meter follows another is both's:
    the initial read of the one and the final read of the other."""
    dates = fleet.installs.select("meter_id", "installed_at", "removed_at").with_row_index("install")
    meets = dates.join(
        dates, left_on=["meter_id", "installed_at"], right_on=["meter_id", "removed_at"], suffix="_before"
    )
    if not meets.height:
        return rows, install
    before, since = np.full(dates.height, -1), np.full(dates.height, ABSENT)
    before[meets["install"].to_numpy()] = meets["install_before"].to_numpy()
    since[meets["install"].to_numpy()] = meets["installed_at"].to_physical().to_numpy()
    also = (install >= 0) & (before[install] >= 0) & (since[install] == rows["read_at"].to_physical().to_numpy())
    return pl.concat([rows, rows.filter(pl.Series(also))]), np.concatenate([install, before[install[also]]])


def fill_cumulative(value: Ints, registers: Registers, where: tuple[Fleet, Layout, Facts]) -> None:
    """Write the intervals of cumulative profiles into their cells: differences of reads one interval apart.

    A series is cumulative by its meter type, or if no interval of it arrived. `value`, one element a cell, is the
    run's own vector and is written in place.
    """
    fleet, layout, facts = where
    one = np.flatnonzero(registers.span.stop - registers.span.start == 1)
    series = registers.span.series[one]
    if not len(series):
        return
    install = layout.install
    candidates = np.unique(series)
    width = np.array([group.slots for group in fleet.groups])[layout.group]
    silent = [number for number in candidates if _is_silent(value, int(layout.base[number]), int(width[number]))]
    cumulative = facts.cumulative[install]
    cumulative[silent] = True
    chosen = one[cumulative[series]]
    value[layout.base[registers.span.series[chosen]] + registers.span.start[chosen]] = registers.advance[chosen]


def _is_silent(value: Ints, first: int, width: int) -> bool:
    return bool((value[first : first + width] == ABSENT).all())
