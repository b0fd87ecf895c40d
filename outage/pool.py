"""Spans on their way to an incident, and the shape of what they become."""

from typing import Final, NamedTuple

import numpy as np
import polars as pl

from outage.spans import NEVER, Spans
from outage.topology import Flags, Ints

INDIVIDUAL: Final = -1
"""Level of an incident at one service point."""

NO_INCIDENT: Final = -1

INCIDENTS: Final = pl.Schema(
    {
        "incident": pl.Int64(),
        "level": pl.Int64(),  # index into LEVELS, or INDIVIDUAL
        "node": pl.Int64(),  # node number at that level, or the customer's number
        "letters": pl.String(),  # the phases that are dark; "": all
        "onset_at": pl.Int64(),
        "back_at": pl.Int64(),  # null: not restored
        "eligible": pl.Int64(),
        "needed": pl.Int64(),
        "heard": pl.Int64(),
        "living": pl.Int64(),
        "parent": pl.Int64(),  # incident in whose restoration it stayed dark, or NO_INCIDENT
    }
)

MEMBERS: Final = pl.Schema(
    {
        "incident": pl.Int64(),
        "meter": pl.Int64(),
        "span": pl.Int64(),  # null: the meter was not heard
        "start": pl.Int64(),
        "restored_at": pl.Int64(),  # null: still dark
        "lives": pl.Boolean(),  # its return is evidence, not presumption
    }
)


class Pool(NamedTuple):
    """The arrays of one pool are changed in place while it is worked off; nobody else holds them."""

    spans: Spans
    begin: Ints  # where the span begins for inference: its start, or the restoration that it survived
    below: Ints  # incidents only of a level below this
    parent: Ints
    taken: Flags

    def take(self, span: Ints) -> None:
        """These spans have their incident."""
        self.taken[span] = True

    def give_back(self, span: Ints, back_at: Ints, incident: Ints, level: int) -> None:
        """What stayed dark when its node came back begins anew at that moment, and below that node.

        Args:
            span: The spans.
            back_at: When the node of each came back.
            incident: The incident of that node.
            level: Of the node that came back.
        """
        self.begin[span] = np.maximum(self.begin[span], back_at)
        self.below[span] = level
        self.parent[span] = incident


def shaped(rows: pl.DataFrame, schema: pl.Schema) -> pl.DataFrame:
    """The columns of the schema, in its order and types."""
    return rows.select(pl.col(name).cast(dtype) for name, dtype in schema.items())


def optional(column: str) -> pl.Expr:
    """A time column in which `NEVER` means null."""
    return pl.when(pl.col(column) < NEVER).then(pl.col(column))
