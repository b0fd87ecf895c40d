"""Whatever is in a log: the result keeps the contract, and nobody is dark twice at a time."""

from datetime import timedelta
from typing import Any

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st
from outage_logs import T0, tree

from outage.detect import detect_outages
from outage.params import DetectParams
from schemas.codes import EventKind, IncidentState, Origin
from schemas.frames import EVENTS, HEARD, METERS, OUTAGES, conform

FLEET = tree(feeders=2, laterals=2, transformers=2, points=3)
NAMES = [*FLEET["meter_id"].to_list(), "stranger", ""]
POWER = ["power_down", "last_gasp", "power_up", "first_breath"]

SECONDS = st.one_of(st.integers(-600, 7200), st.integers(-600, 7200), st.integers(-(10**8), 10**8))
EVENT = st.fixed_dictionaries(
    {
        "meter_id": st.sampled_from(NAMES),
        "event": st.one_of(st.sampled_from(POWER), st.sampled_from([kind.value for kind in EventKind])),
        "at": SECONDS,
        "delay": st.one_of(st.integers(0, 60), SECONDS),
        "sequence": st.one_of(st.none(), st.integers(-3, 9), st.integers(-(2**63), 2**63 - 1)),
        "authenticated": st.booleans(),
        "origin": st.sampled_from([origin.value for origin in Origin]),
    }
)
READ = st.tuples(st.sampled_from(NAMES), SECONDS)
KEPT = st.sets(
    st.sampled_from(["service_point_id", "transformer_id", "lateral_id", "feeder_id", "substation_id", "phase"])
)


def log(rows: list[dict[str, Any]]) -> pl.DataFrame:
    made = [
        {
            "topic": "t", "partition": 0, "offset": n, "frame": 0, "code": 0,
            "received_at": T0 + timedelta(seconds=row["at"] + row["delay"]),
            "occurred_at": T0 + timedelta(seconds=row["at"]),
            **{name: row[name] for name in ("meter_id", "event", "sequence", "authenticated", "origin")},
        }
        for n, row in enumerate(rows)
    ]  # fmt: skip
    frame = pl.DataFrame(made, schema_overrides={"sequence": pl.Int64}) if made else EVENTS.empty()
    return conform(frame, EVENTS)


def fleet(kept: set[str], unplaced: int) -> pl.DataFrame:
    """The tree with only these columns, the first meters without a place at all."""
    columns = [name for name in FLEET.columns if name in kept]
    nowhere = pl.int_range(pl.len()) < unplaced
    return conform(FLEET.select("meter_id", *(pl.when(~nowhere).then(name).alias(name) for name in columns)), METERS)


@settings(max_examples=40, deadline=None)
@given(st.lists(EVENT, max_size=60), st.lists(READ, max_size=30), KEPT, st.integers(0, 8))
def test_any_log_gives_incidents_of_the_contract(
    events: list[dict[str, Any]], reads: list[tuple[str, int]], kept: set[str], unplaced: int
) -> None:
    told = log(events)
    heard = pl.DataFrame(
        {"meter_id": [m for m, _ in reads], "read_at": [T0 + timedelta(seconds=s) for _, s in reads]},
        schema=HEARD.schema,
    )
    found = detect_outages(told, fleet(kept, unplaced), heard, DetectParams())
    outages = conform(found.outages, OUTAGES)
    assert not outages.select("incident_id", "step").is_duplicated().any()
    steps = outages.group_by("incident_id").agg(pl.col("step").sort())["step"].to_list()
    assert all(numbers == list(range(len(numbers))) for numbers in steps)
    assert outages.filter((pl.col("meters_out") < 0) | (pl.col("customers_out") > pl.col("meters_out"))).is_empty()
    assert not outages["confidence"].is_nan().any()
    last = outages.sort("step").group_by("incident_id").last()
    over = last["state"].cast(pl.String).is_in([IncidentState.RESTORED.value])
    assert (last["restored_at"].is_not_null() | ~over).all()
    assert last.filter(pl.col("restored_at") < pl.col("started_at")).is_empty()
    assert _disjoint(found.interruptions.filter(pl.col("incident_id").is_not_null()))


@settings(max_examples=15, deadline=None)
@given(st.lists(EVENT, min_size=1, max_size=40), st.integers(0, 40))
def test_a_second_batch_leaves_one_row_a_step_and_no_incident_without_an_end(
    events: list[dict[str, Any]], at: int
) -> None:
    told = log(events).sort("received_at")
    first = detect_outages(told[:at], FLEET, HEARD.empty(), DetectParams())
    second = detect_outages(told[at:], FLEET, HEARD.empty(), DetectParams(), first.state)
    kept = second.state.published.outages
    assert not kept.select("incident_id", "step").is_duplicated().any()
    said = set(first.outages["incident_id"]) | set(second.outages["incident_id"])
    assert set(kept["incident_id"]) <= said


def _disjoint(interruptions: pl.DataFrame) -> bool:
    """No meter is in two sustained interruptions at a time."""
    ordered = interruptions.sort("meter_id", "started_at", "restored_at", nulls_last=True)
    before = pl.col("restored_at").shift(1).over("meter_id")
    again = pl.col("meter_id") == pl.col("meter_id").shift(1)
    return ordered.filter(again & (before.is_null() | (pl.col("started_at") < before))).is_empty()
