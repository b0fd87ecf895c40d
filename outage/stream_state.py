"""What the outage worker knows between batches, as a value, and what a batch makes of it: pure.

Only trees in which something has spoken are looked at, and at once only those of which a batch tells: in a fleet at
rest a batch costs what one substation costs, however many have spoken before. The others are looked at in turn, for
what time and reads have changed. Reads of quiet trees wait in a compact form until their tree speaks.
"""

from typing import Final, NamedTuple

import msgspec
import numpy as np
import polars as pl

from outage.circumstances import PINGS, Circumstances, Storm
from outage.detect import Detected, detect_outages
from outage.identity import Published
from outage.memory import RELEVANT, DetectState, forget
from outage.notes import NOTES, circumstances_of, standing, storm_by_hand
from outage.notices import WARNINGS, is_storm, warnings_of
from outage.params import DetectParams
from outage.pings import PING_REQUESTS
from outage.stream_record import ASKED, Memory
from outage.topology import LEVELS, Flags, Ints, read_topology
from schemas.frames import EVENTS, HEARD, METERS, UTC_US, conform

SECOND: Final = 1_000_000
MANY_CHUNKS: Final = 64
"""Waiting reads are put in one piece, and the old ones forgotten, every so many batches."""
STRANGER: Final = -1
"""Number of a meter that METERS does not know."""
NO_TREE: Final = 0
"""Tree of the meters without a node above them, and of those that METERS does not know."""
_WAITING: Final = pl.Schema({"meter": pl.UInt32(), "at": pl.Int64()})
_READS: Final = pl.Schema({"meter_id": pl.String(), "at": pl.Int64()})
_WARNED: Final = ["notice", "node_kind", "node_id"]
STALE_S: Final = 5
"""Trees of which no batch tells are looked at again after so long."""
IN_TURN: Final = 2
"""Of those, at most so many with a batch that tells of none;"""
IN_TURN_BESIDE: Final = 1
"""and so many beside those that it tells of."""


class Fleet(NamedTuple):
    """METERS with the tree that each meter hangs in."""

    meters: pl.DataFrame
    """METERS."""
    rows: Ints
    """Rows of `meters`, tree by tree."""
    first_row: Ints
    """Per tree: where its rows begin in `rows`; one more at the end."""
    names: pl.Series
    """Every `meter_id` once, ascending."""
    root: Ints
    """Per name: number of its tree, `NO_TREE` without a node above it."""
    trees: int


class Cell(NamedTuple):
    """Trees that are judged together, because one batch told of all of them."""

    roots: frozenset[int]
    detect: DetectState
    fresh: tuple[pl.DataFrame, ...]
    """`meter_id`, `at`: reads that came since they were judged."""
    judged_at: int


class StreamState(NamedTuple):
    """Everything that the next batch needs."""

    cells: tuple[Cell, ...]
    """Of the trees that have spoken."""
    waiting: tuple[pl.DataFrame, ...]
    """`meter`, `at`: reads below trees that are quiet."""
    pings: pl.DataFrame
    asked: pl.DataFrame
    notes: pl.DataFrame
    """NOTES that still say something."""
    as_of: int
    warned: pl.DataFrame = WARNINGS.empty()
    """WARNINGS of the last day; not kept over a restart: what still holds is then said again."""

    @property
    def active(self) -> frozenset[int]:
        """Trees that have spoken."""
        return frozenset[int]().union(*(cell.roots for cell in self.cells))


class Evidence(NamedTuple):
    """What a batch brought."""

    events: pl.DataFrame
    heard: pl.DataFrame
    pings: pl.DataFrame
    notes: pl.DataFrame = NOTES.empty()


class Advanced(NamedTuple):
    """The next state, what is to be said, and what is to be remembered of the batch."""

    state: StreamState
    outages: pl.DataFrame
    requests: pl.DataFrame
    """`PING_REQUESTS` of meters that were not asked lately."""
    memory: Memory
    detected: tuple[Detected, ...]
    """Of the cells that were judged."""
    warnings: pl.DataFrame = WARNINGS.empty()
    """WARNINGS that were not said within the day."""


