"""Faults by configuration: each befalls as often as asked, and never the truth."""

import msgspec
import polars as pl
import pytest
from decoded_pushes import decode_run
from polars.testing import assert_frame_equal

from schemas.codes import Status
from simulator.fleet import Simulated, simulate
from simulator.params import NO_FAULTS, NO_OUTAGES, Faults, Layouts, SimulatorParams

INTERVALS_ONLY = Layouts(generic=1, profile_cumulative=0, obis_rows=0, obis_pairs=0, interval_milli=0)


def _run(meters: int = 40, days: int = 2, layouts: Layouts | None = None, **faults: float) -> Simulated:
    told = msgspec.structs.replace(NO_FAULTS, **faults)
    return simulate(
        SimulatorParams(meters=meters, days=days, seed=9, faults=told, outages=NO_OUTAGES, layouts=layouts or Layouts())
    )


@pytest.fixture(scope="module")
def calm() -> Simulated:
    return _run()


@pytest.mark.parametrize("asked", [0.01, 0.05])
def test_about_the_asked_share_of_pushes_is_lost_and_some_meters_lose_none(asked: float) -> None:
    calm, lossy = _run(600, 4), _run(600, 4, loss=asked)
    assert lossy.frames.height / calm.frames.height == pytest.approx(1 - asked, abs=asked / 3)
    assert_frame_equal(lossy.truth_intervals, calm.truth_intervals)


def test_loss_comes_in_whole_blocks_of_some_meters() -> None:
    run = _run(60, 4, INTERVALS_ONLY, loss=0.03)
    arrived = decode_run(run).intervals.filter(channel="energy_delivered").sort("meter_id", "at")
    counts = arrived.group_by("meter_id").len().join(run.meters.select("meter_id", "interval_s"), on="meter_id")
    whole = counts.filter(pl.col("len") * pl.col("interval_s") == 4 * 86_400)
    assert 0.3 <= whole.height / 60 < 1
    gaps = arrived.with_columns(gap=pl.col("at").diff().over("meter_id").dt.total_seconds())
    gaps = gaps.join(run.meters.select("meter_id", "interval_s"), on="meter_id").filter(
        pl.col("gap") > pl.col("interval_s")
    )
    lost_s = gaps["gap"] - gaps["interval_s"]
    assert (lost_s % 3600 == 0).all()
    assert (lost_s >= 7200).all()


def test_what_was_lost_leaves_its_gap_in_the_counters() -> None:
    counters = decode_run(_run(30, 2, loss=0.1)).counters.sort("meter_id", "counter")
    steps = counters.with_columns(step=pl.col("counter").diff().over("meter_id"))["step"].drop_nulls()
    assert steps.min() == 1
    assert steps.max() > 1


def test_counters_rise_with_every_message_and_never_repeat(calm: Simulated) -> None:
    counters = decode_run(calm).counters
    assert counters.select("meter_id", "counter").is_unique().all()
    spans = counters.group_by("meter_id").agg(pl.len(), span=pl.col("counter").max() - pl.col("counter").min() + 1)
    assert (spans["len"] == spans["span"]).all()


def test_duplicates_are_the_same_bytes_later(calm: Simulated) -> None:
    run = _run(duplicated=0.1)
    repeated = run.frames.group_by("payload").agg(pl.len(), pl.col("received_at").n_unique().alias("times"))
    assert set(repeated["len"].unique()) == {1, 2}
    assert repeated.filter(pl.col("len") == 2)["times"].min() == 2
    assert (run.frames.height / calm.frames.height - 1) == pytest.approx(0.1, abs=0.02)


@pytest.mark.parametrize("fault", ["late", "reordered"])
def test_late_and_reordered_pushes_arrive_behind_younger_ones_and_none_is_missing(calm: Simulated, fault: str) -> None:
    run = _run(**{fault: 0.05})
    assert run.frames.height == calm.frames.height
    overtaken = (
        decode_run(run).counters.sort("received_at").with_columns(newest=pl.col("counter").cum_max().over("meter_id"))
    )
    share = (overtaken["counter"] < overtaken["newest"]).mean()
    assert 0.02 < share < 0.09
    # The window of replay protection holds 64 counters.
    assert (overtaken["newest"] - overtaken["counter"]).max() < 64
    in_order = decode_run(calm).counters.sort("received_at")
    assert in_order.with_columns(step=pl.col("counter").diff().over("meter_id"))["step"].min() == 1


