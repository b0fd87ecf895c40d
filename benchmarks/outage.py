"""Outage detection: events a second, latency of a batch, and nights with a known truth.

`python benchmarks/outage.py` runs all; `speed`, `latency`, `storm` or `nights` one part; numbers behind them are the
seeds of the nights. The peer of the throughput is the obvious program: one event at a time, a dictionary per meter, the
share of each transformer counted as it changes.
"""

import sys
import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path

# This file bears the name of the room that it measures: the folder above comes first.
sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np  # noqa: E402
import polars as pl  # noqa: E402

from benchmarks.outage_nights import (  # noqa: E402
    DUSK,
    Chances,
    Night,
    Score,
    Tree,
    draw_faults,
    forge,
    grow,
    play,
    score,
)
from outage.circumstances import PINGS, circumstances  # noqa: E402
from outage.detect import detect_outages  # noqa: E402
from outage.memory import DetectState  # noqa: E402
from outage.params import DetectParams  # noqa: E402
from schemas.frames import EVENTS, HEARD, UTC_US  # noqa: E402

PARAMS = DetectParams()
STORM = {"feeder": 60, "lateral": 300, "transformer": 600, "service_point": 1500}


def main(parts: list[str]) -> None:
    """Run the parts asked for."""
    seeds = [int(part) for part in parts if part.isdecimal()] or [7]
    known: dict[str, Callable[[], None]] = {
        "speed": speed, "latency": latency, "storm": storm, "nights": partial(nights, seeds),
    }  # fmt: skip
    for name in [part for part in parts if not part.isdecimal()] or list(known):
        known[name]()


def speed() -> None:
    """Events a second over a whole log, topology read in the same call; and of the peer."""
    tree = grow(40)
    rng = np.random.default_rng(1)
    night = play(rng, tree, draw_faults(rng, tree, STORM, 0.5), Chances(copies=6))
    none = HEARD.empty()
    for name, heard in (("events alone", none), (f"with {night.heard.height:,} reads", night.heard)):
        rates = []
        for _ in range(5):
            start = time.perf_counter()
            detect_outages(night.events, tree.meters, heard, PARAMS)
            rates.append(night.events.height / (time.perf_counter() - start))
        show(
            f"detect_outages, {night.events.height:,} events, {tree.meters.height:,} meters, {name}", rates, "events/s"
        )
    start = time.perf_counter()
    one_by_one(night.events, tree.meters)
    show(
        "peer, one event at a time, no restoration, no life",
        [night.events.height / (time.perf_counter() - start)],
        "events/s",
    )


def one_by_one(events: pl.DataFrame, meters: pl.DataFrame) -> int:
    """The peer: how many transformers were ever called out."""
    transformer = dict(meters.select("meter_id", "transformer_id").rows())
    size: dict[str, int] = {}
    for node in transformer.values():
        size[node] = size.get(node, 0) + 1
    down: dict[str, object] = {}
    dark: dict[str, set[str]] = {}
    out: set[str] = set()
    for row in events.sort("received_at").iter_rows(named=True):
        meter, node = row["meter_id"], transformer[row["meter_id"]]
        if row["event"] == "power_up":
            down.pop(meter, None)
            dark.setdefault(node, set()).discard(meter)
        elif meter not in down:
            down[meter] = row["occurred_at"]
            dark.setdefault(node, set()).add(meter)
            if 10 * len(dark[node]) >= 3 * size[node] and len(dark[node]) > 1:
                out.add(node)
    return len(out)


def latency() -> None:
    """One transformer falls silent in a fleet at rest: how long until its incident is in hand."""
    tree = grow(40)
    state = warm(tree)
    seconds = []
    for node in range(100, 200):
        meters = tree.meters["meter_id"].gather(np.arange(node * 12, node * 12 + 12))
        events = gasps(meters, DUSK + 10 * 86_400 + node)
        start = time.perf_counter()
        found = detect_outages(events, tree.meters, HEARD.empty(), PARAMS, state)
        seconds.append(time.perf_counter() - start)
        if found.outages.is_empty():
            raise AssertionError("the incident was not found")
    show(f"one transformer, {tree.meters.height:,} meters, from batch to incident", [1000 * s for s in seconds], "ms")