def read_fleet(meters: pl.DataFrame) -> Fleet:
    """The fleet of METERS."""
    known = conform(meters, METERS)
    levels = [pl.format(f"{level.value} {{}}", f"{level.value}_id") for level in reversed(LEVELS)]
    root = known.select(root=pl.coalesce(*levels).rank("dense").fill_null(NO_TREE).cast(pl.Int64))["root"]
    # Of several installations of one meter the latest counts, as in the topology.
    newest = (
        known.select("meter_id", "installed_at", root=root)
        .sort("installed_at", nulls_last=False)
        .unique("meter_id", keep="last")
        .sort("meter_id")
    )
    trees = max(int(root.max() or 0), NO_TREE) + 1  # type: ignore[arg-type]
    rows = np.argsort(root.to_numpy(), kind="stable")
    first_row = np.searchsorted(root.to_numpy()[rows], np.arange(trees + 1))
    return Fleet(known, rows, first_row, newest["meter_id"], newest["root"].to_numpy(), trees)


def at_rest() -> StreamState:
    """Nothing is known."""
    return StreamState((), (), PINGS.to_frame(), ASKED.to_frame(), NOTES.empty(), 0)


def advance(state: StreamState, told: Evidence, fleet: Fleet, params: DetectParams, as_of: int) -> Advanced:
    """Judge the batch in the light of everything remembered.

    Args:
        state: Of the batch before.
        told: EVENTS, HEARD, PINGS, NOTES of the batch.
        fleet: The fleet.
        params: Thresholds; `until` is None.
        as_of: Time has come at least this far (microseconds).
    """
    events = told.events.filter(pl.col("event").is_in(list(RELEVANT)))
    reads = told.heard.select("meter_id", at=pl.col("read_at").to_physical())
    placed = _placed(reads, fleet)
    newest = placed.filter(pl.col("meter") != STRANGER)["at"].max()
    # Every batch is later than the one before, so that versions of a step are told apart.
    as_of = max(state.as_of + 1, as_of, newest if isinstance(newest, int) else 0)
    spoken = _roots(events["meter_id"], fleet)
    pings = _lately(
        pl.concat([state.pings, told.pings]).unique(maintain_order=True), "answered_at", as_of, params.keep_s
    )
    notes = standing(pl.concat([state.notes, told.notes]), as_of - params.keep_s * SECOND)
    memory = Memory.nothing()._replace(
        events=events, reads=told.heard, pings=told.pings, notes=told.notes, anchors=None
    )
    routed = _routed(state, placed, spoken, fleet)
    told_of = spoken | (_roots(told.pings["meter_id"], fleet) & routed.active)
    if told.notes.height:
        # Whose they are is not worth finding out: they are few.
        routed = routed._replace(cells=tuple(cell._replace(judged_at=0) for cell in routed.cells))
    now = _Now(as_of, told_of, circumstances_of(notes, pings), _by_hand(routed, events, notes, as_of, params))
    judged = _judge(routed.cells, events, now, fleet)
    requests = pl.concat([PING_REQUESTS.to_frame(), *(found.pings for found in judged.found)]).join(
        _lately(state.asked, "asked_at", as_of, params.ping_again_s), on="meter_id", how="anti"
    )
    asked = requests.select("meter_id", "asked_at")
    outages = pl.concat([memory.outages, *(found.outages for found in judged.found)])
    anchors = _anchors_of(judged.cells)
    memory = memory._replace(
        outages=outages.sort("started_at", "incident_id", "step"),
        asked=asked,
        anchors=None if anchors.equals(_anchors_of(state.cells)) else anchors,
    )
    known = _lately(state.warned, "last_at", as_of, params.risk_window_s)
    warnings = pl.concat([WARNINGS.empty(), *(warnings_of(found.at_risk, found.alarms) for found in judged.found)])
    new = warnings.unique(_WARNED, keep="first", maintain_order=True).join(known, on=_WARNED, how="anti")
    after = StreamState(
        judged.cells,
        routed.waiting,
        pings,
        _lately(pl.concat([state.asked, asked]), "asked_at", as_of, params.ping_again_s),
        notes,
        max([as_of, *(found.state.as_of for found in judged.found)]),
        pl.concat([known, new]),
    )
    return Advanced(_tidy(after, params), memory.outages, requests, memory, judged.found, new)


