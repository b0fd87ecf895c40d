"""A meter whose last gasp was lost, and that says that it is back with its neighbours, was dark with them."""

import itertools
from datetime import timedelta

import polars as pl
import pytest
from outage_logs import MINUTE, SECOND, T0, alive, below, last_steps, life, log, told, tree

from outage.detect import Detected, detect_outages
from outage.params import DetectParams
from schemas.frames import HEARD

METERS = tree()
STREET = below(METERS, "T000")
BACK = T0 + 50 * MINUTE
HOURLY = [timedelta(hours=n) for n in range(-3, 3)]


def found(*parts: pl.DataFrame, heard: pl.DataFrame | None = None) -> Detected:
    return detect_outages(log(*parts), METERS, HEARD.empty() if heard is None else heard, DetectParams())


def nodes(detected: Detected) -> list[tuple[str, int]]:
    return last_steps(detected.outages).select("node_id", "meters_heard").rows()


TWO = told(STREET[:2], "last_gasp", T0)


def test_neighbours_that_only_tell_their_return_complete_a_street() -> None:
    later = alive(METERS, STREET, T0 + 20 * MINUTE)
    assert nodes(found(TWO, heard=later)) == [("SP000-000", 1), ("SP000-001", 1)], "two of eight are too few"
    detected = found(TWO, told(STREET[1:5], "power_up", BACK))
    assert nodes(detected) == [("T000", 5)]
    (step,) = last_steps(detected.outages).rows(named=True)
    assert (step["started_at"], str(step["state"]), step["meters_out"]) == (T0, "restored", 8)
    assert BACK <= step["restored_at"] <= BACK + 7 * SECOND


def test_in_any_order_of_arrival_the_same_street() -> None:
    parts = [TWO, told(STREET[2:4], "power_up", BACK), told(STREET[4:6], "power_up", BACK, delay=9 * MINUTE)]
    assert {tuple(nodes(found(*order))) for order in itertools.permutations(parts)} == {(("T000", 6),)}


def test_a_neighbour_whose_own_return_was_lost_and_that_was_read_later_agrees() -> None:
    heard = life(STREET[:2], BACK + 20 * MINUTE)
    assert nodes(found(TWO, told(STREET[2:5], "power_up", BACK), heard=heard)) == [("T000", 5)]


def test_a_return_that_no_neighbour_shares_tells_of_no_outage() -> None:
    assert nodes(found(told(STREET[2:6], "power_up", BACK))) == []
    elsewhere = told(below(METERS, "T120")[:1], "last_gasp", T0)
    assert nodes(found(elsewhere, told(STREET[2:6], "power_up", BACK))) == [("SP120-000", 1)]


def test_one_return_alone_beside_a_neighbour_that_has_not_come_back_is_an_outage_of_its_own() -> None:
    heard = life(STREET[:2], BACK + 20 * MINUTE)
    assert nodes(found(TWO, told(STREET[2:3], "power_up", BACK), heard=heard)) == [("SP000-000", 1), ("SP000-001", 1)]


def test_neighbours_that_came_back_at_another_time_were_not_dark_together() -> None:
    own = told(STREET[:2], "power_up", T0 + 30 * MINUTE)
    assert nodes(found(TWO, own, told(STREET[2:6], "power_up", BACK))) == [("SP000-000", 1), ("SP000-001", 1)]


def test_a_meter_that_was_read_while_its_neighbours_were_dark_was_not_dark_with_them() -> None:
    lives = life(STREET[2:6], T0 + 10 * MINUTE)
    detected = found(TWO, told(STREET[2:6], "power_up", BACK), heard=lives)
    assert nodes(detected) == [("SP000-000", 1), ("SP000-001", 1)]


def test_who_comes_back_with_another_transformer_of_its_lateral_was_not_dark_with_it_if_its_own_went_on() -> None:
    """By chance two outages end together: the meters around, on its phase, tell that they had nothing in common."""
    street = (told(STREET, "last_gasp", T0), told(STREET, "power_up", BACK))
    (lone, *around) = below(METERS, "T001")
    same_phase, others = around[2::3], [name for name in around if name not in around[2::3]]
    back = told([lone], "power_up", BACK)
    assert nodes(found(*street, back, heard=life(others, T0 + 20 * MINUTE))) == [("T000", 8), ("SP001-000", 1)]
    assert nodes(found(*street, back, heard=life(same_phase[:1], T0 + 20 * MINUTE))) == [("T000", 8)]
    late = [*others, *same_phase]
    again = found(*street, back, heard=life(late, BACK + 20 * MINUTE))
    assert {name for name, _ in nodes(again)} >= {"L00"}, "reads after the return say nothing of the time before"


def test_a_return_in_clear_makes_no_street_of_what_a_meter_has_proven() -> None:
    forged = told(STREET[2:6], "power_up", BACK, authenticated=False)
    assert nodes(found(TWO, forged)) == [("SP000-000", 1), ("SP000-001", 1)]
    clear = told(STREET[:2], "last_gasp", T0, authenticated=False)
    assert nodes(found(clear, forged)) == [("T000", 6)], "a fleet without keys is believed as it speaks"


def test_two_meters_of_a_lateral_are_needed_where_the_street_itself_said_nothing() -> None:
    lateral = below(METERS, "L00")
    other = told(lateral[8:9], "last_gasp", T0)
    ups = told(STREET[:4], "power_up", BACK)
    assert nodes(found(other, ups)) == [("SP001-000", 1)]
    assert [node for node, _ in nodes(found(other, told(lateral[16:23], "last_gasp", T0), ups))] == ["L00"]


