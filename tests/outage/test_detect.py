"""What `detect_outages` finds, node by node."""

from datetime import timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from outage_logs import MINUTE, SECOND, T0, alive, below, last_steps, life, log, told, tree

from outage.detect import Detected, detect_outages
from outage.params import DetectParams
from schemas.errors import ContractError
from schemas.frames import EVENTS, HEARD, OUTAGES, conform

METERS = tree()
NO_READS = HEARD.empty()


def run(
    events: pl.DataFrame, heard: pl.DataFrame = NO_READS, meters: pl.DataFrame = METERS, **params: object
) -> Detected:
    return detect_outages(events, meters, heard, DetectParams(**params))  # type: ignore[arg-type]


def places(found: Detected) -> list[tuple[str, str]]:
    return sorted(last_steps(found.outages).select(pl.col("scope").cast(pl.String), "node_id").rows())


def test_one_silent_meter_is_an_individual_outage() -> None:
    found = run(log(told(["M000-001"], "last_gasp", T0)), until=T0 + 30 * MINUTE)
    assert places(found) == [("individual", "SP000-001")]
    assert last_steps(found.outages)["state"].to_list() == ["reported"]


def test_a_transformer_whose_meters_fall_silent_is_a_street_outage() -> None:
    dark = below(METERS, "T000")
    found = run(log(told(dark[:6], "power_down", T0)), alive(METERS, dark, T0 + 10 * MINUTE))
    assert places(found) == [("street", "T000")]
    assert found.outages["meters_out"][0] == 8


def test_a_whole_feeder_is_zonal() -> None:
    dark = below(METERS, "F0")
    found = run(log(told(dark[::2], "power_down", T0)), alive(METERS, dark, T0 + 10 * MINUTE))
    assert places(found) == [("zonal", "F0")]
    assert found.outages["meters_silent"][0] == 36


def test_two_dark_transformers_beside_a_living_third_stay_two_streets() -> None:
    dark = below(METERS, "T000") + below(METERS, "T001")
    found = run(log(told(dark, "power_down", T0)), life(["M002-003"], T0 + 10 * MINUTE))
    assert places(found) == [("street", "T000"), ("street", "T001")]


def test_life_before_the_outage_vetoes_nothing() -> None:
    dark = below(METERS, "L00")
    found = run(log(told(dark[::2], "power_down", T0)), alive(METERS, [], T0 - MINUTE))
    assert places(found) == [("street", "L00")]


def test_below_the_threshold_only_individuals_are_reported() -> None:
    found = run(log(told(["M000-000", "M000-001"], "power_down", T0)), until=T0 + 30 * MINUTE)
    assert places(found) == [("individual", "SP000-000"), ("individual", "SP000-001")]


@pytest.mark.parametrize("threshold_s", [300, 180], ids=["5 min (IEEE 1366)", "3 min (GB, AU)"])
@pytest.mark.parametrize("more_s", [0, 1])
def test_at_the_threshold_it_is_momentary_and_a_second_more_is_sustained(threshold_s: int, more_s: int) -> None:
    """For a single point and for a street alike."""
    street = below(METERS, "T110")
    lasted = timedelta(seconds=threshold_s + more_s)
    dark = ["M000-001", *street]
    events = log(told(dark, "power_down", T0, spread_s=1), told(dark, "power_up", T0 + lasted, spread_s=1))
    found = run(events, alive(METERS, dark, T0 + 2 * MINUTE), sustained_s=threshold_s)
    assert last_steps(found.outages)["node_id"].to_list() == ["SP000-001", "T110"] * more_s
    assert found.counts.momentary == (0 if more_s else len(dark))
    assert found.interruptions["momentary"].to_list() == [not more_s] * len(dark)


def test_the_declaration_period_counts_towards_the_threshold() -> None:
    one = ["M000-001"]
    events = log(told(one, "power_down", T0), told(one, "power_up", T0 + 280 * SECOND))
    assert run(events).counts.incidents == 0
    assert run(events, declaration_s=30).counts.incidents == 1


def test_a_young_individual_is_held_and_a_young_street_is_not() -> None:
    dark = below(METERS, "T000")
    held = run(log(told(dark[:1], "power_down", T0)), until=T0 + MINUTE)
    assert held.outages.is_empty()
    assert held.counts.held == 1
    assert places(run(log(told(dark, "power_down", T0)), until=T0 + MINUTE)) == [("street", "L00")]


