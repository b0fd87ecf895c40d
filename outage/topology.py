"""The supply tree as arrays: which node every meter hangs on, at every level."""

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from outage.names import NameIndex, index_names, numbers_in
from schemas.codes import NodeKind, Scope
from schemas.frames import UTC_US

Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

LEVELS: Final = (NodeKind.TRANSFORMER, NodeKind.LATERAL, NodeKind.FEEDER, NodeKind.SUBSTATION)
"""Levels above the service point, from the leaf up. Each is a column `<level>_id` of METERS."""

SCOPE_OF_LEVEL: Final = (Scope.STREET, Scope.STREET, Scope.ZONAL, Scope.ZONAL)

NO_NODE: Final = -1


class Topology(NamedTuple):
    """Meters numbered 0 … M-1 in the order of their names, and the nodes above each."""

    meters: pl.DataFrame
    """One row per meter: `meter`, `meter_id`, `service_point_id`?, `customer` (number), `phase`?, `installed_at`?,
    `removed_at`?, and the four `<level>_id`?."""
    node_of: tuple[Ints, ...]
    """Per level: the node's number at that level for every meter, `NO_NODE` where METERS does not say."""
    names: tuple[list[str], ...]
    """Per level: the CIM id of every node number."""
    customer: Ints
    """Per meter: number of its customer (service point, or the meter itself)."""
    installed: Ints
    removed: Ints
    """Per meter, in microseconds; far in the past and the future where METERS does not say."""
    phase: Ints
    """Per meter: 0, 1, 2 for a meter on phase A, B or C alone, 3 for any other."""
    lookup: NameIndex
    """Of `meter_id`."""
    disabled: tuple[str, ...]
    """Rules that METERS lacks the columns for."""


def read_topology(meters: pl.DataFrame, also: pl.Series) -> Topology:
    """Number the meters and their nodes.

    Args:
        meters: METERS. Of several installations of one meter the latest counts.
        also: `meter_id` of meters that spoke; those not in METERS are known without a place.
    """
    known = meters.select(
        "meter_id", "service_point_id", "phase", "installed_at", "removed_at", *(f"{lv}_id" for lv in LEVELS)
    )
    if not _ascending(known["meter_id"]):
        known = known.sort("meter_id", "installed_at", nulls_last=False, maintain_order=True).filter(
            pl.col("meter_id").ne_missing(pl.col("meter_id").shift(-1))
        )
    strangers = also.unique().rename("meter_id").to_frame()
    strangers = strangers.join(known, on="meter_id", how="anti") if strangers.height else strangers
    table = (
        (pl.concat([known, strangers], how="diagonal").sort("meter_id") if strangers.height else known)
        .with_row_index("meter")
        .with_columns(
            pl.col("meter").cast(pl.Int64),
            pl.col("installed_at", "removed_at").cast(UTC_US),
        )
    )
    customer, _ = _number(table.select(pl.coalesce("service_point_id", "meter_id")).to_series())
    table = table.with_columns(customer=pl.Series(customer, dtype=pl.Int64))
    numbered = [_number(table[f"{level}_id"]) for level in LEVELS]
    return Topology(
        meters=table,
        node_of=tuple(numbers for numbers, _ in numbered),
        names=tuple(names for _, names in numbered),
        customer=customer,
        installed=table["installed_at"].to_physical().fill_null(-1).to_numpy(),
        removed=table["removed_at"].to_physical().fill_null(2**62).to_numpy(),
        phase=_phase(table["phase"]),
        lookup=index_names(table["meter_id"]),
        disabled=tuple(_disabled(table)),
    )


def numbers_of(names: pl.Series, topology: Topology) -> pl.Series:
    """The number of each meter, null for those that nobody knows."""
    # A meter's number is its row.
    return numbers_in(topology.lookup, names).alias("meter")


def meters_below(named: pl.DataFrame, topology: Topology) -> pl.DataFrame:
    """The rows once for every meter below their node, with `meter`; nodes that nobody knows have none.

    Args:
        named: `node_kind`, `node_id` and any other columns.
        topology: The tree.
    """
    columns = {
        NodeKind.METER: "meter_id",
        NodeKind.SERVICE_POINT: "service_point_id",
        **{level: f"{level}_id" for level in LEVELS},
    }
    if named.is_empty():
        return named.clear().with_columns(meter=pl.lit(None, pl.Int64))
    return pl.concat(
        named.filter(pl.col("node_kind") == kind).join(
            topology.meters.select("meter", node_id=column).drop_nulls(), on="node_id"
        )
        for kind, column in columns.items()
    )


def _ascending(names: pl.Series) -> bool:
    return names.null_count() == 0 and bool((names[1:] > names[:-1]).all())


def _number(ids: pl.Series) -> tuple[Ints, list[str]]:
    """Numbers in the order of the names, `NO_NODE` for null; and the names by number."""
    if not len(ids):
        return np.empty(0, np.int64), []
    # Meters of a node mostly stand together: only where the name changes is it looked at.
    begins = np.flatnonzero(np.r_[True, ids[1:].ne_missing(ids[:-1]).to_numpy()])
    runs = ids.gather(begins)
    if _ascending(runs):
        return np.repeat(np.arange(len(runs)), np.diff(np.r_[begins, len(ids)])), runs.to_list()
    numbers = (runs.rank("dense").cast(pl.Int64) - 1).fill_null(NO_NODE).to_numpy()
    known = np.flatnonzero(numbers != NO_NODE)
    run = np.zeros(int(numbers.max(initial=NO_NODE)) + 1, np.int64)
    run[numbers[known]] = known
    return np.repeat(numbers, np.diff(np.r_[begins, len(ids)])), runs.gather(run).to_list()


def _phase(phases: pl.Series) -> Ints:
    code = {"A": 0, "B": 1, "C": 2}
    return (
        phases.replace_strict(list(code), list(code.values()), default=3, return_dtype=pl.Int64).fill_null(3).to_numpy()
    )


def _disabled(table: pl.DataFrame) -> list[str]:
    absent = {level: table[f"{level}_id"].null_count() == table.height for level in LEVELS}
    rules = []
    if absent[NodeKind.TRANSFORMER] and absent[NodeKind.LATERAL]:
        rules.append("street: METERS has neither transformer_id nor lateral_id")
    if absent[NodeKind.FEEDER] and absent[NodeKind.SUBSTATION]:
        rules.append("zonal: METERS has neither feeder_id nor substation_id")
    if table["service_point_id"].null_count() == table.height:
        rules.append("customers: METERS has no service_point_id, every meter counts as a customer")
    return rules
