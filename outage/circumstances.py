"""What the utility knows besides the meters' own word: planned work, orders, pings, confirmations, bellwethers."""

from enum import StrEnum
from typing import Final, NamedTuple

import polars as pl

from schemas.errors import ContractError
from schemas.frames import NODE_KIND, UTC_US


class OrderKind(StrEnum):
    """What is ordered for one meter."""

    DISCONNECT = "disconnect"
    EXCHANGE = "exchange"
    REMOVAL = "removal"
    FIRMWARE = "firmware"


class PingAnswer(StrEnum):
    """What became of a power-status check."""

    ON = "on"
    OFF = "off"
    UNKNOWN = "unknown"
    COMMUNICATION_FAILURE = "communication_failure"
    UNKNOWN_METER = "unknown_meter"


class Storm(StrEnum):
    """Who decides about storm mode."""

    AUTO = "auto"
    ON = "on"
    OFF = "off"


PLANNED: Final = pl.Schema({"node_kind": NODE_KIND, "node_id": pl.String(), "from": UTC_US, "to": UTC_US})
"""Planned work: the node is switched off between the two instants."""

ORDERS: Final = pl.Schema(
    {
        "meter_id": pl.String(),
        "kind": pl.Enum([kind.value for kind in OrderKind]),
        "from": UTC_US,
        "to": UTC_US,  # null: open
    }
)
"""Work on single meters, during which their silence means nothing."""

PINGS: Final = pl.Schema(
    {"meter_id": pl.String(), "answered_at": UTC_US, "answer": pl.Enum([answer.value for answer in PingAnswer])}
)
"""Results of power-status checks."""

CONFIRMED: Final = pl.Schema({"node_kind": NODE_KIND, "node_id": pl.String(), "at": UTC_US})
"""A call, a crew or the outage system says that the node is dark at that instant."""

RESTORED: Final = CONFIRMED
"""A crew or the outage system says that the node is back: those of whom no life is known are asked."""

BELLWETHERS: Final = pl.Schema({"meter_id": pl.String()})
"""Meters that are reported one by one even in a storm."""


class Circumstances(NamedTuple):
    """Everything known besides events and reads; each frame may be empty."""

    planned: pl.DataFrame
    orders: pl.DataFrame
    pings: pl.DataFrame
    confirmed: pl.DataFrame
    bellwethers: pl.DataFrame
    restored: pl.DataFrame


def circumstances(
    *,
    planned: pl.DataFrame | None = None,
    orders: pl.DataFrame | None = None,
    pings: pl.DataFrame | None = None,
    confirmed: pl.DataFrame | None = None,
    bellwethers: pl.DataFrame | None = None,
    restored: pl.DataFrame | None = None,
) -> Circumstances:
    """The given frames, checked, and empty ones for the others.

    Raises:
        ContractError: A frame lacks a column or holds a value that its type does not know.
    """
    given = (
        ("planned", planned, PLANNED),
        ("orders", orders, ORDERS),
        ("pings", pings, PINGS),
        ("confirmed", confirmed, CONFIRMED),
        ("bellwethers", bellwethers, BELLWETHERS),
        ("restored", restored, RESTORED),
    )
    return Circumstances(*(_checked(name, frame, schema) for name, frame, schema in given))


def _checked(name: str, frame: pl.DataFrame | None, schema: pl.Schema) -> pl.DataFrame:
    if frame is None:
        return schema.to_frame()
    absent = [column for column in schema if column not in frame.columns]
    if absent:
        raise ContractError(f"{name}.{absent[0]}: column is absent")
    try:
        return frame.select(pl.col(column).cast(dtype) for column, dtype in schema.items())
    except (pl.exceptions.InvalidOperationError, pl.exceptions.ComputeError) as error:
        raise ContractError(f"{name}: a value does not fit its column") from error
