"""Gaps on both sides of a read of the total alone: totals and time-of-use registers are met together."""

import itertools
from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vee_made import MONDAY, failed, found, intervals, meters, params, reads, vee

from schemas.codes import Channel
from validation.params import TouPeriod
from validation.tou_shares import table_of
from validation.vee import Vee

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
T1, T2 = "energy_delivered_t1", "energy_delivered_t2"
TOU = (TouPeriod(Channel.ENERGY_DELIVERED_T1, 6 * 3600, 18 * 3600), TouPeriod(Channel.ENERGY_DELIVERED_T2))
BY_DAY = [6 <= hour < 18 for hour in range(24)]


def judged(values: list[int], skip: list[int], at: list[int], advances: tuple[int, int], **master: object) -> Vee:
    """A day of hours; the total was read at the hours `at` as well, the registers at both midnights alone."""
    total = np.append(0, np.cumsum(values)).tolist()
    registers = [
        reads({MONDAY + hour * HOUR: total[hour] for hour in sorted({0, *at, 24})}),
        *(
            reads({MONDAY: 500, MONDAY + DAY: 500 + moved}, channel=name)
            for name, moved in zip((T1, T2), advances, strict=True)
        ),
    ]
    return vee(
        params(tou=TOU, grid_from=MONDAY, grid_to=MONDAY + DAY),
        intervals=intervals(values, skip=skip),
        reads=pl.concat(registers),
        meters=meters(master),
    )


def by_period(values: list[int]) -> tuple[int, int]:
    return sum(v for v, day in zip(values, BY_DAY, strict=True) if day), sum(
        v for v, day in zip(values, BY_DAY, strict=True) if not day
    )


def test_with_both_periods_on_both_sides_of_noon_every_sum_is_met_in_the_shape_of_the_estimates() -> None:
    """Hours 5, 6 and 17, 18 took 100 and 300, 300 and 100. Each half day lacks 400; the day 600 and the night 200."""
    values = [100] * 24
    values[5:7], values[17:19] = [100, 300], [300, 100]
    result = judged(values, [5, 6, 17, 18], [12], by_period(values))
    told = result.finals["value_milli"].to_list()
    assert [told[hour] for hour in (5, 6, 17, 18)] == [100, 300, 300, 100]
    assert failed(result, "tou_sum") == failed(result, "sum_check") == []


def test_a_total_that_is_read_each_hour_says_it_all_and_the_registers_agree() -> None:
    values = [100 + 7 * hour for hour in range(24)]
    result = judged(values, [2, 5, 6, 11, 17, 20], list(range(24)), by_period(values))
    assert result.finals["value_milli"].to_list() == values
    assert found(result, "anchor_negative_remainder").height == 0


def test_where_no_values_meet_all_registers_the_totals_are_met() -> None:
    """Each half lacks 100, hour 5 of the night and hour 13 of the day; the registers say 150 for the day."""
    values = [100] * 24
    day, night = by_period(values)
    result = judged(values, [5, 13], [12], (day + 50, night - 50))
    assert result.finals["value_milli"].to_list() == values


def test_registers_that_differ_by_their_resolution_share_what_the_totals_leave() -> None:
    values = [100] * 24
    values[5:7] = [130, 170]
    day, night = by_period(values)
    result = judged(values, [5, 6, 13], [12], (day, night - 1))
    told = result.finals["value_milli"].to_list()
    assert sum(told[:12]) == sum(values[:12])
    assert sum(told[12:]) == sum(values[12:])
    assert abs(told[5] - 130) <= 1


@settings(max_examples=15, deadline=None)
@given(
    values=st.lists(st.integers(0, 5_000), min_size=24, max_size=24),
    skip=st.sets(st.integers(0, 23), min_size=1, max_size=10),
    at=st.sets(st.integers(1, 23), min_size=1, max_size=4),
)
def test_totals_of_every_stretch_and_registers_of_the_day_are_met_exactly(
    values: list[int], skip: set[int], at: set[int]
) -> None:
    # A shop behind a transformer ratio: the values may be anything that its fuse allows.
    result = judged(values, sorted(skip), sorted(at), by_period(values), fuse_a=1000, voltage_v=400, phase="A")
    told = result.finals["value_milli"].to_list()
    bounds = [0, *sorted(at), 24]
    for first, after in itertools.pairwise(bounds):
        assert sum(told[first:after]) == sum(values[first:after])
    assert by_period(told) == by_period(values)
    assert min(told) >= 0


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_table_that_there_is_is_found_and_hits_its_margins(data: st.DataObject) -> None:
    shape = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 4))
    cells = st.lists(st.integers(0, 10**12), min_size=shape[0] * shape[1], max_size=shape[0] * shape[1])
    truth, weight = (np.array(data.draw(cells)).reshape(shape) for _ in range(2))
    support = np.array(data.draw(st.lists(st.booleans(), min_size=truth.size, max_size=truth.size))).reshape(shape)
    truth = np.where(support, truth, 0)
    table = table_of(weight, support, truth.sum(axis=1), truth.sum(axis=0))
    assert table is not None
    assert (table.sum(axis=1) == truth.sum(axis=1)).all()
    assert (table.sum(axis=0) == truth.sum(axis=0)).all()
    assert (table >= 0).all()
    assert not table[~support].any()


@pytest.mark.parametrize("rows", [[3, 1], [0, 4]])
def test_margins_that_the_support_cannot_meet_have_no_table(rows: list[int]) -> None:
    support = np.array([[True, False], [False, True]])
    assert table_of(np.ones((2, 2), np.int64), support, np.array(rows), np.array([2, 2])) is None
