"""The meters below dark nodes, and the evidence of each since the onset."""

from typing import NamedTuple

import numpy as np
import polars as pl

from outage.evidence import Evidence
from outage.life import Territory
from outage.params import DetectParams
from outage.pool import NO_INCIDENT, Pool
from outage.spans import NEVER, timeline
from outage.topology import NO_NODE, Flags, Ints, Topology


class Found(NamedTuple):
    """Nodes of one rung that may be dark, and those that are."""

    node: Ints
    onset: Ints
    needed: Ints
    nested: Flags  # stayed dark when its surroundings returned
    territory: Territory
    span: Ints  # spans of the onsets
    place: Ints  # index into `node` of each of them
    chosen: Flags  # per node: it is dark

    @staticmethod
    def none() -> "Found":
        """No node."""
        empty = np.empty(0, np.int64)
        return Found.at(empty, empty, empty, empty > 0)

    @staticmethod
    def at(node: Ints, onset: Ints, needed: Ints, nested: Flags) -> "Found":
        """Nodes with an onset, nothing decided."""
        empty = np.empty(0, np.int64)
        return Found(node, onset, needed, nested, Territory(empty, empty), empty, empty, np.zeros(len(node), bool))


class Below(NamedTuple):
    """The meters below dark nodes, and the evidence of each since the onset. Times in microseconds."""

    place: Ints  # index of the node, ascending
    meter: Ints
    unit: Ints  # its transformer, or itself
    span: Ints  # -1: it was not heard
    heard: Flags  # it reported the onset
    start: Ints
    parent: Ints
    up: Ints  # its power-up, `NEVER` if none
    read: Ints  # its first read after the onset, `NEVER` if none
    off: Ints  # when a ping last found it dark, -1 if never


def meters_of(dark: Found, pool: Pool, evidence: Evidence, topology: Topology, params: DetectParams) -> Below:
    """The meters below the nodes that are dark, but those whose silence was expected."""
    keep = dark.chosen[dark.territory.place] & ~_is_quiet(dark, evidence)
    meter, place = dark.territory.meter[keep], dark.territory.place[keep]
    onset = dark.onset[place]
    span = _span_of(meter, place, dark, pool)
    told = span >= 0
    own_end = np.where(told, pool.spans.end[span], NEVER)
    by_read = told & pool.spans.by_read[span]
    read = evidence.reads.first_after(meter, onset + params.clock_tolerance_s * 1_000_000)
    unit = topology.node_of[0][meter]
    return Below(
        place=place,
        meter=meter,
        unit=np.where(unit == NO_NODE, -2 - meter, unit),
        span=span,
        heard=told,
        start=np.where(told, pool.spans.start[span], onset),
        parent=np.where(told, pool.parent[span], NO_INCIDENT),
        up=np.where(told, np.where(by_read, NEVER, own_end), evidence.ups.first_after(meter, onset)),
        read=np.where(told, np.where(by_read, own_end, NEVER), read),
        off=evidence.offs.last_until(meter, np.full(len(meter), evidence.as_of)),
    )


def _span_of(meter: Ints, place: Ints, dark: Found, pool: Pool) -> Ints:
    """The earliest span of the onset for every meter, -1 for those that were not heard."""
    order = np.lexsort((pool.begin[dark.span], pool.spans.meter[dark.span]))
    span = dark.span[order]
    told = pool.spans.meter[span]
    found = np.minimum(np.searchsorted(told, meter, "left"), max(len(told) - 1, 0))
    there = told[found] == meter
    return np.where(there & (dark.place[order][found] == place), span[found], -1)


def _is_quiet(dark: Found, evidence: Evidence) -> Flags:
    """Meters of the territory whose silence was expected at the onset: they are not interrupted by it."""
    quiet = evidence.quiet
    meter, onset = dark.territory.meter, dark.onset[dark.territory.place]
    if not len(quiet.meter):
        return np.zeros(len(meter), bool)
    told = pl.DataFrame({"meter": quiet.meter, "at": quiet.start, "end": quiet.end})
    begun = timeline(quiet.meter, quiet.start).last_until(meter, onset)
    asked = pl.DataFrame({"meter": meter, "at": begun, "onset": onset})
    ends = told.group_by("meter", "at").agg(pl.col("end").max())
    end = asked.join(ends, on=["meter", "at"], how="left", maintain_order="left")["end"].fill_null(-1).to_numpy()
    flags: Flags = end > onset
    return flags