def test_restoration_closes_the_incident_with_its_time() -> None:
    dark = below(METERS, "T000")
    events = log(told(dark[:6], "power_down", T0), told(dark[:5], "power_up", T0 + 60 * MINUTE))
    last = last_steps(run(events, alive(METERS, dark, T0 + 10 * MINUTE)).outages).row(0, named=True)
    assert last["state"] == "restored"
    assert abs(last["restored_at"] - (T0 + 60 * MINUTE)) < timedelta(seconds=10)
    assert last["meters_out"] == 8


def test_restoration_in_blocks_is_one_step_per_block() -> None:
    first, second, third = (below(METERS, lateral) for lateral in ("L00", "L01", "L02"))
    events = log(
        told(first + second + third, "power_down", T0),
        told(first, "power_up", T0 + 30 * MINUTE),
        told(second + third, "power_up", T0 + 90 * MINUTE),
    )
    steps = run(events, alive(METERS, below(METERS, "F0"), T0 + 10 * MINUTE)).outages
    assert steps["state"].to_list() == ["reported", "confirmed", "partially_restored", "restored"]
    assert steps["meters_out"].to_list() == [72, 72, 24, 48]


def test_a_street_that_stays_dark_when_its_feeder_returns_is_nested() -> None:
    whole, left = below(METERS, "F0"), below(METERS, "T011")
    back = [name for name in whole if name not in left]
    events = log(
        told(whole, "power_down", T0),
        told(back, "power_up", T0 + 60 * MINUTE),
        told(left, "power_up", T0 + 150 * MINUTE),
    )
    state = last_steps(run(events, alive(METERS, whole, T0 + 10 * MINUTE)).outages)
    assert sorted(state["node_id"].to_list()) == ["F0", "T011"]
    inner, outer = (state.filter(pl.col("node_id") == node).row(0, named=True) for node in ("T011", "F0"))
    assert inner["nested_in"] == outer["incident_id"]
    assert (inner["meters_out"], outer["meters_out"]) == (8, 64)
    assert inner["restored_at"] - outer["restored_at"] == timedelta(minutes=90)


def test_a_meter_of_a_nested_street_that_says_a_moment_earlier_that_it_is_back_is_no_life_against_it() -> None:
    """Its last gasp was lost, its power-up is the first of the street: it came back with it."""
    whole, left = below(METERS, "F0"), below(METERS, "T011")
    back = [name for name in whole if name not in left]
    heard = [name for name in whole if name != left[0]]
    events = log(
        told(heard, "power_down", T0),
        told(back, "power_up", T0 + 60 * MINUTE),
        told(left[:1], "power_up", T0 + 150 * MINUTE - timedelta(seconds=1)),
        told(left[1:], "power_up", T0 + 150 * MINUTE),
    )
    state = last_steps(run(events, alive(METERS, whole, T0 + 10 * MINUTE)).outages)
    assert sorted(state["node_id"].to_list()) == ["F0", "T011"]


def test_the_first_breath_of_one_meter_closes_no_node() -> None:
    dark = below(METERS, "T000")
    events = log(told(dark, "power_down", T0), told(dark[:1], "first_breath", T0 + 30 * MINUTE))
    state = last_steps(run(events, alive(METERS, dark, T0 + 10 * MINUTE)).outages)
    assert state["state"].to_list() == ["partially_restored"]


def test_a_clock_wrong_by_a_year_gives_way_to_the_reception_time() -> None:
    wrong = told(["M000-001"], "last_gasp", T0).with_columns(
        pl.col("occurred_at") - timedelta(days=365), received_at=pl.lit(T0).dt.cast_time_unit("us")
    )
    found = run(conform(wrong, EVENTS), until=T0 + 30 * MINUTE)
    assert found.outages["started_at"].to_list() == [T0]
    assert found.counts.disbelieved_time == 1


def test_without_reception_times_the_events_own_times_stand() -> None:
    events = log(told(["M000-001"], "power_down", T0), told(["M000-001"], "power_up", T0 + 20 * MINUTE))
    for stripped in (
        events.drop("received_at"),
        events.with_columns(received_at=pl.lit(None, events["received_at"].dtype)),
    ):
        state = last_steps(run(stripped).outages).row(0, named=True)
        assert (state["started_at"], state["restored_at"]) == (T0, T0 + 20 * MINUTE)


