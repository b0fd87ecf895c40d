"""The outage worker's state: batches of any cut, a restart at any place, and the incidents of the whole log."""

import itertools

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from outage_logs import MINUTE, SECOND, T0, alive, below, last_steps, life, log, told, tree

from outage.circumstances import PINGS
from outage.detect import detect_outages
from outage.identity import GONE
from outage.params import DetectParams
from outage.stream_cells import is_stale
from outage.stream_fleet import read_fleet
from outage.stream_memory import added, remembered, restored
from outage.stream_record import Memory
from outage.stream_state import Advanced, Evidence, StreamState, advance, at_rest
from schemas.frames import EVENTS, HEARD, METERS

PARAMS = DetectParams()
NOTHING = Evidence(EVENTS.empty(), HEARD.empty(), PINGS.to_frame())
METERS_TREE = pl.concat(
    [
        tree(feeders=1, laterals=2, transformers=2, points=6).with_columns(
            pl.col("meter_id", "service_point_id", "transformer_id", "lateral_id", "feeder_id", "substation_id")
            + pl.lit(suffix)
        )
        for suffix in ("", "b", "c")
    ]
)
FLEET = read_fleet(METERS_TREE)
SAID = ["incident_id", "step", "state", "scope", "node_kind", "node_id", "started_at", "restored_at", "meters_out"]


def night() -> list[Evidence]:
    """Minute by minute: a street and an individual below one substation, a zone below another; the third lives on."""
    street = below(METERS_TREE, "T010")
    zone = METERS_TREE.filter(pl.col("feeder_id") == "F0b")["meter_id"].to_list()
    events = log(
        told(street[1:], "power_down", T0 + MINUTE),
        told(["M000-001"], "power_down", T0 + 4 * MINUTE),
        told(zone[::2], "last_gasp", T0 + 7 * MINUTE),
        told(zone[1::2], "last_gasp", T0 + 7 * MINUTE, delay=5 * MINUTE),
        told(zone[:9], "power_up", T0 + 40 * MINUTE),
        told(street, "power_up", T0 + 50 * MINUTE),
        told(zone[9:], "power_up", T0 + 70 * MINUTE),
        told(["M000-001"], "power_up", T0 + 75 * MINUTE),
    )
    heard = alive(METERS_TREE, [*street, *zone, "M000-001"], *(T0 + 5 * n * MINUTE for n in range(-3, 18)))
    return [
        Evidence(
            events.filter(pl.col("received_at").is_between(T0 + n * MINUTE, T0 + (n + 1) * MINUTE, closed="left")),
            heard.filter(pl.col("read_at").is_between(T0 + n * MINUTE, T0 + (n + 1) * MINUTE, closed="left")),
            PINGS.to_frame(),
        )
        for n in range(-20, 90)
    ]


NIGHT = night()
EVENTS_OF_NIGHT = pl.concat([part.events for part in NIGHT])
WHOLE = detect_outages(EVENTS_OF_NIGHT, METERS_TREE, pl.concat([part.heard for part in NIGHT]), PARAMS)


def cut(places: list[int]) -> list[Evidence]:
    """The night in batches that end at these minutes."""
    bounds = sorted({0, *places, len(NIGHT)})
    return [
        Evidence(*(pl.concat(frames) for frames in zip(*NIGHT[a:b], strict=True)))
        for a, b in itertools.pairwise(bounds)
    ]


def run(batches: list[Evidence], state: StreamState | None = None) -> list[Advanced]:
    state = at_rest() if state is None else state
    done = []
    for batch in batches:
        done.append(advance(state, batch, FLEET, PARAMS, 0))
        state = done[-1].state
    return done


def settled(done: list[Advanced]) -> list[Advanced]:
    """The same, and what silence brings until every tree has been looked at."""
    done = list(done)
    while done and any(is_stale(cell, done[-1].state.as_of) for cell in done[-1].state.cells):
        done.append(advance(done[-1].state, NOTHING, FLEET, PARAMS, 0))
    return done


def newest(done: list[Advanced]) -> pl.DataFrame:
    """What a reader of the topic holds in the end."""
    said = pl.concat([step.outages for step in done])
    return said.sort("updated_at").unique(["incident_id", "step"], keep="last")


