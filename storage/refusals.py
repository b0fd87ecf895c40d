"""Refusals that are the rows' fault: every engine tells them by the same codes."""

from typing import Final

OF_ROWS: Final = frozenset({
    6, 26, 27, 38, 41, 53, 69, 70, 72, 117, 131, 349, 407, 469, 691,
})  # fmt: skip
"""Codes that rows give, not the engine: they cannot be parsed, converted or break a constraint."""
