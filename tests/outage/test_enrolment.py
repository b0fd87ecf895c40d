"""Meters come, go and are exchanged while incidents are open: by identity, over a restart too."""

from datetime import timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from outage_logs import MINUTE, T0, alive, below, last_steps, life, log, told, tree
from test_stream_state import CUTS, METERS_TREE, WHOLE, Evidence, cut, living, newest

from outage.circumstances import PINGS
from outage.detect import detect_outages
from outage.params import DetectParams
from outage.stream_cells import is_stale
from outage.stream_fleet import Fleet, hangs_alike, read_fleet
from outage.stream_memory import added, enrolled, remembered, restored
from outage.stream_record import Memory
from outage.stream_state import Advanced, StreamState, advance, at_rest
from schemas.frames import EVENTS, HEARD, METERS, conform

PARAMS = DetectParams()
BEFORE = read_fleet(METERS_TREE)
NOTHING = Evidence(EVENTS.empty(), HEARD.empty(), PINGS.to_frame())


def with_rows(*rows: dict[str, object]) -> pl.DataFrame:
    return conform(pl.concat([METERS_TREE, conform(pl.DataFrame(list(rows)), METERS)]), METERS)


EARLIER = tree(feeders=1, laterals=1, transformers=1, points=4).with_columns(
    pl.col(name).str.replace("^", "A")
    for name in ("meter_id", "service_point_id", "transformer_id", "lateral_id", "feeder_id", "substation_id")
)
"""A substation whose name, and whose meters' names, come first: every tree and meter has another number then."""
RENUMBERED = read_fleet(conform(pl.concat([EARLIER, METERS_TREE]), METERS))


def run(batches: list[Evidence], state: StreamState, fleet: Fleet) -> list[Advanced]:
    done = []
    for batch in batches:
        done.append(advance(state, batch, fleet, PARAMS, 0))
        state = done[-1].state
    return done


def settled(done: list[Advanced], fleet: Fleet) -> list[Advanced]:
    while any(is_stale(cell, done[-1].state.as_of) for cell in done[-1].state.cells):
        done = [*done, advance(done[-1].state, NOTHING, fleet, PARAMS, 0)]
    return done


@settings(max_examples=10, deadline=None)
@given(CUTS, st.integers(0, 11), st.booleans())
def test_new_trees_and_meters_renumber_everything_and_no_incident(places: list[int], at: int, restart: bool) -> None:
    batches = cut(places)
    at = min(at, len(batches))
    first = run(batches[:at], at_rest(), BEFORE)
    state = first[-1].state if first else at_rest()
    assert BEFORE.trees + 1 == RENUMBERED.trees
    if restart:
        memory = Memory.nothing()
        for step in first:
            memory = added(memory, step.memory)
        state = restored(memory, state.as_of, RENUMBERED, PARAMS)
    else:
        state = enrolled(state, BEFORE, RENUMBERED, PARAMS)
    done = settled([*first, *run([*batches[at:], NOTHING], state, RENUMBERED)], RENUMBERED)
    assert living(newest(done)).equals(living(WHOLE.outages))


MIDST = 100
"""Minutes into the night's list at which the street, the individual and the zone are all dark (T0 + 30 minutes)."""
STREET = below(METERS_TREE, "T010")


def changed(**fields: object) -> pl.DataFrame:
    """METERS_TREE with other fields for one meter of the street, which has fallen silent."""
    ours = pl.col("meter_id") == STREET[2]
    return METERS_TREE.with_columns(
        pl.when(ours).then(pl.lit(value, METERS.schema[name])).otherwise(name).alias(name)
        for name, value in fields.items()
    )


REMOVED = changed(removed_at=T0 + 29 * MINUTE)
NEWCOMER = {
    "meter_id": "N1", "service_point_id": "SP010-002", "transformer_id": "T010", "lateral_id": "L01",
    "feeder_id": "F0", "substation_id": "S0", "installed_at": T0 + 29 * MINUTE,
}  # fmt: skip
FLEETS = {
    "removed": REMOVED,
    "taken out of the registry": METERS_TREE.filter(pl.col("meter_id") != STREET[2]),
    "exchanged": conform(pl.concat([REMOVED, conform(pl.DataFrame([NEWCOMER]), METERS)]), METERS),
    "moved to another street": changed(transformer_id="T000", lateral_id="L00"),
    "moved to another substation": changed(
        transformer_id="T000b", lateral_id="L00b", feeder_id="F0b", substation_id="S0b"
    ),
}


