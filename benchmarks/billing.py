"""Intervals a second of determinants and of NEM12, beside plain pandas on the same finals, in one run.

    python benchmarks/billing.py [--points 1000] [--rounds 5] [--peer 40] [--streamed 10000] [--days 31]

Finals are quarter hours of one energy channel, one interval in fifty estimated; the tariff has two periods and demand
over half hours. Ours is the whole stage: newest versions, spans, civil time, sums, counts, maxima, qualities, control
totals. The peer is what one writes first in pandas: a loop over meters with `groupby`, `tz_convert`, `resample`,
and for NEM12 a line a day. It gets fewer meters, or a round would take minutes; it costs the same for each. Rounds
alternate; medians of wall time are compared.

Registers: the same with a read of each register a day, and with one at the end of every interval, the most that there
can be. Linear: a quarter of the meters takes a quarter of the time. Memory: a fresh process for each format exports all
points of a Parquet file part by part, another bills them against a ledger; the largest resident set of each is printed,
at a quarter of the points and at all of them. `--rounds 0` leaves the rates out.
"""

import argparse
import gc
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import polars as pl
import pyarrow.parquet as pq

from app.allocator import keep_freed_memory
from billing_export.determinants import Determinants, compute_determinants
from billing_export.export import export
from billing_export.pieces import ExportInputs, ExportParams
from billing_export.reentry import Books
from billing_export.run_stream import bill_parts
from billing_export.spans import DeterminantParams
from billing_export.stream import export_parts, parquet_parts
from billing_export.tariffs import parse_tariffs
from schemas.frames import (
    BILLING_BATCHES,
    CHANNEL,
    DETERMINANTS,
    FINALS,
    METERS,
    METHOD,
    QUALITY,
    READS,
    UTC_US,
    conform,
)
from schemas.timegrid import NEM_TIMEZONE, day_bounds

ZONE = "Australia/Brisbane"  # NEM time all year, so that both formats bill the same days
TARIFFS = f"""
[[tariff]]
name = "tou"
timezone = "{ZONE}"
demand_window_min = 30
[[tariff.period]]
name = "peak"
days = ["workday"]
start = "07:00"
end = "21:00"
[[tariff.period]]
name = "off_peak"
"""
FORMS = ("determinants", "nem12")
FIRST = date(2026, 7, 1)
STEP_S = 900


def finals_of(first_meter: int, count: int, days: int) -> pl.DataFrame:
    """FINALS of `count` meters, sorted as the store hands them out."""
    slots = days * 86_400 // STEP_S
    start = np.datetime64(day_bounds(FIRST, NEM_TIMEZONE)[0].replace(tzinfo=None), "us")
    random = np.random.default_rng(first_meter)
    names = pl.Series([name_of(first_meter + number) for number in range(count)])
    estimated = random.random(count * slots) < 0.02
    rows = pl.DataFrame(
        {
            "meter_id": names.gather(np.repeat(np.arange(count), slots)),
            "interval_start": np.tile(start + np.arange(slots) * np.timedelta64(STEP_S, "s"), count),
            "value_milli": random.integers(0, 900_000, count * slots),
            "estimated": estimated,
        }
    )
    made = rows.with_columns(
        pl.col("interval_start").cast(pl.Datetime("us")).dt.replace_time_zone("UTC"),
        service_point_id=pl.lit(None, dtype=pl.String),
        channel=pl.lit("energy_delivered", dtype=CHANNEL),
        interval_s=pl.lit(STEP_S, dtype=pl.Int32),
        quality=pl.when("estimated").then(pl.lit("estimated")).otherwise(pl.lit("valid")).cast(QUALITY),
        method=pl.when("estimated").then(pl.lit("linear")).cast(METHOD),
        failed=pl.lit(0, dtype=pl.UInt64),
        unjudged=pl.lit(0, dtype=pl.UInt64),
        is_final_estimate=pl.lit(value=False),
        version=pl.lit(1, dtype=pl.Int64),
        judged_at=pl.lit(datetime(2026, 8, 2, tzinfo=UTC)).cast(UTC_US),
        author=pl.lit(None, dtype=pl.String),
        run_id=pl.lit("bench"),
    )
    return conform(made, FINALS)


