"""Where each meter's supply was off: incidents expanded by topology, refined by the meter's own events."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import polars as pl

from schemas.codes import EventKind, IncidentState, NodeKind
from validation.block import Ints, Mask, Runs, Supply, fill_runs

FOR_EVER: Final = int(np.iinfo(np.int64).max)
"""End of an outage that nobody has restored yet, in microseconds."""
NODE_COLUMN: Final = {
    NodeKind.METER: "meter_id",
    NodeKind.SERVICE_POINT: "service_point_id",
    NodeKind.TRANSFORMER: "transformer_id",
    NodeKind.LATERAL: "lateral_id",
    NodeKind.FEEDER: "feeder_id",
    NodeKind.SUBSTATION: "substation_id",
}
_VOID: Final = [IncidentState.CANDIDATE.value, IncidentState.CANCELLED.value, IncidentState.MERGED.value]
_OVER: Final = [IncidentState.RESTORED.value, IncidentState.CLOSED.value]
_DOWN: Final = (EventKind.POWER_DOWN, EventKind.LAST_GASP)
_UP: Final = (EventKind.POWER_UP, EventKind.FIRST_BREATH)


def supply_spans(outages: pl.DataFrame, events: pl.DataFrame, installs: pl.DataFrame) -> pl.DataFrame:
    """Spans without supply: `install` (row of `installs`), `off_from`, `off_to` (microseconds, `FOR_EVER` while open).

    The last step of an incident is its state; one that is a candidate, cancelled or merged into another counts for
    nothing. Where a meter reported its own power down and up, that pair replaces the incidents it overlaps.
    """
    table = installs.with_row_index("install").with_columns(pl.col("install").cast(pl.Int64))
    own = pairs_of(events, table, (_DOWN, _UP))
    shared = pl.concat([_under(outages, table, kind) for kind in NODE_COLUMN])
    refined = shared.join(own, on="install", suffix="_own").filter(
        pl.col("off_from_own") < pl.col("off_to"), pl.col("off_from") < pl.col("off_to_own")
    )
    rest = shared.join(refined, on=["install", "off_from", "off_to"], how="anti")
    return pl.concat([rest, own]).unique().sort("install", "off_from", "off_to")


def _under(outages: pl.DataFrame, table: pl.DataFrame, kind: NodeKind) -> pl.DataFrame:
    """Spans of the incidents at nodes of one kind, one row a meter under the node."""
    column = NODE_COLUMN[kind]
    return (
        outages.sort("incident_id", "step")
        .with_columns(_last=pl.col("state").last().over("incident_id").cast(pl.String))
        .filter(~pl.col("_last").is_in(_VOID), pl.col("node_kind").cast(pl.String) == kind.value)
        .group_by("incident_id", "node_id")
        .agg(
            off_from=pl.col("started_at").min().to_physical(),
            off_to=pl.col("restored_at").max().to_physical(),
            _over=pl.col("_last").last().is_in(_OVER) | (pl.col("restored_at").last().is_not_null()),
        )
        .with_columns(off_to=pl.when("_over").then("off_to").fill_null(FOR_EVER))
        .join(table.select("install", column).drop_nulls(), left_on="node_id", right_on=column)
        .select("install", "off_from", "off_to")
    )


def pairs_of(
    events: pl.DataFrame,
    table: pl.DataFrame,
    kinds: tuple[Sequence[EventKind], Sequence[EventKind]],
    *,
    keep_open: bool = False,
) -> pl.DataFrame:
    """Spans between an event of the first kinds and the next of the second: `install`, `off_from`, `off_to`.

    Of several first events in a row the earliest counts. One without a second is no span, or one without an end.
    """
    down, up = ([kind.value for kind in kind_list] for kind_list in kinds)
    starts = pl.col("_down") & ~pl.col("_down").shift(1, fill_value=False).over("meter_id")
    after = pl.col("occurred_at").shift(-1).over("meter_id").to_physical()
    return (
        events.filter(pl.col("event").cast(pl.String).is_in(down + up))
        .select("meter_id", "occurred_at", "sequence", _down=pl.col("event").cast(pl.String).is_in(down))
        .unique()
        .sort("meter_id", "occurred_at", "sequence", "_down")
        .with_columns(_starts=starts)
        .filter(pl.col("_starts") | ~pl.col("_down"))
        .with_columns(_next=after)
        .filter(pl.col("_starts"), pl.col("_next").is_not_null() | keep_open)
        .join(table.select("install", "meter_id"), on="meter_id")
        .select("install", off_from=pl.col("occurred_at").to_physical(), off_to=pl.col("_next").fill_null(FOR_EVER))
    )


def supply_of(spans: tuple[Ints, Ints, Ints], first: int, shape: tuple[int, int], grid: tuple[int, int, int]) -> Supply:
    """The masks of a block whose row 0 is installation `first`.

    Args:
        spans: `install`, `off_from`, `off_to` of the whole run, sorted by installation.
        first: Installation of the block's first row.
        shape: Series, intervals.
        grid: First interval counted from the epoch and the phase, and length of an interval and phase in seconds.
    """
    install, off_from, off_to = spans
    cut = slice(*np.searchsorted(install, [first, first + shape[0]]))
    none = np.zeros((1, 1), dtype=np.bool_)
    known = np.ones((1, 1), dtype=np.bool_)
    if cut.start == cut.stop:
        return Supply(known, none, none, none)
    first_slot, step_us = grid[0], grid[1] * 1_000_000
    row = install[cut] - first
    start, stop = off_from[cut] - grid[2] * 1_000_000, off_to[cut] - grid[2] * 1_000_000
    whole = -(-start // step_us) - first_slot, stop // step_us - first_slot
    touched = start // step_us - first_slot, -(-np.minimum(stop, FOR_EVER - step_us) // step_us) - first_slot
    after = touched[1]
    return Supply(
        known,
        mask_of(row, *whole, shape),
        mask_of(row, *touched, shape),
        mask_of(row, after, after + 1, shape),
    )


def mask_of(row: Ints, start: Ints, stop: Ints, shape: tuple[int, int]) -> Mask:
    """True in the cells [start, stop) of each row, as far as they lie in the block."""
    start, stop = np.clip(start, 0, shape[1]), np.clip(stop, 0, shape[1])
    some = stop > start
    return fill_runs(Runs(row[some], start[some], stop[some]), shape)
