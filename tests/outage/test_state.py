"""Batch by batch the state leads to the same incidents as the whole log at once."""

import itertools
from datetime import timedelta
from random import Random

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st
from outage_logs import MINUTE, SECOND, T0, alive, below, log, told, tree

from outage.detect import Detected, detect_outages
from outage.identity import GONE, last_steps
from outage.params import DetectParams
from schemas.frames import EVENTS, HEARD

METERS = tree(feeders=2, laterals=2, transformers=2, points=6)
PARAMS = DetectParams()
Batch = tuple[pl.DataFrame, pl.DataFrame]


def run_batches(batches: list[Batch], params: DetectParams = PARAMS) -> list[Detected]:
    found: list[Detected] = []
    for events, heard in batches:
        state = found[-1].state if found else None
        found.append(detect_outages(events, METERS, heard, params, state))
    return found


def cut(events: pl.DataFrame, heard: pl.DataFrame, cuts: list[int]) -> list[Batch]:
    """The log cut at these minutes of reception."""
    bounds = [T0 - timedelta(days=2), *(T0 + n * MINUTE for n in sorted(cuts)), T0 + timedelta(days=2)]
    return [
        (
            events.filter(pl.col("received_at").is_between(a, b, closed="left")),
            heard.filter(pl.col("read_at").is_between(a, b, closed="left")),
        )
        for a, b in itertools.pairwise(bounds)
    ]


def living(outages: pl.DataFrame) -> pl.DataFrame:
    """Steps of the incidents that are neither merged nor cancelled, without their versions and empty repetitions."""
    gone = last_steps(outages).filter(pl.col("state").is_in(list(GONE)))
    kept = outages.join(gone.select("incident_id"), on="incident_id", how="anti").drop("updated_at")
    return kept.sort("started_at", "incident_id", "step")


def night() -> Batch:
    whole, street = below(METERS, "F0"), below(METERS, "T110")
    events = log(
        told(street[1:], "power_down", T0),
        told(whole[::2], "last_gasp", T0 + 20 * MINUTE),
        told(whole[1::2], "last_gasp", T0 + 20 * MINUTE, delay=9 * MINUTE),
        told(["M101-001"], "power_down", T0 + 25 * MINUTE),
        told(["M100-001"], "power_down", T0 + 5 * MINUTE),
        told(["M100-001"], "power_up", T0 + 6 * MINUTE),
        told(whole[:12], "power_up", T0 + 50 * MINUTE),
        told(whole[12:20], "power_up", T0 + 70 * MINUTE),
        told(street, "power_up", T0 + 80 * MINUTE),
        told(whole[20:], "power_up", T0 + 130 * MINUTE),
    )
    dark = whole + street + ["M101-001"]
    return events.sort("received_at", "meter_id"), alive(METERS, dark, *(T0 + 15 * n * MINUTE for n in range(10)))


NIGHT = night()
WHOLE = detect_outages(*(NIGHT[0], METERS, NIGHT[1]), PARAMS)


@settings(max_examples=8, deadline=None)
@given(st.lists(st.integers(0, 150), max_size=8))
def test_any_cut_of_the_log_leads_to_the_incidents_of_the_whole(cuts: list[int]) -> None:
    last = run_batches(cut(*NIGHT, cuts))[-1]
    assert living(last.state.published.outages).equals(living(WHOLE.outages))
    assert last.interruptions.equals(WHOLE.interruptions)


def test_what_is_said_batch_by_batch_adds_up_to_what_the_state_holds() -> None:
    found = run_batches(cut(*NIGHT, [10, 21, 35, 60, 75, 100]))
    said = pl.concat([d.outages for d in found])
    newest = said.sort("updated_at").unique(["incident_id", "step"], keep="last")
    order = ["started_at", "incident_id", "step"]
    assert newest.sort(order).equals(found[-1].state.published.outages.sort(order))


