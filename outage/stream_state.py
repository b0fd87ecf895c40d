"""What the outage worker knows between batches, as a value, and what a batch makes of it: pure.

Only trees in which something has spoken are looked at: in a fleet at rest a batch costs what one substation costs, not
what the fleet does. Reads of quiet trees wait in a compact form until their tree speaks.
"""

from typing import Final, NamedTuple

import msgspec
import numpy as np
import polars as pl

from outage.circumstances import PINGS
from outage.detect import Detected, detect_outages
from outage.identity import Published
from outage.memory import RELEVANT, DetectState, forget
from outage.notes import NOTES, circumstances_of, standing, storm_by_hand
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


class Fleet(NamedTuple):
    """METERS with the tree that each meter hangs in."""

    meters: pl.DataFrame
    """METERS."""
    root_of_row: Ints
    """Per row of `meters`: number of its tree, `NO_TREE` without a node above it."""
    names: pl.Series
    """Every `meter_id` once, ascending."""
    root: Ints
    """Per name: number of its tree."""
    trees: int


class StreamState(NamedTuple):
    """Everything that the next batch needs."""

    detect: DetectState | None
    """None: nothing has spoken."""
    waiting: tuple[pl.DataFrame, ...]
    """`meter`, `at`: reads below trees that are quiet."""
    pings: pl.DataFrame
    asked: pl.DataFrame
    notes: pl.DataFrame
    """NOTES that still say something."""
    active: frozenset[int]
    as_of: int


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
    detected: Detected | None


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
    return Fleet(known, root.to_numpy(), newest["meter_id"], newest["root"].to_numpy(), trees)


def at_rest() -> StreamState:
    """Nothing is known."""
    return StreamState(None, (), PINGS.to_frame(), ASKED.to_frame(), NOTES.empty(), frozenset(), 0)


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
    active = state.active | _roots(events, fleet)
    near, waiting = _part(placed, state.waiting, active - state.active, active, fleet)
    pings = _lately(
        pl.concat([state.pings, told.pings]).unique(maintain_order=True), "answered_at", as_of, params.keep_s
    )
    notes = standing(pl.concat([state.notes, told.notes]), as_of - params.keep_s * SECOND)
    before = state._replace(waiting=waiting, pings=pings, notes=notes, active=active, as_of=as_of)
    memory = Memory.nothing()._replace(
        events=events, reads=told.heard, pings=told.pings, notes=told.notes, anchors=None
    )
    if not active:
        return Advanced(_tidy(before, params), memory.outages, PING_REQUESTS.to_frame(), memory, None)
    heard = near.select("meter_id", read_at=pl.col("at").cast(UTC_US))
    known = _of_active(state.detect, active - state.active, active, fleet, as_of)
    by_hand = msgspec.structs.replace(params, storm=storm_by_hand(notes, as_of, params.storm))
    found = detect_outages(events, known.meters, heard, by_hand, known, circumstances_of(notes, pings))
    requests = found.pings.join(_lately(state.asked, "asked_at", as_of, params.ping_again_s), on="meter_id", how="anti")
    asked = requests.select("meter_id", "asked_at")
    anchors = found.state.published.anchors
    memory = memory._replace(
        outages=found.outages, asked=asked, anchors=None if anchors.equals(known.published.anchors) else anchors
    )
    after = before._replace(
        detect=found.state,
        asked=_lately(pl.concat([state.asked, asked]), "asked_at", as_of, params.ping_again_s),
        as_of=max(as_of, found.state.as_of),
    )
    return Advanced(_tidy(after, params), found.outages, requests, memory, found)


def restored(memory: Memory, as_of: int, fleet: Fleet, params: DetectParams) -> StreamState:
    """The state out of everything remembered; nothing is judged anew.

    Args:
        memory: As `remembered` gives it, or several records as `added` joins them.
        as_of: Of the newest record.
        fleet: The fleet as it is now.
        params: What may be forgotten.
    """
    active = _roots(memory.events, fleet)
    reads = memory.reads.select("meter_id", at=pl.col("read_at").to_physical())
    near, waiting = _part(_placed(reads, fleet), (), frozenset(), active, fleet)
    published = Published(memory.outages, _anchors(memory))
    detect = None
    if active:
        meters = _meters_of(active, fleet)
        topology = read_topology(meters, memory.events["meter_id"])
        detect = forget(DetectState(meters, topology, memory.events, near, published, as_of), params)
    pings = _lately(memory.pings, "answered_at", as_of, params.keep_s)
    asked = _lately(memory.asked, "asked_at", as_of, params.ping_again_s)
    notes = standing(memory.notes, as_of - params.keep_s * SECOND)
    return _tidy(StreamState(detect, waiting, pings, asked, notes, active, as_of), params)


def remembered(state: StreamState, fleet: Fleet) -> Memory:
    """Everything of a state that `restored` needs."""
    quiet = _named(pl.concat([_WAITING.to_frame(), *state.waiting]), fleet)
    if state.detect is None:
        return Memory.nothing()._replace(reads=_heard(quiet), pings=state.pings, asked=state.asked, notes=state.notes)
    detect = state.detect
    return Memory(
        events=detect.events,
        reads=_heard(pl.concat([detect.reads, quiet])),
        pings=state.pings,
        outages=detect.published.outages,
        anchors=detect.published.anchors,
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


def _of_active(
    detect: DetectState | None, woken: frozenset[int], active: frozenset[int], fleet: Fleet, as_of: int
) -> DetectState:
    """What inference knew, on the trees that have spoken."""
    if detect is not None and not woken:
        return detect._replace(as_of=as_of)
    meters = _meters_of(active, fleet)
    if detect is None:
        none = EVENTS.empty()
        reads = pl.DataFrame(schema={"meter_id": pl.String(), "at": pl.Int64()})
        return DetectState(meters, read_topology(meters, none["meter_id"]), none, reads, Published.nothing(), as_of)
    return detect._replace(meters=meters, topology=read_topology(meters, detect.events["meter_id"]), as_of=as_of)


def _tidy(state: StreamState, params: DetectParams) -> StreamState:
    """Trees whose events are all forgotten are quiet again; waiting reads stay as long as evidence does."""
    if state.detect is not None and state.detect.events.is_empty() and state.detect.published.outages.is_empty():
        state = state._replace(detect=None, active=frozenset())
    if len(state.waiting) <= MANY_CHUNKS:
        return state
    horizon = state.as_of - params.keep_s * SECOND
    return state._replace(waiting=(pl.concat(state.waiting).filter(pl.col("at") >= horizon).rechunk(),))


def _flags(trees: frozenset[int], fleet: Fleet) -> Flags:
    flags = np.zeros(fleet.trees, bool)
    flags[list(trees)] = True
    return flags


def _roots(events: pl.DataFrame, fleet: Fleet) -> frozenset[int]:
    return frozenset(_placed(events.select("meter_id").unique(), fleet)["root"].unique().to_list())


def _meters_of(active: frozenset[int], fleet: Fleet) -> pl.DataFrame:
    return fleet.meters.filter(pl.Series(_flags(active, fleet)[fleet.root_of_row]))


def _anchors(memory: Memory) -> pl.DataFrame:
    return Memory.nothing().anchors if memory.anchors is None else memory.anchors  # type: ignore[return-value]


def _heard(reads: pl.DataFrame) -> pl.DataFrame:
    return conform(reads.select("meter_id", read_at=pl.col("at").cast(UTC_US)), HEARD)


def _lately(rows: pl.DataFrame, column: str, as_of: int, within_s: int) -> pl.DataFrame:
    return rows.filter(pl.col(column).to_physical() > as_of - within_s * SECOND)