def restored(memory: Memory, as_of: int, fleet: Fleet, params: DetectParams) -> StreamState:
    """The state out of everything remembered; nothing is judged anew.

    Args:
        memory: As `remembered` gives it, or several records as `added` joins them.
        as_of: Of the newest record.
        fleet: The fleet as it is now.
        params: What may be forgotten.
    """
    active = _roots(memory.events["meter_id"], fleet)
    reads = memory.reads.select("meter_id", at=pl.col("read_at").to_physical())
    near, waiting = _part(_placed(reads, fleet), (), frozenset(), active, fleet)
    # What was said of a tree stands under one of its meters.
    whole = DetectState(
        fleet.meters.clear(), read_topology(fleet.meters.clear(), memory.events["meter_id"].clear()), memory.events,
        near, Published(memory.outages, _anchors(memory)), as_of,
    )  # fmt: skip
    cells = _apart(whole, active, fleet, params)
    pings = _lately(memory.pings, "answered_at", as_of, params.keep_s)
    asked = _lately(memory.asked, "asked_at", as_of, params.ping_again_s)
    notes = standing(memory.notes, as_of - params.keep_s * SECOND)
    return _tidy(StreamState(cells, waiting, pings, asked, notes, as_of), params)


def remembered(state: StreamState, fleet: Fleet) -> Memory:
    """Everything of a state that `restored` needs."""
    quiet = _named(pl.concat([_WAITING.to_frame(), *state.waiting]), fleet)
    known = [cell.detect for cell in state.cells]
    near = [reads for cell in state.cells for reads in (cell.detect.reads, *cell.fresh)]
    nothing = Memory.nothing()
    return Memory(
        events=pl.concat([nothing.events, *(detect.events for detect in known)]),
        reads=_heard(pl.concat([*near, quiet])),
        pings=state.pings,
        outages=pl.concat([nothing.outages, *(detect.published.outages for detect in known)]),
        anchors=_anchors_of(state.cells),
        asked=state.asked,
        notes=state.notes,
    )


def added(before: Memory, step: Memory) -> Memory:
    """What is remembered after a batch, given what was remembered before it."""
    said = before.outages.join(step.outages, on=["incident_id", "step"], how="anti")
    return Memory(
        events=pl.concat([before.events, step.events]).unique(maintain_order=True),
        reads=pl.concat([before.reads, step.reads]),
        pings=pl.concat([before.pings, step.pings]),
        outages=pl.concat([said, step.outages]).sort("started_at", "incident_id", "step"),
        anchors=before.anchors if step.anchors is None else step.anchors,
        asked=pl.concat([before.asked, step.asked]),
        notes=pl.concat([before.notes, step.notes]),
    )


def _placed(reads: pl.DataFrame, fleet: Fleet) -> pl.DataFrame:
    """The reads with `meter`, the number of the name, and `root`."""
    place = np.minimum(fleet.names.search_sorted(reads["meter_id"]).to_numpy(), max(fleet.names.len() - 1, 0))
    if not fleet.names.len():
        return reads.with_columns(meter=pl.lit(STRANGER, pl.Int64), root=pl.lit(NO_TREE, pl.Int64))
    known = (fleet.names.gather(place) == reads["meter_id"]).to_numpy()
    return reads.with_columns(
        meter=pl.Series(np.where(known, place, STRANGER), dtype=pl.Int64),
        root=pl.Series(np.where(known, fleet.root[place], NO_TREE), dtype=pl.Int64),
    )


def _named(reads: pl.DataFrame, fleet: Fleet) -> pl.DataFrame:
    return reads.select(meter_id=fleet.names.gather(reads["meter"]), at="at")


