"""Ten Australian homes with their real gaps, end to end; skipped where the shared series are absent."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
from vee_made import MONDAY, meters, provenance, vee

from app.cli import main
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


def test_the_same_homes_go_through_the_verbs_to_a_market_file(shared_data: Path, tmp_path: Path, capsys: Any) -> None:
    homes = pl.read_parquet(shared_data / "intervals" / "au_sgsc_10x2y_30min_realgaps.parquet")
    names = sorted(set(homes["meter_id"]))
    sent = homes.select(
        "meter_id",
        interval_start=pl.col("ts_utc").dt.cast_time_unit("us"),
        value_milli=(pl.col("kwh").cast(pl.Float64) * 1_000_000).round().cast(pl.Int64),
        **{name: pl.lit(column[0]) for name, column in provenance(1, MONDAY).items()},
        channel=pl.lit("energy_delivered"), interval_s=pl.lit(1800, pl.Int32), status=pl.lit(0, pl.UInt32),
    ).with_columns(pl.col("partition", "frame").cast(pl.Int32), pl.col("offset").cast(pl.Int64))  # fmt: skip
    sent.write_parquet(tmp_path / "intervals.parquet")
    table = [f"{name},NMI{number:07d},Etc/GMT-10,1800,energy_delivered" for number, name in enumerate(names)]
    master = tmp_path / "meters.csv"
    master.write_text("\n".join(["meter_id,nmi,timezone,interval_s,channels", *table]))
    given = ["--meters", str(master), "--out", str(tmp_path), "--json"]
    assert main(["vee", str(tmp_path / "intervals.parquet"), "--judged-at", "2014-06-01", *given]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["values"] == told["rows"]["out"]["finals"] == sum(told["quality"].values())
    assert told["seconds"] > 0
    assert set(told["quality"]) == {"valid", "estimated"}
    finals = pl.read_parquet(tmp_path / "finals.parquet")
    # The month in which a home lost 528 intervals in a row.
    gap = pl.read_csv(shared_data / "intervals" / "au_sgsc_realgaps.csv", try_parse_dates=True).sort("intervals")[-1]
    first = gap["first_missing_utc"][0].date()
    bounds = ["--from", str(first), "--to", str(first + timedelta(days=28)), "--sender", "A", "--receiver", "B"]
    wanted = ["--format", "nem12", "--created", "2014-06-01", *bounds, *given]
    assert main(["export", str(tmp_path / "finals.parquet"), *wanted]) == 0
    lines = next(tmp_path.glob("NEM12*.csv")).read_text().splitlines()
    days = [line.split(",") for line in lines if line.startswith("300,")]
    assert len(days) == len(names) * 28
    assert all(len(day) == 2 + 48 + 5 for day in days)
    estimated = finals.filter(
        pl.col("quality") == "estimated",
        (pl.col("interval_start") + pl.duration(hours=10)).dt.date().is_between(first, first + timedelta(days=27)),
    )
    by_day = (pl.col("interval_start") + pl.duration(hours=10)).dt.date()
    assert sum(day[50] != "A" for day in days) == estimated.select("meter_id", by_day).unique().height > 0
