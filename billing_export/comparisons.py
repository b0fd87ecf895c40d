"""Rows of a reconciliation: what was compared, what differs, why, and what is to be done about it."""

from typing import Final

import polars as pl

from billing_export.standing import DOUBTFUL, STALE, WILD
from billing_export.stretches import RESOLUTION

COMPARISONS: Final = pl.Schema(
    {
        "kind": pl.String(),  # register, unread (no read at one end), stretch, read (does not stand), ledger, file
        "subject": pl.String(),  # meter / channel, determinant, or file
        "period_start": pl.Datetime("us", "UTC"),
        "expected_milli": pl.Int64(),
        "found_milli": pl.Int64(),
        "difference_milli": pl.Int64(),  # found less expected; null where one side is absent
        "reason": pl.String(),  # null where they agree
    }
)
"""A row per comparison."""

EXPLAINED: Final = frozenset({RESOLUTION, WILD, STALE, DOUBTFUL})
"""Reasons that are no fault of the energy billed: the register cannot tell, or one read of it is contradicted by all
that stands around it. Such a read is named in a row of its own."""
REMOVAL_UNREAD, INSTALLATION_UNREAD, REGISTER_MISSING = "removal_unread", "installation_unread", "register_missing"
TO_DO: Final = {
    REMOVAL_UNREAD: "read the register of the meter that was taken down and load it with the instant of its removal",
    INSTALLATION_UNREAD: "load the initial read of the order by which the meter was put up, with its instant",
    REGISTER_MISSING: "read the register, or load a read within 15 minutes of the end of the period",
}
"""What proves the energy that no read proves; until then it is billed on the word of the intervals alone."""


def comparisons(table: pl.DataFrame, kind: str, subject: pl.Expr, difference: pl.Expr, reason: pl.Expr) -> pl.DataFrame:
    """COMPARISONS of a kind, from a table with `period_start`, `expected_milli` and `found_milli`."""
    return (
        table.select(
            "period_start",
            "expected_milli",
            "found_milli",
            kind=pl.lit(kind),
            subject=subject,
            difference_milli=difference,
            reason=reason,
        )
        .select(COMPARISONS.names())
        .cast(COMPARISONS)
        .sort("subject", "period_start", nulls_last=False)
    )