def test_a_batch_that_changes_nothing_says_nothing() -> None:
    found = run_batches([*cut(*NIGHT, []), (EVENTS.empty(), HEARD.empty()), NIGHT])
    assert found[0].outages.height > 0
    assert found[1].outages.is_empty()
    assert found[2].outages.is_empty(), "the same log again, as after a redelivery"


def test_streets_that_become_a_zone_are_merged_under_the_first_id() -> None:
    first, second = below(METERS, "T000"), below(METERS, "T011")
    rest = [name for name in below(METERS, "F0") if name not in first + second]
    batches = [
        (told(first, "power_down", T0), alive(METERS, below(METERS, "F0"), T0 + MINUTE)),
        (told(second, "power_down", T0 + 3 * MINUTE), alive(METERS, first + second, T0 + 5 * MINUTE)),
        (told(rest, "power_down", T0 + 8 * MINUTE), alive(METERS, below(METERS, "F0"), T0 + 10 * MINUTE)),
    ]
    found = run_batches(batches)
    assert sorted(found[1].state.published.outages["node_id"].unique()) == ["T000", "T011"]
    ids = dict(found[1].state.published.outages.select("node_id", "incident_id").rows())
    state = last_steps(found[2].state.published.outages)
    whole, merged = (state.filter(pl.col("incident_id") == ids[node]).row(0, named=True) for node in ("T000", "T011"))
    assert (whole["node_id"], whole["scope"], whole["state"]) == ("F0", "zonal", "confirmed")
    assert (merged["state"], merged["merged_into"]) == ("merged", ids["T000"])


def test_a_zone_that_falls_apart_keeps_its_id_with_its_first_message() -> None:
    dark = below(METERS, "T000") + below(METERS, "T011")
    found = run_batches(
        [
            (told(dark, "power_down", T0), HEARD.empty()),
            (EVENTS.empty(), alive(METERS, dark, T0 + 10 * MINUTE)),
        ]
    )
    before = last_steps(found[0].state.published.outages)
    assert before["scope"].to_list() == ["zonal"]
    after = last_steps(found[1].state.published.outages)
    kept = after.filter(pl.col("incident_id") == before["incident_id"][0]).row(0, named=True)
    assert (kept["node_id"], kept["scope"]) == ("T000", "street")
    assert sorted(after["node_id"]) == ["T000", "T011"]


@settings(max_examples=6, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(1, 3))
def test_merging_and_splitting_keep_their_ids_whatever_the_order_and_the_copies(random: Random, copies: int) -> None:
    """Two streets become their feeder, and a read takes it apart again: rows in any order, up to thrice."""
    first, second = below(METERS, "T000"), below(METERS, "T011")
    rest = [name for name in below(METERS, "F0") if name not in first + second]
    batches = [
        (told(first, "power_down", T0), alive(METERS, below(METERS, "F0"), T0 + MINUTE)),
        (told(second, "power_down", T0 + 3 * MINUTE), alive(METERS, first + second, T0 + 5 * MINUTE)),
        (told(rest, "power_down", T0 + 8 * MINUTE), alive(METERS, below(METERS, "F0"), T0 + 10 * MINUTE)),
        (EVENTS.empty(), alive(METERS, [*first, *second], T0 + 11 * MINUTE)),
    ]

    def mixed(rows: pl.DataFrame, times: int) -> pl.DataFrame:
        order = list(range(rows.height)) * times
        random.shuffle(order)
        return rows[order]

    plain = run_batches(batches)
    again = run_batches([(mixed(events, copies), mixed(heard, copies)) for events, heard in batches])
    for one, other in zip(plain, again, strict=True):
        assert one.outages.equals(other.outages)
    ends = [last_steps(d.state.published.outages).sort("started_at", "incident_id") for d in plain]
    standing = [end.filter(~pl.col("state").is_in(list(GONE))) for end in ends]
    assert [end["node_id"].to_list() for end in standing] == [["L00"], ["T000", "T011"], ["F0"], ["T000", "T011"]]
    assert {end["incident_id"][0] for end in standing} == {ends[0]["incident_id"][0]}, "the first keeps its id"
    merged = ends[2].filter(pl.col("state") == "merged")
    assert merged["merged_into"].to_list() == [ends[0]["incident_id"][0]]
    assert all(set(one["incident_id"]) <= set(other["incident_id"]) for one, other in itertools.pairwise(ends))


