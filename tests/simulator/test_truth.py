"""Without faults everything that meters registered is in the frames, to the last count."""

import datetime

import polars as pl
import pytest
from decoded_pushes import Decoded, decode_run
from polars.testing import assert_frame_equal

from schemas.frames import RAW_FRAMES, UTC_US, conform
from simulator.files import outputs
from simulator.fleet import Simulated, simulate, simulate_in_parts
from simulator.params import NO_FAULTS, NO_OUTAGES, Customers, Faults, SimulatorParams

CALM = SimulatorParams(
    meters=60, days=2, seed=4, customers=Customers(factory=0.2), faults=NO_FAULTS, outages=NO_OUTAGES
)


def _calm(**changed: object) -> SimulatorParams:
    fields = {name: getattr(CALM, name) for name in CALM.__struct_fields__}
    return SimulatorParams(**{**fields, **changed})


@pytest.fixture(scope="module")
def calm() -> tuple[Simulated, Decoded]:
    run = simulate(CALM)
    return run, decode_run(run)


def _as_sent(run: Simulated) -> pl.DataFrame:
    """The truth in secondary quantities, with the profile kind and the end of each interval."""
    told = run.meters.select("meter_id", "multiplier", "profile", "meter_type")
    ends = (pl.col("interval_start").dt.epoch("us") + pl.col("interval_s").cast(pl.Int64) * 1_000_000).cast(UTC_US)
    return run.truth_intervals.join(told, on="meter_id").with_columns(
        channel=pl.col("channel").cast(pl.String),
        at=ends,
        value_milli=pl.col("value_milli") * 1000 // pl.col("multiplier"),
    )


def _advances(run: Simulated, decoded: Decoded) -> pl.DataFrame:
    """Register advance between consecutive reads beside the sum of the truth between them."""
    keys = ["meter_id", "channel"]
    running = (
        _as_sent(run)
        .sort(*keys, "at")
        .with_columns(total=pl.col("value_milli").cum_sum().over(keys))
        .select(*keys, "at", "total")
    )
    reads = decoded.reads.filter(pl.col("channel") != "voltage").sort(*keys, "at")
    wrap = 10**11
    return (
        reads.join(running, on=[*keys, "at"], how="left")
        .with_columns(pl.col("total").fill_null(0))
        .with_columns(
            advance=pl.col("value_milli").diff().over(keys) % wrap, registered=pl.col("total").diff().over(keys)
        )
        .drop_nulls("advance")
    )


def test_every_interval_value_is_pushed_once_as_registered(calm: tuple[Simulated, Decoded]) -> None:
    run, decoded = calm
    keys = ["meter_id", "channel", "at"]
    expected = _as_sent(run).filter(pl.col("profile") == "interval").select(*keys, "value_milli")
    found = decoded.intervals.select(*keys, "value_milli")
    assert found.height > 10_000
    assert_frame_equal(found.sort(keys), expected.sort(keys))


def test_every_register_advances_by_what_was_registered(calm: tuple[Simulated, Decoded]) -> None:
    run, decoded = calm
    advances = _advances(run, decoded)
    assert advances["meter_id"].n_unique() == run.meters.height
    assert advances.filter(pl.col("advance") != pl.col("registered")).is_empty()
    assert advances["advance"].sum() > 0


