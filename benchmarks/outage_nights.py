"""Nights with a known truth: a supply tree, faults in it, and what the meters manage to say about them."""

from datetime import UTC, datetime
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from schemas.frames import EVENTS, HEARD, METERS, UTC_US, conform

US = 1_000_000
DUSK = int(datetime(2026, 1, 10, 18, tzinfo=UTC).timestamp())
LEVELS = ("service_point", "transformer", "lateral", "feeder", "substation")
SCOPE = {"service_point": "individual", "transformer": "street", "lateral": "street", "feeder": "zonal"}

Ints = npt.NDArray[np.int64]


class Tree(NamedTuple):
    """Meters in the order of the tree; node numbers never fall from row to row."""

    meters: pl.DataFrame
    node: dict[str, Ints]


class Fault(NamedTuple):
    """Meters `first` to `after` - 1 are dark from `start` to `end`, in seconds."""

    kind: str
    first: int
    after: int
    start: int
    end: int
    nested: bool = False


class Night(NamedTuple):
    """Truth and what was heard of it."""

    tree: Tree
    faults: list[Fault]
    events: pl.DataFrame
    heard: pl.DataFrame
    truth: pl.DataFrame  # kind, node, scope, start, end, nested


class Said(NamedTuple):
    """Power events: who, when by its clock, when received, up or down, and the reboot counter (-1: none)."""

    meter: Ints
    occurred: Ints
    received: Ints
    up: npt.NDArray[np.bool_]
    sequence: Ints


class Chances(NamedTuple):
    """How much is heard."""

    p: float = 0.8  # a dark meter's last gasp arrives
    up: float = 0.9  # its power-up arrives
    copies: int = 3
    read_every_s: int = 3600
    hours: int = 8


