"""The whole road in one process: simulated frames, both lanes, the store, outages, VEE and billing, timed by stage."""

import json
import shutil
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import polars as pl

from app import vee_judge, workers
from app.commands.outages import heard_of_reads
from app.commands.vee import vee_params
from app.embedded import Gathered, MemoryPublisher, carry_both_lanes
from app.files import write_outputs
from app.inputs import with_profiles
from app.picture import busiest_day, draw_day
from app.scores import energy_error, score_outages
from app.summary import counts, progress
from billing_export.delivery.folder import deliver
from billing_export.export import export
from billing_export.pieces import ExportInputs, ExportParams
from billing_export.tariffs import parse_tariffs
from ingest import meter_types
from ingest.keyring import Keyring
from outage.detect import Detected, detect_outages
from outage.messages import render_feeds
from outage.params import DetectParams
from schemas.frames import EVENTS, EXCEPTIONS, FINALS
from simulator import files as simulated_files
from simulator.fleet import Simulated, simulate
from simulator.params import SimulatorParams
from storage.embedded import open_embedded
from storage.store import ReadingStore, Scope
from validation.vee import Vee

T = TypeVar("T")

METERS_A_BUCKET: Final = 500


class Road(NamedTuple):
    """What came of a run."""

    summary: dict[str, Any]
    picture: str

    def summary_text(self) -> str:
        """The summary as it stands in summary.json."""
        return json.dumps(self.summary, indent=1, default=str) + "\n"


class Clockwork:
    """Seconds and rates of each stage, in the order in which they ran."""

    def __init__(self) -> None:
        self.stages: dict[str, dict[str, Any]] = {}

    def run(self, stage: str, unit: str, work: Callable[[], T], amount: Callable[[T], int]) -> T:
        """The work's result; its time is kept under the stage's name."""
        with progress(stage):
            start = time.perf_counter()
            done = work()
            seconds = time.perf_counter() - start
        self.stages[stage] = {"seconds": seconds, "unit": unit, "per_second": amount(done) / max(seconds, 1e-9)}
        return done


def travel(params: SimulatorParams, out: Path) -> Road:
    """Carry a simulated fleet from frames to bills; the folder holds what each verb would have written."""
    clock = Clockwork()
    simulated = clock.run("simulate", "frames", lambda: simulate(params), lambda done: done.frames.height)
    write_outputs(out, simulated_files.outputs(simulated))
    shutil.rmtree(out / "store", ignore_errors=True)
    store = open_embedded(out / "store")
    try:
        return _travel(simulated, store, clock, out)
    finally:
        store.close()


def _travel(simulated: Simulated, store: ReadingStore, clock: Clockwork, out: Path) -> Road:
    types = meter_types.BUILT_IN
    meters = with_profiles(simulated.meters, types)
    store.append("meters", meters, "meters")
    registry = workers.Registry.of(Keyring.from_csv(simulated.keys_csv), meters, types)
    publisher = MemoryPublisher()
    decoded = clock.run(
        "decode and store", "frames", lambda: carry_both_lanes(simulated.frames, store, publisher, registry),
        lambda done: sum(part.counts.frames for part in done),
    )  # fmt: skip
    frames = Gathered.of(decoded)
    events = publisher.rows(workers.EVENTS_TOPIC, EVENTS)
    detected = clock.run(
        "find outages", "events", lambda: _find_outages(events, meters, frames.reads), lambda _: events.height
    )
    store.append("outages", detected.outages, "outages")
    judged = clock.run(
        "validate and estimate", "values", lambda: list(_judge(store, meters, simulated.truth_intervals)),
        lambda done: sum(part.finals.height for part in done),
    )  # fmt: skip
    finals = pl.concat([FINALS.empty(), *(part.finals for part in judged)])
    inputs = ExportInputs(finals, meters, frames.reads, parse_tariffs(simulated.tariffs_toml))
    span = _span(simulated.truth_intervals)
    files = clock.run("bill", "values", lambda: _bill(inputs, span, store, out), lambda _: finals.height)
    outputs: dict[str, pl.DataFrame | bytes | str] = {
        "intervals.parquet": frames.intervals,
        "reads.parquet": frames.reads,
        "events.parquet": events,
        "rejects.parquet": frames.rejects,
        "outages.parquet": detected.outages,
        "finals.parquet": finals,
        "exceptions.parquet": pl.concat([EXCEPTIONS.empty(), *(part.exceptions for part in judged)]),
        **render_feeds(detected.outages, ("cim-json",)),
    }
    write_outputs(out, outputs)
    summary = _summary(simulated, frames, detected, finals) | {
        "files": len(files) + len(outputs) + len(simulated_files.outputs(simulated)) + 2,
        "stages": clock.stages,
        "seconds": sum(stage["seconds"] for stage in clock.stages.values()),
    }
    return Road(summary, _picture(frames.intervals, finals, meters))


