"""A meter whose last gasp was lost tells by its power-up that it had been dark; its neighbours tell since when."""

from typing import Final

import numpy as np
import polars as pl

from outage.neighbours import TOGETHER_MS, WITNESSES
from outage.spans import NEVER, Spans, Timeline, joined
from outage.topology import LEVELS, NO_NODE, Flags, Ints, Topology
from schemas.codes import NodeKind

NEEDED: Final = {NodeKind.TRANSFORMER: 1, NodeKind.LATERAL: WITNESSES}
"""Neighbours that must have been dark until then, by the node that they share: above the street it says too little."""


def dark_by_return(spans: Spans, returns: pl.DataFrame, life: tuple[Timeline, Timeline], topology: Topology) -> Spans:
    """The spans, and one for each lone power-up that came with the return of neighbours that are known to be dark.

    It began with theirs, the latest of them; no life of the meter may lie after that. A neighbour whose own return was
    lost (it read again later) agrees with any return before that, if another meter of the node came back at the same
    moment: one return alone may be that of an outage of its own. Without such a neighbour nobody knows
    since when the meter was dark, and its power-up stays what it is: a sign of life. Who shares only the lateral with
    them was dark by itself if the meters around it, of its transformer and phase, were read meanwhile. Clear text joins
    nothing that is authenticated (outage.md section 7).

    Args:
        spans: As the meters told them.
        returns: `RETURNS`.
        life: Power-ups, and reads.
        topology: The tree.
    """
    alone = returns.filter("lone")
    if alone.is_empty() or not len(spans.meter):
        return spans
    meter, at = alone["meter"].to_numpy(), alone["at"].to_numpy()
    lived = np.maximum(life[0].last_until(meter, at - 1), life[1].last_until(meter, at - 1))
    asked = alone.select("at", "authenticated", lived=pl.Series(lived, dtype=pl.Int64))
    since = np.full(len(meter), NEVER)
    for level, kind in enumerate(LEVELS):
        if kind in NEEDED:
            of = topology.node_of[level]
            shared = _shared(of[meter], at, of[returns["meter"].to_numpy()], returns["at"].to_numpy())
            here = asked.with_columns(node=of[meter], shared=pl.Series(shared, dtype=pl.Boolean))
            open_ = since == NEVER
            _ask(since, here, spans, of, kind)
            if level:
                found = np.flatnonzero(open_ & (since < NEVER))
                since[found[_around_lives(meter[found], (since[found], at[found]), life[1], topology)]] = NEVER
    known = since < at
    true = np.ones(int(known.sum()), bool)
    told = alone.filter(pl.Series(known))
    authenticated, received = told["authenticated"].to_numpy(), told["received"].to_numpy()
    return joined(spans, Spans(meter[known], since[known], at[known], ~true, authenticated, ~true, ~true, received))


def _shared(node: Ints, at: Ints, of: Ints, times: Ints) -> Flags:
    """Whether more than one return of the node lies within a minute of each."""
    low = int(times.min()) // 1000 - TOGETHER_MS
    width = int(times.max()) // 1000 - low + 2 * TOGETHER_MS + 2
    known = np.sort(of * width + times // 1000 - low)
    key = node * width + at // 1000 - low
    flags: Flags = (
        np.searchsorted(known, key + TOGETHER_MS, "right") - np.searchsorted(known, key - TOGETHER_MS, "left") > 1
    )
    return flags


def _around_lives(meter: Ints, dark: tuple[Ints, Ints], reads: Timeline, topology: Topology) -> Flags:
    """Whether another meter of the transformer and phase of each was read while it is said to have been dark."""
    of, phase = topology.node_of[0], topology.phase
    order = np.argsort(of, kind="stable")
    first, after = (np.searchsorted(of[order], of[meter], side) for side in ("left", "right"))
    count = np.where(of[meter] == NO_NODE, 0, after - first)
    row = np.repeat(np.arange(len(meter)), count)
    place = np.arange(int(count.sum())) - np.repeat(np.cumsum(count) - count, count)
    other = order[np.repeat(first, count) + place]
    margin = TOGETHER_MS * 1000
    read = reads.first_after(other, dark[0][row] + margin)
    lives = (phase[other] == phase[meter[row]]) & (other != meter[row]) & (read < dark[1][row] - margin)
    return np.bincount(row[lives], minlength=len(meter)) > 0


def _ask(since: Ints, asked: pl.DataFrame, spans: Spans, node_of: Ints, kind: NodeKind) -> None:
    """Fill in since when those were dark of whom the neighbours at this level can tell."""
    together = TOGETHER_MS * 1000
    exact: Flags = ~spans.by_read & (spans.end < NEVER)
    dark = pl.DataFrame(
        {
            "node": node_of[spans.meter],
            "start": spans.start,
            # A return that only a read tells of was at any time before it.
            "first": np.where(exact, spans.end - together, spans.start),
            "last": spans.end + together,
            "trusted": spans.trusted,
        }
    )
    agree = (
        asked.with_row_index("row")
        .filter(pl.Series(since == NEVER) & (pl.col("node") != NO_NODE) & pl.col("shared"))
        .join(dark, on="node")
        .filter(
            pl.col("start") > pl.col("lived"),
            pl.col("start") < pl.col("at"),
            pl.col("at").is_between("first", "last"),
            pl.col("authenticated") | ~pl.col("trusted"),
        )
        .group_by("row")
        .agg(pl.col("start").max(), witnesses=pl.len())
        .filter(pl.col("witnesses") >= NEEDED[kind])
    )
    since[agree["row"].to_numpy()] = agree["start"].to_numpy()
