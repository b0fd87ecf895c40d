"""What somebody without a key may say: never that a fault is over, or was none (outage.md section 7)."""

import itertools

import polars as pl
import pytest
from outage_logs import MINUTE, SECOND, T0, alive, below, last_steps, life, log, told, tree

from outage.detect import Detected, detect_outages
from outage.params import DetectParams

METERS = tree()
DARK = below(METERS, "T000")
FORGED = {"authenticated": False, "delay": SECOND}


def found(*parts: pl.DataFrame, heard: pl.DataFrame | None = None) -> Detected:
    lives = alive(METERS, DARK, T0 + 10 * MINUTE, T0 + 60 * MINUTE)
    return detect_outages(log(*parts), METERS, lives if heard is None else heard, DetectParams())


def state(detected: Detected) -> list[tuple[str, str]]:
    return last_steps(detected.outages).select("node_id", pl.col("state").cast(pl.String)).rows()


TRUE = told(DARK, "last_gasp", T0, sequence=7)


@pytest.mark.parametrize("sequence", [None, 7, 8, 10**9])
def test_a_power_up_in_clear_ends_no_authenticated_power_down(sequence: int | None) -> None:
    forged = told(DARK, "power_up", T0 + 8 * MINUTE, sequence=sequence, **FORGED)
    detected = found(TRUE, forged)
    assert state(detected) == [("T000", "confirmed")]
    assert detected.counts.unproven == len(DARK)
    alarms = detected.alarms.filter(pl.col("kind") == "unproven")
    assert alarms["node_id"].sort().to_list() == sorted(DARK)


def test_a_power_up_in_clear_with_a_high_counter_disproves_no_later_power_down() -> None:
    forged = told(DARK, "power_up", T0 - 2 * MINUTE, sequence=10**9, **FORGED)
    assert state(found(forged, TRUE)) == [("T000", "confirmed")]


def test_a_return_in_clear_makes_no_late_word_of_the_meter_old_news() -> None:
    late = told(DARK, "power_down", T0, sequence=3, delay=2 * 60 * MINUTE)
    forged = told(DARK, "power_up", T0 + 5 * MINUTE, **FORGED)
    heard = alive(METERS, DARK, T0 + 10 * MINUTE, T0 + 130 * MINUTE)
    assert state(found(late, forged, heard=heard)) == state(found(late, heard=heard)) == [("T000", "confirmed")]


def test_what_is_proven_still_ends_it() -> None:
    forged = told(DARK, "power_up", T0 + 8 * MINUTE, **FORGED)
    own = told(DARK, "power_up", T0 + 20 * MINUTE, sequence=8)
    assert state(found(TRUE, forged, own)) == [("T000", "restored")]
    (at,) = last_steps(found(TRUE, forged, own).outages)["restored_at"]
    assert at - T0 >= 20 * MINUTE, "the forged return dates nothing"
    lives = pl.concat([alive(METERS, DARK, T0 + 10 * MINUTE), life(DARK, T0 + 30 * MINUTE)])
    assert state(found(TRUE, forged, heard=lives)) == [("T000", "restored")]


def test_a_fleet_without_keys_is_believed_as_it_speaks() -> None:
    down = told(DARK, "last_gasp", T0, authenticated=False)
    up = told(DARK, "power_up", T0 + 20 * MINUTE, authenticated=False)
    detected = found(down, up)
    assert state(detected) == [("T000", "restored")]
    assert detected.counts.unproven == 0


def test_in_any_order_of_arrival_the_forged_return_counts_for_nothing() -> None:
    forged = told(DARK, "power_up", T0 + 8 * MINUTE, sequence=9, **FORGED)
    again = told(DARK, "power_down", T0 + 2 * MINUTE, sequence=7, origin="nic", authenticated=False)
    wanted = state(found(TRUE, forged, again))
    assert wanted == [("T000", "confirmed")]
    for parts in itertools.permutations((TRUE, forged, again)):
        assert state(found(*parts)) == wanted
