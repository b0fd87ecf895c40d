"""Numbers and text as files show them."""

from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

import polars as pl

PER_KILO: Final = 1_000_000
"""Thousandths of the base unit in one kilo unit: 1 kWh is 1,000,000 mWh."""
_FORMULA: Final = r"^[=+\-@\t\r]"


def kilo_decimal(value_milli: pl.Expr) -> pl.Expr:
    """Thousandths of the base unit as Decimal(18, 6) of the kilo unit, exactly."""
    return (value_milli.cast(pl.Decimal(38, 6)) / PER_KILO).cast(pl.Decimal(18, 6))


def kilo_text(value_milli: int) -> str:
    """The same as text with six decimals."""
    whole, rest = divmod(abs(value_milli), PER_KILO)
    return f"{'-' if value_milli < 0 else ''}{whole}.{rest:06d}"


def spreadsheet_safe(text: pl.Expr) -> pl.Expr:
    """Text cells that a spreadsheet would take for a formula, with an apostrophe before them.

    Only for text: a number keeps its sign.
    """
    return pl.when(text.str.contains(_FORMULA)).then(pl.lit("'") + text).otherwise(text)


def stamp(instant: datetime, zone: ZoneInfo, pattern: str) -> str:
    """An instant as the wall clock of a zone shows it."""
    return instant.astimezone(zone).strftime(pattern)