def grow(substations: int, feeders: int = 6, laterals: int = 6, transformers: int = 6, points: int = 12) -> Tree:
    """A tree with the same number of branches everywhere."""
    count = substations * feeders * laterals * transformers * points
    meter = np.arange(count)
    node = {"service_point": meter, "transformer": meter // points}
    node["lateral"] = node["transformer"] // transformers
    node["feeder"] = node["lateral"] // laterals
    node["substation"] = node["feeder"] // feeders
    prefix = {"service_point": "SP", "transformer": "T", "lateral": "L", "feeder": "F", "substation": "S"}
    names = {
        f"{level}_id": pl.Series(prefix[level] + pl.Series(number).cast(pl.String).str.zfill(7))
        for level, number in node.items()
    }
    meters = pl.DataFrame({"meter_id": "M" + pl.Series(meter).cast(pl.String).str.zfill(7), **names})
    phase = pl.Series(np.array(["A", "B", "C"])[meter % 3])
    return Tree(conform(meters.with_columns(phase=phase), METERS), node)


def draw_faults(rng: np.random.Generator, tree: Tree, counts: dict[str, int], nested_share: float = 0.0) -> list[Fault]:
    """Faults that share no meter at a time; after some feeder faults one transformer stays dark."""
    faults: list[Fault] = []
    for kind in ("feeder", "lateral", "transformer", "service_point"):
        for _ in range(counts.get(kind, 0)):
            fault = _draw(rng, tree, kind, faults)
            if fault is None:
                continue
            faults.append(fault)
            if kind == "feeder" and rng.random() < nested_share:
                node = int(tree.node["transformer"][rng.integers(fault.first, fault.after)])
                first, after = np.searchsorted(tree.node["transformer"], [node, node + 1])
                faults.append(
                    Fault(
                        "transformer",
                        int(first),
                        int(after),
                        fault.end,
                        fault.end + int(rng.integers(1800, 5400)),
                        True,
                    )
                )
    return faults


def play(rng: np.random.Generator, tree: Tree, faults: list[Fault], chances: Chances) -> Night:
    """What the meters of the tree manage to say on a night with these faults."""
    meter = np.concatenate([np.arange(f.first, f.after) for f in faults if not f.nested] or [np.zeros(0, np.int64)])
    start = _each(faults, "start")
    end = _each(faults, "end")
    stays = {m: f.end for f in faults if f.nested for m in range(f.first, f.after)}
    if stays:
        late, until = np.array(list(stays)), np.array(list(stays.values()))
        place = np.searchsorted(np.sort(late), meter).clip(max=len(late) - 1)
        order = np.argsort(late)
        found = late[order][place] == meter
        end = np.where(found & (until[order][place] > end) & (start < until[order][place]), until[order][place], end)
    events = _events(rng, tree, (meter, start, end), chances)
    heard = _reads(rng, tree, (meter, start, end), chances)
    return Night(tree, faults, events, heard, _truth(tree, faults))


def forge(rng: np.random.Generator, tree: Tree, at: int, count: int) -> pl.DataFrame:
    """Clear-text last gasps of meters that have supply, of neighbours in the tree."""
    first = int(rng.integers(0, len(tree.node["service_point"]) - count))
    meter = np.arange(first, first + count)
    occurred = (at * US + rng.integers(0, 60 * US, count)).astype(np.int64)
    said = Said(meter, occurred, occurred + US, np.zeros(count, bool), np.full(count, -1))
    return _frame(tree, said, authenticated=False)


def _each(faults: list[Fault], name: str) -> Ints:
    plain = [f for f in faults if not f.nested]
    return np.repeat([getattr(f, name) for f in plain], [f.after - f.first for f in plain]).astype(np.int64)


def _draw(rng: np.random.Generator, tree: Tree, kind: str, faults: list[Fault]) -> Fault | None:
    column = tree.node[kind]
    for _ in range(30):
        node = int(rng.integers(0, column[-1] + 1))
        first, after = (int(x) for x in np.searchsorted(column, [node, node + 1]))
        start = DUSK + int(rng.integers(3600, 4 * 3600))
        end = start + int(rng.integers(20 * 60, 150 * 60))
        meets = (f for f in faults if f.first < after and first < f.after)
        if all(start > f.end + 5400 or f.start > end + 5400 for f in meets):
            return Fault(kind, first, after, start, end)
    return None


def _events(rng: np.random.Generator, tree: Tree, dark: tuple[Ints, Ints, Ints], chances: Chances) -> pl.DataFrame:
    meter, start, end = dark
    gasps = rng.random(len(meter)) < chances.p
    parts = []
    copies = rng.integers(1, chances.copies + 1, len(meter))
    for copy in range(chances.copies):
        says = gasps & (copy < copies)
        estimate = start[says] * US + rng.integers(-2 * US, 3 * US, int(says.sum()))
        received = start[says] * US + rng.integers(US, 20 * US, int(says.sum())) + copy * 120 * US
        down = np.zeros(int(says.sum()), bool)
        parts.append(_frame(tree, Said(meter[says], estimate, received, down, start[says])))
    says = rng.random(len(meter)) < chances.up
    at = end[says] * US + rng.integers(0, 4 * US, int(says.sum()))
    received = at + rng.integers(US, 45 * US, len(at))
    parts.append(_frame(tree, Said(meter[says], at, received, np.ones(len(at), bool), end[says])))
    return pl.concat(parts).sort("received_at", "meter_id").with_columns(offset=pl.int_range(pl.len()))


def _frame(tree: Tree, said: Said, *, authenticated: bool = True) -> pl.DataFrame:
    meter, occurred, received, up, sequence = said
    rows = pl.DataFrame(
        {
            "meter_id": tree.meters["meter_id"].gather(meter),
            "event": pl.Series(np.where(up, "power_up", "last_gasp")),
            "code": np.where(up, 2, 1).astype(np.int32),
            "occurred_at": pl.Series(occurred).cast(UTC_US),
            "received_at": pl.Series(received).cast(UTC_US),
            "sequence": sequence,
        }
    ).with_columns(
        pl.when(pl.col("sequence") >= 0).then("sequence"),
        topic=pl.lit("night"),
        partition=pl.lit(0),
        offset=pl.lit(0),
        frame=pl.lit(0),
        origin=pl.lit("nic"),
        authenticated=pl.lit(authenticated),
    )
    return conform(rows, EVENTS)


def _reads(rng: np.random.Generator, tree: Tree, dark: tuple[Ints, Ints, Ints], chances: Chances) -> pl.DataFrame:
    count = len(tree.node["service_point"])
    phase = rng.integers(0, chances.read_every_s, count)
    turns = chances.hours * 3600 // chances.read_every_s
    meter = np.tile(np.arange(count), turns)
    at = (DUSK + phase + np.arange(turns)[:, None] * chances.read_every_s).ravel()
    gone = np.zeros(len(meter), bool)
    order = np.lexsort((dark[1], dark[0]))
    d_meter, d_start, d_end = (column[order] for column in dark)
    if len(d_meter):
        key = d_meter * 10**6 + (d_start - DUSK)
        place = np.searchsorted(key, meter * 10**6 + (at - DUSK), "right") - 1
        behind = np.maximum(place, 0)
        gone = (place >= 0) & (d_meter[behind] == meter) & (d_end[behind] > at)
    kept = ~gone
    rows = {"meter_id": tree.meters["meter_id"].gather(meter[kept]), "read_at": pl.Series(at[kept] * US).cast(UTC_US)}
    return conform(pl.DataFrame(rows), HEARD)


def _truth(tree: Tree, faults: list[Fault]) -> pl.DataFrame:
    return pl.DataFrame(
        [
            {
                "kind": f.kind,
                "node": tree.meters[f"{f.kind}_id"][f.first],
                "scope": SCOPE[f.kind],
                "start": f.start * US,
                "end": f.end * US,
                "nested": f.nested,
                "size": f.after - f.first,
            }
            for f in faults
        ],
        schema={
            "kind": pl.String,
            "node": pl.String,
            "scope": pl.String,
            "start": pl.Int64,
            "end": pl.Int64,
            "nested": pl.Boolean,
            "size": pl.Int64,
        },
    ).with_columns(pl.col("start", "end").cast(UTC_US))


class Score(NamedTuple):
    """How a night was understood. `found`: the same node, onset within five minutes.

    `wrong` is every other incident that stands at the end, neither merged nor cancelled: a meter or a smaller node of
    a true outage told as an incident of its own; a node larger than the truth; the right node at another time; and
    darkness where there was none. docs/outage-nights.md says which of these they were.
    """

    true: int
    found: int
    wrong: int  # reported incidents that are not one of the truth, node for node
    late: int  # found ones first reported more than ten minutes after their onset
    restored: int  # found ones with the right restoration within ten minutes
    nodes: int  # true ones at a transformer or above it: there somebody may be heard, or asked
    nodes_found: int


def score(night: Night, outages: pl.DataFrame, first_said: pl.DataFrame | None = None) -> Score:
    """Compare the last state of every incident with the truth.

    Args:
        night: The truth.
        outages: OUTAGES, all steps.
        first_said: `incident_id`, `said_at`: when each incident was first reported, where that is known.
    """
    last = outages.sort("step").group_by("incident_id").last()
    last = last.filter(~pl.col("state").is_in(["merged", "cancelled"]))
    pairs = night.truth.with_row_index("t").join(
        last.select(
            "incident_id",
            "node_id",
            "started_at",
            "restored_at",
        ),
        left_on="node",
        right_on="node_id",
    )
    onset = (
        pl.when("nested")
        .then(pl.col("started_at") < pl.col("end"))
        .otherwise((pl.col("started_at") - pl.col("start")).abs() < pl.duration(minutes=5))
    )
    hit = pairs.filter(onset)
    on_time = hit.filter((pl.col("restored_at") - pl.col("end")).abs() < pl.duration(minutes=10))
    late = 0
    if first_said is not None:
        said = hit.filter(~pl.col("nested")).join(first_said, on="incident_id")
        late = said.filter(pl.col("said_at") - pl.col("start") > pl.duration(minutes=10))["t"].n_unique()
    return Score(
        night.truth.height,
        hit["t"].n_unique(),
        last.height - hit["incident_id"].n_unique(),
        late,
        on_time["t"].n_unique(),
        night.truth.filter(pl.col("kind") != "service_point").height,
        hit.filter(pl.col("kind") != "service_point")["t"].n_unique(),
    )
