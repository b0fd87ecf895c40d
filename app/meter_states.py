"""Registry changes as they travel on `ami.meters.v1`: a meter's whole state in a message, a line an installation."""

from collections.abc import Sequence
from typing import Final

import polars as pl

from app.messages import from_messages
from schemas import timegrid
from schemas.errors import ContractError
from schemas.frames import METERS, UTC_US

METERS_TOPIC: Final = "ami.meters.v1"


def meters_of(values: Sequence[bytes]) -> pl.DataFrame:
    """METERS of these messages, in their order.

    Raises:
        ContractError: One of them is not rows of METERS, or says what METERS.csv may not: a zone or a capture period
            that there is not, a multiplier of nothing.
    """
    meters = from_messages(values, METERS)
    for name in meters["timezone"].drop_nulls().unique():
        timegrid.zone(name)
    if not set(meters["interval_s"].drop_nulls()) <= set(timegrid.INTERVAL_LENGTHS_S):
        raise ContractError("METERS.interval_s: not a capture period")
    if (meters["multiplier"] <= 0).any():
        raise ContractError("METERS.multiplier: not a positive number")
    return meters


def states_of(messages: pl.DataFrame) -> pl.DataFrame:
    """METERS with `recorded_at`, the time of the message: what the table `meters` keeps.

    Args:
        messages: `value` (Binary), `at` (when it was written).

    Raises:
        ContractError: One of them is not rows of METERS.
    """
    values = messages["value"].to_list()
    lines = [len(value.splitlines()) for value in values]
    recorded = messages.select(pl.col("at").repeat_by(pl.Series(lines, dtype=pl.UInt32)).explode(empty_as_null=False))
    meters = meters_of(values)
    if meters.height != recorded.height:
        raise ContractError("METERS: a message holds lines that are no rows")
    return meters.with_columns(recorded_at=recorded["at"].cast(UTC_US))
