"""How many values the VEE worker judges on the days around a month's end, against the days before it.

    python benchmarks/vee_month_end.py [--meters 30] [--off]

Meters push each hour; one value in a hundred comes a day or two late, one meter falls silent, one is removed. Every six
hours what was pushed is judged, and what has become due is looked at again, by the worker's own `VeeWork` over an
embedded store. The month is February 2026, judged day by day from the 23rd on; `--off` leaves V36 out. All have been
there for longer than the history that a judgement loads.
"""

import argparse
import sys
from collections import defaultdict
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import polars as pl

from app import vee_judge, vee_lane
from app.messages import to_messages
from ingest.buckets import bucket_of
from schemas.frames import INTERVALS, METERS
from storage.embedded import open_embedded
from validation.params import VeeParams
from validation.vee import Vee, VeeInputs, run_vee

FIRST = datetime(2025, 11, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
LIVE, END = 114 * 24, 126 * 24
"""Hours from which on every turn is judged, and at which the run ends: 23 February, 7 March."""
TURN = 6


def fleet(meters: int) -> pl.DataFrame:
    names = [f"AMI{number:013d}" for number in range(meters)]
    rows = [
        {"meter_id": name, "interval_s": 3600, "channels": ["energy_delivered"], "timezone": "UTC", "tariff": "home",
         "installed_at": FIRST, "removed_at": FIRST + (LIVE - 300) * HOUR if number == 1 else None}
        for number, name in enumerate(names)
    ]  # fmt: skip
    return pl.DataFrame(rows, schema=METERS.schema)


def pushes(meters: int) -> pl.DataFrame:
    """INTERVALS of all hours, with the hour at which each came (`came`)."""
    grid = pl.DataFrame({"meter": range(meters)}).join(pl.DataFrame({"hour": range(END)}), how="cross")
    lottery = (pl.col("meter") * 7919 + pl.col("hour") * 104_729) % 1000
    late = pl.when(lottery < 10).then(24 + lottery * 2).otherwise(0)
    gone = ((pl.col("meter") == 0) & (pl.col("hour") > LIVE + 40)) | (
        (pl.col("meter") == 1) & (pl.col("hour") >= LIVE - 300)
    )
    rows = grid.filter(~gone).with_columns(came=pl.col("hour") + 1 + late)
    told = rows.select(
        "came", topic=pl.lit("t"), partition=0, offset="came", frame="meter",
        received_at=pl.lit(FIRST) + pl.duration(hours="came"),
        meter_id=pl.format("AMI{}", pl.col("meter").cast(pl.String).str.zfill(13)),
        channel=pl.lit("energy_delivered"), obis=pl.lit(None, pl.String),
        interval_start=pl.lit(FIRST) + pl.duration(hours="hour"), interval_s=3600,
        value_milli=100_000 + lottery * 97 + (pl.col("hour") % 24) * 5_000, status=0,
    )  # fmt: skip
    return told.cast(dict(INTERVALS.schema))


def judged_by_day(meters: int, *, gate: bool) -> dict[date, int]:
    """Values that went through `run_vee`, by the day of the clock."""
    counted: dict[date, int] = defaultdict(int)
    now = FIRST + LIVE * HOUR

    def counting(inputs: VeeInputs, params: VeeParams) -> Vee:
        judged = run_vee(inputs, params)
        counted[(now - HOUR).date()] += judged.finals.height
        return judged

    vee_judge.run_vee = counting
    store, master, sent = open_embedded(), fleet(meters), pushes(meters)
    store.append("meters", master, "meters")
    params = VeeParams(judged_at=now, run_id="", estimate_after_s=86_400, gate_months=gate)
    work = vee_lane.VeeWork(store, master, params, lambda: now)
    done = 0
    for hour in range(LIVE, END + 1, TURN):
        now = FIRST + hour * HOUR
        new = sent.filter(pl.col("came").is_between(done, hour, closed="right")).drop("came")
        store.append("intervals", new, f"{hour}")
        dirty = new.select(bucket=bucket_of(new["meter_id"]), day=pl.col("interval_start").dt.date()).unique()
        dirty = pl.concat([dirty, work.due(store).select(dirty.columns)]).unique()
        work.deliver(work.prepare(to_messages(dirty, dirty["bucket"])), "")
        done = hour
    store.close()
    return dict(counted)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--meters", type=int, default=30)
    options.add_argument("--off", action="store_true")
    chosen = options.parse_args()
    counted = judged_by_day(chosen.meters, gate=not chosen.off)
    # The first day is begun with nothing judged; those behind it up to the month's last are days like any other.
    days = sorted(counted)
    quiet = [counted[day] for day in days if 23 < day.day < 28 and day.month == 2]
    usual = sum(quiet) / len(quiet)
    for day in days:
        print(f"{day:%F}  {counted[day]:9,} values judged  {counted[day] / usual:5.1f} times as many as on other days")


if __name__ == "__main__":
    main()