def test_the_meters_own_log_told_hours_later_is_no_second_outage() -> None:
    one = ["M000-001"]
    events = log(
        told(one, "last_gasp", T0, origin="nic"),
        told(one, "power_up", T0 + 40 * MINUTE),
        told(one, "power_down", T0, sequence=71, delay=timedelta(hours=6)),
    )
    found = run(events, until=T0 + timedelta(hours=8))
    assert found.counts.incidents == 1
    assert found.counts.already_over == 1


def test_a_power_up_outranks_a_power_down_of_its_sequence_whatever_came_first() -> None:
    one = ["M000-001"]
    events = log(told(one, "power_up", T0, sequence=6), told(one, "last_gasp", T0 + 3 * SECOND, sequence=5))
    found = run(events, until=T0 + 60 * MINUTE)
    assert found.counts.incidents == 0
    assert found.counts.outranked == 1


def test_without_topology_only_individuals_are_found_and_the_result_says_so() -> None:
    bare = METERS.select("meter_id")
    found = run(log(told(below(METERS, "F0"), "power_down", T0)), meters=bare, until=T0 + 30 * MINUTE)
    assert set(found.outages["scope"].to_list()) == {"individual"}
    assert found.outages["node_kind"].unique().to_list() == ["meter"]
    assert [rule.split(":")[0] for rule in found.disabled] == ["street", "zonal", "customers", "veto by life"]


def test_a_flood_in_clear_text_is_never_zonal_and_never_trusted() -> None:
    flood = told(METERS["meter_id"].to_list(), "last_gasp", T0, authenticated=False)
    found = run(flood, until=T0 + 30 * MINUTE)
    assert "zonal" not in found.outages["scope"].cast(pl.String).to_list()
    assert found.outages["confidence"].max() <= 0.4


def test_a_test_of_the_last_gasp_is_counted_and_nothing_more() -> None:
    found = run(told(["M000-001"], "last_gasp_test", T0), until=T0 + 60 * MINUTE)
    assert found.outages.is_empty()
    assert found.counts.tests == 1


def test_no_events_give_an_empty_frame_of_the_contract() -> None:
    assert run(EVENTS.empty()).outages.schema == OUTAGES.schema


def test_a_missing_column_is_named() -> None:
    with pytest.raises(ContractError, match=r"EVENTS\.meter_id"):
        run(told(["M000-001"], "power_down", T0).drop("meter_id"))


def night() -> tuple[pl.DataFrame, pl.DataFrame]:
    """A feeder, a transformer elsewhere, an individual and a momentary, with reads."""
    whole, street = below(METERS, "F0"), below(METERS, "T110")
    events = log(
        told(whole[::2], "last_gasp", T0),
        told(whole, "power_up", T0 + 50 * MINUTE),
        told(street[1:], "power_down", T0 + 20 * MINUTE),
        told(street, "power_up", T0 + 80 * MINUTE),
        told(["M102-001"], "power_down", T0),
        told(["M121-001"], "power_down", T0),
        told(["M121-001"], "power_up", T0 + MINUTE),
    )
    return events, alive(METERS, whole + street + ["M102-001"], *(T0 + 15 * n * MINUTE for n in range(6)))


NIGHT = night()


@settings(max_examples=10, deadline=None)
@given(st.randoms(use_true_random=False), st.lists(st.integers(1, 6), min_size=1, max_size=9))
def test_order_of_arrival_and_copies_change_nothing(random: object, repeats: list[int]) -> None:
    events, reads = NIGHT
    copies = [events[i % events.height] for i in range(40) for _ in range(repeats[i % len(repeats)])]
    rows = pl.concat([events, *copies])
    order = list(range(rows.height))
    random.shuffle(order)  # type: ignore[attr-defined]
    expected, found = run(events, reads), run(rows[order], reads.reverse())
    assert found.outages.equals(expected.outages)
    assert found.interruptions.equals(expected.interruptions)


@settings(max_examples=10, deadline=None)
@given(st.lists(st.integers(0, 1700), min_size=8, max_size=8))
def test_late_arrival_changes_neither_node_nor_scope_nor_times(delays: list[int]) -> None:
    events, reads = NIGHT
    late = events.with_row_index().with_columns(
        received_at=pl.col("occurred_at")
        + pl.duration(seconds=pl.col("index").replace_strict({i: delays[i % 8] for i in range(events.height)}))
    )
    told_late = run(conform(late, EVENTS), reads).outages
    columns = ["state", "scope", "node_id", "started_at", "restored_at", "meters_out", "nested_in"]
    order = ["started_at", "node_id", "step"]
    expected = run(events, reads).outages.sort(order).select(columns)
    assert told_late.sort(order).select(columns).equals(expected)