def reads_of(finals: pl.DataFrame, every: int) -> pl.DataFrame:
    """READS of the registers that the finals advance: at the first start, then after every so many intervals."""
    number = pl.int_range(pl.len(), dtype=pl.Int64)
    shown = finals.select(
        "meter_id",
        "channel",
        start="interval_start",
        read_at=(pl.col("interval_start") + pl.duration(seconds=pl.col("interval_s"))).cast(UTC_US),
        value_milli=pl.col("value_milli").cum_sum().over("meter_id"),
        own=number.over("meter_id"),
    )
    opened = shown.filter(pl.col("own") == 0).with_columns(read_at="start", value_milli=pl.lit(0, pl.Int64))
    rows = pl.concat([opened, shown.filter(pl.col("own") % every == every - 1)]).drop("start", "own")
    place = {"topic": pl.lit("bench"), "partition": pl.lit(0), "offset": number, "frame": pl.lit(0)}
    told = {"obis": pl.lit(None, pl.String), "status": pl.lit(0, pl.UInt32), "received_at": pl.col("read_at")}
    return conform(rows.with_columns(**place, **told), READS)


def name_of(number: int) -> str:
    """A meter's name."""
    return f"AMI{number:09d}"


def meters_of(count: int) -> pl.DataFrame:
    """METERS: a service point and an NMI each."""
    names = [name_of(number) for number in range(count)]
    nmis = [f"N{number:09d}" for number in range(count)]
    rows = {"meter_id": names, "service_point_id": nmis, "nmi": nmis, "tariff": "tou", "timezone": ZONE}
    return conform(pl.DataFrame(rows), METERS)


def plain_determinants(finals: pd.DataFrame) -> dict[tuple[str, str], int]:
    """Totals, time of use, maxima and counts by quality and period, meter by meter: the values that ours must equal."""
    lines: dict[tuple[str, str], int] = {}
    for meter, versions in finals.groupby("meter_id"):
        newest = versions.sort_values(["interval_start", "version"]).drop_duplicates("interval_start", keep="last")
        local = newest.set_index("interval_start").tz_convert(ZONE)
        peak = (local.index.day_of_week < 5) & (local.index.hour >= 7) & (local.index.hour < 21)
        local["period"] = np.where(peak, "peak", "off_peak")
        local["good"] = local["quality"] == "valid"
        windows = local.resample("30min").agg({"value_milli": ["sum", "count"], "good": "min"})
        windows.columns = ["energy", "count", "good"]
        windows = windows[(windows["count"] == 2) & windows["good"]]
        lines[meter, "energy_total"] = int(local["value_milli"].sum())
        lines[meter, "demand_max"] = int(windows["energy"].max()) * 2
        for period, part in local.groupby("period"):
            lines[meter, f"energy_tou_{period}"] = int(part["value_milli"].sum())
            lines[meter, f"n_estimated {period}"] = int((part["quality"] == "estimated").sum())
            own = windows[windows.index.isin(part.index)]
            lines[meter, f"demand_max_tou_{period}"] = int(own["energy"].max()) * 2
    return lines


def same_lines(ours: pl.DataFrame, theirs: dict[tuple[str, str], int]) -> bool:
    """Whether every value of the peer is ours too."""
    rows = ours.select("meter_id", "determinant", "value_milli", "n_estimated").rows()
    known = {(meter, name): value for meter, name, value, _ in rows}
    known |= {
        (meter, name.replace("energy_tou_", "n_estimated ")): estimated
        for meter, name, _, estimated in rows
        if name.startswith("energy_tou_")
    }
    return all(known[key] == value for key, value in theirs.items())


