"""Outages: dark meters register nothing and push nothing; some of them are heard."""

import msgspec
import polars as pl
import pytest
from decoded_pushes import Decoded, decode_run

from schemas.errors import ContractError
from simulator.fleet import Simulated, simulate
from simulator.params import NO_FAULTS, NO_OUTAGES, Incident, Outages, SimulatorParams

STORM = msgspec.structs.replace(
    NO_OUTAGES,
    heard=0.6,
    incidents=(
        Incident("feeder", after_h=6.1, duration_s=5400, node_id="S1-F1"),
        Incident("transformer", after_h=12.0, duration_s=8000, node_id="F2-L5-T17"),
        Incident("service_point", after_h=15.3, duration_s=3000),
        Incident("lateral", after_h=20.0, duration_s=100, node_id="F2-L4"),
        Incident("lateral", after_h=22.0, duration_s=10, node_id="F2-L4"),
    ),
)


def _storm(**changed: object) -> SimulatorParams:
    return SimulatorParams(
        meters=400, days=2, seed=3, faults=NO_FAULTS, outages=msgspec.structs.replace(STORM, **changed)
    )


@pytest.fixture(scope="module")
def storm() -> tuple[Simulated, Decoded]:
    run = simulate(_storm())
    return run, decode_run(run)


def _gasp_lane(run: Simulated) -> Decoded:
    return decode_run(run._replace(frames=run.frames.filter(topic="ami.lastgasp.v1")))


def _dark(run: Simulated) -> pl.DataFrame:
    """meter_id, started_at, restored_at of every outage of every meter."""
    parts = []
    for kind in run.truth_outages["node_kind"].unique():
        incidents = run.truth_outages.filter(node_kind=kind)
        below = run.meters.select("meter_id", node_id=f"{kind}_id")
        parts.append(incidents.join(below, on="node_id").select("meter_id", "started_at", "restored_at"))
    return pl.concat(parts)


def test_what_is_dark_from_beginning_to_end_registers_nothing_and_nothing_else_is_called_so(storm) -> None:
    run, _ = storm
    ends = pl.col("interval_start") + pl.duration(seconds=pl.col("interval_s"))
    inside = run.truth_intervals.join(_dark(run), on="meter_id").filter(
        (pl.col("interval_start") >= pl.col("started_at")) & (ends <= pl.col("restored_at"))
    )
    assert inside["outage"].all()
    assert inside["value_milli"].max() == 0
    assert inside.height == run.truth_intervals["outage"].sum() > 1000


def test_dark_meters_push_no_interval_of_the_outage_and_nothing_during_it(storm) -> None:
    run, decoded = storm
    dark = _dark(run)
    pushed = decoded.intervals.join(run.meters.select("meter_id", "interval_s"), on="meter_id").join(
        dark, on="meter_id"
    )
    begins = pl.col("at") - pl.duration(seconds=pl.col("interval_s"))
    assert pushed.filter((begins >= pl.col("started_at")) & (pl.col("at") <= pl.col("restored_at"))).is_empty()
    said = decoded.counters.filter(topic="ami.frames.v1").join(dark, on="meter_id")
    latency = pl.duration(seconds=5)
    during = (pl.col("received_at") > pl.col("started_at") + latency) & (pl.col("received_at") < pl.col("restored_at"))
    assert said.filter(during).is_empty()
    reads = decoded.reads.join(dark, on="meter_id")
    assert reads.filter((pl.col("at") >= pl.col("started_at")) & (pl.col("at") < pl.col("restored_at"))).is_empty()


def test_intervals_that_an_outage_cuts_say_so(storm) -> None:
    run, decoded = storm
    cut = decoded.intervals.join(run.meters.select("meter_id", "interval_s"), on="meter_id").join(
        _dark(run), on="meter_id"
    )
    begins = pl.col("at") - pl.duration(seconds=pl.col("interval_s"))
    touched = (begins < pl.col("restored_at")) & (pl.col("at") > pl.col("started_at"))
    assert (cut.filter(touched)["status"] & 0x24 == 0x24).all()
    assert decoded.intervals.filter(pl.col("status") & 0x24 != 0).height == cut.filter(touched).height > 0


def test_only_dark_meters_gasp_once_the_declaration_period_is_over_with_the_asked_probability(storm) -> None:
    run, decoded = storm
    gasps = decoded.events.filter(
        pl.col("topic") == "ami.lastgasp.v1", (pl.col("code") != 2) | (pl.col("name") == "radio")
    )
    assert set(gasps["name"]) == {"radio", "0-0:96.11.0.255"}
    told = gasps.join(_dark(run), left_on=["meter_id", "at"], right_on=["meter_id", "started_at"])
    assert told.height == gasps.height  # every gasp names the instant at which its meter went dark
    after = (told["received_at"] - told["at"]).dt.total_seconds()
    assert after.min() >= 30
    lasts = (told["restored_at"] - told["at"]).dt.total_seconds()
    assert (after <= lasts + 3).all()
    declared = _dark(run).filter(pl.col("restored_at") - pl.col("started_at") > pl.duration(seconds=30))
    heard = gasps.select("meter_id", "at").n_unique() / declared.height
    assert heard == pytest.approx(0.6, abs=0.08)