@pytest.mark.parametrize("what", list(FLEETS))
@pytest.mark.parametrize("restart", [False, True])
def test_a_street_whose_meter_is(what: str, restart: bool) -> None:
    """… keeps its id, and so do all others; what is said after is said of the same incidents, once."""
    fleet = read_fleet(FLEETS[what])
    first = run(cut([MIDST])[:1], at_rest(), BEFORE)
    open_ids = ids_by_node(first)
    assert {"T010", "SP000-001"} < set(open_ids)
    state = enrolled(first[-1].state, BEFORE, fleet, PARAMS)
    if restart:
        state = restored(remembered(state, fleet), state.as_of, fleet, PARAMS)
    done = settled([*first, *run([NOTHING, *cut([MIDST])[1:]], state, fleet)], fleet)
    after = last_steps(newest(done))
    ends = dict(after.select("incident_id", pl.col("state").cast(pl.String)).rows())
    assert {ends[name] for name in open_ids.values()} == {"restored"}, "all of them end, under the ids they had"
    others = [name for name in ends if name not in open_ids.values()]
    assert all(ends[name] in ("merged", "cancelled") for name in others) or what.startswith("moved"), others
    street = after.filter(pl.col("incident_id") == open_ids["T010"])
    assert street["node_id"].to_list() == ["T010"]


def ids_by_node(done: list[Advanced]) -> dict[str, str]:
    last = last_steps(newest(done)).filter(~pl.col("state").is_in(["merged", "cancelled"]))
    return dict(last.select("node_id", "incident_id").rows())


def test_an_incident_that_rests_on_a_meter_alone_ends_when_the_registry_takes_the_meter_out() -> None:
    first = run([NOTHING._replace(events=told(["M000-001"], "power_down", T0)), NOTHING], at_rest(), BEFORE)
    later = int((T0 + 20 * MINUTE).timestamp() * 1e6)
    said = advance(first[-1].state, NOTHING, BEFORE, PARAMS, later)
    assert last_steps(said.outages)["state"].to_list() == ["reported"]
    fleet = read_fleet(METERS_TREE.filter(pl.col("meter_id") != "M000-001"))
    after = advance(enrolled(said.state, BEFORE, fleet, PARAMS), NOTHING, fleet, PARAMS, later + 10_000_000)
    assert last_steps(after.outages).select("incident_id", pl.col("state").cast(pl.String)).rows() == [
        (said.outages["incident_id"][0], "cancelled")
    ]


METER = "M000-001"
HOUR = 60 * MINUTE
EXCHANGED = with_rows(
    NEWCOMER
    | {"service_point_id": "SP000-001", "transformer_id": "T000", "lateral_id": "L00", "installed_at": T0 + 2 * HOUR}
).with_columns(
    removed_at=pl.when(pl.col("meter_id") == METER)
    .then(pl.lit(T0 + 120 * MINUTE))
    .otherwise("removed_at")
    .cast(METERS.schema["removed_at"])
)


@pytest.mark.parametrize(
    ("meters", "read_after", "ends_after"),
    [
        (EXCHANGED, 200 * MINUTE, 200 * MINUTE),
        (EXCHANGED, None, None),
        (EXCHANGED.filter(pl.col("meter_id") != "N1"), None, 120 * MINUTE),
    ],
    ids=["the follower is read", "the follower is silent", "nobody followed"],
)
def test_an_individual_whose_meter_is_taken_off_the_wall(
    meters: pl.DataFrame, read_after: timedelta | None, ends_after: timedelta | None
) -> None:
    heard = alive(METERS_TREE, [METER], T0 + 300 * MINUTE)
    if read_after is not None:
        heard = pl.concat([heard, life(["N1"], T0 + read_after)])
    found = detect_outages(log(told([METER], "power_down", T0)), meters, heard, PARAMS)
    (step,) = last_steps(found.outages).rows(named=True)
    assert step["node_id"] == "SP000-001"
    assert step["restored_at"] == (None if ends_after is None else T0 + ends_after)


def test_the_same_supply_is_no_change() -> None:
    other = METERS_TREE.with_columns(tariff=pl.lit("night"))
    assert hangs_alike(other, METERS_TREE)
    assert not hangs_alike(REMOVED, METERS_TREE)
    assert not hangs_alike(RENUMBERED.meters, METERS_TREE)
