"""Silence that means nothing, phases, pings, storms, warnings and alarms."""

from datetime import datetime, timedelta

import polars as pl
import pytest
from outage_logs import MINUTE, SECOND, T0, alive, below, life, log, told, tree

from outage.circumstances import Circumstances, Storm, circumstances
from outage.detect import Detected, detect_outages
from outage.identity import last_steps
from outage.params import DetectParams
from schemas.errors import ContractError
from schemas.frames import EVENTS, HEARD

METERS = tree()
HOUR = 60 * MINUTE


def run(
    events: pl.DataFrame,
    heard: pl.DataFrame | None = None,
    known: Circumstances | None = None,
    meters: pl.DataFrame = METERS,
    **params: object,
) -> Detected:
    heard = HEARD.empty() if heard is None else heard
    return detect_outages(events, meters, heard, DetectParams(**params), None, known)  # type: ignore[arg-type]


def window(node_kind: str, node_id: str, start: datetime, end: datetime) -> Circumstances:
    return circumstances(
        planned=pl.DataFrame({"node_kind": [node_kind], "node_id": [node_id], "from": [start], "to": [end]})
    )


def order(meter: str, kind: str, start: datetime, end: datetime | None) -> Circumstances:
    rows = {"meter_id": [meter], "kind": [kind], "from": [start], "to": [end]}
    return circumstances(orders=pl.DataFrame(rows, schema_overrides={"to": pl.Datetime("us", "UTC")}))


def answers(meters: list[str], answer: str, at: datetime) -> Circumstances:
    rows = {"meter_id": meters, "answered_at": [at] * len(meters), "answer": [answer] * len(meters)}
    return circumstances(pings=pl.DataFrame(rows))


def test_planned_work_is_no_incident() -> None:
    dark = below(METERS, "L00")
    events = log(told(dark, "power_down", T0), told(dark, "power_up", T0 + HOUR))
    found = run(events, known=window("lateral", "L00", T0 - 5 * MINUTE, T0 + HOUR))
    assert found.outages.is_empty()
    assert found.suppressed["reason"].to_list() == ["planned"] * len(dark)


def test_planned_work_that_takes_longer_becomes_an_incident_at_its_announced_end() -> None:
    dark = below(METERS, "L00")
    events = log(told(dark, "power_down", T0), told(dark, "power_up", T0 + 3 * HOUR))
    known = window("lateral", "L00", T0 - 5 * MINUTE, T0 + HOUR)
    state = last_steps(run(events, alive(METERS, dark, T0 + 30 * MINUTE, T0 + 90 * MINUTE), known).outages)
    assert state.select("node_id", "planned", "started_at").rows() == [("L00", True, T0 + HOUR)]


def test_meters_under_planned_work_do_not_count_for_the_rest_of_the_feeder() -> None:
    planned = below(METERS, "L00") + below(METERS, "L01")
    rest = below(METERS, "L02")
    known = circumstances(
        planned=pl.DataFrame(
            {
                "node_kind": ["lateral"] * 2,
                "node_id": ["L00", "L01"],
                "from": [T0 - HOUR] * 2,
                "to": [T0 + 5 * HOUR] * 2,
            }
        )
    )
    events = told(rest[:8], "power_down", T0)
    state = last_steps(run(events, alive(METERS, planned + rest, T0 + 10 * MINUTE), known).outages)
    assert state.select("node_id", "meters_out").rows() == [("F0", 24)]


@pytest.mark.parametrize("kind", ["disconnect", "exchange", "removal", "firmware"])
def test_an_order_for_the_meter_explains_its_silence(kind: str) -> None:
    events = told(["M000-001"], "power_down", T0)
    found = run(events, known=order("M000-001", kind, T0 - HOUR, None), until=T0 + HOUR)
    assert found.outages.is_empty()
    assert found.suppressed.height == 1
    assert run(events, known=order("M000-002", kind, T0 - HOUR, None), until=T0 + HOUR).outages.height == 1
    assert run(events, known=order("M000-001", kind, T0 - HOUR, T0 - MINUTE), until=T0 + HOUR).outages.height == 1


