"""What others say of the supply, as circumstances of inference."""

from datetime import datetime

import polars as pl
import pytest
from outage_logs import MINUTE, SECOND, T0, alive, below, last_steps, log, told, tree

from app.messages import from_messages, to_messages
from outage.circumstances import PINGS, Storm
from outage.detect import detect_outages
from outage.notes import NOTES, NoteKind, circumstances_of, standing, storm_by_hand
from outage.params import DetectParams
from outage.stream_fleet import read_fleet
from outage.stream_state import Evidence, advance, at_rest
from schemas.frames import EVENTS, HEARD

METERS = tree()


def note(kind: str, node: tuple[str | None, str | None], begin: datetime, end: datetime | None, at: datetime = T0):
    row = (kind, *node, begin, end, "works office", at)
    return pl.DataFrame([row], schema=NOTES.schema, orient="row")


PLANNED = note("planned", ("transformer", "T000"), T0 - 5 * MINUTE, T0 + 60 * MINUTE)


def incidents(notes: pl.DataFrame) -> list[str]:
    dark = below(METERS, "T000")
    heard = alive(METERS, dark, T0 + 10 * MINUTE)
    known = circumstances_of(notes, PINGS.to_frame())
    found = detect_outages(log(told(dark, "last_gasp", T0)), METERS, heard, DetectParams(), None, known)
    return last_steps(found.outages)["node_id"].to_list()


def test_planned_work_is_no_incident_and_what_is_taken_back_is_one() -> None:
    assert incidents(NOTES.empty()) == ["T000"]
    assert incidents(PLANNED) == []
    back = PLANNED.with_columns(to=pl.col("from"), said_at=pl.lit(T0 + MINUTE).cast(NOTES.schema["said_at"]))
    assert incidents(standing(pl.concat([back, PLANNED]), 0)) == ["T000"]


@pytest.mark.parametrize("kind", ["disconnect", "exchange", "removal", "firmware"])
def test_an_order_for_a_meter_silences_that_meter_alone(kind: str) -> None:
    dark = below(METERS, "T000")
    one = note(kind, ("meter", dark[0]), T0 - MINUTE, None)
    heard = alive(METERS, dark[:2], T0 + 10 * MINUTE)
    known = circumstances_of(one, PINGS.to_frame())
    found = detect_outages(log(told(dark[:2], "power_down", T0)), METERS, heard, DetectParams(), None, known)
    assert last_steps(found.outages)["node_id"].to_list() == ["SP000-001"]


@pytest.mark.parametrize(
    "node",
    [("meter", "M000-000"), ("service_point", "SP000-000"), ("transformer", "T000"), ("feeder", "F0")],
)
def test_a_confirmation_counts_at_every_kind_of_node(node: tuple[str, str]) -> None:
    """In clear text, so that nothing else vouches for it."""
    one = told(["M000-000"], "last_gasp", T0, authenticated=False)
    heard = alive(METERS, ["M000-000"], T0 + 10 * MINUTE)
    known = circumstances_of(note("confirmed", node, T0 + MINUTE, None), PINGS.to_frame())
    plain = detect_outages(one, METERS, heard, DetectParams()).outages
    found = detect_outages(one, METERS, heard, DetectParams(), None, known).outages
    assert plain["confidence"].max() <= 0.4
    assert plain["confidence"].max() <= 0.4 < found["confidence"].max()


def test_the_last_word_counts_whatever_the_order_and_however_often_it_comes() -> None:
    longer = PLANNED.with_columns(
        to=pl.col("to") + 60 * MINUTE, said_at=pl.lit(T0 + MINUTE).cast(NOTES.schema["said_at"])
    )
    rows = pl.concat([longer, PLANNED, longer, PLANNED])
    assert standing(rows, 0).equals(longer)
    assert standing(rows.reverse(), 0).equals(longer)


def test_a_note_that_is_over_is_forgotten_and_one_without_an_end_stands() -> None:
    since = int((T0 + 120 * MINUTE).timestamp() * 1e6)
    open_end = note("disconnect", ("meter", "M000-000"), T0, None)
    call = note("confirmed", ("feeder", "F0"), T0, None)
    assert standing(pl.concat([PLANNED, open_end, call]), since).equals(open_end)


def test_a_person_enters_and_leaves_storm_mode() -> None:
    on = note("storm_on", (None, None), T0, T0 + 60 * MINUTE)
    off = note("storm_off", (None, None), T0 + 30 * MINUTE, None, T0 + 30 * MINUTE)
    at = [int((T0 + n * MINUTE).timestamp() * 1e6) for n in (-1, 10, 40, 70)]
    both = pl.concat([on, off])
    assert [storm_by_hand(both, moment, Storm.AUTO) for moment in at] == [Storm.AUTO, Storm.ON, Storm.OFF, Storm.OFF]


def test_notes_travel_as_lines_and_come_back() -> None:
    notes = pl.concat([PLANNED, note("storm_on", (None, None), T0, None)])
    values = to_messages(notes, notes["node_id"])["value"].to_list()
    assert from_messages(values, NOTES).equals(notes)
    assert {kind.value for kind in NoteKind} == set(NOTES.schema["note"].categories)


def test_the_worker_remembers_planned_work_that_was_told_before_the_meters_fell_silent() -> None:
    fleet, dark = read_fleet(METERS), below(METERS, "T000")
    nothing = (EVENTS.empty(), HEARD.empty(), PINGS.to_frame())
    told_before = advance(at_rest(), Evidence(*nothing, PLANNED), fleet, DetectParams(), 1)
    gasps = Evidence(log(told(dark, "last_gasp", T0)), alive(METERS, dark, T0 + 10 * MINUTE), PINGS.to_frame())
    assert advance(told_before.state, gasps, fleet, DetectParams(), 2).outages.is_empty()
    assert advance(at_rest(), gasps, fleet, DetectParams(), 2).outages["node_id"].unique().to_list() == ["T000"]
    assert told_before.memory.notes.equals(PLANNED)


def test_in_a_storm_by_hand_single_points_wait_unless_they_are_bellwethers() -> None:
    fleet = read_fleet(METERS)
    storm = note("storm_on", (None, None), T0 - MINUTE, None)
    watched = note("bellwether", ("meter", "M110-001"), T0 - MINUTE, None)
    dark = ["M000-000", "M110-001"]
    gasps = log(told(dark, "power_down", T0, delay=SECOND))
    night = Evidence(gasps, alive(METERS, dark, T0 + 10 * MINUTE), PINGS.to_frame(), pl.concat([storm, watched]))
    found = advance(at_rest(), night, fleet, DetectParams(), 1).outages
    assert found["node_id"].unique().to_list() == ["SP110-001"]