def plain_nem12(finals: pd.DataFrame) -> str:
    """NEM12 text, day by day."""
    lines = ["100,NEM12,202608010000,SENDER,RECEIVER"]
    for meter, rows in finals.groupby("meter_id"):
        newest = rows.sort_values(["interval_start", "version"]).drop_duplicates("interval_start", keep="last")
        lines.append(f"200,{meter[-10:]},E1,E1,E1,,{meter},KWH,15,")
        local = newest.set_index("interval_start").tz_convert(ZONE)
        for day, part in local.groupby(local.index.date):
            values, flag = [], "A" if (part["quality"] == "valid").all() else "V"
            so_far = before = 0
            for value in part["value_milli"]:
                so_far += value
                now = (so_far + 50) // 100
                values.append(f"{(now - before) / 10_000:.4f}")
                before = now
            lines.append(f"300,{day:%Y%m%d},{','.join(values)},{flag},,,20260802000000,")
            if flag == "V":
                runs = (part["quality"] != part["quality"].shift()).cumsum()
                at = 1
                for _, run in part.groupby(runs):
                    code = "A,," if run["quality"].iloc[0] == "valid" else "S17,76,"
                    lines.append(f"400,{at},{at + len(run) - 1},{code}")
                    at += len(run)
    return "\r\n".join([*lines, "900", ""])


class Took(NamedTuple):
    """Seconds of one run."""

    wall: float
    cpu: float
    """Of all threads: what a busy machine does not change much."""


def timed(work: Callable[[], object]) -> Took:
    """Seconds that it took."""
    gc.collect()
    start, used = time.perf_counter(), time.process_time()
    work()
    return Took(time.perf_counter() - start, time.process_time() - used)