def test_cumulative_meters_read_every_grid_instant_from_the_first(calm: tuple[Simulated, Decoded]) -> None:
    run, decoded = calm
    told = run.meters.filter(pl.col("profile") == "cumulative")
    reads = (
        decoded.reads.filter(pl.col("channel") == "energy_delivered").group_by("meter_id").agg(pl.col("at").n_unique())
    )
    expected = told.select("meter_id", at=(2 * 86_400 // pl.col("interval_s") + 1).cast(pl.UInt32))
    assert_frame_equal(reads.join(told.select("meter_id"), on="meter_id").sort("meter_id"), expected.sort("meter_id"))


def test_all_layouts_channel_counts_and_rhythms_appear(calm: tuple[Simulated, Decoded]) -> None:
    run, _ = calm
    assert run.meters["meter_type"].n_unique() == 5
    assert set(run.meters["channels"].list.len().unique()) == {2, 4}
    assert run.frames["payload"].bin.size().max() > 2_000  # a day in one push
    assert (run.meters["multiplier"] > 1000).any()


def test_frames_are_raw_frames_in_order_of_reception_with_rising_offsets(calm: tuple[Simulated, Decoded]) -> None:
    frames = conform(calm[0].frames, RAW_FRAMES)
    assert frames["received_at"].is_sorted()
    per_partition = frames.with_columns(place=pl.int_range(pl.len()).over("topic", "partition"))
    assert (per_partition["place"] == per_partition["offset"]).all()


def test_a_fleet_in_clear_says_the_same(calm: tuple[Simulated, Decoded]) -> None:
    run = simulate(_calm(ciphered_meters=0.0))
    decoded = decode_run(run)
    assert decoded.counters.is_empty()
    assert run.keys_csv == "system_title,ek,ak\n"
    assert set(run.meters["security_min"]) == {0}
    keys = ["meter_id", "channel", "at", "value_milli"]
    assert_frame_equal(decoded.intervals.select(keys).sort(keys), calm[1].intervals.select(keys).sort(keys))


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others() -> None:
    params = SimulatorParams(meters=40, days=1)
    one, two = outputs(simulate(params)), outputs(simulate(params))
    other = outputs(simulate(SimulatorParams(meters=40, days=1, seed=2)))
    for name, content in one.items():
        if isinstance(content, pl.DataFrame):
            assert_frame_equal(content, two[name])
        else:
            assert content == two[name]
    assert one["frames.bin"] != other["frames.bin"]
    assert one["keys.csv"] != other["keys.csv"]


def test_the_parts_of_a_run_are_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simulator.fleet._CELLS", 96 * 13)  # 13 meters at once
    params = SimulatorParams(meters=40, days=1)
    whole, parts = simulate(params), list(simulate_in_parts(params))
    assert len(parts) == 4
    assert_frame_equal(pl.concat([part.truth_intervals for part in parts]), whole.truth_intervals)
    payloads = pl.concat([part.frames for part in parts])["payload"]
    assert payloads.sort().equals(whole.frames["payload"].sort())
    assert pl.concat([part.frames for part in parts]).select("topic", "partition", "offset").is_unique().all()


@pytest.mark.parametrize(
    ("start", "timezone", "quarters"),
    [
        (datetime.date(2026, 3, 29), "Europe/Berlin", 92),
        (datetime.date(2026, 10, 25), "Europe/Berlin", 100),
        (datetime.date(2026, 3, 8), "America/New_York", 92),
        (datetime.date(2026, 4, 5), "Australia/Lord_Howe", 98),
    ],
)
def test_a_day_of_a_clock_change_has_its_own_number_of_intervals(
    start: datetime.date, timezone: str, quarters: int
) -> None:
    run = simulate(_calm(meters=25, days=1, start=start, timezone=timezone))
    counts = run.truth_intervals.group_by("meter_id", "channel", "interval_s").len()
    assert (counts["len"] * counts["interval_s"] == quarters * 900).all()
    decoded = decode_run(run)
    pushed = decoded.intervals.group_by("meter_id", "channel").len()
    expected = counts.join(run.meters.filter(pl.col("profile") == "interval").select("meter_id"), on="meter_id")
    assert pushed["len"].sum() == expected["len"].sum()
    assert _advances(run, decoded).filter(pl.col("advance") != pl.col("registered")).is_empty()


def test_a_register_rolls_over_and_loses_nothing() -> None:
    faults = Faults(**{**{n: getattr(NO_FAULTS, n) for n in NO_FAULTS.__struct_fields__}, "rollover_meters": 1.0})
    run = simulate(_calm(meters=20, days=1, faults=faults))
    decoded = decode_run(run)
    falls = (
        decoded.reads.filter(channel="energy_delivered")
        .sort("meter_id", "at")
        .with_columns(fell=pl.col("value_milli").diff().over("meter_id") < 0)
    )
    assert falls.filter("fell")["meter_id"].n_unique() == run.meters.height
    assert _advances(run, decoded).filter(pl.col("advance") != pl.col("registered")).is_empty()
    digits = run.meters["register_digits"].unique().item()
    assert decoded.reads["value_milli"].max() < 1000 * 10**digits
