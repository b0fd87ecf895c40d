"""A momentary 0 near the end of a register's range is no rollover, and a rollover stays one (V22)."""

from datetime import timedelta
from typing import Any

import pytest
from vee_made import JUDGED_AT, MONDAY, failed, found, intervals, meters, params, reads, vee

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
WRAP, HOURLY = 100_000_000, 1000
NEAR = WRAP - 30_000
FUSE = {"fuse_a": 25, "voltage_v": 230, "phase": "A"}
WIDE = {"fuse_a": 100, "voltage_v": 230, "phase": "A"}
"""Lets more through in twelve hours than the register can show."""


def cumulative(values: list[int], known: dict[str, Any]) -> Any:
    told = {MONDAY + HOUR * at: value for at, value in enumerate(values)}
    return vee(reads=reads(told), meters=meters({"profile": "cumulative", "register_digits": 5, **known}))


@pytest.mark.parametrize("known", [FUSE, WIDE, {}])
@pytest.mark.parametrize("wrong", [(10,), (10, 11, 12), (23,)])
def test_zeros_near_the_end_of_a_register_that_returns_are_no_rollover(
    wrong: tuple[int, ...], known: dict[str, Any]
) -> None:
    result = cumulative([0 if at in wrong else NEAR + HOURLY * at for at in range(25)], known)
    assert result.finals["value_milli"].to_list() == [HOURLY] * 24
    doubted = {at for at in range(24) if {at, at + 1} & set(wrong)}
    assert {at for at, one in enumerate(result.finals["quality"]) if one == "estimated"} == doubted
    assert found(result, "rollover_or_reset").height >= 1


@pytest.mark.parametrize("known", [FUSE, WIDE, {}])
def test_a_rollover_stays_one(known: dict[str, Any]) -> None:
    result = cumulative([(NEAR + 10_000 + HOURLY * at) % WRAP for at in range(25)], known)
    assert result.finals["value_milli"].to_list() == [HOURLY] * 24
    assert set(result.finals["quality"]) == {"valid"}
    assert not failed(result, "rollover_or_reset")


@pytest.mark.parametrize("known", [WIDE, {}])
def test_intervals_are_not_anchored_over_a_false_rollover(known: dict[str, Any]) -> None:
    """24 hours of 1000 and two of them lost: the reads around the zero say 24,000."""
    told = reads({MONDAY: NEAR, MONDAY + 12 * HOUR: 0, MONDAY + DAY: NEAR + 24_000})
    master = meters({"register_digits": 5, **known})
    result = vee(intervals=intervals([HOURLY] * 24, skip=[9, 10]), reads=told, meters=master)
    assert result.finals["value_milli"].to_list() == [HOURLY] * 24
    assert failed(result, "rollover_or_reset") == [11]


@pytest.mark.parametrize("known", [FUSE, {}])
def test_a_zero_that_was_the_last_read_is_taken_back_by_the_next(known: dict[str, Any]) -> None:
    """Nothing but the next read tells a rollover from a fault: what it says becomes a later version, once."""
    values = [NEAR + HOURLY * at for at in range(25)]
    told = {MONDAY + HOUR * at: 0 if at == 12 else value for at, value in enumerate(values)}
    master = meters({"profile": "cumulative", "register_digits": 5, **known})
    day = {"grid_from": MONDAY, "grid_to": MONDAY + DAY}
    first = vee(params(**day), reads=reads(dict(list(told.items())[:13])), meters=master)
    again = {**day, "run_id": "run-2", "judged_at": JUDGED_AT + DAY}
    second = vee(params(**again), reads=reads(told), meters=master, finals=first.finals)
    assert second.finals["value_milli"].to_list() == [HOURLY] * 24
    third = vee(params(**{**again, "run_id": "run-3"}), reads=reads(told), meters=master, finals=second.finals)
    assert third.appended.height == 0
