"""What is left when no node is dark: one incident per service point and stretch of time without supply."""

from typing import NamedTuple

import numpy as np
import polars as pl

from outage.params import DetectParams
from outage.pool import INCIDENTS, INDIVIDUAL, MEMBERS, Pool, optional, shaped
from outage.rungs import LETTERS, Phased
from outage.spans import NEVER
from outage.topology import Topology


class Individuals(NamedTuple):
    """`INCIDENTS`, `MEMBERS`, and the number of spans held back."""

    incidents: pl.DataFrame
    members: pl.DataFrame
    held: int


def find_individuals(
    pool: Pool, phased: Phased, topology: Topology, at: tuple[int, int], params: DetectParams
) -> Individuals:
    """Spans that no node explains, united by service point; open ones younger than a momentary are held back.

    Args:
        pool: The spans; those taken are left out.
        phased: Their phases.
        topology: Customers.
        at: Newest evidence, and the number of the first incident.
        params: The sustained threshold.
    """
    as_of, number = at
    rest = np.flatnonzero(~pool.taken)
    young = (pool.spans.end[rest] == NEVER) & (as_of - pool.begin[rest] <= params.sustained_after_us())
    rest = rest[~young]
    meter = pool.spans.meter[rest]
    letters = pl.Series([*LETTERS, ""], dtype=pl.String).gather(phased.phase[rest])
    members = (
        pl.DataFrame(
            {
                "span": rest.astype(np.int64),
                "meter": meter,
                "node": topology.customer[meter],
                "parent": pool.parent[rest],
                "begin": pool.begin[rest],
                "start": pool.spans.start[rest],
                "end": pool.spans.end[rest],
                "partial": phased.partial[rest],
                "letter": letters,
            }
        )
        .sort("node", "begin", "meter")
        .with_columns(dark_until=pl.col("end").cum_max().over("node"), restored_at=optional("end"))
        .with_columns(new=(pl.col("begin") > pl.col("dark_until").shift(1).over("node")).fill_null(value=True))
        .with_columns(
            incident=pl.col("new").cum_sum().cast(pl.Int64) - 1 + number, lives=pl.col("restored_at").is_not_null()
        )
    )
    incidents = (
        members.group_by("incident", maintain_order=True)
        .agg(
            pl.col("node").first(),
            pl.col("parent").max(),
            onset_at=pl.col("start").min(),
            back_at=pl.when(pl.col("end").max() < NEVER).then(pl.col("end").max()),
            heard=pl.col("meter").n_unique(),
            living=pl.col("restored_at").is_not_null().sum(),
            letters=pl.when(pl.col("partial").all())
            .then(pl.col("letter").unique().sort().str.join(""))
            .otherwise(pl.lit("")),
        )
        .with_columns(level=pl.lit(INDIVIDUAL, pl.Int64), needed=pl.lit(1, pl.Int64))
    )
    size = np.bincount(topology.customer)
    sized = incidents.with_columns(eligible=pl.Series(size[incidents["node"].to_numpy()], dtype=pl.Int64))
    return Individuals(shaped(sized, INCIDENTS), shaped(members, MEMBERS), int(young.sum()))