def test_a_meter_gasps_one_to_three_times_and_each_is_a_message_of_its_own(storm) -> None:
    _, decoded = storm
    gasps = decoded.events.filter(topic="ami.lastgasp.v1").filter(pl.col("name") == "radio")
    assert set(gasps.group_by("meter_id", "at").len()["len"]) == {1, 2, 3}


def test_returning_meters_report_that_before_anything_else(storm) -> None:
    run, decoded = storm
    ups = decoded.events.filter(topic="ami.lastgasp.v1", code=2)
    told = ups.join(_dark(run), left_on=["meter_id", "at"], right_on=["meter_id", "restored_at"])
    assert told.height == ups.height
    declared = _dark(run).filter(pl.col("restored_at") - pl.col("started_at") > pl.duration(seconds=30)).height
    assert ups.height / declared == pytest.approx(0.95, abs=0.05)
    pushes = decoded.counters.filter(topic="ami.frames.v1").select("meter_id", pushed="received_at")
    between = told.join(pushes, on="meter_id").filter(
        (pl.col("pushed") >= pl.col("at")) & (pl.col("pushed") < pl.col("received_at"))
    )
    assert between.is_empty()


def test_the_log_pairs_going_and_return(storm) -> None:
    run, decoded = storm
    log = decoded.events.filter(name="log")
    dark = _dark(run)
    down = log.filter(code=1).join(dark, left_on=["meter_id", "at"], right_on=["meter_id", "started_at"])
    up = log.filter(code=2).join(dark, left_on=["meter_id", "at"], right_on=["meter_id", "restored_at"])
    assert down.height == up.height == log.height // 2
    assert down.height / dark.height == pytest.approx(0.8, abs=0.08)


def test_events_arrive_in_the_order_of_their_counters(storm) -> None:
    _, decoded = storm
    order = decoded.counters.sort("received_at").with_columns(newest=pl.col("counter").cum_max().over("meter_id"))
    assert (order["newest"] == order["counter"]).all()


def test_power_line_meters_are_silent_when_dark_and_speak_on_return() -> None:
    decoded = _gasp_lane(simulate(_storm(plc_meters=1.0)))
    assert (
        decoded.events.filter(topic="ami.lastgasp.v1")
        .filter(pl.col("code").is_null() | (pl.col("code") == 1))
        .is_empty()
    )
    assert not decoded.events.filter(topic="ami.lastgasp.v1", code=2).is_empty()


def test_a_fleet_in_clear_names_itself_in_every_event() -> None:
    params = msgspec.structs.replace(_storm(), ciphered_meters=0.0)
    events = _gasp_lane(simulate(params)).events
    assert events["meter_id"].null_count() == 0
    assert not events.is_empty()


def test_short_interruptions_are_momentary_and_scopes_follow_the_node(storm) -> None:
    outages = storm[0].truth_outages
    assert outages["momentary"].to_list() == [False, False, False, True, True]
    assert outages["scope"].cast(pl.String).to_list() == ["zonal", "street", "individual", "street", "street"]
    feeder = storm[0].meters.filter(feeder_id="S1-F1")
    assert outages["meters_out"][0] == feeder.height
    assert outages["customers_out"][0] == feeder["account_id"].n_unique()
    assert (outages["restored_at"] - outages["started_at"]).dt.total_seconds().to_list() == [5400, 8000, 3000, 100, 10]


def test_a_node_that_does_not_exist_is_named() -> None:
    orders = (Incident("feeder", after_h=1, duration_s=900, node_id="S9-F99"),)
    with pytest.raises(ContractError, match="S9-F99"):
        simulate(_storm(incidents=orders))


@pytest.mark.parametrize(("meters", "days"), [(20, 1), (50, 1), (300, 1), (300, 4)])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_any_run_of_twenty_meters_and_a_day_has_outages_of_the_scopes_it_can_have(
    meters: int, days: int, seed: int
) -> None:
    outages = simulate(SimulatorParams(meters=meters, days=days, seed=seed)).truth_outages
    sustained = outages.filter(~pl.col("momentary"))["scope"].cast(pl.String)
    assert {"individual", "street"} <= set(sustained)
    assert meters < 300 or "zonal" in set(sustained)


def test_what_stays_dark_after_a_feeder_is_an_incident_of_its_own() -> None:
    told = Outages(at_least_one_each=True, nested_share=1.0, feeder_rate=0.5)
    run = simulate(SimulatorParams(meters=600, days=3, faults=NO_FAULTS, outages=told))
    nested = run.truth_outages.filter(pl.col("nested_in").is_not_null())
    parents = nested.join(run.truth_outages, left_on="nested_in", right_on="incident_id", suffix="_parent")
    assert parents.height > 0
    assert (parents["started_at"] == parents["restored_at_parent"]).all()
    fed = run.meters.select(node_id="transformer_id", node_id_parent="feeder_id").unique()
    assert parents.join(fed, on=["node_id", "node_id_parent"]).height == parents.height
    # Its meters were dark without a break: they gasp for the feeder and return with the last block.
    ups = _gasp_lane(run).events.filter(code=2).select("meter_id", "at")
    below = nested.join(run.meters.select("meter_id", node_id="transformer_id"), on="node_id")
    assert ups.join(below, left_on=["meter_id", "at"], right_on=["meter_id", "started_at"]).is_empty()
