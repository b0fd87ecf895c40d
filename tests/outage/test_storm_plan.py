"""The storm of the benchmark, in one thread: every incident of its plan is told, once, and no other."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl

from benchmarks.outage_storm import draw_storm, fleet, gasps, single_node
from outage.circumstances import PINGS
from outage.identity import GONE, last_steps
from outage.params import DetectParams
from outage.stream_fleet import read_fleet
from outage.stream_state import Evidence, StreamState, advance, at_rest
from schemas.frames import EVENTS, HEARD, METERS, OUTAGES, conform

METERS_COUNT, GASPS, SINGLE, BATCHES = 100_000, 10_000, 10, 8
T0 = datetime(2026, 1, 10, 18, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def test_the_storm_leaves_the_transformers_of_the_single_outages_alone() -> None:
    """One that was told before the storm may have nothing new to say in it, which looked like an incident lost."""
    meters = fleet(METERS_COUNT)
    plan = draw_storm(meters, GASPS, 60.0)
    alone = {f"T{single_node(turn, meters)}" for turn in range(SINGLE)}
    touched = plan.gasps.select("meter_id").join(meters, on="meter_id")
    assert len(alone) == SINGLE
    assert not alone & set(touched["transformer_id"])
    assert not set(meters.filter(pl.col("transformer_id").is_in(list(alone)))["feeder_id"]) & set(touched["feeder_id"])


def test_every_incident_of_a_storm_is_told_once_and_no_other() -> None:
    meters = fleet(METERS_COUNT)
    known, tree, params = conform(meters, METERS), read_fleet(conform(meters, METERS)), DetectParams()
    state, said = at_rest(), [OUTAGES.empty()]

    def tell(state: StreamState, events: pl.DataFrame, heard: pl.DataFrame, at: datetime) -> StreamState:
        as_of = int(at.timestamp() * 1_000_000) if state.as_of else 0
        advanced = advance(state, Evidence(events, heard, PINGS.to_frame()), tree, params, as_of)
        said.append(advanced.outages)
        return advanced.state

    nodes = [single_node(turn, meters) for turn in range(SINGLE)]
    for turn, node in enumerate(nodes):
        state = tell(state, gasps(meters[10 * node : 10 * node + 8], T0 + turn * SECOND, 0.1), HEARD.empty(), T0)
    plan = draw_storm(meters, GASPS, 60.0)
    at = T0 + 60 * SECOND
    storm = gasps(plan.gasps.select("meter_id"), at, 60.0)
    bounds = np.linspace(0, storm.height, BATCHES + 1).astype(int)
    living = plan.living[: known.height // 3].to_frame("meter_id")
    state = tell(state, EVENTS.empty(), conform(living.with_columns(read_at=pl.lit(at)), HEARD), at)
    for batch in range(BATCHES):
        at += 60 / BATCHES * SECOND
        state = tell(state, storm[bounds[batch] : bounds[batch + 1]], HEARD.empty(), at)
    told = last_steps(pl.concat(said).unique(["incident_id", "step"], keep="last", maintain_order=True))
    standing = told.filter(~pl.col("state").is_in(list(GONE)))
    assert sorted(standing["node_id"]) == sorted([*plan.wanted, *(f"T{node}" for node in nodes)])
