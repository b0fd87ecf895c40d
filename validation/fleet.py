"""Which series a run judges: installations in groups of equal grid, and what master data say of each."""

from datetime import datetime, timedelta
from typing import Final, NamedTuple

import polars as pl

from schemas.codes import Channel
from schemas.errors import ContractError
from schemas.frames import CHANNEL
from schemas.timegrid import INTERVAL_LENGTHS_S, zone
from validation.block import Ints
from validation.params import MAX_SPAN_DAYS, VeeParams
from validation.phases import with_phases
from validation.rules.definition import ACCUMULATED
from validation.strangers import with_eras

_GROUP: Final = ("interval_s", "timezone", "rate_class", "_channels", "_phase_s")
_ACCUMULATED: Final = sorted(channel.value for channel in ACCUMULATED)


class Group(NamedTuple):
    """Installations of one interval length, phase, zone, rate class and list of channels: rows `first` to `after`."""

    step_s: int
    timezone: str
    rate_class: str | None
    channels: tuple[Channel, ...]
    first: int
    after: int
    first_slot: int
    """Interval 0 of the group's blocks, in steps since 1970-01-01T00:00Z and the phase."""
    slots: int
    """Intervals of the blocks: those asked for, and the data around them as history."""
    wanted: tuple[int, int]
    """Intervals asked for, half open, counted from `first_slot`."""
    phase_s: int = 0
    """Seconds by which intervals begin after whole steps since 1970-01-01T00:00Z (`validation.phases`)."""

    def slot_at(self, instant_us: Ints) -> Ints:
        """Interval in which instants lie, from microseconds since the epoch."""
        return (instant_us - self.phase_s * 1_000_000) // (self.step_s * 1_000_000) - self.first_slot

    def slot_from(self, instant_us: Ints) -> Ints:
        """First interval that begins at instants or after them."""
        return -(-(instant_us - self.phase_s * 1_000_000) // (self.step_s * 1_000_000)) - self.first_slot


class Fleet(NamedTuple):
    """Every installation that a run judges."""

    installs: pl.DataFrame
    """One row an installation, groups contiguous: METERS, completed from the data, `in_master` and `zoned`."""
    groups: tuple[Group, ...]


class _Span(NamedTuple):
    data_from: datetime
    data_to: datetime
    grid_from: datetime
    grid_to: datetime


def find_fleet(meters: pl.DataFrame, intervals: pl.DataFrame, reads: pl.DataFrame, params: VeeParams) -> Fleet:
    """The installations that a run judges.

    Master data come first; what they leave open, and meters they do not know, is taken from the data: the commonest
    interval length, the channels that arrived; a stranger whose length changed has an installation for each. An
    installation of which neither says the interval length cannot be judged and is left out.

    Raises:
        ContractError: A zone is unknown, or no bounds were given and the data span more than ten years.
    """
    installs = _completed(meters, intervals, reads, params)
    span = _span(intervals, reads, params)
    if not installs.height or span is None:
        return Fleet(installs.clear().drop("_channels", "_phase_s"), ())
    for name in installs["timezone"].unique():
        zone(name)
    groups: list[Group] = []
    first = 0
    for step_s, timezone, rate_class, phase_s, count in (
        installs.group_by(_GROUP, maintain_order=True).len().select(*_GROUP[:3], "_phase_s", "len").rows()
    ):
        channels = tuple(Channel(name) for name in installs["channels"][first])
        group = Group(step_s, timezone, rate_class, channels, first, first + count, 0, 0, (0, 0), phase_s)
        groups.append(_on_grid(group, span, params))
        first += count
    return Fleet(installs.drop("_channels", "_phase_s"), tuple(groups))


def meter_ids(rows: pl.DataFrame) -> pl.Series:
    """The distinct meters of a frame; quick where equal ones follow each other, as in stored data."""
    return rows["meter_id"].rle().struct.field("value").unique().rename("meter_id")


def _on_grid(group: Group, span: _Span, params: VeeParams) -> Group:
    """The same group with the intervals that its blocks hold."""
    step = timedelta(seconds=group.step_s)
    epoch = datetime(1970, 1, 1, tzinfo=span.grid_from.tzinfo) + timedelta(seconds=group.phase_s)
    context = timedelta(days=params.context_days)
    wanted_from = -((epoch - span.grid_from) // step)
    wanted_to = (span.grid_to - epoch) // step
    first = min(wanted_from, (max(span.data_from, span.grid_from - context) - epoch) // step)
    # Of a read alone nothing is wanted, and still its block has a day: it is one interval long.
    after = max(wanted_to, wanted_from, first + 1, -((epoch - min(span.data_to, span.grid_to + context)) // step))
    return group._replace(
        first_slot=first, slots=after - first, wanted=(wanted_from - first, max(wanted_to, wanted_from) - first)
    )


def _span(intervals: pl.DataFrame, reads: pl.DataFrame, params: VeeParams) -> _Span | None:
    """First and last instant of the data and of the grid; null where there is neither.

    Where there are intervals they alone bound a grid that was not asked for; reads beyond them are data still.
    """
    ends = intervals.select(
        pl.col("interval_start").min().alias("first"),
        (pl.col("interval_start") + pl.duration(seconds=pl.col("interval_s"))).max().alias("last"),
    )
    told = reads.select(pl.col("read_at").min().alias("first"), pl.col("read_at").max().alias("last"))
    first, last = (ends if intervals.height else told).row(0)
    grid_from, grid_to = params.grid_from or first, params.grid_to or last
    if grid_from is None or grid_to is None:
        return None
    if grid_to - grid_from > timedelta(days=MAX_SPAN_DAYS):
        raise ContractError(f"grid from {grid_from} to {grid_to}: more than ten years; give both bounds")
    both = pl.concat([ends, told]).select(pl.col("first").min(), pl.col("last").max()).row(0)
    return _Span(both[0] or grid_from, both[1] or grid_to, grid_from, grid_to)


def _completed(meters: pl.DataFrame, intervals: pl.DataFrame, reads: pl.DataFrame, params: VeeParams) -> pl.DataFrame:
    """Every installation with interval length, zone and channels, sorted by group, meter and time."""
    known = meters.select("meter_id").unique()
    heard = pl.concat([meter_ids(intervals), meter_ids(reads)]).unique().to_frame()
    strangers = with_eras(heard.join(known, on="meter_id", how="anti"), intervals)
    installs = pl.concat(
        [meters.with_columns(in_master=pl.lit(value=True)), strangers.with_columns(in_master=pl.lit(value=False))],
        how="diagonal",
    )
    open_ids = installs.filter(pl.col("interval_s").is_null() | pl.col("channels").is_null()).select("meter_id")
    if open_ids.height:
        facts = _facts(intervals, reads, open_ids.unique())
        installs = installs.join(facts, on="meter_id", how="left").with_columns(
            interval_s=pl.coalesce("interval_s", "data_interval_s"), channels=pl.coalesce("channels", "data_channels")
        )
        installs = installs.drop("data_interval_s", "data_channels")
    return (
        with_phases(installs, intervals, reads)
        .filter(pl.col("interval_s") > 0, pl.col("channels").list.len() > 0)
        .with_columns(
            zoned=pl.col("timezone").is_not_null(),
            timezone=pl.col("timezone").fill_null(params.timezone),
            _channels=pl.col("channels").cast(pl.List(pl.String)).list.join(";"),
        )
        .sort(*_GROUP, "meter_id", "installed_at", nulls_last=False)
    )


def _facts(intervals: pl.DataFrame, reads: pl.DataFrame, open_ids: pl.DataFrame) -> pl.DataFrame:
    """What data say of meters whose master data leave something open: interval length and channels."""
    measured = (
        _runs(intervals.select("meter_id", "channel", "interval_s"))
        .join(open_ids, on="meter_id", how="semi")
        .group_by("meter_id", "channel", "interval_s")
        .agg(pl.col("len").sum())
        .sort("meter_id", "len", "interval_s", descending=[False, True, False])
        .group_by("meter_id", maintain_order=True)
        .agg(pl.col("interval_s").first(), pl.col("channel").unique().sort())
    )
    spacing = (
        reads.join(open_ids, on="meter_id", how="semi")
        .join(measured, on="meter_id", how="anti")
        .filter(pl.col("channel").cast(pl.String).is_in(_ACCUMULATED))
        .select("meter_id", "channel", "read_at")
        .unique()
        .sort("meter_id", "channel", "read_at")
        .with_columns(interval_s=pl.col("read_at").diff().over("meter_id", "channel").dt.total_seconds())
        .filter(pl.col("interval_s").is_in(INTERVAL_LENGTHS_S))
        .group_by("meter_id", "channel", pl.col("interval_s").cast(pl.Int32))
        .len()
        .sort("meter_id", "len", "interval_s", descending=[False, True, False])
        .group_by("meter_id", maintain_order=True)
        .agg(pl.col("interval_s").first(), pl.col("channel").unique().sort())
    )
    return pl.concat([measured, spacing]).select(
        "meter_id",
        pl.col("interval_s").alias("data_interval_s"),
        pl.col("channel").cast(pl.List(CHANNEL)).alias("data_channels"),
    )


def _runs(rows: pl.DataFrame) -> pl.DataFrame:
    """Equal rows that follow each other as one, and how many they are (`len`): as stored, a day of a series is one."""
    begins = rows.select(pl.any_horizontal(pl.all().ne_missing(pl.all().shift(1))) | (pl.int_range(pl.len()) == 0))
    at = begins.to_series().arg_true()
    after = at.shift(-1, fill_value=rows.height)
    return rows[at].with_columns((after - at).alias("len"))