@pytest.mark.parametrize(
    ("event", "before", "reason"),
    [
        ("disconnected", 10 * MINUTE, "disconnected"),
        ("firmware_activated", 5 * MINUTE, "firmware"),
        ("tilt", 20 * SECOND, "tamper"),
        ("cover_opened", -20 * SECOND, "tamper"),
        ("tamper", 40 * SECOND, "tamper"),
        ("magnetic_field_on", 60 * SECOND, "tamper"),
    ],
)
def test_the_meters_own_word_explains_its_silence(event: str, before: timedelta, reason: str) -> None:
    one = ["M000-001"]
    found = run(log(told(one, event, T0 - before), told(one, "last_gasp", T0)), until=T0 + HOUR)
    assert found.outages.is_empty()
    assert found.suppressed["reason"].to_list() == [reason]


def test_a_reconnected_meter_is_believed_again() -> None:
    one = ["M000-001"]
    events = log(
        told(one, "disconnected", T0 - HOUR), told(one, "connected", T0 - MINUTE * 30), told(one, "power_down", T0)
    )
    assert run(events, until=T0 + HOUR).outages.height == 1


def test_an_exchanged_meter_is_no_outage() -> None:
    gone = METERS.with_columns(
        removed_at=pl.when(pl.col("meter_id") == "M000-001")
        .then(pl.lit(T0 + 10 * MINUTE))
        .cast(METERS.schema["removed_at"])
    )
    assert run(told(["M000-001"], "power_down", T0), meters=gone, until=T0 + HOUR).suppressed["reason"].to_list() == [
        "exchange"
    ]


def test_one_phase_of_a_lateral_is_a_street_on_that_phase() -> None:
    phase_a = METERS.filter((pl.col("lateral_id") == "L00") & (pl.col("phase") == "A"))["meter_id"].to_list()
    state = last_steps(run(told(phase_a[:5], "power_down", T0), alive(METERS, phase_a, T0 + 10 * MINUTE)).outages)
    assert state.select("node_id", "phases", "meters_out").rows() == [("L00", "A", 9)]


def test_two_phases_of_a_feeder_are_one_incident_on_both() -> None:
    dark = METERS.filter((pl.col("feeder_id") == "F0") & pl.col("phase").is_in(["B", "C"]))["meter_id"].to_list()
    state = last_steps(run(told(dark, "power_down", T0), alive(METERS, dark, T0 + 10 * MINUTE)).outages)
    assert state.select("node_id", "phases", "scope").rows() == [("F0", "BC", "zonal")]


def test_three_phase_meters_that_lost_one_phase_tell_of_a_fuse() -> None:
    three = METERS.with_columns(phase=pl.lit("ABC"))
    events = told(below(three, "T000") + below(three, "T001"), "phase_lost_l2", T0)
    state = last_steps(run(events, alive(three, [], T0 + 10 * MINUTE), meters=three).outages)
    assert state.select("node_id", "phases").rows() == [("L00", "B")]


def test_a_ping_answered_off_confirms_and_completes_a_thin_node() -> None:
    dark = below(METERS, "T000")
    heard = alive(METERS, dark, T0 + 10 * MINUTE)
    thin = run(told(dark[:1], "last_gasp", T0), heard, until=T0 + 20 * MINUTE)
    assert thin.outages["scope"].cast(pl.String).to_list() == ["individual"]
    known = answers(dark[1:4], "off", T0 + 15 * MINUTE)
    state = last_steps(run(told(dark[:1], "last_gasp", T0), heard, known, until=T0 + 20 * MINUTE).outages)
    assert state.select("node_id", "state", "meters_heard").rows() == [("T000", "confirmed", 4)]