def storm() -> None:
    """100,000 last gasps in a tree of a million meters, a second of them at a time."""
    tree = grow(400)
    state = warm(tree)
    rng = np.random.default_rng(2)
    faults = draw_faults(rng, tree, {"feeder": 220, "lateral": 200, "transformer": 400, "service_point": 500})
    at_once = [fault._replace(start=DUSK + 7200 + n % 60, end=DUSK + 7200 + 5400) for n, fault in enumerate(faults)]
    night = play(rng, tree, at_once, Chances(p=0.9, copies=1, read_every_s=8 * 3600))
    down = night.events.filter(pl.col("event") == "last_gasp")
    first = down["received_at"].min()
    seconds: list[float] = []
    for second in range(90):
        since = first + timedelta(seconds=second)  # type: ignore[operator]
        batch = down.filter(pl.col("received_at").is_between(since, since + timedelta(seconds=1), closed="left"))
        if batch.is_empty():
            continue
        start = time.perf_counter()
        found = detect_outages(batch, tree.meters, HEARD.empty(), PARAMS, state)
        state = found.state
        seconds.append(time.perf_counter() - start)
    show(
        f"storm, {down.height:,} gasps, {tree.meters.height:,} meters, per batch of one second",
        [1000 * s for s in seconds],
        "ms",
    )
    incidents = state.published.outages["incident_id"].n_unique()
    print(f"    all batches together {sum(seconds):.1f} s, incidents {incidents:,}")


def nights(seeds: list[int]) -> None:
    """Incidents true, found at their node, wrong, late, rightly restored: by share of gasps heard."""
    tree = grow(4)
    print(f"nights, {tree.meters.height:,} meters, hourly reads, power-ups heard like gasps, batches of five minutes")
    for seed in seeds:
        night_by_night(tree, seed)


def night_by_night(tree: Tree, seed: int) -> None:
    """The table of one seed."""
    print(f"seed {seed}\n| night | p | true | found | of nodes | wrong | late | restored |")
    calm = {"feeder": 1, "lateral": 3, "transformer": 6, "service_point": 10}
    wild = {"feeder": 6, "lateral": 40, "transformer": 80, "service_point": 100}
    for name, counts, nested in (("calm", calm, 0.0), ("calm, nested", calm, 1.0), ("storm", wild, 0.0)):
        for p in (0.9, 0.7, 0.5, 0.3):
            rng = np.random.default_rng(seed)
            faults = draw_faults(rng, tree, counts, nested)
            night = play(rng, tree, faults, Chances(p=p, up=p))
            line(name, p, live_through(night))
    for name, counts, p in (("storm, pings answered", wild, 0.5), ("storm, pings answered", wild, 0.3),
                            ("calm, pings answered", calm, 0.3)):  # fmt: skip
        rng = np.random.default_rng(seed)
        night = play(rng, tree, draw_faults(rng, tree, counts, 0.0), Chances(p=p, up=p))
        line(name, p, live_through(night, rng))
    rng = np.random.default_rng(seed)
    night = play(rng, tree, draw_faults(rng, tree, calm), Chances(p=0.9))
    forged = pl.concat([night.events, forge(rng, tree, DUSK + 5400, 2000)]).sort("received_at")
    line("calm, 2,000 forged gasps", 0.9, live_through(night._replace(events=forged)))


