"""Edits of persons on the grids of their series, and those that reach no interval."""

from typing import Final, NamedTuple

import numpy as np
import polars as pl

from schemas.codes import EditAction, Rule, Severity
from schemas.frames import EXCEPTIONS, conform
from validation.block import ABSENT, Ints
from validation.fleet import Fleet
from validation.place import Bounds, Layout
from validation.stored_edits import STORED

_NO_LOST: Final = EXCEPTIONS.empty().drop("run_id")


class Instruction(NamedTuple):
    """One edit of one series, on its grid."""

    series: int
    start: int
    stop: int
    action: EditAction
    value: int | None
    author: int
    approved: bool
    """Another person than the author approved it."""


class Desk(NamedTuple):
    """The instructions of a run, by series and then in the order in which they were made."""

    instructions: tuple[Instruction, ...]
    authors: tuple[str, ...]
    lost: pl.DataFrame
    """EXCEPTIONS without `run_id`: edits within the bounds that reach no interval of any series, by a meter or channel
    that is not there or a span in which none begins; `intervals` is 0."""


def lay_desk(edits: pl.DataFrame, fleet: Fleet, layout: Layout, bounds: Bounds = (None, None)) -> Desk:
    """The edits of a run on the grids of their series.

    A meter that was installed several times has its edit laid over each installation, as far as that one reaches.
    """
    if not edits.height:
        return Desk((), (), _NO_LOST)
    rows = edits.unique().sort("made_at", "edit_id")
    authors = tuple(rows["author"].unique().sort().to_list())
    number = {name: at for at, name in enumerate(authors)}
    approved = rows.select((pl.col("approved_by") != pl.col("author")).fill_null(value=False)).to_series()
    installs, spans = _installs(fleet), _spans(fleet)
    instructions, lost = [], np.ones(rows.height, dtype=np.bool_)
    columns = (rows[name].to_list() for name in ("meter_id", "action", "value_milli", "author"))
    channel, start, stop = (rows[name].to_physical().to_numpy() for name in ("channel", "from", "to"))
    for at, (meter, action, value, author) in enumerate(zip(*columns, strict=True)):
        for install in installs.get(meter, ()):
            series = int(layout.of[install, channel[at]])
            if series < 0:
                continue
            group = fleet.groups[layout.group[series]]
            begins, ends = max(start[at], spans[0][install]), min(stop[at], spans[1][install])
            first, after = max(int(group.slot_from(begins)), 0), min(int(group.slot_from(ends)), group.slots)
            part = layout.parts.first.slot[series], layout.parts.first.seconds[series]
            # What an installation left of an interval begins within it.
            if 0 <= part[0] == first - 1 and group.slot_at(begins + (part[1] * 1_000_000 - 1)) == part[0]:
                first -= 1
            if first < after:
                lost[at] = False
                kind = EditAction(action)
                instructions.append(Instruction(series, first, after, kind, value, number[author], bool(approved[at])))
    ordered = tuple(sorted(instructions, key=lambda one: one.series))
    return Desk(ordered, authors, _lost(rows.filter(pl.Series(lost)), bounds))


def _installs(fleet: Fleet) -> dict[str, list[int]]:
    """Rows of the installations of each meter."""
    rows = fleet.installs.select("meter_id").with_row_index("install").group_by("meter_id").agg("install")
    return dict(rows.rows())


def _spans(fleet: Fleet) -> tuple[Ints, Ints]:
    """When each installation begins and ends, in microseconds: at its removal, or where the next one begins."""
    rows = fleet.installs.select("meter_id", "installed_at", "removed_at").with_row_index("install")
    following = pl.col("installed_at").shift(-1).over("meter_id")
    told = (
        rows.sort("meter_id", "installed_at", nulls_last=False)
        .with_columns(removed_at=pl.min_horizontal("removed_at", following))
        .sort("install")
    )
    begins = told["installed_at"].to_physical().fill_null(ABSENT // 2).to_numpy()
    return begins, told["removed_at"].to_physical().fill_null(-(ABSENT // 2)).to_numpy()


def _lost(edits: pl.DataFrame, bounds: Bounds) -> pl.DataFrame:
    start, end = bounds
    edits = edits.filter(pl.col("edit_id") != STORED)
    here = edits if start is None else edits.filter(pl.col("from") >= start)
    here = here if end is None else here.filter(pl.col("from") < end)
    told = here.with_columns(
        rule=pl.lit(Rule.EDIT_NOT_APPLIED.value),
        severity=pl.lit(Severity.BLOCKING.value),
        first_interval="from",
        intervals=pl.lit(0, pl.Int32),
        measured_milli=pl.lit(None, pl.Int64),
        limit_milli=pl.lit(None, pl.Int64),
        run_id=pl.lit(""),
    )
    return conform(told, EXCEPTIONS).drop("run_id").unique()
