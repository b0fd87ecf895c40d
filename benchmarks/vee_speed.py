"""How fast VEE judges a fleet, beside the two ways in which it is usually written.

    python benchmarks/vee_speed.py [--meters 20000] [--days 7] [--bucket 4000] [--pandas-meters 200] [--json]

96 values a day, 2 % gaps, daily register reads. Three ways do the same default work on the same rows, in the same
run: `ours` (run_vee, all rules and estimators, finals as a frame, in buckets of meters as a store would stream them), a
plain pandas loop over meters, timed on a sample and scaled, and the naive window-function form in polars. The two peers
do the first honest set only: duplicates, grid, missing, negative, spike, flat line, zero runs, sum check, lines within
2 hours, like-day means and scaling to the register; every other rule is extra work of ours.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import numpy as np
import pandas as pd
import polars as pl

from schemas import frames
from schemas.frames import CHANNEL, UTC_US, conform
from validation.params import VeeParams
from validation.vee import VeeInputs, run_vee

STEP_S, SLOTS = 900, 96
START = datetime(2025, 3, 3, tzinfo=UTC)
KEY = ["meter_id", "channel"]


def fleet(meters: int, days: int, first: int = 0) -> tuple[pl.DataFrame, pl.DataFrame]:
    """INTERVALS with 2 % lost and READS at midnight, of homes numbered from `first`."""
    rng = np.random.default_rng([first, meters])
    width = days * SLOTS
    hours = np.arange(width) % SLOTS / 4
    shape = 120_000 + 60_000 * np.sin((hours - 9) / 24 * 2 * np.pi) + 90_000 * np.exp(-(((hours - 19) / 2.5) ** 2))
    values = (shape * rng.uniform(0.4, 1.6, (meters, 1)) * rng.lognormal(0, 0.35, (meters, width))).astype(np.int64)
    row, slot = np.nonzero(rng.uniform(size=values.shape) > 0.02)
    names = pl.Series([f"MTR{first + number:09d}" for number in range(meters)])
    start_us = int(START.timestamp()) * 1_000_000
    intervals = pl.DataFrame(
        {
            "meter_id": names.gather(row),
            "interval_start": pl.Series(start_us + slot * STEP_S * 1_000_000).cast(UTC_US),
            "value_milli": values[row, slot],
        }
    ).with_columns(interval_s=pl.lit(STEP_S, pl.Int32))
    register = np.concatenate(
        [np.zeros((meters, 1), np.int64), values.reshape(meters, days, SLOTS).sum(2).cumsum(1)], 1
    )
    midnight = start_us + np.arange(days + 1) * 86_400_000_000
    reads = pl.DataFrame(
        {
            "meter_id": names.gather(np.repeat(np.arange(meters), days + 1)),
            "read_at": pl.Series(np.tile(midnight, meters)).cast(UTC_US),
            "value_milli": 10**9 + register.ravel(),
        }
    )
    return _raw(intervals, "interval_start", frames.INTERVALS), _raw(reads, "read_at", frames.READS)


def _raw(rows: pl.DataFrame, instant: str, frame: frames.Frame) -> pl.DataFrame:
    return conform(
        rows.with_columns(
            topic=pl.lit("speed"),
            partition=pl.lit(0, pl.Int32),
            offset=pl.lit(0, pl.Int64),
            frame=pl.lit(0, pl.Int32),
            received_at=pl.col(instant) + timedelta(hours=1),
            channel=pl.lit("energy_delivered").cast(CHANNEL),
            status=pl.lit(0, pl.UInt32),
        ),
        frame,
    )


def ours(intervals: pl.DataFrame, reads: pl.DataFrame, days: int) -> pl.DataFrame:
    empty = (frames.EVENTS, frames.OUTAGES, frames.METERS, frames.EDITS, frames.FINALS)
    inputs = VeeInputs(intervals, reads, *(frame.empty() for frame in empty))
    params = VeeParams(START, "speed", grid_from=START, grid_to=START + timedelta(days=days))
    return run_vee(inputs, params).finals


def with_pandas(intervals: pl.DataFrame, reads: pl.DataFrame, days: int) -> float:
    """A plain loop over meters. Returns the sum of its finals."""
    total = 0.0
    grid = pd.date_range(START, periods=days * SLOTS, freq="15min", tz="UTC")
    registers = dict(tuple(reads.to_pandas().groupby("meter_id")))
    for meter, rows in intervals.to_pandas().groupby("meter_id"):
        rows = rows.sort_values("received_at").drop_duplicates("interval_start", keep="last")
        values = rows.set_index("interval_start")["value_milli"].reindex(grid).astype(float)
        values[values < 0] = np.nan
        for _, day in values.groupby(values.index.date):
            peaks = day.nlargest(3)
            if (
                day.notna().all()
                and len(peaks) == 3
                and peaks.iloc[2] >= 125_000
                and peaks.iloc[0] > 2.8 * peaks.iloc[2]
            ):
                values[peaks.index[0]] = np.nan
        same = (values != values.shift()).cumsum()
        flat = values.groupby(same).transform("size") > SLOTS
        zero = (values == 0).groupby((values != 0).cumsum()).transform("sum") >= 3 * SLOTS
        gap = values.isna()
        length = gap.groupby((~gap).cumsum()).transform("sum")
        line = values.interpolate()
        kind = np.where(grid.day_of_week < 5, 0, grid.day_of_week)
        like = values.groupby([kind, grid.hour * 4 + grid.minute // 15]).transform("mean")
        estimate = line.where(length <= 8, like).fillna(values.mean())
        register = registers[meter].set_index("read_at")["value_milli"]
        for start, end in zip(register.index[:-1], register.index[1:], strict=True):
            inside = (grid >= start) & (grid < end)
            hole = inside & gap.to_numpy()
            advance = register[end] - register[start]
            if hole.any():
                rest = advance - values[inside].sum()
                weight = estimate[hole].sum()
                values[hole] = (estimate[hole] * rest / weight).round() if weight > 0 else rest / hole.sum()
            elif abs(values[inside].sum() - advance) > 2:
                flat[inside] = True
        total += float(values.sum()) + 0.0 * float(flat.sum() + zero.sum())
    return total


def with_windows(intervals: pl.DataFrame, reads: pl.DataFrame, days: int) -> pl.DataFrame:
    """The same as window functions over one long frame."""
    grid = intervals.select(KEY).unique().join(
        pl.datetime_range(
            START, START + timedelta(days=days), "15m", closed="left", time_zone="UTC", time_unit="us", eager=True
        ).rename("interval_start").to_frame(),
        how="cross",
    )  # fmt: skip
    last = intervals.sort("received_at").unique([*KEY, "interval_start"], keep="last", maintain_order=True)
    value, by_day = pl.col("value"), [*KEY, "day"]
    rows = (
        grid.join(last.select(*KEY, "interval_start", value="value_milli"), on=[*KEY, "interval_start"], how="left")
        .sort(*KEY, "interval_start")
        .with_columns(day=pl.col("interval_start").dt.date(), slot=pl.col("interval_start").dt.time())
        .with_columns(kind=pl.when(pl.col("day").dt.weekday() < 6).then(0).otherwise(pl.col("day").dt.weekday()))
        .with_columns(value=pl.when(value >= 0).then(value), holes=value.is_null().sum().over(by_day))
        .with_columns(third=value.rank("ordinal", descending=True).over(by_day))
        .with_columns(p3=value.filter(pl.col("third") == 3).first().over(by_day))
        .with_columns(spike=(pl.col("holes") == 0) & (pl.col("p3") >= 125_000) & (value * 5 > pl.col("p3") * 14))
        .with_columns(value=pl.when(~pl.col("spike")).then(value))
        .with_columns(run=(value != value.shift(1).over(KEY)).fill_null(value=True).cum_sum().over(KEY))
        .with_columns(
            flat=pl.len().over([*KEY, "run"]) > SLOTS, zero=(value == 0) & (pl.len().over([*KEY, "run"]) >= 288)
        )
        .with_columns(gap=value.is_null(), block=value.is_not_null().cum_sum().over(KEY))
        .with_columns(length=pl.col("gap").sum().over([*KEY, "block"]))
        .with_columns(line=value.interpolate().over(KEY), like=value.mean().over([*KEY, "kind", "slot"]))
        .with_columns(estimate=pl.when(pl.col("length") <= 8).then("line").otherwise("like"))
        .with_columns(estimate=pl.col("estimate").fill_null(value.mean().over(KEY)))
    )
    stretches = (
        reads.sort(*KEY, "read_at")
        .select(*KEY, "read_at", advance=pl.col("value_milli").shift(-1).over(KEY) - pl.col("value_milli"))
        .drop_nulls()
    )
    anchored = rows.join_asof(
        stretches, left_on="interval_start", right_on="read_at", by=KEY, check_sortedness=False
    ).with_columns(
        rest=pl.col("advance") - value.sum().over([*KEY, "read_at"]),
        weight=pl.col("estimate").filter(pl.col("gap")).sum().over([*KEY, "read_at"]),
        holed=pl.col("gap").any().over([*KEY, "read_at"]),
    )
    return anchored.with_columns(
        suspect=~pl.col("holed") & (pl.col("rest").abs() > 2),
        final=pl.when("gap").then((pl.col("estimate") * pl.col("rest") / pl.col("weight")).round()).otherwise(value),
    )


class Took(NamedTuple):
    """Seconds by the clock, and of the processors: the second hardly minds what else the machine does."""

    wall: float
    cpu: float


def timed(work, *arguments) -> Took:
    start, cpu = time.perf_counter(), time.process_time()
    work(*arguments)
    return Took(time.perf_counter() - start, time.process_time() - cpu)


def ratios(theirs: list[Took], mine: list[Took]) -> dict[str, float]:
    """How many times as long they took in all, and lowest and highest of the buckets."""
    each = [one.wall / other.wall for one, other in zip(theirs, mine, strict=True)]
    return {
        "wall": sum(one.wall for one in theirs) / sum(one.wall for one in mine),
        "lowest": min(each),
        "highest": max(each),
        "cpu": sum(one.cpu for one in theirs) / sum(one.cpu for one in mine),
    }


def streamed(meters: int, days: int, bucket: int) -> None:
    """Ours alone over a fleet, bucket after bucket, each made where it is judged and forgotten after it."""
    for first in range(0, meters, bucket):
        ours(*fleet(min(bucket, meters - first), days, first), days)


def resident_mb(meters: int, chosen: argparse.Namespace) -> float:
    """Largest resident set of a child that streams a fleet of that size through ours, and does nothing else."""
    sizes = ["--meters", str(meters), "--days", str(chosen.days), "--bucket", str(chosen.bucket)]
    command = [sys.executable, __file__, "--resident", *sizes]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--meters", type=int, default=20_000)
    options.add_argument("--days", type=int, default=7)
    options.add_argument("--bucket", type=int, default=4_000, help="meters in flight")
    options.add_argument("--pandas-meters", type=int, default=200)
    options.add_argument("--json", action="store_true")
    options.add_argument("--resident", action="store_true", help="ours alone; prints its largest resident set, in MB")
    chosen = options.parse_args()
    if chosen.resident:
        streamed(chosen.meters, chosen.days, chosen.bucket)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        return 0
    # A fleet of two buckets and one of twice as many: memory is bounded by the bucket when the two are near each other.
    resident = {f"{size} meters": resident_mb(size, chosen) for size in (2 * chosen.bucket, 4 * chosen.bucket)}
    values = chosen.meters * chosen.days * SLOTS
    mine, windows = [], []
    for first in range(0, chosen.meters, chosen.bucket):
        size = min(chosen.bucket, chosen.meters - first)
        intervals, reads = fleet(size, chosen.days, first)
        mine.append(timed(ours, intervals, reads, chosen.days))
        windows.append(timed(with_windows, intervals, reads, chosen.days))
    sample = fleet(chosen.pandas_meters, chosen.days)
    loop = timed(with_pandas, *sample, chosen.days)
    scale = chosen.bucket / chosen.pandas_meters
    loops = [Took(loop.wall * scale, loop.cpu * scale)] * len(mine)
    small = timed(ours, *fleet(chosen.bucket // 2, chosen.days), chosen.days)
    seconds, cpu = sum(one.wall for one in mine), sum(one.cpu for one in mine)
    report = {
        "values": values,
        "seconds": seconds,
        "cpu_seconds": cpu,
        "values_per_second": values / seconds,
        "times_pandas_loop": ratios(loops, mine),
        "times_polars_windows": ratios(windows, mine),
        "cpu_seconds_by_bucket": [one.cpu for one in mine],
        "half_bucket_share_of_cpu": small.cpu / (cpu / len(mine)),
        "resident_mb_of_ours_alone": resident,
    }
    print(json.dumps(report) if chosen.json else "\n".join(f"{name}: {value}" for name, value in report.items()))
    held = report["times_pandas_loop"]["wall"] >= 30 and report["times_polars_windows"]["wall"] >= 2.5
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
