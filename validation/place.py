"""Raw rows onto the grid: one cell an interval, the last in raw order where there are several."""

from datetime import datetime
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from schemas.codes import Rule, Status
from schemas.frames import CHANNEL, EXCEPTIONS, RAW_ORDER
from schemas.quantity import UNITY_MILLI, primary_milli
from validation.block import ABSENT, Flags, Ints, Mask
from validation.fleet import Fleet
from validation.impossible import MOST_IN_AN_INTERVAL, findings_within, impossible_values, within_reach
from validation.rules.definition import ACCUMULATED

NOT_VALID: Final = np.uint32(Status.DATA_NOT_VALID)
"""The meter itself calls the value worthless: it is kept in the raw tables and treated as never measured."""
_REJECTED: Final = Status.CLOCK_INVALID | Status.TEST_MODE | Status.OVERFLOW
"""V1, V18 and V19: a value with one of these is never used."""
_RULES: Final = (Rule.IDENTITY, Rule.METER_EXCHANGE)
_FINDINGS: Final = EXCEPTIONS.empty().select("meter_id", "channel", "rule", "first_interval", "intervals")


CHANNEL_CODE: Final = {name: number for number, name in enumerate(CHANNEL.categories)}


class Part(NamedTuple):
    """One a series: an interval that its installation or removal cuts (`validation.parts`)."""

    slot: Ints
    """-1: none, or nothing is known of it."""
    seconds: Ints
    """How much of it the meter was there, in whole minutes; 0 where there is none."""


class Parts(NamedTuple):
    """Of every series the interval in which it was installed, and the one in which it was removed."""

    first: Part
    last: Part


class Layout(NamedTuple):
    """Where each series' cells lie in the one vector of all cells: by group, channel, installation."""

    of: Ints
    """(installations, channels): series, -1 where there is no such channel; a row of -1 where no installation is."""
    base: Ints
    """Cell of a series' interval 0."""
    group: Ints
    """Group of a series."""
    install: Ints
    """Installation of a series."""
    step: Ints
    """Interval length of a series, in seconds."""
    phase: Ints
    """By how much its intervals begin after whole steps since the epoch, in seconds."""
    cells: int
    parts: Parts


Bounds = tuple[datetime | None, datetime | None]
"""Half open; None: none."""


class Placed(NamedTuple):
    """Every received value in its cell, and the rows that have none."""

    value: Ints
    """One a cell; primary, ABSENT where nothing usable came."""
    status: Flags | None
    """One a cell; None where no row carries a bit."""
    disputed: tuple[Ints, Ints]
    """Cells whose rows disagree, ascending, and the primary value that came second, ABSENT where it was unknowable."""
    stray: pl.DataFrame
    """Findings about rows without a cell: `meter_id`, `channel`, `rule`, `first_interval`, `intervals`."""
    copies: pl.DataFrame
    """Findings about intervals that came more than once with one value, same columns."""
    impossible: pl.DataFrame
    """Findings about values that nothing can have measured (`validation.impossible`)."""


def lay_out(fleet: Fleet) -> Layout:
    """Cells for every series of the fleet; no interval is cut yet."""
    # At least one row: rows of no installation (-1) look there too, and find no series.
    of = np.full((max(1, fleet.installs.height), len(CHANNEL.categories)), -1, dtype=np.int64)
    base: list[Ints] = []
    group_of: list[Ints] = []
    install: list[Ints] = []
    series = cells = 0
    for number, group in enumerate(fleet.groups):
        size = group.after - group.first
        for channel in group.channels:
            of[group.first : group.after, CHANNEL_CODE[channel.value]] = series + np.arange(size)
            base.append(cells + np.arange(size, dtype=np.int64) * group.slots)
            group_of.append(np.full(size, number, dtype=np.int64))
            install.append(np.arange(group.first, group.after, dtype=np.int64))
            series, cells = series + size, cells + size * group.slots
    empty = [np.empty(0, dtype=np.int64)]
    group_number = np.concatenate(group_of or empty)
    step, phase = np.array([(group.step_s, group.phase_s) for group in fleet.groups] or [(1, 0)])[group_number].T
    bases, installs = np.concatenate(base or empty), np.concatenate(install or empty)
    none = Part(np.full(series, -1), np.zeros(series, dtype=np.int64))
    return Layout(of, bases, group_number, installs, step, phase, cells, Parts(none, none))


