"""Trees that have spoken, each judged with what is known of it: those that a batch tells of, the others in turn."""

from typing import Final, NamedTuple

import polars as pl

from outage.circumstances import Circumstances
from outage.detect import Detected, detect_outages
from outage.identity import Published
from outage.memory import DetectState, forget
from outage.params import DetectParams
from outage.stream_fleet import NO_TREE, STRANGER, Fleet, flags_of, meters_of, placed
from outage.topology import read_topology
from schemas.frames import EVENTS, METERS, UTC_US

SECOND: Final = 1_000_000
WAITING: Final = pl.Schema({"meter": pl.UInt32(), "at": pl.Int64()})
"""Reads below trees that are quiet, in a compact form."""
_READS: Final = pl.Schema({"meter_id": pl.String(), "at": pl.Int64()})
STALE_S: Final = 5
"""Trees of which no batch tells are looked at again after so long."""
IN_TURN: Final = 2
"""Of those, at most so many with a batch that tells of none;"""
IN_TURN_BESIDE: Final = 1
"""and so many beside those that it tells of, which are not to wait for the others,"""
LONG_STALE_S: Final = 30
"""once they have waited for so long."""


class Cell(NamedTuple):
    """Trees that are judged together, because one batch told of all of them."""

    roots: frozenset[int]
    detect: DetectState
    fresh: tuple[pl.DataFrame, ...]
    """`meter_id`, `at`: reads that came since they were judged."""
    judged_at: int


class Now(NamedTuple):
    """What a batch is judged by."""

    as_of: int
    told_of: frozenset[int]
    known: Circumstances
    params: DetectParams


class Judged(NamedTuple):
    """Cells after a batch, and what was found in those that were looked at."""

    cells: tuple[Cell, ...]
    found: tuple[Detected, ...]


def judge(cells: tuple[Cell, ...], events: pl.DataFrame, now: Now, fleet: Fleet) -> Judged:
    """The trees that the batch tells of, together; and of the others those that wait for longest."""
    told = [cell for cell in cells if cell.roots & now.told_of]
    rest = [cell for cell in cells if not cell.roots & now.told_of]
    stale = sorted((cell for cell in rest if is_stale(cell, now.as_of)), key=lambda cell: cell.judged_at)
    overdue = [cell for cell in stale if cell.judged_at <= now.as_of - LONG_STALE_S * SECOND]
    in_turn = overdue[:IN_TURN_BESIDE] if told else stale[:IN_TURN]
    hot = [_together(told, fleet)] if told else []
    done, found = [], []
    for cell, batch in [*((cell, events) for cell in hot), *((cell, events.clear()) for cell in in_turn)]:
        heard = pl.concat([_READS.to_frame(), *cell.fresh]).select("meter_id", read_at=pl.col("at").cast(UTC_US))
        detect = cell.detect._replace(as_of=now.as_of)
        seen = detect_outages(batch, detect.meters, heard, now.params, detect, now.known)
        found.append(seen)
        done.append(Cell(cell.roots, seen.state, (), max(now.as_of, seen.state.as_of)))
    left = [cell for cell in rest if not any(cell is other for other in in_turn)]
    return Judged((*left, *done), tuple(found))


def is_stale(cell: Cell, as_of: int) -> bool:
    """Whether time or reads may have changed what is to be said of the cell."""
    return bool(cell.fresh) or cell.judged_at <= as_of - STALE_S * SECOND


def part_reads(
    located: pl.DataFrame,
    waiting: tuple[pl.DataFrame, ...],
    woken: frozenset[int],
    active: frozenset[int],
    fleet: Fleet,
) -> tuple[pl.DataFrame, tuple[pl.DataFrame, ...]]:
    """Reads that matter now, those of trees that have just spoken among them; and reads that wait on.

    Args:
        located: `meter_id`, `at`, `meter`, `root`: reads as `placed` gives them.
        waiting: `WAITING`, as they came.
        woken: Trees that have just spoken for the first time.
        active: Trees that have spoken, those among them.
        fleet: The fleet.
    """
    # A meter that METERS does not know has no tree; its reads matter where it has spoken itself.
    awake = pl.Series(flags_of(active, fleet)[located["root"].to_numpy()]) | (located["meter"] == STRANGER)
    near = located.filter(awake).select("meter_id", "at")
    quiet = located.filter(~awake).select(pl.col(name).cast(dtype) for name, dtype in WAITING.items())
    if woken and waiting:
        whole = pl.concat(waiting)
        mine = pl.Series(flags_of(woken, fleet)[fleet.root[whole["meter"].to_numpy()]])
        near = pl.concat([named(whole.filter(mine), fleet), near])
        waiting = (whole.filter(~mine),)
    return near, waiting if quiet.is_empty() else (*waiting, quiet)


