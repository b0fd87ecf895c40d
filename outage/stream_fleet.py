"""The fleet by trees: which meters hang together, and what of it a change of the registry may touch."""

from typing import Final, NamedTuple

import numpy as np
import polars as pl

from outage.topology import LEVELS, Flags, Ints
from schemas.frames import METERS, conform

STRANGER: Final = -1
"""Number of a meter that METERS does not know."""
NO_TREE: Final = 0
"""Tree of the meters without a node above them, and of those that METERS does not know."""
_SUPPLY: Final = [
    "meter_id", "service_point_id", "phase", "installed_at", "removed_at", *(f"{level.value}_id" for level in LEVELS)
]  # fmt: skip


class Fleet(NamedTuple):
    """METERS with the tree that each meter hangs in."""

    meters: pl.DataFrame
    """METERS."""
    rows: Ints
    """Rows of `meters`, tree by tree."""
    first_row: Ints
    """Per tree: where its rows begin in `rows`; one more at the end."""
    names: pl.Series
    """Every `meter_id` once, ascending."""
    root: Ints
    """Per name: number of its tree, `NO_TREE` without a node above it."""
    trees: int


def read_fleet(meters: pl.DataFrame) -> Fleet:
    """The fleet of METERS."""
    known = conform(meters, METERS)
    levels = [pl.format(f"{level.value} {{}}", f"{level.value}_id") for level in reversed(LEVELS)]
    root = known.select(root=pl.coalesce(*levels).rank("dense").fill_null(NO_TREE).cast(pl.Int64))["root"]
    # Of several installations of one meter the latest counts, as in the topology.
    newest = (
        known.select("meter_id", "installed_at", root=root)
        .sort("installed_at", nulls_last=False)
        .unique("meter_id", keep="last")
        .sort("meter_id")
    )
    trees = max(int(root.max() or 0), NO_TREE) + 1  # type: ignore[arg-type]
    rows = np.argsort(root.to_numpy(), kind="stable")
    first_row = np.searchsorted(root.to_numpy()[rows], np.arange(trees + 1))
    return Fleet(known, rows, first_row, newest["meter_id"], newest["root"].to_numpy(), trees)


def hangs_alike(one: pl.DataFrame, other: pl.DataFrame) -> bool:
    """Whether two METERS say the same of what inference looks at: places, phases, installations."""
    return one.select(_SUPPLY).equals(other.select(_SUPPLY))


def placed(reads: pl.DataFrame, fleet: Fleet) -> pl.DataFrame:
    """The reads with `meter`, the number of the name, and `root`."""
    # Signed: the place of a name is an unsigned number, which has no room for a stranger.
    found = fleet.names.search_sorted(reads["meter_id"]).to_numpy().astype(np.int64)
    place = np.minimum(found, max(fleet.names.len() - 1, 0))
    if not fleet.names.len():
        return reads.with_columns(meter=pl.lit(STRANGER, pl.Int64), root=pl.lit(NO_TREE, pl.Int64))
    known = (fleet.names.gather(place) == reads["meter_id"]).to_numpy()
    return reads.with_columns(
        meter=pl.Series(np.where(known, place, STRANGER), dtype=pl.Int64),
        root=pl.Series(np.where(known, fleet.root[place], NO_TREE), dtype=pl.Int64),
    )


def roots_of(names: pl.Series, fleet: Fleet) -> frozenset[int]:
    return frozenset(placed(names.unique().to_frame("meter_id"), fleet)["root"].unique().to_list())


def strangers_of(names: pl.Series, fleet: Fleet) -> pl.DataFrame:
    """`meter_id`: those of the names that METERS does not know, each once."""
    located = placed(names.unique(maintain_order=True).to_frame("meter_id"), fleet)
    return located.filter(pl.col("meter") == STRANGER).select("meter_id")


def flags_of(trees: frozenset[int], fleet: Fleet) -> Flags:
    flags = np.zeros(fleet.trees, bool)
    flags[list(trees)] = True
    return flags


def meters_of(roots: frozenset[int], fleet: Fleet) -> pl.DataFrame:
    parts = [fleet.rows[fleet.first_row[root] : fleet.first_row[root + 1]] for root in sorted(roots)]
    return fleet.meters[np.sort(np.concatenate(parts))]