def channel_of(layout: Layout) -> npt.NDArray[np.uint8]:
    """Channel code of each series."""
    install, channel = np.nonzero(layout.of >= 0)
    codes = np.empty(len(install), dtype=np.uint8)
    codes[layout.of[install, channel]] = channel
    return codes


def installation_of(rows: pl.DataFrame, fleet: Fleet, instant: str) -> Ints:
    """Installation of each row, by meter and time; -1 where the meter is in none.

    Of several installations of a meter the last one installed at or before the instant counts.
    """
    order = fleet.installs.with_row_index("install").sort("meter_id", "installed_at", nulls_last=False)
    ids = (
        order.group_by("meter_id", maintain_order=True)
        .agg(count=pl.len())
        .with_columns(first=pl.col("count").cum_sum() - pl.col("count"))
    )
    runs = rows["meter_id"].rle().struct.unnest()
    found = runs.join(ids, left_on="value", right_on="meter_id", how="left", maintain_order="left")
    length = runs["len"].to_numpy()
    at = np.repeat(found["first"].cast(pl.Int64).fill_null(-1).to_numpy(), length)
    many = int(ids["count"].max() or 0)  # type: ignore[arg-type]
    if many > 1:
        count = np.repeat(found["count"].cast(pl.Int64).fill_null(0).to_numpy(), length)
        installed = order["installed_at"].to_physical().fill_null(ABSENT).to_numpy()
        when = rows[instant].to_physical().to_numpy()
        base = at.copy()
        for further in range(1, many):
            there = count > further
            later = np.where(there, base + further, 0)
            at = np.where(there & (installed[later] <= when), later, at)
    install = order["install"].cast(pl.Int64).to_numpy()
    return np.where(at < 0, -1, install[np.maximum(at, 0)]) if len(install) else np.full(rows.height, -1)


def place_intervals(
    intervals: pl.DataFrame, fleet: Fleet, layout: Layout, ahead_s: int | None = None, within: Bounds = (None, None)
) -> Placed:
    """Put every interval row into its cell.

    A row of no series, off the grid, of another length than master data say, or from outside its installation has
    no cell and becomes a finding. Rows around the grid, beyond the history of a run, are left out in silence. A value
    sent as unknowable yields to any other of its interval, and one that its own status or sign rejects to one that can
    be used. One beyond `MOST_IN_AN_INTERVAL` was never measured: a finding, and a hole.
    With `ahead_s` a value that was received so long before
    its interval was over has a doubtful clock, or an invalid one, whatever its own status says (V1). Findings are of
    rows within the bounds: of the history around them those were told that judged it.
    """
    install = installation_of(intervals, fleet, "interval_start")
    start = intervals["interval_start"].to_physical().to_numpy()
    cell, rule = _cells(intervals, install, start, fleet, layout)
    kept = np.flatnonzero(cell >= 0)
    whole = len(kept) == len(cell)
    cell = cell if whole else cell[kept]
    rows = intervals if whole else intervals[kept]
    if ahead_s is not None:
        rows = _with_clocks_held_against_reception(rows, ahead_s)
    owner = install if whole else install[kept]
    value = primary_of(rows["value_milli"], owner, fleet)
    beyond = impossible_values(rows.filter(pl.lit(value == ABSENT)), owner[value == ABSENT], fleet)
    status = rows["status"].to_numpy()
    flagged = bool(status.any())
    if flagged:
        value = np.where((status & NOT_VALID) != 0, ABSENT, value)
    cells = np.full(layout.cells, ABSENT, dtype=np.int64)
    cells[cell] = value
    bits = None
    if flagged:
        bits = np.zeros(layout.cells, dtype=np.uint32)
        bits[cell] = status
    nothing = np.empty(0, dtype=np.int64)
    copies, disputed = _FINDINGS.clear(), (nothing, nothing)
    unknowable = value == ABSENT
    twice = np.count_nonzero(cells != ABSENT) != len(value) - np.count_nonzero(unknowable)
    if twice or (cells[cell[unknowable]] != ABSENT).any():
        copies, disputed = _settle(rows, cell, value, cells, (bits, within))
    return Placed(cells, bits, disputed, _stray(intervals, rule, within), copies, findings_within(beyond, within))


