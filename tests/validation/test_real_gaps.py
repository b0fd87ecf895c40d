"""Ten Australian homes with their real gaps, end to end; skipped where the shared series are absent."""

from pathlib import Path

import polars as pl
from vee_made import MONDAY, meters, provenance, vee

from schemas import frames
from schemas.frames import conform


def test_every_real_gap_is_estimated_and_every_measured_value_stays(shared_data: Path) -> None:
    folder = shared_data / "intervals"
    homes = pl.read_parquet(folder / "au_sgsc_10x2y_30min_realgaps.parquet").select(
        "meter_id",
        interval_start=pl.col("ts_utc").cast(frames.UTC_US),
        value_milli=(pl.col("kwh").cast(pl.Float64) * 1_000_000).round().cast(pl.Int64),
    )
    raw = homes.with_columns(
        **{name: pl.lit(column[0]) for name, column in provenance(1, MONDAY).items()},
        channel=pl.lit("energy_delivered"), interval_s=pl.lit(1800, pl.Int32), status=pl.lit(0, pl.UInt32),
    ).with_columns(pl.col("partition", "frame").cast(pl.Int32), pl.col("offset").cast(pl.Int64))  # fmt: skip
    names = sorted(set(homes["meter_id"]))
    master = meters(*({"meter_id": name, "interval_s": 1800, "timezone": "Etc/GMT-10"} for name in names))
    finals = vee(intervals=conform(raw, frames.INTERVALS), meters=master).finals
    gaps = pl.read_csv(folder / "au_sgsc_realgaps.csv", try_parse_dates=True)
    inside = finals.join_where(
        gaps.select(pl.col("meter_id").alias("home"), pl.col("^.*_utc$").cast(frames.UTC_US)),
        pl.col("meter_id") == pl.col("home"),
        pl.col("interval_start") >= pl.col("first_missing_utc"),
        pl.col("interval_start") <= pl.col("last_missing_utc"),
    )
    assert inside.height == gaps["intervals"].sum() == 4_168
    assert set(inside["quality"]) == {"estimated"}
    assert inside["value_milli"].min() >= 0
    pairs = finals.join(homes, on=["meter_id", "interval_start"], suffix="_true")
    kept = pairs.filter(pl.col("quality") == "valid")
    assert kept.height > 0.99 * homes.height
    assert (kept["value_milli"] == kept["value_milli_true"]).all()