def _part(
    placed: pl.DataFrame,
    waiting: tuple[pl.DataFrame, ...],
    woken: frozenset[int],
    active: frozenset[int],
    fleet: Fleet,
) -> tuple[pl.DataFrame, tuple[pl.DataFrame, ...]]:
    """Reads that matter now, those of trees that have just spoken among them; and reads that wait on."""
    # A meter that METERS does not know has no tree; its reads matter where it has spoken itself.
    awake = pl.Series(_flags(active, fleet)[placed["root"].to_numpy()]) | (placed["meter"] == STRANGER)
    near = placed.filter(awake).select("meter_id", "at")
    quiet = placed.filter(~awake).select(pl.col(name).cast(dtype) for name, dtype in _WAITING.items())
    if woken and waiting:
        whole = pl.concat(waiting)
        mine = pl.Series(_flags(woken, fleet)[fleet.root[whole["meter"].to_numpy()]])
        near = pl.concat([_named(whole.filter(mine), fleet), near])
        waiting = (whole.filter(~mine),)
    return near, waiting if quiet.is_empty() else (*waiting, quiet)


def _routed(state: StreamState, placed: pl.DataFrame, spoken: frozenset[int], fleet: Fleet) -> StreamState:
    """Reads at their cell, or waiting; trees that speak for the first time have a cell, which is judged at once."""
    woken = spoken - state.active
    near, waiting = _part(placed, state.waiting, woken, state.active | woken, fleet)
    of_root: dict[int, pl.DataFrame] = {}
    if near.height:
        roots = _placed(near, fleet)["root"]
        parts = near.with_columns(root=roots).partition_by("root", as_dict=True, include_key=False)
        of_root = {int(root): part for (root,), part in parts.items()}
    cells = tuple(
        cell._replace(fresh=(*cell.fresh, *(of_root[root] for root in cell.roots if root in of_root)))
        for cell in state.cells
    )
    if woken:
        fresh = tuple(of_root[root] for root in sorted(woken) if root in of_root)
        cells = (*cells, Cell(woken, _NOTHING, fresh, 0))
    return state._replace(cells=cells, waiting=waiting)


class _Now(NamedTuple):
    as_of: int
    told_of: frozenset[int]
    known: Circumstances
    params: DetectParams


class _Judged(NamedTuple):
    cells: tuple[Cell, ...]
    found: tuple[Detected, ...]


def _judge(cells: tuple[Cell, ...], events: pl.DataFrame, now: _Now, fleet: Fleet) -> _Judged:
    """The trees that the batch tells of, together; and of the others those that wait for longest."""
    told = [cell for cell in cells if cell.roots & now.told_of]
    rest = [cell for cell in cells if not cell.roots & now.told_of]
    stale = sorted((cell for cell in rest if is_stale(cell, now.as_of)), key=lambda cell: cell.judged_at)
    in_turn = stale[: IN_TURN_BESIDE if told else IN_TURN]
    hot = [_together(told, fleet)] if told else []
    done, found = [], []
    for cell, batch in [*((cell, events) for cell in hot), *((cell, events.clear()) for cell in in_turn)]:
        heard = pl.concat([_READS.to_frame(), *cell.fresh]).select("meter_id", read_at=pl.col("at").cast(UTC_US))
        detect = cell.detect._replace(as_of=now.as_of)
        seen = detect_outages(batch, detect.meters, heard, now.params, detect, now.known)
        found.append(seen)
        done.append(Cell(cell.roots, seen.state, (), max(now.as_of, seen.state.as_of)))
    left = [cell for cell in rest if not any(cell is other for other in in_turn)]
    return _Judged((*left, *done), tuple(found))


def is_stale(cell: Cell, as_of: int) -> bool:
    """Whether time or reads may have changed what is to be said of the cell."""
    return bool(cell.fresh) or cell.judged_at <= as_of - STALE_S * SECOND


def _together(cells: list[Cell], fleet: Fleet) -> Cell:
    """One cell of several; the tree is read once, whatever they are."""
    if len(cells) == 1 and cells[0].detect is not _NOTHING:
        return cells[0]
    roots = frozenset[int]().union(*(cell.roots for cell in cells))
    parts = [cell.detect for cell in cells]
    events = pl.concat([part.events for part in parts])
    meters = _meters_of(roots, fleet)
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