def test_a_second_return_an_hour_after_the_first_ends_an_outage_whose_gasp_was_lost() -> None:
    first = log(told(STREET[5:6], "last_gasp", T0 - 120 * MINUTE), told(STREET[5:6], "power_up", T0 - 90 * MINUTE))
    second = log(TWO, told([STREET[2], STREET[5]], "power_up", BACK))
    assert ("T000", 4) in nodes(found(first, second))


@pytest.mark.parametrize("authenticated", [True, False])
def test_a_read_that_clocks_cannot_place_is_one_of_the_meters_usual_reads(authenticated: bool) -> None:
    """Read every hour, once ten seconds after its gasp: the next read came when it was due."""
    name = STREET[:1]
    gasp = told(name, "last_gasp", T0, authenticated=authenticated)
    detected = found(gasp, heard=life(name, *(T0 + 10 * SECOND + hour for hour in HOURLY)))
    assert nodes(detected) == ([("SP000-000", 1)] if authenticated else [])


def test_a_read_that_clocks_cannot_place_makes_no_missed_read_of_the_next() -> None:
    """One of a street is read on time throughout, the others are dark for three hours."""
    lives = pl.concat([alive(METERS, STREET, T0), life(STREET[7:], *(T0 + 10 * SECOND + hour for hour in HOURLY))])
    street = log(told(STREET[:5], "last_gasp", T0), told(STREET[:5], "power_up", T0 + 180 * MINUTE))
    assert {node for node, _ in nodes(found(street, heard=lives))} == {f"SP000-00{n}" for n in range(5)}


@pytest.mark.parametrize("authenticated", [True, False])
def test_who_falls_silent_by_its_word_inside_a_dark_street_is_inside_its_incident(authenticated: bool) -> None:
    """Ten minutes after the street; nobody had heard it before. Late word, a wrong clock, or a forged one."""
    late = told(STREET[5:6], "last_gasp", T0 + 10 * MINUTE, authenticated=authenticated)
    street = told(STREET[:5], "last_gasp", T0)
    heard = alive(METERS, STREET, T0 + 20 * MINUTE)
    assert nodes(found(street, late, heard=heard)) == [("T000", 5)]
    back = log(street, told(STREET[:5], "power_up", T0 + 5 * MINUTE + 30 * SECOND))
    again = nodes(found(back, late, heard=heard))
    assert again == ([("T000", 5), ("SP000-005", 1)]), "after its street had come back it is an outage of its own"


HOUR_BEFORE = life(STREET[5:6], *(T0 - 20 * MINUTE - n * 60 * MINUTE for n in range(4)))
READ_AT = T0 + 40 * MINUTE
"""The sixth meter is read every hour, on time: it is not known to have missed anything."""


@pytest.mark.parametrize(
    ("says_at", "authenticated", "expected"),
    [(35, True, "T000"), (35, False, "SP"), (2, True, "SP"), (None, True, "SP")],
    ids=["it had said that it was back", "somebody had said so", "it had come back at once", "it said nothing"],
)
def test_a_read_after_the_meters_own_return_is_no_life_against_its_street(
    says_at: int | None, authenticated: bool, expected: str
) -> None:
    """The street's own returns were lost; it is read again an hour and a half later."""
    parts = [told(STREET[:5], "last_gasp", T0)]
    if says_at is not None:
        parts.append(told(STREET[5:6], "power_up", T0 + says_at * MINUTE, authenticated=authenticated))
        parts.append(told(below(METERS, "T120")[:1], "power_up", T0 - 30 * MINUTE))
    others = alive(METERS, STREET, T0, READ_AT)
    heard = pl.concat([others, HOUR_BEFORE, life(STREET[5:6], READ_AT), life(STREET[:5], T0 + 90 * MINUTE)])
    assert {node[: len(expected)] for node, _ in nodes(found(*parts, heard=heard))} == {expected}


def test_a_meter_that_came_back_before_its_neighbours_still_lives_against_them() -> None:
    street = log(told(STREET[:5], "last_gasp", T0), told(STREET[:5], "power_up", T0 + 60 * MINUTE))
    early = told(STREET[5:6], "power_up", T0 + 35 * MINUTE)
    heard = pl.concat([alive(METERS, STREET, T0, READ_AT), HOUR_BEFORE, life(STREET[5:6], READ_AT)])
    assert {node[:2] for node, _ in nodes(found(street, early, heard=heard))} == {"SP"}


def test_the_return_of_who_was_dark_before_says_nothing_of_a_later_onset() -> None:
    """One meter is back just after two streets fell silent; the third street, which is read on, vetoes the lateral."""
    lateral = below(METERS, "L00")
    early, dark, living = lateral[16:17], lateral[:16], lateral[17:]
    events = log(told(early, "last_gasp", T0 - 100 * MINUTE), told(dark, "last_gasp", T0))
    heard = pl.concat([
        life(early, T0 + MINUTE),
        *(life(living, T0 + 2 * MINUTE + n * 60 * MINUTE) for n in (-2, -1, 0)),
        alive(METERS, lateral, T0 - 10 * MINUTE, T0 + 30 * MINUTE),
    ])  # fmt: skip
    assert {node for node, _ in nodes(found(events, heard=heard))} == {"T000", "T001", "SP002-000"}
