"""What the outage worker knows between batches, as a value, and what a batch makes of it: pure.

Only trees in which something has spoken are looked at, and at once only those of which a batch tells: in a fleet at
rest a batch costs what one substation costs, however many have spoken before. The others are looked at in turn, for
what time and reads have changed. Reads of quiet trees wait in a compact form until their tree speaks.
"""

from typing import Final, NamedTuple

import msgspec
import polars as pl

from outage.circumstances import PINGS, Storm
from outage.detect import Detected
from outage.identity import Published
from outage.memory import RELEVANT
from outage.notes import NOTES, circumstances_of, standing, storm_by_hand
from outage.notices import WARNINGS, is_storm, warnings_of
from outage.params import DetectParams
from outage.pings import PING_REQUESTS
from outage.stream_cells import NOTHING, SECOND, Cell, Now, judge, part_reads
from outage.stream_fleet import STRANGER, Fleet, placed, roots_of, strangers_of
from outage.stream_record import ASKED, Memory

MANY_CHUNKS: Final = 64
"""Waiting reads are put in one piece, and the old ones forgotten, every so many batches."""
_WARNED: Final = ["notice", "node_kind", "node_id"]


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
    located = placed(reads, fleet)
    newest = located.filter(pl.col("meter") != STRANGER)["at"].max()
    # Every batch is later than the one before, so that versions of a step are told apart.
    as_of = max(state.as_of + 1, as_of, newest if isinstance(newest, int) else 0)
    spoken = roots_of(events["meter_id"], fleet)
    pings = lately(
        pl.concat([state.pings, told.pings]).unique(maintain_order=True), "answered_at", as_of, params.keep_s
    )
    notes = standing(pl.concat([state.notes, told.notes]), as_of - params.keep_s * SECOND)
    memory = Memory.nothing()._replace(
        events=events, reads=told.heard, pings=told.pings, notes=told.notes, anchors=None,
        strangers=strangers_of(events["meter_id"], fleet),
    )  # fmt: skip
    routed = _routed(state, located, spoken, fleet)
    told_of = spoken | (roots_of(told.pings["meter_id"], fleet) & routed.active)
    if told.notes.height:
        # Whose they are is not worth finding out: they are few.
        routed = routed._replace(cells=tuple(cell._replace(judged_at=0) for cell in routed.cells))
    now = Now(as_of, told_of, circumstances_of(notes, pings), _by_hand(routed, events, notes, as_of, params))
    judged = judge(routed.cells, events, now, fleet)
    requests = pl.concat([PING_REQUESTS.to_frame(), *(found.pings for found in judged.found)]).join(
        lately(state.asked, "asked_at", as_of, params.ping_again_s), on="meter_id", how="anti"
    )
    asked = requests.select("meter_id", "asked_at")
    outages = pl.concat([memory.outages, *(found.outages for found in judged.found)])
    anchors = anchors_in(judged.cells)
    memory = memory._replace(
        outages=outages.sort("started_at", "incident_id", "step"),
        asked=asked,
        anchors=None if anchors.equals(anchors_in(state.cells)) else anchors,
    )
    known = lately(state.warned, "last_at", as_of, params.risk_window_s)
    warnings = pl.concat([WARNINGS.empty(), *(warnings_of(found.at_risk, found.alarms) for found in judged.found)])
    new = warnings.unique(_WARNED, keep="first", maintain_order=True).join(known, on=_WARNED, how="anti")
    after = StreamState(
        judged.cells,
        routed.waiting,
        pings,
        lately(pl.concat([state.asked, asked]), "asked_at", as_of, params.ping_again_s),
        notes,
        max([as_of, *(found.state.as_of for found in judged.found)]),
        pl.concat([known, new]),
    )
    return Advanced(tidy(after, params), memory.outages, requests, memory, judged.found, new)


def _routed(state: StreamState, located: pl.DataFrame, spoken: frozenset[int], fleet: Fleet) -> StreamState:
    """Reads at their cell, or waiting; trees that speak for the first time have a cell, which is judged at once."""
    woken = spoken - state.active
    near, waiting = part_reads(located, state.waiting, woken, state.active | woken, fleet)
    of_root: dict[int, pl.DataFrame] = {}
    if near.height:
        roots = placed(near, fleet)["root"]
        parts = near.with_columns(root=roots).partition_by("root", as_dict=True, include_key=False)
        of_root = {int(root): part for (root,), part in parts.items()}
    cells = tuple(
        cell._replace(fresh=(*cell.fresh, *(of_root[root] for root in cell.roots if root in of_root)))
        for cell in state.cells
    )
    if woken:
        fresh = tuple(of_root[root] for root in sorted(woken) if root in of_root)
        cells = (*cells, Cell(woken, NOTHING, fresh, 0))
    return state._replace(cells=cells, waiting=waiting)


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


def anchors_in(cells: tuple[Cell, ...]) -> pl.DataFrame:
    """ANCHORS of all cells, in one order."""
    parts = [Published.nothing().anchors, *(cell.detect.published.anchors for cell in cells)]
    return pl.concat(parts).sort("incident_id", "meter_id", "start")


def tidy(state: StreamState, params: DetectParams) -> StreamState:
    """Trees whose events are all forgotten are quiet again; waiting reads stay as long as evidence does."""
    known = [cell.detect for cell in state.cells]
    if any(detect.events.is_empty() and detect.published.outages.is_empty() for detect in known):
        kept = (c for c in state.cells if c.detect.events.height or c.detect.published.outages.height)
        state = state._replace(cells=tuple(kept))
    if len(state.waiting) <= MANY_CHUNKS:
        return state
    horizon = state.as_of - params.keep_s * SECOND
    return state._replace(waiting=(pl.concat(state.waiting).filter(pl.col("at") >= horizon).rechunk(),))


def lately(rows: pl.DataFrame, column: str, as_of: int, within_s: int) -> pl.DataFrame:
    """The rows whose instant lies no further back."""
    return rows.filter(pl.col(column).to_physical() > as_of - within_s * SECOND)