def _apart(whole: DetectState, roots: frozenset[int], fleet: Fleet, params: DetectParams) -> tuple[Cell, ...]:
    """A cell a tree."""
    published = whole.published
    home = published.anchors.select("incident_id", root=_placed(published.anchors, fleet)["root"]).unique("incident_id")
    placed = published.outages.join(home, on="incident_id", how="left", maintain_order="left")
    events, reads = _placed(whole.events, fleet)["root"], _placed(whole.reads, fleet)["root"]
    anchors = _placed(published.anchors, fleet)["root"]
    # What has ended without an anchor is said and done; it is kept with the first.
    least = min(roots, default=NO_TREE)
    of_outage = placed["root"].fill_null(least)
    cells = []
    for root in sorted(roots):
        meters = _meters_of(frozenset({root}), fleet)
        mine = whole.events.filter(events == root)
        part = Published(published.outages.filter(of_outage == root), published.anchors.filter(anchors == root))
        detect = DetectState(
            meters, read_topology(meters, mine["meter_id"]), mine, whole.reads.filter(reads == root), part, whole.as_of
        )
        cells.append(Cell(frozenset({root}), forget(detect, params), (), 0))
    return tuple(cells)


_NOTHING: Final = DetectState(
    METERS.empty(), read_topology(METERS.empty(), EVENTS.empty()["meter_id"]), EVENTS.empty(), _READS.to_frame(),
    Published.nothing(), 0,
)  # fmt: skip
"""Of trees that speak for the first time; their part of METERS is read when they are judged, with the others then."""


def _by_hand(
    state: StreamState, events: pl.DataFrame, notes: pl.DataFrame, as_of: int, params: DetectParams
) -> DetectParams:
    """The parameters with storm mode decided: by hand, or by the rate of the whole fleet."""
    storm = storm_by_hand(notes, as_of, params.storm)
    if storm is Storm.AUTO:
        told = pl.concat(
            part.select("event", "received_at") for part in (events, *(c.detect.events for c in state.cells))
        )
        storm = Storm.ON if is_storm(told, as_of, params) else Storm.OFF
    return msgspec.structs.replace(params, storm=storm)


def _anchors_of(cells: tuple[Cell, ...]) -> pl.DataFrame:
    parts = [Published.nothing().anchors, *(cell.detect.published.anchors for cell in cells)]
    return pl.concat(parts).sort("incident_id", "meter_id", "start")


def _tidy(state: StreamState, params: DetectParams) -> StreamState:
    """Trees whose events are all forgotten are quiet again; waiting reads stay as long as evidence does."""
    known = [cell.detect for cell in state.cells]
    if any(detect.events.is_empty() and detect.published.outages.is_empty() for detect in known):
        kept = (c for c in state.cells if c.detect.events.height or c.detect.published.outages.height)
        state = state._replace(cells=tuple(kept))
    if len(state.waiting) <= MANY_CHUNKS:
        return state
    horizon = state.as_of - params.keep_s * SECOND
    return state._replace(waiting=(pl.concat(state.waiting).filter(pl.col("at") >= horizon).rechunk(),))


def _flags(trees: frozenset[int], fleet: Fleet) -> Flags:
    flags = np.zeros(fleet.trees, bool)
    flags[list(trees)] = True
    return flags


def _roots(names: pl.Series, fleet: Fleet) -> frozenset[int]:
    return frozenset(_placed(names.unique().to_frame("meter_id"), fleet)["root"].unique().to_list())


def _meters_of(roots: frozenset[int], fleet: Fleet) -> pl.DataFrame:
    parts = [fleet.rows[fleet.first_row[root] : fleet.first_row[root + 1]] for root in sorted(roots)]
    return fleet.meters[np.sort(np.concatenate(parts))]


def _anchors(memory: Memory) -> pl.DataFrame:
    return Memory.nothing().anchors if memory.anchors is None else memory.anchors  # type: ignore[return-value]


def _heard(reads: pl.DataFrame) -> pl.DataFrame:
    return conform(reads.select("meter_id", read_at=pl.col("at").cast(UTC_US)), HEARD)


def _lately(rows: pl.DataFrame, column: str, as_of: int, within_s: int) -> pl.DataFrame:
    return rows.filter(pl.col(column).to_physical() > as_of - within_s * SECOND)