def cells_of_rows(rows: pl.DataFrame, fleet: Fleet, layout: Layout) -> tuple[Ints, Ints]:
    """Cell of each row, -1 where it has none, and its installation."""
    install = installation_of(rows, fleet, "interval_start")
    cell, _ = _cells(rows, install, rows["interval_start"].to_physical().to_numpy(), fleet, layout)
    return cell, install


def _with_clocks_held_against_reception(rows: pl.DataFrame, ahead_s: int) -> pl.DataFrame:
    """The same rows; the status of a value from the future says that its clock is doubtful or invalid."""
    length_us = rows["interval_s"].to_numpy().astype(np.int64) * 1_000_000
    ahead = rows["interval_start"].to_physical().to_numpy() - rows["received_at"].to_physical().to_numpy() + length_us
    if not (ahead > ahead_s * 1_000_000).any():
        return rows
    bits = np.where(ahead > ahead_s * 1_000_000, np.uint32(Status.CLOCK_DOUBTFUL), np.uint32(0))
    bits |= np.where(ahead >= length_us, np.uint32(Status.CLOCK_INVALID), np.uint32(0))
    return rows.with_columns(status=pl.Series(rows["status"].to_numpy() | bits, dtype=pl.UInt32))


def _cells(rows: pl.DataFrame, install: Ints, start: Ints, fleet: Fleet, layout: Layout) -> tuple[Ints, Ints]:
    """Cell of each row, or -1, and then the rule that it breaks as its position in `_RULES`, or -1."""
    channel = rows["channel"].to_physical().to_numpy()
    series = layout.of.ravel()[install * layout.of.shape[1] + channel] if len(layout.of) else np.full(len(install), -1)
    series[install < 0] = -1
    safe = np.maximum(series, 0)
    grid = [(one.step_s, one.first_slot, one.slots, one.phase_s) for one in fleet.groups] or [(1, 0, 0, 0)]
    if len(set(grid)) == 1:
        # One grid for all, the usual case: constants instead of three gathers.
        step, origin, width, phase = (np.int64(one) for one in grid[0])
    else:
        step, origin, width, phase = np.array(grid)[layout.group[safe]].T
    step_us = step * 1_000_000
    since = start - phase * 1_000_000 if np.any(phase) else start
    slot = since // step_us
    identity = (series < 0) | (slot * step_us != since) | (rows["interval_s"].to_numpy() != step)
    outside = _outside(install, start, step_us, fleet)
    slot -= origin
    for part in layout.parts:
        if (part.slot >= 0).any():
            outside &= (slot != part.slot[safe]) | (part.slot[safe] < 0)
    inside = (slot >= 0) & (slot < width) & ~identity & ~outside
    base = layout.base[safe] if len(layout.base) else safe
    return np.where(inside, base + slot, -1), np.where(identity, 0, np.where(outside, 1, -1))


def _outside(install: Ints, start: Ints, step_us: Ints | np.int64, fleet: Fleet) -> Mask:
    """Rows from before the installation or after the removal of their meter."""
    bounds = fleet.installs.select("installed_at", "removed_at")
    if not len(bounds) or bounds.null_count().row(0) == (len(bounds), len(bounds)):
        return np.zeros(len(start), dtype=np.bool_)
    installed = bounds["installed_at"].to_physical().fill_null(ABSENT).to_numpy()
    removed = bounds["removed_at"].to_physical().fill_null(np.iinfo(np.int64).max).to_numpy()
    early: Mask = (start < installed[install]) | (start + step_us > removed[install])
    return early


