"""Real load curves: pushed as they are, or refused by the name of what is wrong."""

from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from decoded_pushes import decode_run
from polars.testing import assert_frame_equal

from schemas.errors import ContractError
from simulator.fleet import simulate
from simulator.params import NO_FAULTS, SimulatorParams

HOUR = 3600
KEYS = ["meter_id", "channel", "at"]


def _curves(meters: int = 3, hours: int = 50, channels: tuple[str, ...] = ("energy_delivered",)) -> pl.DataFrame:
    start = datetime(2026, 3, 28, 7, tzinfo=UTC)
    rows = (
        pl.DataFrame({"meter_id": [f"home_{n}" for n in range(meters)]})
        .join(pl.DataFrame({"hour": range(hours)}), how="cross")
        .join(pl.DataFrame({"channel": channels}), how="cross")
    )
    return rows.select(
        "meter_id",
        "channel",
        interval_start=start + pl.duration(hours=pl.col("hour")),
        interval_s=pl.lit(HOUR, dtype=pl.Int32),
        value_milli=(pl.col("hour").cast(pl.Int64) * 1_234_567 + pl.col("meter_id").str.len_chars()) % 9_999_991,
    )


def _expected(curves: pl.DataFrame) -> pl.DataFrame:
    at = pl.col("interval_start").dt.offset_by("1h")
    return (
        curves.drop_nulls("value_milli")
        .select(
            "meter_id", pl.col("channel").cast(pl.String), at.cast(pl.Datetime("us", "UTC")).alias("at"), "value_milli"
        )
        .sort(KEYS)
    )


@pytest.mark.parametrize("channels", [("energy_delivered",), ("energy_delivered", "energy_received")])
def test_every_value_is_pushed_exactly_whatever_the_parameters_do_to_invented_loads(channels) -> None:
    curves = _curves(channels=channels)
    faults = {"loss": 0.0, "late": 0.1, "spikes": 0.5, "stuck_meters": 1.0, "exchange_meters": 0.5}
    run = simulate(SimulatorParams(faults=type(NO_FAULTS)(**faults)), curves)
    decoded = decode_run(run)
    sent = decoded.intervals.select(*KEYS, "value_milli").unique().sort(KEYS)
    assert_frame_equal(sent, _expected(curves))
    truth = run.truth_intervals.select("meter_id", pl.col("channel").cast(pl.String), "interval_start", "value_milli")
    by = ["meter_id", "channel", "interval_start"]
    assert_frame_equal(truth.sort(by), curves.select(truth.columns).sort(by))
    assert run.truth_outages.is_empty()


def test_registers_advance_by_the_sum_of_the_curve() -> None:
    curves = _curves()
    run = simulate(SimulatorParams(faults=NO_FAULTS), curves)
    reads = decode_run(run).reads.filter(channel="energy_delivered").sort("meter_id", "at")
    advance = reads.group_by("meter_id").agg(
        (pl.col("value_milli").last() - pl.col("value_milli").first()).alias("sum")
    )
    total = curves.group_by("meter_id").agg(pl.col("value_milli").sum().alias("sum"))
    assert_frame_equal(advance.sort("meter_id"), total.sort("meter_id"))


def test_a_hole_is_pushed_as_a_hole_and_a_meter_that_ends_early_is_removed() -> None:
    curves = (
        _curves(2)
        .filter(~pl.col("interval_start").dt.hour().is_between(3, 5))
        .filter((pl.col("meter_id") == "home_0") | (pl.col("interval_start") < datetime(2026, 3, 29, 20, tzinfo=UTC)))
    )
    run = simulate(SimulatorParams(faults=NO_FAULTS), curves)
    sent = decode_run(run).intervals.select(*KEYS, "value_milli").sort(KEYS)
    assert_frame_equal(sent, _expected(curves))
    assert run.meters["removed_at"].to_list() == [None, datetime(2026, 3, 29, 20, tzinfo=UTC)]


def test_a_name_too_long_for_a_device_stands_in_the_service_point() -> None:
    curves = _curves(2).with_columns(meter_id=pl.col("meter_id").replace("home_1", "a home with a long name"))
    run = simulate(SimulatorParams(faults=NO_FAULTS), curves)
    by_point = dict(zip(run.meters["service_point_id"], run.meters["meter_id"], strict=True))
    assert len(by_point["a home with a long name"]) == 16
    assert "home_0" in by_point.values()
    assert set(decode_run(run).intervals["meter_id"]) == set(by_point.values())


@pytest.mark.parametrize(
    ("spoilt", "named"),
    [
        (_curves().drop("interval_s"), "interval_s"),
        (_curves().with_columns(value_milli=pl.lit(0.5)), "value_milli"),
        (_curves().with_columns(value_milli=-pl.col("value_milli")), "value_milli"),
        (_curves().with_columns(interval_start=pl.col("interval_start").dt.offset_by("5m")), "interval_start"),
        (_curves().with_columns(channel=pl.lit("voltage_l1")), "channel"),
        (_curves().with_columns(channel=pl.lit("energy_received")), "channel"),
        (pl.concat([_curves(), _curves(1, 1)]), "channel"),
        (_curves().with_columns(interval_s=pl.lit(1000, dtype=pl.Int32)), "interval_s"),
        (_curves().clear(), "value_milli"),
    ],
)
def test_shapes_that_cannot_be_pushed_are_refused_by_name(spoilt: pl.DataFrame, named: str) -> None:
    with pytest.raises(ContractError, match=rf"shapes\.{named}"):
        simulate(SimulatorParams(), spoilt)


def test_the_real_homes_come_out_as_they_went_in(shared_data: Path) -> None:
    path = shared_data / "intervals" / "us_citylearn22_17x1y_60min.parquet"
    if not path.exists():
        pytest.skip(f"{path.name} is not among the shared data")
    homes = pl.read_parquet(path).filter(pl.col("ts_utc") < datetime(2016, 8, 20, tzinfo=UTC))
    curves = homes.select(
        "meter_id",
        channel=pl.lit("energy_delivered"),
        interval_start="ts_utc",
        interval_s=pl.lit(HOUR, dtype=pl.Int32),
        value_milli=(pl.col("kwh").cast(pl.Float64) * 1_000_000).round().cast(pl.Int64),
    )
    run = simulate(SimulatorParams(timezone="America/Los_Angeles"), curves)
    sent = decode_run(run).intervals.select(*KEYS, "value_milli").unique().sort(KEYS)
    matched = sent.join(_expected(curves), on=[*KEYS, "value_milli"])
    assert matched.height == sent.height
    assert 0.97 < sent.height / curves.height < 1
