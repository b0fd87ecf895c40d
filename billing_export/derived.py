"""Determinants that follow from others: power factor, load factor.

Ratios are rounded half up to six decimals, once and last, in whole numbers.
"""

from math import isqrt
from typing import Final

import numpy as np
import polars as pl

from billing_export.apparent import reactive_pairs
from billing_export.lines import lines_of
from billing_export.measures import Measured
from schemas.codes import Uom
from schemas.frames import CHANNEL, UOM, UTC_US

PLACES: Final = 6
_ONE: Final = 10**PLACES
_SPAN: Final = ["meter_id", "service_point_id", "span_from"]


def ratio(numerator: int, denominator: int) -> int | None:
    """`numerator / denominator` in millionths, rounded half up; null for a zero divisor, never 0."""
    if denominator == 0:
        return None
    return (2 * numerator * _ONE + denominator) // (2 * denominator)


def power_factor(active: int, reactive: int) -> int | None:
    """`active / √(active² + reactive²)` in millionths, rounded half up; null where both are zero."""
    square = active * active + reactive * reactive
    if square == 0:
        return None
    doubled = isqrt(4 * _ONE * _ONE * active * active // square)
    return (doubled + 1) // 2


def power_factor_lines(found: Measured) -> pl.DataFrame:
    """`power_factor` of each delivered segment that has reactive ones beside it; channel null, counts of all."""
    used = found.used
    kept, members = reactive_pairs(found.segments)
    value, counts = used.value.sum(axis=1), used.counts.sum(axis=1)
    reactive = np.zeros(len(value), np.int64)
    tallies = counts.copy()
    for segment, delivered in members.select("segment", "delivered").rows():
        reactive[delivered] += value[segment]
        tallies[delivered] += counts[segment]
    at = np.array(kept, np.int64)
    factors = [power_factor(int(value[segment]), int(reactive[segment])) for segment in kept]
    lines = lines_of(found.segments[at], "power_factor", value[at], tallies[at])
    return _as_ratio(lines, factors).with_columns(channel=pl.lit(None, dtype=CHANNEL))


def load_factor_lines(energy: pl.DataFrame, demand: pl.DataFrame) -> pl.DataFrame:
    """`load_factor` = energy / (maximum demand × hours of the span), where there is a maximum.

    Args:
        energy: Lines, among them `energy_total`.
        demand: Lines, among them `demand_max`.
    """
    totals = energy.filter(pl.col("determinant") == "energy_total")
    highest = demand.filter(pl.col("determinant") == "demand_max").select(*_SPAN, power="value_milli")
    both = totals.join(highest, on=_SPAN, how="inner", nulls_equal=True, maintain_order="left")
    seconds = (both["span_to"] - both["span_from"]).dt.total_seconds().to_list()
    factors = [
        ratio(energy_milli * 3600, power_milli * length)
        for energy_milli, power_milli, length in zip(
            both["value_milli"].to_list(), both["power"].to_list(), seconds, strict=True
        )
    ]
    return _as_ratio(both.drop("power").with_columns(determinant=pl.lit("load_factor")), factors)


def _as_ratio(lines: pl.DataFrame, millionths: list[int | None]) -> pl.DataFrame:
    scaled = pl.Series(millionths, dtype=pl.Int64).cast(pl.Decimal(38, PLACES)) / _ONE
    known = lines.with_columns(
        value_milli=pl.lit(None, dtype=pl.Int64),
        ratio=scaled.cast(pl.Decimal(18, PLACES)),
        uom=pl.lit(Uom.ONE.value, dtype=UOM),
        occurred_at=pl.lit(None, dtype=UTC_US),
    )
    return known.filter(pl.col("ratio").is_not_null())