def _find_outages(events: pl.DataFrame, meters: pl.DataFrame, reads: pl.DataFrame) -> Detected:
    return detect_outages(events, meters, heard_of_reads(reads), DetectParams())


def _judge(store: ReadingStore, meters: pl.DataFrame, truth: pl.DataFrame) -> Iterator[Vee]:
    start, end = _span(truth)
    params = vee_params(judged_at=end + timedelta(days=1), grid_from=start, grid_to=end)
    names = meters["meter_id"].unique().sort()
    buckets = [
        Scope(tuple(names.slice(first, METERS_A_BUCKET).to_list()), start, end)
        for first in range(0, names.len(), METERS_A_BUCKET)
    ]
    return vee_judge.judge(store, buckets, params)


def _bill(inputs: ExportInputs, span: tuple[datetime, datetime], store: ReadingStore, out: Path) -> tuple[str, ...]:
    """Determinants and NEM12 of the local days of the span, delivered; the determinants are entered in the ledger."""
    params = ExportParams(
        formats=("determinants", "nem12"),
        date_from=(span[0] + timedelta(hours=12)).date(),
        date_to=(span[1] + timedelta(hours=12)).date(),
    )
    exported = export(inputs, params)
    delivered = deliver(exported, out / "billing")
    for file in exported.files:
        if file.name.endswith(".parquet"):
            store.append("billing_ledger", pl.read_parquet(file.content), file.name)
    return delivered.written + delivered.kept


def _span(truth: pl.DataFrame) -> tuple[datetime, datetime]:
    ends = truth.select(end=pl.col("interval_start") + pl.duration(seconds=pl.col("interval_s")))["end"]
    start, end = truth["interval_start"].min(), ends.max()
    if not isinstance(start, datetime) or not isinstance(end, datetime):
        return datetime(1970, 1, 1, tzinfo=UTC), datetime(1970, 1, 1, tzinfo=UTC)
    return start, end


def _summary(simulated: Simulated, frames: Gathered, detected: Detected, finals: pl.DataFrame) -> dict[str, Any]:
    return {
        "meters": simulated.meters.height,
        "conservation": frames.conservation,
        "rejects": counts(frames.rejects, "reason"),
        "values": frames.intervals.height + frames.reads.height,
        "finals": {
            "values": finals.height,
            "quality": counts(finals, "quality"),
            "method": counts(finals.filter(pl.col("method").is_not_null()), "method"),
        },
        **energy_error(finals, simulated.truth_intervals),
        "outages": score_outages(detected.outages, simulated.truth_outages) | {"momentary": detected.counts.momentary},
    }


def _picture(intervals: pl.DataFrame, finals: pl.DataFrame, meters: pl.DataFrame) -> str:
    chosen = busiest_day(finals)
    if chosen is None:
        return draw_day(intervals.clear(), finals.clear(), "no interval was treated")
    meter_id, channel, day = chosen
    within = (
        (pl.col("meter_id") == meter_id)
        & (pl.col("channel").cast(pl.String) == channel)
        & pl.col("interval_start").is_between(day, day + timedelta(days=1), closed="left")
    )
    factor = meters.filter(pl.col("meter_id") == meter_id)["multiplier"].fill_null(1000)[0]
    received = (
        intervals.filter(within)
        .group_by("interval_start")
        .last()
        .with_columns(value_milli=pl.col("value_milli") * factor // 1000)
    )
    return draw_day(received, finals.filter(within), f"Meter {meter_id}, {channel}, {day:%Y-%m-%d} (UTC)")
