"""Frames of meters that keep to the wall clock, on its axis and back (`validation.wall_clock`)."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

import msgspec
import polars as pl

from schemas.frames import INTERVALS, RAW_ORDER, UTC_US
from validation.params import VeeParams
from validation.wall_clock import WallClock

_WHOLE_DAYS_S: Final = 86_400
_TIMES: Final = {
    "reads": ("read_at",), "events": ("occurred_at",), "outages": ("started_at", "restored_at"),
    "meters": ("installed_at", "removed_at"), "edits": ("from", "to"), "finals": ("interval_start",),
    "billed": ("billed_from", "billed_to"),
}  # fmt: skip
"""Columns that say when something was; times of reception, judgement and editing stay as they are."""
_SERIES: Final = ("meter_id", "channel")
_NO_CELL: Final = pl.lit(0, pl.Int32)
"""Length by the clock of a row that is as long as most cells are, and not its own: it is placed nowhere (V2)."""


def on_wall(clock: WallClock, frames: Mapping[str, pl.DataFrame]) -> dict[str, pl.DataFrame]:
    """The frames of `VeeInputs` by the clock, as if it were UTC: every interval is one length of the clock's cells."""
    placed = {
        name: rows.with_columns(clock.wall(rows[column]).alias(column) for column in _TIMES.get(name, ()))
        for name, rows in frames.items()
        if name != "intervals"
    }
    meters, finals = placed["meters"], placed["finals"]
    lasted = clock.wall(_ends(frames["finals"], "interval_start")) - finals["interval_start"]
    return placed | {
        "intervals": _placed(clock, frames["intervals"]),
        "meters": meters.with_columns(timezone=pl.when(pl.col("timezone").is_not_null()).then(pl.lit("UTC"))),
        "finals": finals.with_columns(interval_s=lasted.dt.total_seconds().cast(pl.Int32)),
    }


def params_on_wall(clock: WallClock, params: VeeParams) -> VeeParams:
    """The same parameters by the clock."""

    def wall(instant: datetime | None) -> datetime | None:
        return None if instant is None else clock.wall(pl.Series([instant], dtype=UTC_US))[0]

    bounds = wall(params.grid_from), wall(params.grid_to)
    around = timedelta(days=params.context_days)
    since, until = bounds
    odd = () if since is None or until is None else clock.odd_cells(since - around, until + around)
    silences = tuple(
        msgspec.structs.replace(one, silent_from=wall(one.silent_from), silent_to=wall(one.silent_to))
        for one in params.silences
    )
    return msgspec.structs.replace(
        params,
        judged_at=wall(params.judged_at),
        grid_from=bounds[0],
        grid_to=bounds[1],
        odd_cells=odd,
        final_before=wall(params.final_before),
        silences=silences,
        timezone="UTC",
    )


def off_wall(clock: WallClock, judged: Mapping[str, pl.DataFrame]) -> dict[str, pl.DataFrame]:
    """The frames of a judgement by UTC again, intervals as long as they lasted; one that the clock skipped is none."""
    return {name: _off(clock, rows) for name, rows in judged.items()}


def _off(clock: WallClock, rows: pl.DataFrame) -> pl.DataFrame:
    column = next((name for name in ("interval_start", "first_interval") if name in rows.columns), None)
    if column is None:
        return rows
    back = rows.with_columns(clock.utc(rows[column]).alias(column))
    if "interval_s" not in rows.columns:
        return back
    lasts = clock.utc(_ends(rows, column)) - back[column]
    return back.with_columns(interval_s=lasts.dt.total_seconds().cast(pl.Int32)).filter(pl.col("interval_s") > 0)


def _ends(rows: pl.DataFrame, column: str) -> pl.Series:
    return rows.select(pl.col(column) + pl.duration(seconds="interval_s")).to_series()


def meters_of(frames: Mapping[str, pl.DataFrame]) -> pl.Series:
    """Every meter that the frames of `VeeInputs` name."""
    named = [rows["meter_id"].unique() for rows in frames.values() if "meter_id" in rows.columns]
    return pl.concat(named).unique().sort()


def only_of(frames: Mapping[str, pl.DataFrame], meters: pl.Series) -> dict[str, pl.DataFrame]:
    """The rows of those meters; frames that name none as they are."""
    mine = pl.col("meter_id").is_in(meters.implode())
    return {name: rows.filter(mine) if "meter_id" in rows.columns else rows for name, rows in frames.items()}


def beside(frames: Mapping[str, pl.DataFrame], meters: pl.Series) -> dict[str, pl.DataFrame]:
    """The rows of those meters, and of those that they are judged by: check meters, and others at their points."""
    master = frames["meters"]
    mine = master.filter(pl.col("meter_id").is_in(meters.implode()))
    points = mine["service_point_id"].drop_nulls().unique()
    mates = master.filter(
        pl.col("check_of").is_in(meters.implode())
        | pl.col("meter_id").is_in(mine["check_of"].drop_nulls().implode())
        | pl.col("service_point_id").is_in(points.implode())
    )
    return only_of(frames, pl.concat([meters, mates["meter_id"]]).unique())


