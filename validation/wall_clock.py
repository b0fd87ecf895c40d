"""Meters whose intervals keep to the wall clock over changes of daylight saving: days of Berlin, hours of Lord Howe.

A day from local midnight begins at 23:00 UTC in winter and at 22:00 in summer, and two of them in a year last 23 and
25 hours. On the axis of the wall clock all of them are one length apart: such meters are judged there, by a clock that
is never changed, and what is said of them is carried back (`validation.wall_rows`). Where the change is a whole number
of intervals, as it is for hours of Berlin, the axis of UTC is as good and nothing is done.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

import polars as pl

from schemas.frames import UTC_US
from schemas.timegrid import zone
from validation.params import VeeParams
from validation.phases import WHOLE_PHASE_S
from validation.rules.definition import ACCUMULATED

LENGTHS_S: Final = (86_400, 3_600)
"""Intervals that a change of clock may cut: all shorter ones in use are half an hour or divide it."""
_ACCUMULATED: Final = sorted(channel.value for channel in ACCUMULATED)
_SAMPLE: Final = timedelta(days=7)
"""No zone changes its clock twice within a week and stays as it was (Ramadan in Morocco lasts four)."""


class WallClock(NamedTuple):
    """A zone's wall clock, and the cells of one length that meters cut it into."""

    zone: str
    step_s: int
    phase_s: int
    """By how much cells begin after whole lengths since 1970 by that clock."""

    def wall(self, instants: pl.Series) -> pl.Series:
        """What the clock shows at instants of UTC, written as if it were UTC; nulls stay.

        The first instant of a cell is where the cell begins by the clock, also where the clock skipped that moment.
        """
        shown = instants.dt.convert_time_zone(self.zone).dt.replace_time_zone(None).dt.replace_time_zone("UTC")
        cell = self.cell(shown)
        return pl.select(pl.when(self.utc(cell) == instants).then(cell).otherwise(shown)).to_series().alias("at")

    def cell(self, shown: pl.Series) -> pl.Series:
        """Where the cells begin in which moments of the clock lie, by the clock."""
        step, phase = self.step_s * 1_000_000, self.phase_s * 1_000_000
        return ((shown.to_physical() - phase) // step * step + phase).cast(UTC_US)

    def utc(self, shown: pl.Series) -> pl.Series:
        """The first instant at which the clock shows each moment; of one that it skipped, as if it had not been put
        forward: for the moment at which that happened, the instant itself."""
        naive = shown.dt.replace_time_zone(None)
        known = naive.dt.replace_time_zone(self.zone, ambiguous="earliest", non_existent="null")
        instants = known.dt.convert_time_zone("UTC").cast(UTC_US)
        skipped = naive.filter(instants.is_null() & naive.is_not_null()).unique()
        if not len(skipped):
            return instants
        here = zone(self.zone)
        told = pl.DataFrame({"naive": skipped, "at": [each.replace(tzinfo=here).astimezone(UTC) for each in skipped]})
        both = naive.rename("naive").to_frame().join(told, on="naive", how="left", maintain_order="left")
        return instants.fill_null(both["at"].cast(UTC_US))

    def length_s(self, cells: pl.Series) -> pl.Series:
        """How long cells last, by where they begin."""
        after = (cells.to_physical() + self.step_s * 1_000_000).cast(UTC_US)
        return ((self.utc(after) - self.utc(cells)).dt.total_seconds()).cast(pl.Int32)

    def odd_cells(self, since: datetime, until: datetime) -> tuple[tuple[int, int], ...]:
        """Cells between two moments of the clock that last another time than their length: `VeeParams.odd_cells`."""
        ends = self.cell(pl.Series([since, until], dtype=UTC_US))
        cells = pl.datetime_range(ends[0], ends[1], timedelta(seconds=self.step_s), eager=True).cast(UTC_US)
        lengths = self.length_s(cells)
        odd = lengths != self.step_s
        return tuple(zip(cells.filter(odd).to_physical(), lengths.filter(odd), strict=True))


def wall_clocks(
    intervals: pl.DataFrame, reads: pl.DataFrame, meters: pl.DataFrame, params: VeeParams
) -> Iterator[tuple[WallClock, pl.Series]]:
    """The wall clocks that meters keep to, each with its meters: those of whose intervals more begin at one phase by
    the clock than by UTC.

    Where as many do, because all lie on one side of the change, a meter keeps to the clock if they begin at whole
    lengths by it and at none by UTC. Of a meter that sends reads alone these tell. One with installations of several
    interval lengths is left to UTC.
    """
    if not any((rows["interval_s"] >= min(LENGTHS_S)).any() for rows in (intervals, meters)):
        return
    lengths = {*intervals["interval_s"].unique(), *meters["interval_s"].unique()}
    zones = {*meters["timezone"].drop_nulls().unique(), params.timezone}
    moved = [(name, step) for step in LENGTHS_S if step in lengths for name in sorted(zones)]
    moved = [(name, step) for name, step in moved if _cuts(name, step, _window(intervals, reads, params))]
    if not moved:
        return
    seen = _begins(intervals, reads, meters, params.timezone)
    for name, step in moved:
        rows = seen.filter(pl.col("timezone") == name, pl.col("step") == step)
        if not rows.height:
            continue
        shown = rows["at"].dt.convert_time_zone(name).dt.replace_time_zone(None).dt.replace_time_zone("UTC")
        by_utc, by_clock = _commonest(rows, rows["at"], step), _commonest(rows, shown, step)
        both = by_clock.join(by_utc, on="meter_id", how="left", suffix="_utc")
        more = pl.col("len") > pl.col("len_utc").fill_null(0)
        whole = (pl.col("len") == pl.col("len_utc")) & (pl.col("phase") == 0) & (pl.col("phase_utc") != 0)
        for mine in both.filter(more | whole).sort("phase", "meter_id").partition_by("phase", maintain_order=True):
            yield WallClock(name, step, int(mine["phase"][0])), mine["meter_id"]


def _window(intervals: pl.DataFrame, reads: pl.DataFrame, params: VeeParams) -> pl.Series:
    """Instants a week apart, from before everything that a run is about to behind it."""
    ends = [
        *(rows[name].min() for rows, name in ((intervals, "interval_start"), (reads, "read_at"))),
        *(rows[name].max() for rows, name in ((intervals, "interval_start"), (reads, "read_at"))),
        params.grid_from,
        params.grid_to,
    ]
    known = [each for each in ends if isinstance(each, datetime)]
    if not known:
        return pl.Series(dtype=UTC_US)
    return pl.datetime_range(min(known), max(known) + _SAMPLE, _SAMPLE, eager=True).cast(UTC_US)


def _cuts(name: str, step: int, window: pl.Series) -> bool:
    """Whether the zone's clock is changed there by what is no whole number of intervals."""
    zone(name)
    shown = window.dt.convert_time_zone(name).dt.replace_time_zone(None).dt.replace_time_zone("UTC")
    return int(((shown - window).dt.total_seconds() % step).n_unique()) > 1


def _begins(intervals: pl.DataFrame, reads: pl.DataFrame, meters: pl.DataFrame, default: str) -> pl.DataFrame:
    """Where intervals begin, or reads of meters without intervals lie: `meter_id`, `timezone`, `step`, `at`."""
    master = meters.group_by("meter_id").agg(
        pl.col("timezone").drop_nulls().first(),
        step=pl.col("interval_s").drop_nulls().first(),
        steps=pl.col("interval_s").drop_nulls().n_unique(),
    )
    sent = intervals.filter(pl.col("interval_s").is_in(LENGTHS_S)).select("meter_id", "interval_s", at="interval_start")
    commonest = (
        sent.group_by("meter_id", "interval_s")
        .len()
        .sort("len", "interval_s", descending=True)
        .unique("meter_id", keep="first", maintain_order=True)
    )
    read = (
        reads.filter(pl.col("channel").cast(pl.String).is_in(_ACCUMULATED))
        .select("meter_id", at="read_at")
        .unique()
        .join(intervals.select("meter_id").unique(), on="meter_id", how="anti")
        .with_columns(interval_s=pl.lit(None, pl.Int32))
    )
    rows = pl.concat([sent, read.select(sent.columns)])
    told = rows.join(master, on="meter_id", how="left").join(
        commonest.select("meter_id", common="interval_s"), on="meter_id", how="left"
    )
    step = pl.coalesce("step", "common")
    return told.filter(pl.col("steps").fill_null(1) <= 1, pl.col("interval_s").fill_null(step) == step).select(
        "meter_id", pl.col("timezone").fill_null(default), step=step, at="at"
    )


def _commonest(rows: pl.DataFrame, at: pl.Series, step: int) -> pl.DataFrame:
    """Of each meter the phase at which most of its rows lie, of two the lesser: `meter_id`, `phase`, `len`."""
    phase = at.to_physical() % (step * 1_000_000)
    return (
        rows.select("meter_id", phase=phase // 1_000_000)
        .filter(pl.Series(phase % (WHOLE_PHASE_S * 1_000_000) == 0))
        .group_by("meter_id", "phase")
        .len()
        .sort("meter_id", "len", "phase", descending=[False, True, False])
        .unique("meter_id", keep="first", maintain_order=True)
    )