def primary_of(sent: pl.Series, install: Ints, fleet: Fleet, most: int = MOST_IN_AN_INTERVAL) -> Ints:
    """Primary quantities as a vector, null and what is beyond `most` as ABSENT; the multiplier is applied only where
    there is one."""
    multiplier = fleet.installs["multiplier"].fill_null(UNITY_MILLI).to_numpy()
    value = sent.fill_null(ABSENT).to_numpy()
    if (multiplier == UNITY_MILLI).all():
        return within_reach(value, most)
    factor = pl.Series("m", multiplier[install])
    rows = pl.DataFrame({"v": sent.alias("v"), "m": factor})
    primary = rows.select(primary_milli(pl.col("v"), pl.col("m")).fill_null(ABSENT)).to_series().to_numpy()
    return within_reach(primary, most)


def _settle(
    rows: pl.DataFrame, cell: Ints, value: Ints, cells: Ints, also: tuple[Flags | None, Bounds]
) -> tuple[pl.DataFrame, tuple[Ints, Ints]]:
    """Write the last value in raw order into every cell that several rows name; count the rows that repeat another's
    value, and say where rows disagree.

    One that can be used goes before one that its own status or sign rejects, and that before one sent as unknowable.
    """
    bits, within = also
    often = np.bincount(cell, minlength=1)[cell] > 1
    several = (
        rows.filter(pl.Series(often))
        .with_columns(_cell=pl.Series(cell[often]), _value=pl.Series(value[often]))
        .sort(_usable(), *RAW_ORDER)
    )
    last = several.unique("_cell", keep="last", maintain_order=True)
    at = last["_cell"].to_numpy()
    cells[at] = last["_value"].to_numpy()
    if bits is not None:
        bits[at] = last["status"].to_numpy()
    taken = pl.col("_value").last()
    counted = several.group_by("_cell").agg(
        pl.col("meter_id", "channel", "interval_start").first(),
        copies=pl.len() - pl.col("_value").n_unique(),
        rival=pl.col("_value").filter(pl.col("_value") != taken).last(),
    )
    rivals = counted.filter(pl.col("rival").is_not_null()).sort("_cell")
    copies = (
        counted.filter(_inside(within), pl.col("copies") > 0)
        .group_by("meter_id", "channel")
        .agg(
            rule=pl.lit(Rule.DUPLICATE.value),
            first_interval=pl.col("interval_start").min(),
            intervals=pl.col("copies").sum().cast(pl.Int32),
        )
    )
    disputed = rivals["_cell"].to_numpy(), rivals["rival"].to_numpy()
    return copies.select(_FINDINGS.columns).cast(_FINDINGS.schema), disputed


def _usable() -> pl.Expr:
    """2: nothing in the row itself speaks against it; 1: a rule rejects it whatever is around it; 0: no value."""
    known = pl.col("_value") != ABSENT
    rejected = (pl.col("status") & int(_REJECTED)) != 0
    negative = (pl.col("_value") < 0) & pl.col("channel").cast(pl.String).is_in([one.value for one in ACCUMULATED])
    return known.cast(pl.Int8) + (known & ~rejected & ~negative)


def _inside(within: Bounds) -> pl.Expr:
    start, end = within
    begun = pl.lit(value=True) if start is None else pl.col("interval_start") >= start
    return begun if end is None else begun & (pl.col("interval_start") < end)


def _stray(rows: pl.DataFrame, rule: Ints, within: Bounds) -> pl.DataFrame:
    """Rows without a series, by meter, channel and rule."""
    if (rule < 0).all():
        return _FINDINGS.clear()
    return (
        rows.select("meter_id", "channel", "interval_start", _rule=pl.Series(rule))
        .filter(pl.col("_rule") >= 0, _inside(within))
        .with_columns(
            rule=pl.when(pl.col("_rule") == 0).then(pl.lit(_RULES[0].value)).otherwise(pl.lit(_RULES[1].value))
        )
        .group_by("meter_id", "channel", "rule")
        .agg(first_interval=pl.col("interval_start").min(), intervals=pl.len().cast(pl.Int32))
        .select(_FINDINGS.columns)
        .cast(_FINDINGS.schema)
    )