def test_a_ping_answered_on_is_life() -> None:
    dark = below(METERS, "T000")
    known = answers(dark[7:], "on", T0 + 5 * MINUTE)
    state = last_steps(run(told(dark[:7], "last_gasp", T0), None, known, until=T0 + HOUR).outages)
    assert set(state["scope"].cast(pl.String)) == {"individual"}


@pytest.mark.parametrize("answer", ["unknown", "communication_failure", "unknown_meter"])
def test_other_answers_decide_nothing(answer: str) -> None:
    dark = below(METERS, "T000")
    events, heard = told(dark, "last_gasp", T0), alive(METERS, dark, T0 + 5 * MINUTE)
    known = answers(dark[:3], answer, T0 + 6 * MINUTE)
    plain = run(events, heard, until=T0 + HOUR).outages
    assert run(events, heard, known, until=T0 + HOUR).outages.equals(plain)


def test_a_node_with_thin_evidence_is_pinged_and_spread_over_its_children() -> None:
    found = run(told(["M000-001", "M000-002"], "last_gasp", T0), until=T0 + 2 * MINUTE)
    asked = found.pings.filter(pl.col("node_id") == "T000")
    assert asked.height == 5
    assert asked["meter_id"].n_unique() == 5
    assert not set(asked["meter_id"]) & {"M000-001", "M000-002"}
    lateral = found.pings.filter(pl.col("node_id") == "L00").join(METERS, on="meter_id")
    assert lateral["transformer_id"].n_unique() == 2


def test_a_node_that_is_dark_on_one_phase_is_asked_whether_it_is_dark_on_all() -> None:
    """Two of twelve were heard, both on phase A by chance: an outage of that phase, unless the others answer off."""
    three = METERS.with_columns(phase=pl.Series(["ABC"[n % 3] for n in range(METERS.height)]))
    dark = below(three, "T000")
    heard = [name for name in dark if three.filter(pl.col("meter_id") == name)["phase"].item() == "A"][:2]
    gasps, others = told(heard, "last_gasp", T0), alive(three, dark, T0 + 5 * MINUTE)
    thin = run(gasps, others, until=T0 + 10 * MINUTE, meters=three)
    assert last_steps(thin.outages).select("node_id", "phases").rows() == [("T000", "A")]
    asked = thin.pings.filter(pl.col("node_id") == "T000")["meter_id"].to_list()
    assert asked and not set(asked) & set(heard)
    off = run(gasps, others, answers(asked, "off", T0 + 11 * MINUTE), until=T0 + 12 * MINUTE, meters=three)
    assert last_steps(off.outages).select("node_id", "phases").rows() == [("T000", "ABC")]
    on = run(gasps, others, answers(asked[:1], "on", T0 + 11 * MINUTE), until=T0 + 12 * MINUTE, meters=three)
    assert last_steps(on.outages).select("node_id", "phases").rows() == [("T000", "A")]
    assert on.pings.filter(pl.col("node_id") == "T000").is_empty(), "one answer decides"


def test_a_node_in_which_a_neighbour_lives_is_not_pinged() -> None:
    lives = alive(METERS, ["M000-001"], T0 + MINUTE)
    assert run(told(["M000-001"], "last_gasp", T0), lives, until=T0 + 2 * MINUTE).pings.is_empty()


def test_after_restoration_the_silent_ones_are_pinged() -> None:
    dark = below(METERS, "T000")
    events = log(told(dark, "power_down", T0), told(dark[:5], "power_up", T0 + 30 * MINUTE))
    asked = run(events, alive(METERS, dark, T0 + 10 * MINUTE), until=T0 + 35 * MINUTE).pings
    assert asked.select("meter_id", "reason").rows() == [(name, "nested") for name in dark[5:]]