def test_spikes_stand_in_the_pushes_beyond_the_service_and_not_in_the_truth(calm: Simulated) -> None:
    run = _run(spikes=0.01, layouts=INTERVALS_ONLY)
    true = run.truth_intervals.with_columns(
        at=pl.col("interval_start") + pl.duration(seconds=pl.col("interval_s")),
        channel=pl.col("channel").cast(pl.String),
    ).select("meter_id", "channel", "at", "interval_s", truth="value_milli")
    told = run.meters.select("meter_id", "multiplier", "fuse_a", "voltage_v", "phase")
    sent = decode_run(run).intervals.join(true, on=["meter_id", "channel", "at"]).join(told, on="meter_id")
    sent = sent.with_columns(primary=pl.col("value_milli") * pl.col("multiplier") // 1000)
    spiked = sent.filter(pl.col("primary") != pl.col("truth"))
    assert spiked.height / sent.filter(channel="energy_delivered").height == pytest.approx(0.01, abs=0.003)
    factor = pl.when(pl.col("phase") == "ABC").then(3**0.5).otherwise(1.0)
    limit = 1.25 * pl.col("voltage_v") * pl.col("fuse_a") * factor * pl.col("interval_s") / 3.6
    assert spiked.filter(pl.col("primary") < limit).is_empty()
    assert sent.filter(pl.col("truth") >= limit).is_empty()


def test_a_stuck_meter_repeats_a_value_for_more_than_a_day() -> None:
    run = _run(12, 4, INTERVALS_ONLY, stuck_meters=1.0)
    values = decode_run(run).intervals.filter(channel="energy_delivered").sort("meter_id", "at")
    runs = values.group_by("meter_id", pl.col("value_milli").rle_id().over("meter_id").alias("run")).agg(
        lasts=pl.col("at").max() - pl.col("at").min(), value=pl.col("value_milli").first()
    )
    longest = runs.group_by("meter_id").agg(pl.all().sort_by("lasts").last())
    assert longest["lasts"].min().total_seconds() > 24 * 3600
    assert longest["value"].min() > 0


def test_test_mode_is_flagged_and_its_energy_is_not_in_the_truth() -> None:
    run = _run(12, 2, INTERVALS_ONLY, test_mode_meters=1.0)
    sent = decode_run(run).intervals.filter(channel="energy_delivered")
    flagged = sent.filter(pl.col("status") & Status.TEST_MODE != 0)
    assert flagged["meter_id"].n_unique() == 12
    true = run.truth_intervals.filter(channel="energy_delivered")["value_milli"].sum()
    multiplied = sent.join(run.meters.select("meter_id", "multiplier"), on="meter_id")
    assert (multiplied["value_milli"] * multiplied["multiplier"] // 1000).sum() > true


def test_a_drifting_clock_shows_in_doubtful_stamps_on_the_grid() -> None:
    run = _run(30, 1, drift_meters=1.0)
    decoded = decode_run(run)
    doubtful = decoded.intervals.group_by("meter_id").agg((pl.col("status") & Status.CLOCK_DOUBTFUL != 0).all())
    assert 0.5 < doubtful["status"].mean() < 1
    assert (decoded.intervals["at"].dt.epoch("s") % 900 == 0).all()


def test_a_replaced_meter_hands_over_at_local_midday_with_a_final_and_a_first_reading() -> None:
    run = _run(40, 2, exchange_meters=0.1)
    assert run.meters.height == 40
    pairs = run.meters.filter(pl.col("service_point_id").is_duplicated()).sort("service_point_id", "installed_at")
    old, new = pairs[::2], pairs[1::2]
    assert old.height == 4
    assert (old["removed_at"] == new["installed_at"]).all()
    local = new["installed_at"].dt.convert_time_zone("Europe/Berlin")
    assert set(local.dt.hour()) == {12}
    assert (old["service_point_id"] == new["service_point_id"]).all()
    instants = pairs.with_columns(changed=pl.coalesce("removed_at", "installed_at")).select("meter_id", "changed")
    reads = decode_run(run).reads.filter(channel="energy_delivered")
    handed = reads.join(instants, left_on=["meter_id", "at"], right_on=["meter_id", "changed"])
    assert handed["meter_id"].n_unique() == 8
    said = decode_run(run).counters.join(old.select("meter_id", "removed_at"), on="meter_id")
    assert (said["received_at"] < said["removed_at"].dt.offset_by("10s")).all()  # a meter taken down is silent
    bounds = run.truth_intervals.join(pairs.select("meter_id", "installed_at", "removed_at"), on="meter_id")
    assert bounds.filter(pl.col("interval_start") < pl.col("installed_at")).is_empty()
    assert bounds.filter(pl.col("interval_start") >= pl.col("removed_at")).is_empty()
    totals = run.truth_intervals.join(run.meters.select("meter_id"), on="meter_id").filter(channel="energy_delivered")
    seconds = totals.group_by("service_point_id").agg(pl.col("interval_s").sum())
    assert set(seconds["interval_s"]) == {2 * 86_400}


def test_no_fault_of_the_defaults_is_off() -> None:
    assert all(getattr(Faults(), name) > 0 for name in Faults.__struct_fields__)