def named(reads: pl.DataFrame, fleet: Fleet) -> pl.DataFrame:
    """`WAITING` as `meter_id`, `at`."""
    return reads.select(meter_id=fleet.names.gather(reads["meter"]), at="at")


def _together(cells: list[Cell], fleet: Fleet) -> Cell:
    """One cell of several; the tree is read once, whatever they are."""
    if len(cells) == 1 and cells[0].detect is not NOTHING:
        return cells[0]
    roots = frozenset[int]().union(*(cell.roots for cell in cells))
    parts = [cell.detect for cell in cells]
    events = pl.concat([part.events for part in parts])
    meters = meters_of(roots, fleet)
    published = Published(
        pl.concat([part.published.outages for part in parts]).sort("started_at", "incident_id", "step"),
        pl.concat([part.published.anchors for part in parts]),
    )
    detect = DetectState(
        meters, read_topology(meters, events["meter_id"]), events, pl.concat([part.reads for part in parts]), published,
        max(part.as_of for part in parts),
    )  # fmt: skip
    fresh = tuple(reads for cell in cells for reads in cell.fresh)
    return Cell(roots, detect, fresh, min(cell.judged_at for cell in cells))


def homes_of(anchors: pl.DataFrame, fleet: Fleet) -> frozenset[int]:
    """The trees of the incidents that these anchors name."""
    return frozenset(_homes(anchors, fleet)["root"].to_list())


def apart(whole: DetectState, roots: frozenset[int], fleet: Fleet, params: DetectParams) -> tuple[Cell, ...]:
    """A cell a tree; an incident goes where most of the meters hang that it rests on.

    Args:
        whole: Everything remembered.
        roots: The trees that have spoken, and the homes of all incidents.
        fleet: The fleet.
        params: What may be forgotten.
    """
    published = whole.published
    home = _homes(published.anchors, fleet)
    of_outage = published.outages.join(home, on="incident_id", how="left", maintain_order="left")["root"]
    of_anchor = published.anchors.join(home, on="incident_id", how="left", maintain_order="left")["root"]
    events, reads = placed(whole.events, fleet)["root"], placed(whole.reads, fleet)["root"]
    # What has ended without an anchor is said and done; it is kept with the first.
    of_outage = of_outage.fill_null(min(roots, default=NO_TREE))
    cells = []
    for root in sorted(roots):
        meters = meters_of(frozenset({root}), fleet)
        mine = whole.events.filter(events == root)
        part = Published(published.outages.filter(of_outage == root), published.anchors.filter(of_anchor == root))
        detect = DetectState(
            meters, read_topology(meters, mine["meter_id"]), mine, whole.reads.filter(reads == root), part, whole.as_of
        )
        cells.append(Cell(frozenset({root}), forget(detect, params), (), 0))
    return tuple(cells)


def _homes(anchors: pl.DataFrame, fleet: Fleet) -> pl.DataFrame:
    """`incident_id`, `root`: a meter that METERS does not know decides only where nobody else does."""
    return (
        anchors.select("incident_id", root=placed(anchors, fleet)["root"])
        .group_by("incident_id", "root")
        .agg(meters=pl.len())
        .sort(pl.col("root") == NO_TREE, "meters", "root", descending=[False, True, False])
        .unique("incident_id", keep="first", maintain_order=True)
        .select("incident_id", "root")
    )


NOTHING: Final = DetectState(
    METERS.empty(), read_topology(METERS.empty(), EVENTS.empty()["meter_id"]), EVENTS.empty(), _READS.to_frame(),
    Published.nothing(), 0,
)  # fmt: skip
"""Of trees that speak for the first time; their part of METERS is read when they are judged, with the others then."""