def test_a_street_that_turns_out_momentary_is_cancelled_and_says_why() -> None:
    dark = below(METERS, "T000")
    found = run_batches(
        [
            (told(dark, "power_down", T0), alive(METERS, dark, T0 + MINUTE)),
            (told(dark, "power_up", T0 + 2 * MINUTE), HEARD.empty()),
        ]
    )
    assert last_steps(found[0].outages)["state"].to_list() == ["reported"] or found[0].outages.height == 2
    end = last_steps(found[1].state.published.outages).row(0, named=True)
    assert (end["state"], end["cause"], end["meters_out"]) == ("cancelled", "momentary", 0)
    assert found[1].counts.momentary == 6


def test_the_state_forgets_what_is_over_and_keeps_what_goes_on() -> None:
    over, open_end = below(METERS, "T000"), below(METERS, "T110")
    later = T0 + timedelta(days=3)
    found = run_batches(
        [
            (
                log(
                    told(over, "power_down", T0),
                    told(over, "power_up", T0 + 30 * MINUTE),
                    told(open_end, "power_down", T0),
                ),
                alive(METERS, over + open_end, T0 + 10 * MINUTE),
            ),
            (told(["M000-001"], "power_down", later), alive(METERS, [*open_end, "M000-001"], later + 10 * MINUTE)),
        ]
    )
    state = found[1].state
    assert sorted(state.published.outages["node_id"].unique()) == ["SP000-001", "T110"]
    assert set(state.events["meter_id"]) == {*open_end, "M000-001"}
    again = detect_outages(told(open_end, "power_up", later + 20 * MINUTE), METERS, HEARD.empty(), PARAMS, state)
    assert last_steps(again.outages).filter(pl.col("node_id") == "T110")["state"].to_list() == ["restored"]


def test_a_held_individual_is_reported_when_its_time_has_come() -> None:
    one = ["M000-001"]
    found = run_batches(
        [
            (told(one, "power_down", T0), HEARD.empty()),
            (EVENTS.empty(), alive(METERS, one, T0 + 5 * MINUTE - 10 * SECOND)),
            (EVENTS.empty(), alive(METERS, one, T0 + 6 * MINUTE)),
        ]
    )
    assert [d.outages.height for d in found] == [0, 0, 1]
    assert [d.counts.held for d in found] == [1, 1, 0]


def test_a_meter_silent_since_long_before_neither_dates_nor_names_the_outage_of_its_feeder() -> None:
    """Its power-up was lost a day ago: it was reported alone, and is merged when its feeder falls silent."""
    stale = ["M000-001"]
    dark = [name for name in below(METERS, "F0") if name not in stale]
    day = timedelta(days=1)
    found = run_batches(
        [
            (told(stale, "power_down", T0 - day), HEARD.empty()),
            (EVENTS.empty(), alive(METERS, below(METERS, "F0"), T0 - MINUTE)),
            (told(dark, "power_down", T0), alive(METERS, below(METERS, "F0"), T0 + 10 * MINUTE)),
        ],
        DetectParams(keep_s=3 * 86_400),
    )
    alone = last_steps(found[1].state.published.outages)
    assert alone["scope"].to_list() == ["individual"]
    state = last_steps(found[2].state.published.outages)
    feeder = state.filter(pl.col("node_id") == "F0").row(0, named=True)
    assert feeder["started_at"] == T0
    assert feeder["incident_id"] != alone["incident_id"][0]
    merged = state.filter(pl.col("incident_id") == alone["incident_id"][0]).row(0, named=True)
    assert (merged["state"], merged["merged_into"]) == ("merged", feeder["incident_id"])