def test_a_meter_that_answers_off_after_restoration_is_nested() -> None:
    dark = below(METERS, "T000")
    events = log(told(dark, "power_down", T0), told(dark[:7], "power_up", T0 + 30 * MINUTE))
    known = answers(dark[7:], "off", T0 + 40 * MINUTE)
    state = last_steps(run(events, alive(METERS, dark, T0 + 10 * MINUTE), known, until=T0 + 45 * MINUTE).outages)
    assert state.sort("node_id").select("node_id", pl.col("nested_in").is_not_null()).rows() == [
        (dark[7].replace("M", "SP"), True),
        ("T000", False),
    ]


def test_a_crews_word_confirms() -> None:
    dark = below(METERS, "T000")
    said = circumstances(
        confirmed=pl.DataFrame({"node_kind": ["transformer"], "node_id": ["T000"], "at": [T0 + 10 * MINUTE]})
    )
    heard = alive(METERS, dark, T0 + 10 * MINUTE)
    events = told(dark[:3], "last_gasp", T0)
    assert last_steps(run(events, heard, until=T0 + HOUR).outages)["state"].to_list() == ["reported"]
    assert last_steps(run(events, heard, said, until=T0 + HOUR).outages)["state"].to_list() == ["confirmed"]


def test_clear_text_with_a_second_kind_of_evidence_may_be_zonal() -> None:
    flood = told(below(METERS, "F0"), "last_gasp", T0, authenticated=False)
    said = circumstances(confirmed=pl.DataFrame({"node_kind": ["feeder"], "node_id": ["F0"], "at": [T0 + MINUTE]}))
    assert "zonal" not in run(flood, until=T0 + HOUR).outages["scope"].cast(pl.String).to_list()
    assert last_steps(run(flood, known=said, until=T0 + HOUR).outages)["scope"].to_list() == ["zonal"]


def test_a_forged_flood_raises_an_alarm_and_contradicted_meters_are_named() -> None:
    flood = told(below(METERS, "F0"), "last_gasp", T0, authenticated=False)
    found = run(flood, life(METERS["meter_id"], T0 + 20 * MINUTE), until=T0 + HOUR)
    kinds = found.alarms["kind"].cast(pl.String).to_list()
    assert "uncorroborated" in kinds
    assert kinds.count("contradicted") == 72
    assert found.outages["confidence"].max() <= 0.4


def test_more_gasps_than_meters_can_send_raise_an_alarm() -> None:
    many = pl.concat([told(below(METERS, "T000"), "last_gasp", T0, sequence=n) for n in range(8)])
    assert "rate" in run(many, until=T0 + MINUTE).alarms["kind"].cast(pl.String).to_list()


def test_in_a_storm_individuals_are_withheld_but_bellwethers() -> None:
    events = log(told(["M000-001", "M110-001"], "power_down", T0), told(below(METERS, "T020"), "power_down", T0))
    known = circumstances(bellwethers=pl.DataFrame({"meter_id": ["M110-001"]}))
    lives = alive(METERS, ["M000-001", "M110-001", *below(METERS, "T020")], T0 + 10 * MINUTE)
    found = run(events, lives, known, until=T0 + HOUR, storm=Storm.ON)
    assert sorted(last_steps(found.outages)["node_id"]) == ["SP110-001", "T020"]
    assert (found.storm, found.counts.withheld) == (True, 1)


@pytest.mark.parametrize(("after", "storm"), [(5 * MINUTE, True), (25 * MINUTE, True), (60 * MINUTE, False)])
def test_a_storm_is_entered_by_rate_and_left_by_calm(after: timedelta, storm: bool) -> None:
    events = told(METERS["meter_id"].to_list(), "power_down", T0)
    assert run(events, until=T0 + after, storm_enter_per_min=100, storm_leave_per_min=10).storm is storm


def test_repeated_momentaries_of_one_transformer_are_a_warning() -> None:
    dark = below(METERS, "T000")[:4]
    flickers = [
        part
        for n in range(3)
        for part in (told(dark, "power_down", T0 + n * HOUR), told(dark, "power_up", T0 + n * HOUR + 20 * SECOND))
    ]
    risk = run(log(*flickers)).at_risk
    assert risk.select("node_id", "momentaries", "sags", "meters").rows() == [("T000", 3, 0, 4)]
    assert run(log(*flickers[:4])).at_risk.is_empty()