def rates(options: argparse.Namespace) -> None:
    """Rates of both stages beside the peer's, and of a quarter of the meters."""
    book, until = parse_tariffs(TARIFFS), FIRST + timedelta(days=options.days)
    finals, meters = finals_of(0, options.points, options.days), meters_of(options.points)
    some = finals.head(finals.height // 4)
    few = finals.head(finals.height // options.points * options.peer)
    frame = few.with_columns(pl.col("quality").cast(pl.String)).to_pandas()
    frame["interval_start"] = pd.to_datetime(frame["interval_start"], utc=True)
    asked = DeterminantParams(date_from=FIRST, date_to=until)
    nem12 = ExportParams(formats=("nem12",), date_from=FIRST, date_to=until)

    daily, dense = (reads_of(finals, every) for every in (86_400 // STEP_S, 1))

    def determinants(rows: pl.DataFrame, reads: pl.DataFrame | None = None) -> Determinants:
        return compute_determinants(rows, meters, READS.empty() if reads is None else reads, book, asked)

    def rendered(rows: pl.DataFrame) -> object:
        return export(ExportInputs(rows, meters, READS.empty(), book), nem12)

    print(f"same values as plain pandas: {same_lines(determinants(few).determinants, plain_determinants(frame))}")
    work: dict[str, tuple[Callable[[], object], int]] = {
        "determinants": (lambda: determinants(finals), finals.height),
        "determinants, daily reads": (lambda: determinants(finals, daily), finals.height),
        "determinants, dense reads": (lambda: determinants(finals, dense), finals.height),
        "determinants, a quarter": (lambda: determinants(some), some.height),
        "determinants, plain pandas": (lambda: plain_determinants(frame), few.height),
        "nem12": (lambda: rendered(finals), finals.height),
        "nem12, a quarter": (lambda: rendered(some), some.height),
        "nem12, plain pandas": (lambda: plain_nem12(frame), few.height),
    }
    runs: dict[str, list[Took]] = {name: [] for name in work}
    for _ in range(options.rounds + 1):
        for name, (run, _rows) in work.items():
            runs[name].append(timed(run))
    rate, per_cpu = {}, {}
    for name, (_, rows) in work.items():
        walls, used = [one.wall for one in runs[name][1:]], [one.cpu for one in runs[name][1:]]
        rate[name], per_cpu[name] = rows / statistics.median(walls), rows / statistics.median(used)
        spreads = [f"{(max(some) - min(some)) / statistics.median(some):.0%}" for some in (walls, used)]
        print(
            f"{name:28} {rate[name] / 1e6:8.3f} M intervals/s (spread {spreads[0]}), "
            f"{per_cpu[name] / 1e6:8.3f} M per CPU second (spread {spreads[1]})"
        )
    for reads in ("daily", "dense"):
        dearer = [one["determinants"] / one[f"determinants, {reads} reads"] for one in (rate, per_cpu)]
        print(f"determinants, {reads} reads: {dearer[0]:.2f} x the time by the clock, {dearer[1]:.2f} x by CPU time")
    for stage in ("determinants", "nem12"):
        ratios = [one[stage] / one[f"{stage}, plain pandas"] for one in (rate, per_cpu)]
        print(f"{stage}: {ratios[0]:.0f} x plain pandas by the clock, {ratios[1]:.0f} x by CPU time")


def streamed(points: int, days: int) -> None:
    """Export a month of `points` service points from a file, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "finals.parquet"
        writer = None
        for first in range(0, points, 500):
            table = finals_of(first, min(500, points - first), days).to_arrow()
            writer = writer or pq.ParquetWriter(file, table.schema)
            writer.write_table(table.cast(writer.schema), row_group_size=500_000)
        if writer is not None:
            writer.close()
        size = ["--streamed", str(points), "--days", str(days)]
        # A process each, so that its resident set is its own.
        for mode in (["--billed", folder], *(["--child", folder, "--form", form] for form in FORMS)):
            subprocess.run([sys.executable, __file__, *mode, *size], check=True)


def peak_gb() -> float:
    """The largest resident set of this program; `getrusage` would count its parent's, from before it was started."""
    said = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(said["VmHWM"].split()[0]) / 1e6


def billed(folder: Path, points: int, days: int) -> None:
    """`bill_parts` of a month into an empty ledger, determinants and NEM12; prints its largest resident set."""
    rest = ExportInputs(FINALS.empty(), meters_of(points), READS.empty(), parse_tariffs(TARIFFS))
    asked = ExportParams(formats=("nem12",), date_from=FIRST, date_to=FIRST + timedelta(days=days))
    rows = points * days * 86_400 // STEP_S
    books = Books(DETERMINANTS.empty(), BILLING_BATCHES.empty())
    parts = parquet_parts(folder / "finals.parquet", rest)
    took = timed(lambda: bill_parts(books, parts, asked, datetime(2026, 8, 3, tzinfo=UTC), folder / "run"))
    peak = peak_gb()
    print(
        f"bill run: {points} service points, {rows / 1e6:.1f} M intervals, {rows / took.wall / 1e6:.2f} M/s, "
        f"{rows / took.cpu / 1e6:.2f} M per CPU second, largest resident set {peak:.2f} GB"
    )


def child(folder: Path, form: str, points: int, days: int) -> None:
    """One format, part by part; prints its largest resident set."""
    rest = ExportInputs(FINALS.empty(), meters_of(points), READS.empty(), parse_tariffs(TARIFFS))
    rows = points * days * 86_400 // STEP_S
    asked = ExportParams(formats=(form,), date_from=FIRST, date_to=FIRST + timedelta(days=days))
    out = folder / form
    took = timed(lambda: export_parts(parquet_parts(folder / "finals.parquet", rest), asked, out))
    size = sum(path.stat().st_size for path in out.iterdir())
    peak = peak_gb()
    print(
        f"streamed {form}: {points} service points, {rows / 1e6:.1f} M intervals, {rows / took.wall / 1e6:.2f} M/s, "
        f"{rows / took.cpu / 1e6:.2f} M per CPU second, {size / 1e6:.0f} MB, largest resident set {peak:.2f} GB"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--points", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peer", type=int, default=40)
    parser.add_argument("--streamed", type=int, default=10_000)
    parser.add_argument("--days", type=int, default=31)
    parser.add_argument("--child", type=Path)
    parser.add_argument("--billed", type=Path)
    parser.add_argument("--form", choices=FORMS)
    chosen = parser.parse_args()
    if chosen.billed or chosen.child:
        keep_freed_memory()  # as the command does
    if chosen.billed:
        billed(chosen.billed, chosen.streamed, chosen.days)
    elif chosen.child:
        child(chosen.child, chosen.form, chosen.streamed, chosen.days)
    else:
        if chosen.rounds:
            rates(chosen)
        for points in (chosen.streamed // 4, chosen.streamed) if chosen.streamed else ():
            streamed(points, chosen.days)
