"""Refusals that are the rows' fault, and those that a person mends: every engine tells them by the same codes."""

from collections.abc import Mapping
from typing import Final

OF_ROWS: Final = frozenset({
    6, 26, 27, 38, 41, 53, 69, 70, 72, 117, 131, 349, 407, 469, 691,
})  # fmt: skip
"""Codes that rows give, not the engine: they cannot be parsed, converted or break a constraint."""

MENDED_BY: Final[Mapping[int, str]] = {
    60: "a table is missing: run `ami migrate`: ",
    81: "there is no database of the name in clickhouse.database: create it first: ",
}
"""What to do, before what the engine says: UNKNOWN_TABLE, UNKNOWN_DATABASE."""