def test_repeated_sags_of_one_transformer_are_a_warning() -> None:
    sags = [told(below(METERS, "T000")[:2], "voltage_sag", T0 + n * HOUR) for n in range(5)]
    assert run(log(*sags)).at_risk.select("node_id", "sags").rows() == [("T000", 5)]


def test_an_incident_closes_once_every_meter_has_lived() -> None:
    dark = below(METERS, "T000")
    events = log(told(dark, "power_down", T0), told(dark, "power_up", T0 + 30 * MINUTE))
    lives = alive(METERS, dark, T0 + 10 * MINUTE)
    steps = run(events, lives, until=T0 + 3 * HOUR, close_after_s=3600).outages
    assert steps["state"].to_list()[-2:] == ["restored", "closed"]
    assert run(events, lives, until=T0 + 3 * HOUR).outages["state"].to_list()[-1] == "restored"


def test_a_wrong_frame_of_circumstances_is_named() -> None:
    with pytest.raises(ContractError, match=r"pings\.answer: column is absent"):
        circumstances(pings=pl.DataFrame({"meter_id": ["a"], "answered_at": [T0]}))
    with pytest.raises(ContractError, match="orders"):
        order("M000-001", "paint", T0, None)


def test_a_meter_that_nobody_heard_for_a_day_does_not_count_for_its_node() -> None:
    """Two gasps of eight are too few; of the five that were read within the day they are enough."""
    dark = below(METERS, "T000")
    gasps = told(dark[:2], "last_gasp", T0)
    long_ago = alive(METERS, [], T0 - 26 * HOUR)
    lately = alive(METERS, dark[5:], T0 - HOUR)
    others = alive(METERS, dark, T0 + 5 * MINUTE)
    all_read = pl.concat([long_ago, alive(METERS, [], T0 - HOUR), others])
    thin = last_steps(run(gasps, all_read, until=T0 + 10 * MINUTE).outages)
    assert set(thin["scope"].cast(pl.String)) == {"individual"}
    state = last_steps(run(gasps, pl.concat([long_ago, lately, others]), until=T0 + 10 * MINUTE).outages)
    assert state.select("node_id", "meters_eligible", "meters_heard").rows() == [("T000", 5, 2)]


def test_the_predicted_device_is_the_one_that_feeds_the_highest_dark_node() -> None:
    """A lateral that is dark whole, a transformer beside a living one; a service point has no device above it alone."""
    lateral, transformer, point = below(METERS, "L00"), below(METERS, "T100"), ["M120-001"]
    dark = [*lateral, *transformer, *point]
    found = run(told(dark, "last_gasp", T0), alive(METERS, dark, T0 + 5 * MINUTE), until=T0 + 10 * MINUTE).outages
    devices = last_steps(found).sort("node_id").select("node_kind", "node_id", "predicted_device")
    assert devices.with_columns(pl.col("node_kind").cast(pl.String)).rows() == [
        ("lateral", "L00", "L00"), ("service_point", "SP120-001", None), ("transformer", "T100", "T100"),
    ]  # fmt: skip


def test_no_life_no_veto() -> None:
    """Whatever is silent: without a read the share alone decides."""
    dark = below(METERS, "F0")
    assert last_steps(run(told(dark[:22], "last_gasp", T0), until=T0 + MINUTE).outages)["node_id"].to_list() == ["F0"]
    assert "F0" not in last_steps(run(told(dark[:21], "last_gasp", T0), until=T0 + MINUTE).outages)["node_id"].to_list()


def test_an_outage_worker_without_reads_or_events_stays_calm() -> None:
    found = run(EVENTS.empty())
    assert (found.outages.height, found.pings.height, found.alarms.height, found.at_risk.height) == (0, 0, 0, 0)
    assert not found.storm
