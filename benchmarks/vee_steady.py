"""What VEE writes and costs beside a day that fills hour by hour: versions a final, seconds a turn, memory held.

    python benchmarks/vee_steady.py [--meters 400] [--days 3]

A simulated fleet (losses, late and doubled pushes, outages) is stored as it is received, hour by hour; after each hour
the dirty days are judged by the worker's own `VeeWork` over an embedded store. Once as the worker does it (what is
still on its way is awaited a day), once with every interval of the day judged at once. Each runs in a process of its
own; the resident set is that process's, after the first day and at the end. A version more comes of another value or
quality, or of a rule that can judge only now: register rules wait for the daily read.
"""

import argparse
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import msgspec
import polars as pl

from app import vee_lane, workers
from app.embedded import Gathered, MemoryPublisher, carry_both_lanes
from app.messages import to_messages
from ingest import meter_types
from ingest.derived import bucket_of
from ingest.keyring import Keyring
from simulator.fleet import simulate
from simulator.params import SimulatorParams
from storage.embedded import open_embedded
from storage.queries import Query
from validation.params import VeeParams

HOUR = timedelta(hours=1)


def steady(meters: int, days: int, estimate_after_s: int | None) -> None:
    """One way, in this process; a line of figures."""
    fleet = simulate(msgspec.structs.replace(SimulatorParams(), meters=meters, days=days, seed=3))
    registry = workers.Registry.of(Keyring.from_csv(fleet.keys_csv), fleet.meters, meter_types.BUILT_IN)
    store = open_embedded()
    sent = Gathered.of(carry_both_lanes(fleet.frames, store, MemoryPublisher(), registry))
    for table in ("intervals", "reads"):
        store.engine.execute(f"TRUNCATE TABLE {table}")
    store.append("meters", fleet.meters, "meters")
    params = VeeParams(judged_at=sent.intervals["received_at"].min(), run_id="", context_days=28,
                       estimate_after_s=estimate_after_s)  # fmt: skip
    now = params.judged_at.replace(minute=0, second=0, microsecond=0)
    first, end = now.replace(hour=0), sent.intervals["received_at"].max()
    work = vee_lane.VeeWork(store, fleet.meters, params, lambda: now)
    turns: list[float] = []
    after_a_day = 0.0
    while now < end:
        now += HOUR
        came = pl.col("received_at").is_between(now - HOUR, now, closed="left")
        new = {name: getattr(sent, name).filter(came) for name in ("intervals", "reads")}
        for name, rows in new.items():
            store.append(name, rows, f"{name} {now}")
        told = pl.concat(
            [new["intervals"].select("meter_id", at="interval_start"), new["reads"].select("meter_id", at="read_at")]
        )
        dirty = told.select(bucket=bucket_of(told["meter_id"]), day=pl.col("at").dt.date()).unique()
        if now.hour % 6 == 0 and estimate_after_s is not None:
            dirty = pl.concat([dirty, work.due(store).select(dirty.columns)]).unique()
        begun = time.perf_counter()
        if dirty.height:
            work.deliver(work.prepare(to_messages(dirty, dirty["bucket"])), "")
        turns.append(time.perf_counter() - begun)
        after_a_day = resident() if len(turns) == 24 else after_a_day
    # The first day holds what was sent before it; the last is not over.
    counts = "count() AS rows, uniqExact(meter_id, channel, interval_start) AS intervals"
    counts += ", uniqExact(meter_id, channel, interval_start, value_milli, quality) AS values"
    span = f"toDate(interval_start, 'UTC') > '{first:%F}' AND toDate(interval_start, 'UTC') < '{end:%F}'"
    asked = f"SELECT {counts} FROM finals WHERE {span}"
    ((rows, intervals_judged, values),) = store.engine.select(
        Query(asked, {}, pl.Schema(dict.fromkeys(("rows", "intervals", "values"), pl.UInt64())))
    ).rows()
    way = "awaited a day" if estimate_after_s else "judged at once"
    print(
        f"{way:<15}{intervals_judged:11,} finals: {rows / intervals_judged:5.2f} versions each, of which "
        f"{values / intervals_judged:5.2f} with another value or quality   "
        f"seconds a turn, first to last day: {mean(turns[:24]):6.2f} {mean(turns[-24:]):6.2f}   "
        f"MB after a day and at the end: {after_a_day:5.0f} {resident():5.0f}"
    )


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def resident() -> float:
    """MB of this process in memory."""
    said = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text("ascii").splitlines())
    return int(said["VmRSS"].split()[0]) / 1024


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--meters", type=int, default=400)
    options.add_argument("--days", type=int, default=3)
    options.add_argument("--way", choices=("awaited", "at-once"))
    chosen = options.parse_args()
    if chosen.way:
        steady(chosen.meters, chosen.days, 86_400 if chosen.way == "awaited" else None)
        return
    for way in ("at-once", "awaited"):
        command = [sys.executable, __file__, "--way", way, "--meters", str(chosen.meters), "--days", str(chosen.days)]
        subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