def bounded_by_data(intervals: pl.DataFrame, reads: pl.DataFrame, params: VeeParams) -> VeeParams:
    """The parameters with the bounds of all data where none are given: parts of a run have one grid."""
    ends = pl.col("interval_start") + pl.duration(seconds="interval_s")
    told = intervals.select(pl.col("interval_start").min().alias("first"), ends.max().alias("last"))
    if not intervals.height:
        told = reads.select(pl.col("read_at").min().alias("first"), pl.col("read_at").max().alias("last"))
    first, last = told.row(0)
    return msgspec.structs.replace(params, grid_from=params.grid_from or first, grid_to=params.grid_to or last)


def _placed(clock: WallClock, intervals: pl.DataFrame) -> pl.DataFrame:
    """INTERVALS by the clock. A row that is its whole cell, however its sender counts the days on which the clock is
    changed, has the cell's length; several that make a cell up are one; all others stay as they are, and off the grid.

    A day of 23 or 25 hours may be sent as that, or as 24 hours from its beginning or up to its end. A shorter length
    is what it says, but that no part of a cell is longer than the cell.
    """
    start, length = intervals["interval_start"], intervals["interval_s"]
    shown, begun = clock.wall(start), clock.cell(clock.wall(start))
    last = (start.to_physical() + length.cast(pl.Int64) * 1_000_000).cast(UTC_US)
    ended = (clock.wall(last).to_physical() - clock.step_s * 1_000_000).cast(UTC_US)
    rows = intervals.with_columns(
        _shown=shown,
        _cell=begun,
        _own=clock.length_s(begun),
        _last=last,
        _ended=ended,
        _late=clock.cell(ended) == ended,
    )
    nominal = pl.col("interval_s") == clock.step_s
    days = pl.lit(clock.step_s >= _WHOLE_DAYS_S)
    first = pl.col("_shown") == pl.col("_cell")
    fits = (pl.col("interval_s") == pl.col("_own")) | (nominal & (days | (pl.col("_own") < clock.step_s)))
    whole = first & fits
    to_end = ~whole & nominal & days & pl.col("_late")
    rows = rows.with_columns(_whole=whole | to_end, _cell=pl.when(to_end).then("_ended").otherwise("_cell"))
    whole_s = pl.lit(clock.step_s, pl.Int32)
    received = pl.col("received_at") + (pl.col("_at") - pl.col("interval_start"))
    at = pl.when("_whole").then("_cell").otherwise("_shown")
    rows = _made_up(clock, rows.with_columns(_at=at)).with_columns(
        # As far from the interval as it was: what was received before its interval was over is told by that.
        received_at=received,
        interval_start="_at",
        interval_s=pl.when("_whole").then(whole_s).when(nominal & first).then(_NO_CELL).otherwise("interval_s"),
    )
    return rows.select(INTERVALS.schema.names())


def _made_up(clock: WallClock, rows: pl.DataFrame) -> pl.DataFrame:
    """The rows, with one in place of those that are together a cell longer than the others: the hour and the half."""
    cell = [*_SERIES, "_cell"]
    parts = rows.filter(~pl.col("_whole"), pl.col("_own") > clock.step_s)
    parts = parts.join(rows.filter("_whole").select(cell), on=cell, how="anti")
    if not parts.height:
        return rows
    newest = parts.sort(*RAW_ORDER).unique([*_SERIES, "interval_start"], keep="last", maintain_order=True)
    made = (
        newest.sort(*cell, "interval_start")
        .with_columns(_follows=pl.col("interval_start") == pl.col("_last").shift(1).over(cell))
        .filter(
            pl.col("interval_s").sum().over(cell) == pl.col("_own"),
            (pl.col("interval_start").rank("ordinal").over(cell) == 1) | pl.col("_follows"),
        )
        .filter(pl.col("interval_s").sum().over(cell) == pl.col("_own"))
    )
    both = made.group_by(cell, maintain_order=True).agg(
        pl.exclude("value_milli", "status", "interval_start", "_follows").sort_by(*RAW_ORDER).last(),
        pl.col("interval_start").min(),
        value_milli=pl.when(pl.col("value_milli").null_count() == 0).then(pl.col("value_milli").sum()),
        status=pl.col("status").bitwise_or(),
    )
    both = both.with_columns(_whole=pl.lit(value=True), _at=pl.col("_cell"))
    rest = rows.join(both.select(cell), on=cell, how="anti")
    return pl.concat([rest, both.select(rest.columns)])