def living(outages: pl.DataFrame) -> pl.DataFrame:
    gone = last_steps(outages).filter(pl.col("state").is_in(list(GONE)))["incident_id"].to_list()
    return outages.filter(~pl.col("incident_id").is_in(gone)).select(SAID).sort("incident_id", "step")


CUTS = st.lists(st.integers(0, len(NIGHT)), max_size=10)


@settings(max_examples=12, deadline=None)
@given(CUTS)
def test_what_is_said_of_any_cut_is_what_the_whole_log_gives(places: list[int]) -> None:
    assert WHOLE.outages["scope"].n_unique() == 3
    assert living(newest(settled(run(cut(places))))).equals(living(WHOLE.outages))


@settings(max_examples=12, deadline=None)
@given(CUTS, st.integers(0, 11), st.integers(0, 11))
def test_a_state_rebuilt_from_what_was_remembered_goes_on_as_the_first_would(
    places: list[int], restart: int, snapshot: int
) -> None:
    batches = cut(places)
    restart, snapshot = min(restart, len(batches)), min(snapshot, restart, len(batches))
    done = run(batches)
    memory = Memory.nothing() if not snapshot else remembered(done[snapshot - 1].state, FLEET)
    for step in done[snapshot:restart]:
        memory = added(memory, step.memory)
    as_of = done[restart - 1].state.as_of if restart else 0
    again = run(batches[restart:], restored(memory, as_of, FLEET, PARAMS))
    if not again:
        return
    assert done[-1].state.as_of == again[-1].state.as_of
    kept = living(newest(settled(done)))
    assert living(newest(settled([*done[:restart], *again]))).equals(kept)


def test_trees_in_which_nothing_speaks_are_not_looked_at() -> None:
    done = run(cut([45, 60, 80]))
    parts = [cell.detect for cell in done[-1].state.cells]
    assert {name for part in parts for name in part.meters["substation_id"]} == {"S0", "S0b"}
    assert {name[-1] for part in parts for name in part.reads["meter_id"]} <= {*"0123456789", "b"}


def test_a_batch_looks_at_the_trees_that_it_tells_of_and_at_the_others_in_turn() -> None:
    both = [told(["M000-001"], "power_down", T0), told(["M000-001b"], "power_down", T0 + SECOND)]
    first, second = run([NOTHING._replace(events=events) for events in both])
    assert [len(step.detected) for step in (first, second)] == [1, 1]
    assert [cell.roots for cell in second.state.cells] == [{1}, {2}]
    later = advance(second.state, NOTHING, FLEET, PARAMS, second.state.as_of + 6_000_000)
    assert len(later.detected) == 2
    assert {cell.judged_at for cell in later.state.cells} == {later.state.as_of}
    at_once = NOTHING._replace(events=told(["M000-002", "M000-002b"], "power_down", T0 + 8 * SECOND))
    (cell,) = advance(later.state, at_once, FLEET, PARAMS, 0).state.cells
    assert cell.roots == {1, 2}


@pytest.mark.parametrize(("after_s", "judged"), [(20, 1), (40, 2)])
def test_a_tree_waits_for_another_that_speaks_but_not_for_long(after_s: int, judged: int) -> None:
    both = [told(["M000-001"], "power_down", T0), told(["M000-001b"], "power_down", T0 + SECOND)]
    state = run([NOTHING._replace(events=events) for events in both])[-1].state
    at = T0 + after_s * SECOND
    speaks = NOTHING._replace(events=told(["M000-002"], "power_down", at))
    assert len(advance(state, speaks, FLEET, PARAMS, int(at.timestamp() * 1e6)).detected) == judged


def test_a_storm_counts_over_all_trees() -> None:
    hot = DetectParams(storm_enter_per_min=4)
    gasps = [NOTHING._replace(events=told([f"M000-00{n}{tail}" for n in (1, 2)], "power_down", T0 + n_th * SECOND))
             for n_th, tail in enumerate(("", "b", "c"))]  # fmt: skip
    state = at_rest()
    storms = []
    for batch in gasps:
        done = advance(state, batch, FLEET, hot, 0)
        state = done.state
        storms.append(done.detected[0].storm)
    assert storms == [False, True, True]


