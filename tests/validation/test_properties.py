"""Properties of a whole run, whatever the data: order, blocks, own output, and what no estimate may draw on."""

from datetime import timedelta
from random import Random
from typing import Any

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st
from test_rules import pair
from vee_made import MONDAY, intervals, meters, params, reads, vee

from schemas.codes import Status

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
HOURS = 24 * 6

SEEDS = st.integers(0, 2**32)


def fleet(seed: int) -> dict[str, pl.DataFrame]:
    """Three invented meters with holes, flags, copies that disagree, an outage, and reads at some boundaries."""
    chance = Random(seed)
    rows, registers = [], []
    for name in ("MTR1", "MTR2", "MTR3"):
        values = [chance.choice((0, 100_000, 400_000, 3_000_000)) + chance.randrange(50_000) for _ in range(HOURS)]
        status = [chance.choice((0,) * 40 + (int(Status.TEST_MODE), int(Status.LONG))) for _ in range(HOURS)]
        lost = sorted(k for k in range(HOURS) if chance.random() < 0.1)
        rows.append(intervals(values, meter=name, status=status, skip=lost))
        copies = intervals([value + chance.randrange(2) for value in values], meter=name)
        rows.append(copies.sample(5, seed=chance.randrange(1000)).with_columns(frame=pl.lit(1000, pl.Int32)))
        at = sorted({0, *(chance.randrange(HOURS) for _ in range(4)), HOURS})
        so_far = [sum(values[:k]) for k in at]
        registers.append(
            reads({MONDAY + k * HOUR: value for k, value in zip(at, so_far, strict=True)}, meter=name)
        )  # fmt: skip
    start = chance.randrange(HOURS - 5)
    dark = pair(MONDAY + start * HOUR, MONDAY + (start + 3) * HOUR)
    return {"intervals": pl.concat(rows), "reads": pl.concat(registers), "events": dark, "meters": meters(
        {}, {"meter_id": "MTR2"}, {"meter_id": "MTR3", "multiplier": 40_000},
    )}  # fmt: skip


def shuffled(given: dict[str, pl.DataFrame], seed: int) -> dict[str, pl.DataFrame]:
    return {name: rows.sample(fraction=1, shuffle=True, seed=seed) for name, rows in given.items()}


@settings(max_examples=8, deadline=None)
@given(seed=SEEDS)
def test_neither_the_order_of_rows_nor_the_cut_into_blocks_changes_anything(seed: int) -> None:
    given = fleet(seed)
    plain = vee(**given)
    for settings_, rows in ((params(), shuffled(given, seed)), (params(block_cells=1), given)):
        other = vee(settings_, **rows)
        assert other.finals.equals(plain.finals)
        assert other.exceptions.equals(plain.exceptions)


@settings(max_examples=8, deadline=None)
@given(seed=SEEDS)
def test_a_bucket_of_meters_is_judged_as_the_whole_fleet_is(seed: int) -> None:
    given = fleet(seed)
    bounds: dict[str, Any] = {"grid_from": MONDAY, "grid_to": MONDAY + HOURS * HOUR}
    whole = vee(params(**bounds), **given).finals
    names = ("MTR1", "MTR2", "MTR3")
    parts = [
        vee(params(**bounds), **{key: rows.filter(pl.col("meter_id") == name) for key, rows in given.items()}).finals
        for name in names
    ]
    # Whether outages were looked for at all is a fact of the run; MTR1 alone has events.
    told = pl.exclude("unjudged", "failed")
    assert pl.concat(parts).select(told).equals(whole.select(told))


@settings(max_examples=8, deadline=None)
@given(seed=SEEDS)
def test_a_run_on_its_own_output_writes_nothing_and_late_rows_only_what_changes(seed: int) -> None:
    given = fleet(seed)
    first = vee(**given)
    again = vee(params(run_id="run-2", judged_at=MONDAY + 400 * DAY), finals=first.finals, **shuffled(given, seed))
    assert again.appended.height == 0
    assert again.finals.equals(first.finals)
    late = intervals([7_777] * HOURS, meter="MTR2").sample(3, seed=seed % 1000)
    given["intervals"] = pl.concat([given["intervals"], late.with_columns(frame=pl.lit(2000, pl.Int32))])
    second = vee(params(run_id="run-3"), finals=first.finals, **given)
    assert set(second.appended["meter_id"]) <= {"MTR2"}
    assert set(second.appended["version"]) <= {2}
    third = vee(params(run_id="run-4"), finals=pl.concat([first.finals, second.appended]), **given)
    assert third.appended.height == 0


@settings(max_examples=8, deadline=None)
@given(seed=SEEDS, other=st.integers(0, 10_000_000))
def test_no_estimate_draws_on_a_value_that_was_not_measured_and_valid(seed: int, other: int) -> None:
    """Whatever the meter sends in test mode: no value, quality or method changes, nor any bit elsewhere."""
    given = fleet(seed)
    bad = pl.col("status") == int(Status.TEST_MODE)
    tested = given["intervals"].filter(bad).select("meter_id", "interval_start").unique()
    changed = pl.when(bad).then(pl.lit(other)).otherwise("value_milli")
    runs = [
        vee(**given | {"intervals": rows}).finals
        for rows in (given["intervals"], given["intervals"].with_columns(value_milli=changed))
    ]
    names = ("value_milli", "quality", "method")
    assert runs[0].select(names).equals(runs[1].select(names))
    beside = [finals.join(tested, on=["meter_id", "interval_start"], how="anti") for finals in runs]
    assert beside[0].equals(beside[1])


@settings(max_examples=8, deadline=None)
@given(seed=SEEDS)
def test_outage_intervals_and_the_first_after_one_serve_no_estimate(seed: int) -> None:
    """A day of the past under an outage may hold anything: the estimate of a later day does not move."""
    chance = Random(seed)
    values = [100_000 + chance.randrange(10_000) for _ in range(24 * 8)]
    start = 24 + chance.randrange(20)
    dark = pair(MONDAY + start * HOUR, MONDAY + (start + 2) * HOUR)
    lost = range(24 * 7 + 2, 24 * 7 + 20)
    plain = vee(intervals=intervals(values, skip=lost), events=dark).finals
    for at in range(start, start + 3):
        values[at] = chance.randrange(100_000, 110_000)
    other = vee(intervals=intervals(values, skip=lost), events=dark).finals
    assert other["value_milli"].to_list()[lost.start : lost.stop] == plain["value_milli"].to_list()[
        lost.start : lost.stop
    ]  # fmt: skip