def live_through(night: Night, pinged: np.random.Generator | None = None) -> Score:
    """Batch by batch, with the state handed on, as a worker does.

    Args:
        night: The truth and what was heard of it.
        pinged: Where given, meters that are asked for answer with the next batch: a living one with probability 0.95,
            a dark one is found dark with probability 0.9.
    """
    state: DetectState | None = None
    answers = [PINGS.to_frame()]
    said = []
    start, stop = DUSK, DUSK + 8 * 3600
    events = night.events.with_columns(batch=(pl.col("received_at").to_physical() // 1_000_000 - start) // 300)
    heard = night.heard.with_columns(batch=(pl.col("read_at").to_physical() // 1_000_000 - start) // 300)
    for batch in range((stop - start) // 300):
        found = detect_outages(
            events.filter(pl.col("batch") == batch).select(*EVENTS.schema),
            night.tree.meters,
            heard.filter(pl.col("batch") == batch).select(*HEARD.schema),
            PARAMS,
            state,
            circumstances(pings=pl.concat(answers)),
        )
        state = found.state
        if pinged is not None:
            answers.append(answered(found.pings["meter_id"], night, start + 300 * (batch + 1) + 30, pinged))
        said.append(found.outages.select("incident_id", said_at="updated_at"))
    if state is None:
        raise AssertionError("a night has batches")
    first = pl.concat(said).group_by("incident_id").agg(pl.col("said_at").min())
    return score(night, state.published.outages, first)


def answered(asked: pl.Series, night: Night, at: int, rng: np.random.Generator) -> pl.DataFrame:
    """What the meters asked say at an instant."""
    number = asked.str.slice(1).cast(pl.Int64).to_numpy()
    dark = np.zeros(len(number), bool)
    for fault in night.faults:
        dark |= (number >= fault.first) & (number < fault.after) & (fault.start <= at < fault.end)
    lost = rng.random(len(number)) >= np.where(dark, 0.9, 0.95)
    answer = np.where(lost, "communication_failure", np.where(dark, "off", "on"))
    rows = pl.DataFrame({"meter_id": asked, "answer": pl.Series(answer, dtype=pl.String)})
    told = rows.with_columns(answered_at=pl.lit(at * 1_000_000).cast(UTC_US))
    return told.select(pl.col(name).cast(dtype) for name, dtype in PINGS.items())


def line(name: str, p: float, found: Score) -> None:
    """A line of the table."""
    nodes = f"{found.nodes_found} of {found.nodes}"
    counts = (found.true, found.found, nodes, found.wrong, found.late, found.restored)
    print(f"| {name} | {p} | " + " | ".join(map(str, counts)) + " |", flush=True)


def warm(tree: Tree) -> DetectState:
    """A state that knows the fleet: topology read, nothing dark."""
    lives = tree.meters.select("meter_id", read_at=pl.lit(DUSK * 1_000_000).cast(UTC_US))
    return detect_outages(EVENTS.empty(), tree.meters, lives, PARAMS).state


def gasps(meters: pl.Series, at: int) -> pl.DataFrame:
    """One authenticated last gasp of each meter."""
    rows = pl.DataFrame({"meter_id": meters}).with_columns(
        topic=pl.lit("rest"),
        partition=pl.lit(0, pl.Int32),
        offset=pl.int_range(pl.len()),
        frame=pl.lit(0, pl.Int32),
        received_at=pl.lit((at + 3) * 1_000_000).cast(UTC_US),
        event=pl.lit("last_gasp"),
        code=pl.lit(1, pl.Int32),
        origin=pl.lit("nic"),
        occurred_at=pl.lit(at * 1_000_000).cast(UTC_US),
        sequence=pl.lit(1, pl.Int64),
        authenticated=pl.lit(value=True),
    )
    return rows.select(pl.col(name).cast(dtype) for name, dtype in EVENTS.schema.items())


def show(what: str, values: list[float], unit: str) -> None:
    """Spread of a measurement."""
    low, middle, high, top = np.percentile(values, [0, 50, 90, 99])
    print(
        f"{what}\n    {unit}: least {low:,.0f}  median {middle:,.0f}  p90 {high:,.0f}  p99 {top:,.0f}  of {len(values)}"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
