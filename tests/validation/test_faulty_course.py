"""A register that lies for several reads and returns to its old course was never reset."""

from datetime import timedelta
from typing import Any

import pytest
from vee_made import MONDAY, failed, meters, reads, vee

HOUR = timedelta(hours=1)
BASE, HOURLY = 100_000_000, 1_000_000
FUSE = {"fuse_a": 20, "voltage_v": 230, "phase": "A", "register_digits": 6}
COURSE = [BASE + HOURLY * at for at in range(25)]


def cumulative(values: list[int], known: dict[str, Any]) -> Any:
    told = {MONDAY + HOUR * at: value for at, value in enumerate(values)}
    return vee(reads=reads(told), meters=meters({"profile": "cumulative", **known}))


@pytest.mark.parametrize("known", [FUSE, {}])
@pytest.mark.parametrize("wrong", [(10, 11), (10, 11, 12, 13)])
def test_zeros_in_a_row_are_no_reset_where_the_register_returns(wrong: tuple[int, ...], known: dict[str, Any]) -> None:
    result = cumulative([0 if at in wrong else value for at, value in enumerate(COURSE)], known)
    assert result.finals["value_milli"].to_list() == [HOURLY] * 24
    doubted = {at for at in range(24) if {at, at + 1} & set(wrong)}
    assert {at for at, one in enumerate(result.finals["quality"]) if one == "estimated"} == doubted
    assert set(failed(result, "rollover_or_reset")) <= doubted


def test_a_leap_of_several_reads_that_comes_back_is_no_new_course() -> None:
    result = cumulative([value + 10**8 if at in (10, 11) else value for at, value in enumerate(COURSE)], FUSE)
    assert result.finals["value_milli"].to_list() == [HOURLY] * 24


@pytest.mark.parametrize("known", [FUSE, {}])
def test_a_reset_that_stays_is_one(known: dict[str, Any]) -> None:
    result = cumulative([*COURSE[:10], *(HOURLY * at for at in range(15))], known)
    assert [at for at, one in enumerate(result.finals["quality"]) if one == "estimated"] == [9]
    assert failed(result, "rollover_or_reset") == [9]
