"""Real load curves, a year of 17 homes, through the whole road as ciphered pushes with losses."""

import json
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from app.cli import main

CONFIG = """
[faults]
loss = 0.03
late = 0.02
duplicated = 0.01
reordered = 0.01
drift_meters = 0.0
rollover_meters = 0.0
"""


@pytest.fixture(scope="module")
def road(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("homes")
    homes = pl.read_parquet(shared_data / "intervals" / "us_citylearn22_17x1y_60min.parquet")
    curves = homes.select(
        "meter_id",
        channel=pl.lit("energy_delivered"),
        interval_start=pl.col("ts_utc").cast(pl.Datetime("us", "UTC")),
        interval_s=pl.lit(3600, dtype=pl.Int32),
        value_milli=(pl.col("kwh").cast(pl.Float64) * 1_000_000).round().cast(pl.Int64),
    )
    curves.write_parquet(folder / "homes.parquet")
    (folder / "faults.toml").write_text(CONFIG)
    out, meters = ["--out", str(folder)], ["--meters", str(folder / "meters.csv")]
    reads = ["--reads", str(folder / "reads.parquet")]
    start, end = curves["interval_start"].min(), curves["interval_start"].max() + timedelta(hours=1)
    span = ["--from", start.isoformat(), "--to", end.isoformat()]
    for verb in (
        ["simulate", "--meters", "17", "--days", "366", "--seed", "1", "--shapes", str(folder / "homes.parquet"),
         "--config", str(folder / "faults.toml"), *out],
        ["decode", str(folder / "frames.bin"), "--keys", str(folder / "keys.csv"), *meters, *out],
        ["vee", str(folder / "intervals.parquet"), *reads, *meters, *span, "--judged-at", "2017-09-01", *out],
    ):  # fmt: skip
        assert main(verb) == 0
    return folder


def _pairs(road: Path) -> pl.DataFrame:
    """One row an interval: what was true, whether it arrived, and what was judged."""
    truth = pl.read_parquet(road / "truth_intervals.parquet").select("meter_id", "interval_start", true="value_milli")
    came = pl.read_parquet(road / "intervals.parquet").select(
        "meter_id", "interval_start", came=pl.lit(value=True)
    ).unique()  # fmt: skip
    finals = pl.read_parquet(road / "finals.parquet").select(
        "meter_id", "interval_start", "value_milli", "quality", "method"
    )
    what = ["meter_id", "interval_start"]
    assert finals.select(what).is_unique().all()
    return truth.join(came, on=what, how="left").join(finals, on=what, how="left")


def test_every_undamaged_value_comes_back_exactly_as_pushed(road: Path):
    pairs = _pairs(road)
    assert pairs.height == 17 * 8760
    kept = pairs.filter(pl.col("came"))
    assert kept.height > 0.9 * pairs.height
    assert (kept["value_milli"] == kept["true"]).all()


def test_every_lost_value_is_estimated_and_flagged(road: Path):
    lost = _pairs(road).filter(pl.col("came").is_null())
    assert lost.height > 1000
    assert set(lost["quality"].cast(pl.String)) == {"estimated"}
    assert lost["method"].null_count() == 0
    assert lost["value_milli"].null_count() == 0
    assert lost["value_milli"].min() >= 0


def test_the_bill_equals_the_registers(road: Path, shared_data: Path):
    finals = pl.read_parquet(road / "finals.parquet")
    reads = pl.read_parquet(road / "reads.parquet").filter(pl.col("channel").cast(pl.String) == "energy_delivered")
    first = reads.sort("read_at").group_by("meter_id").first().select("meter_id", start="read_at", low="value_milli")
    last = reads.sort("read_at").group_by("meter_id").last().select("meter_id", end="read_at", high="value_milli")
    between = finals.join(first, on="meter_id").join(last, on="meter_id").filter(
        (pl.col("interval_start") >= pl.col("start")) & (pl.col("interval_start") < pl.col("end"))
    )  # fmt: skip
    sums = between.group_by("meter_id").agg(pl.col("value_milli").sum(), (pl.col("high") - pl.col("low")).first())
    assert sums.height == 17
    assert (sums["value_milli"] == sums["high"]).all()
    span = first.join(last, on="meter_id").select((pl.col("end") - pl.col("start")).dt.total_days()).to_series()
    assert span.min() > 350

    day = ["--from", "2016-09-01", "--to", "2017-07-01"]
    done = main(
        ["export", str(road / "finals.parquet"), "--format", "determinants", "--meters", str(road / "meters.csv"),
         "--reads", str(road / "reads.parquet"), *day, "--out", str(road / "bill")]
    )  # fmt: skip
    assert done == 0
    lines = pl.read_parquet(next((road / "bill").glob("*.parquet")))
    energy = lines.filter(pl.col("determinant") == "energy_total")
    registers = lines.filter(pl.col("determinant").is_in(["register_start", "register_end"])).pivot(
        "determinant", index="meter_id", values="value_milli"
    )
    billed = energy.select("meter_id", "value_milli").join(registers, on="meter_id")
    assert billed.height > 0
    assert (billed["register_end"] - billed["register_start"] == billed["value_milli"]).all()
    assert json.loads((road / "bill" / "manifest.json").read_text())["batch_id"]
