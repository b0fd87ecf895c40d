"""Real homes through the whole road: pushed as ciphered DLMS frames with losses, decoded, judged, billed.

    python benchmarks/real_homes.py [HOMES.parquet] [--loss 0.03] [--out DIR]

HOMES.parquet has `meter_id`, `ts_utc` (interval start) and `kwh`; by default the 17 homes of the shared data. What is
printed: how many values were lost, whether every other value came back exactly, how near the estimates are, and whether
finals sum to the registers.
"""

import argparse
import sys
import tempfile
from datetime import timedelta
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # the packages first: files here have names of theirs

import polars as pl  # noqa: E402

from app.cli import main  # noqa: E402

HOMES = Path(__file__).parents[2] / "shared" / "data" / "intervals" / "us_citylearn22_17x1y_60min.parquet"


def load_curves(homes: Path) -> pl.DataFrame:
    """The homes in the interval columns of the contract, exact to the milliwatt-hour."""
    rows = pl.read_parquet(homes).sort("meter_id", "ts_utc")
    step = rows["ts_utc"].diff().dt.total_seconds().mode()[0]
    return rows.select(
        "meter_id",
        channel=pl.lit("energy_delivered"),
        interval_start=pl.col("ts_utc").cast(pl.Datetime("us", "UTC")),
        interval_s=pl.lit(step, dtype=pl.Int32),
        value_milli=(pl.col("kwh").cast(pl.Float64) * 1_000_000).round().cast(pl.Int64),
    )


def travel(curves: pl.DataFrame, loss: float, out: Path) -> None:
    """The files of every verb stand in the folder."""
    curves.write_parquet(out / "homes.parquet")
    (out / "faults.toml").write_text(
        f"[faults]\nloss = {loss}\nlate = 0.02\nduplicated = 0.01\nreordered = 0.01\n"
        "drift_meters = 0.0\nrollover_meters = 0.0\n"
    )
    start = curves["interval_start"].min()
    end = curves["interval_start"].max() + timedelta(seconds=int(curves["interval_s"][0]))
    names = {name: str(out / name) for name in ("homes.parquet", "faults.toml", "frames.bin", "keys.csv", "meters.csv")}
    to = ["--out", str(out)]
    for verb in (
        ["simulate", "--meters", str(curves["meter_id"].n_unique()), "--days", str((end - start).days), "--seed", "1",
         "--shapes", names["homes.parquet"], "--config", names["faults.toml"], *to],
        ["decode", names["frames.bin"], "--keys", names["keys.csv"], "--meters", names["meters.csv"], *to],
        ["vee", str(out / "intervals.parquet"), "--reads", str(out / "reads.parquet"), "--meters", names["meters.csv"],
         "--from", start.isoformat(), "--to", end.isoformat(), "--judged-at", end.isoformat(), *to],
    ):  # fmt: skip
        print(f"== ami {verb[0]}")
        if main(verb):
            sys.exit(1)


def report(out: Path) -> pl.DataFrame:
    """One row a home."""
    what = ["meter_id", "interval_start"]
    truth = pl.read_parquet(out / "truth_intervals.parquet").select(*what, true="value_milli")
    came = pl.read_parquet(out / "intervals.parquet").select(*what, came=pl.lit(value=True)).unique()
    finals = pl.read_parquet(out / "finals.parquet").select(*what, "value_milli", "quality")
    reads = pl.read_parquet(out / "reads.parquet").filter(pl.col("channel").cast(pl.String) == "energy_delivered")
    bounds = reads.sort("read_at").group_by("meter_id").agg(
        pl.col("read_at").first().alias("first"), pl.col("read_at").last().alias("last"),
        advance=pl.col("value_milli").last() - pl.col("value_milli").first(),
    )  # fmt: skip
    pairs = truth.join(came, on=what, how="left").join(finals, on=what, how="left").join(bounds, on="meter_id")
    kept = pl.col("came").is_not_null()
    between = pl.col("interval_start").is_between("first", "last", closed="left")
    return (
        pairs.group_by("meter_id")
        .agg(
            intervals=pl.len(),
            lost=(~kept).sum(),
            kept_equal=(kept & (pl.col("value_milli") == pl.col("true"))).sum() == kept.sum(),
            lost_estimated=((~kept) & (pl.col("quality").cast(pl.String) == "estimated")).sum() == (~kept).sum(),
            estimate_wape=(
                (pl.col("value_milli") - pl.col("true")).filter(~kept).abs().sum() / pl.col("true").filter(~kept).sum()
            ).round(3),
            finals_less_registers=pl.col("value_milli").filter(between).sum() - pl.col("advance").first(),
        )
        .sort("meter_id")
    )


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("homes", nargs="?", type=Path, default=HOMES)
    arguments.add_argument("--loss", type=float, default=0.03)
    arguments.add_argument("--out", type=Path)
    given = arguments.parse_args()
    if not given.homes.is_file():
        sys.exit(f"{given.homes}: no such file")
    folder = given.out or Path(tempfile.mkdtemp(prefix="homes-"))
    folder.mkdir(parents=True, exist_ok=True)
    travel(load_curves(given.homes), given.loss, folder)
    with pl.Config(tbl_rows=-1, tbl_cols=-1, tbl_width_chars=140, tbl_hide_column_data_types=True):
        print(report(folder))