def test_reads_from_before_a_tree_spoke_still_count() -> None:
    dark = below(METERS_TREE, "T000")
    lives = life(dark[3:4], T0 + 2 * MINUTE)
    late = told(dark[:3] + dark[4:], "power_down", T0, delay=3 * MINUTE)
    done = run([Evidence(EVENTS.empty(), lives, PINGS.to_frame()), Evidence(late, HEARD.empty(), PINGS.to_frame())])
    assert done[-1].outages.is_empty(), "one of the street lives"


def test_every_batch_is_a_later_version() -> None:
    versions = [step.state.as_of for step in run(cut([30, 31, 32, 33, 60, 61]))]
    assert versions == sorted(set(versions))


def test_a_held_individual_is_said_when_time_has_come_without_a_message() -> None:
    first = advance(at_rest(), NOTHING._replace(events=told(["M000-001"], "power_down", T0)), FLEET, PARAMS, 0)
    assert first.outages.is_empty()
    held = advance(first.state, NOTHING, FLEET, PARAMS, int((T0 + 4 * MINUTE).timestamp() * 1e6))
    assert held.outages.is_empty()
    said = advance(held.state, NOTHING, FLEET, PARAMS, int((T0 + 5 * MINUTE + SECOND).timestamp() * 1e6))
    assert said.outages["node_id"].to_list() == ["SP000-001"]


def test_a_meter_is_asked_once_within_the_pause() -> None:
    first = advance(at_rest(), NOTHING._replace(events=told(["M000-001"], "power_down", T0)), FLEET, PARAMS, 0)
    assert first.requests.height
    second = advance(first.state, NOTHING, FLEET, PARAMS, int((T0 + MINUTE).timestamp() * 1e6))
    assert second.requests.is_empty()
    third = advance(second.state, NOTHING, FLEET, PARAMS, int((T0 + 6 * MINUTE).timestamp() * 1e6))
    assert third.requests.height


def test_meters_that_nobody_knows_and_a_fleet_of_none_are_borne() -> None:
    none = read_fleet(METERS.empty())
    batch = Evidence(told(["X"], "power_down", T0), life(["X", "Y"], T0 - MINUTE), PINGS.to_frame())
    assert advance(at_rest(), batch, none, PARAMS, 0).state.active == {0}
    assert advance(at_rest(), batch, FLEET, PARAMS, 0).state.active == {0}


def test_a_read_of_a_meter_that_nobody_knows_waits_for_nothing_and_moves_no_time() -> None:
    """A meter is read before the registry has it: the next tree that speaks is judged all the same."""
    strange = NOTHING._replace(heard=life(["Y"], T0 + MINUTE))
    first = advance(at_rest(), strange, FLEET, PARAMS, 0)
    assert (first.state.waiting, first.state.as_of) == ((), 1)
    spoken = NOTHING._replace(events=told(below(METERS_TREE, "T000"), "power_down", T0))
    assert advance(first.state, spoken, FLEET, PARAMS, 0).outages.height


def test_what_a_meter_told_before_the_registry_knew_it_is_kept_over_a_restart() -> None:
    known = FLEET.meters.filter(pl.col("meter_id") != "M000-001")
    without = read_fleet(known)
    first = advance(at_rest(), NOTHING._replace(events=told(["M000-001"], "power_down", T0)), without, PARAMS, 0)
    for fleet in (without, FLEET):
        again = restored(first.memory, first.state.as_of, fleet, PARAMS)
        assert remembered(again, fleet).events.height == 1
        assert remembered(again, fleet).strangers.height == (fleet is without)


def test_a_node_that_flickers_is_told_of_once_a_day_with_its_evidence() -> None:
    """Three momentaries of one street, hours apart; a fourth is no news."""
    street, state, said = below(METERS_TREE, "T010"), at_rest(), []
    for n in range(4):
        down = T0 + 90 * n * MINUTE
        batch = log(told(street, "power_down", down), told(street, "power_up", down + MINUTE))
        done = advance(state, NOTHING._replace(events=batch), FLEET, PARAMS, 0)
        state = done.state
        said.append(done.warnings.select("notice", "node_id", "momentaries", "count").rows())
    assert said == [[], [], [("at_risk", "T010", 3, 6)], []]
