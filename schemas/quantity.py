"""Quantities between the meter and the mains: the one place where a multiplier is applied."""

from typing import Final

import polars as pl

UNITY_MILLI: Final = 1000
"""A multiplier of 1: transformer ratios are kept in thousandths."""


def primary_milli(sent_milli: pl.Expr, multiplier: pl.Expr) -> pl.Expr:
    """The primary quantity in thousandths, `sent × multiplier`, rounded half away from zero, as Int64.

    Args:
        sent_milli: Int64, as the meter sent it; null stays null.
        multiplier: Int64, transformer ratio in thousandths; null is a factor of 1.

    The product is taken in Int128. One that does not fit 64 bits is no quantity of this world: null.
    """
    product = sent_milli.cast(pl.Int128) * multiplier.fill_null(UNITY_MILLI).cast(pl.Int128)
    magnitude = (product.abs() + UNITY_MILLI // 2) // UNITY_MILLI
    return (magnitude * product.sign()).cast(pl.Int64, strict=False)
