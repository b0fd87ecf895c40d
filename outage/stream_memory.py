"""The worker's state as what its journal remembers of it, and the state again out of what was remembered: pure."""

import polars as pl

from outage.identity import Published
from outage.memory import DetectState
from outage.notes import standing
from outage.params import DetectParams
from outage.stream_cells import SECOND, WAITING, apart, homes_of, named, part_reads
from outage.stream_fleet import Fleet, placed, roots_of, strangers_of
from outage.stream_record import Memory
from outage.stream_state import StreamState, anchors_in, lately, tidy
from outage.topology import read_topology
from schemas.frames import HEARD, UTC_US, conform


def restored(memory: Memory, as_of: int, fleet: Fleet, params: DetectParams) -> StreamState:
    """The state out of everything remembered; nothing is judged anew.

    A meter that METERS has ceased to name has nothing more to say: what it told is forgotten, and an incident that
    rests on it alone ends with the next batch. One that was removed or exchanged, and that METERS names as such, goes
    on telling of the time before.

    Args:
        memory: As `remembered` gives it, or several records as `added` joins them.
        as_of: Of the newest record.
        fleet: The fleet as it is now.
        params: What may be forgotten.
    """
    memory = _without_those_taken_out(memory, fleet)
    active = roots_of(memory.events["meter_id"], fleet) | homes_of(_anchors(memory), fleet)
    reads = memory.reads.select("meter_id", at=pl.col("read_at").to_physical())
    near, waiting = part_reads(placed(reads, fleet), (), frozenset(), active, fleet)
    # What was said of a tree stands under one of its meters.
    whole = DetectState(
        fleet.meters.clear(), read_topology(fleet.meters.clear(), memory.events["meter_id"].clear()), memory.events,
        near, Published(memory.outages, _anchors(memory)), as_of,
    )  # fmt: skip
    cells = apart(whole, active, fleet, params)
    pings = lately(memory.pings, "answered_at", as_of, params.keep_s)
    asked = lately(memory.asked, "asked_at", as_of, params.ping_again_s)
    notes = standing(memory.notes, as_of - params.keep_s * SECOND)
    return tidy(StreamState(cells, waiting, pings, asked, notes, as_of), params)


def enrolled(state: StreamState, before: Fleet, fleet: Fleet, params: DetectParams) -> StreamState:
    """The state under another METERS: trees and meters are numbered anew, incidents keep their ids and steps.

    Args:
        state: Under the fleet before.
        before: The fleet as it was.
        fleet: The fleet as it is.
        params: What may be forgotten.
    """
    return restored(remembered(state, before), state.as_of, fleet, params)._replace(warned=state.warned)


def remembered(state: StreamState, fleet: Fleet) -> Memory:
    """Everything of a state that `restored` needs."""
    quiet = named(pl.concat([WAITING.to_frame(), *state.waiting]), fleet)
    known = [cell.detect for cell in state.cells]
    near = [reads for cell in state.cells for reads in (cell.detect.reads, *cell.fresh)]
    nothing = Memory.nothing()
    events = pl.concat([nothing.events, *(detect.events for detect in known)])
    return Memory(
        events=events,
        reads=_heard(pl.concat([*near, quiet])),
        pings=state.pings,
        outages=pl.concat([nothing.outages, *(detect.published.outages for detect in known)]),
        anchors=anchors_in(state.cells),
        asked=state.asked,
        notes=state.notes,
        strangers=strangers_of(events["meter_id"], fleet),
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
        strangers=pl.concat([before.strangers, step.strangers]).unique(maintain_order=True),
    )


def _without_those_taken_out(memory: Memory, fleet: Fleet) -> Memory:
    """The memory without the word of meters that METERS has ceased to name; strangers were never among them."""
    gone = strangers_of(memory.events["meter_id"], fleet).join(memory.strangers, on="meter_id", how="anti")
    if gone.is_empty():
        return memory
    return memory._replace(
        events=memory.events.join(gone, on="meter_id", how="anti", maintain_order="left"),
        reads=memory.reads.join(gone, on="meter_id", how="anti", maintain_order="left"),
    )


def _anchors(memory: Memory) -> pl.DataFrame:
    return Memory.nothing().anchors if memory.anchors is None else memory.anchors  # type: ignore[return-value]


def _heard(reads: pl.DataFrame) -> pl.DataFrame:
    return conform(reads.select("meter_id", read_at=pl.col("at").cast(UTC_US)), HEARD)
