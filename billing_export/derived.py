"""Determinants that follow from others: apparent demand, power factor, load factor.

Quantities are rounded half up to a thousandth, ratios half up to six decimals, once and last, in whole numbers.
"""

from math import isqrt
from typing import Final

import numpy as np
import polars as pl

from billing_export.demand import Mask, Windows
from billing_export.lines import lines_of
from billing_export.segments import Segments
from billing_export.usage import Usage
from schemas.codes import Channel, Uom
from schemas.frames import CHANNEL, UOM, UTC_US

PLACES: Final = 6
_ONE: Final = 10**PLACES
_SPAN: Final = ["meter_id", "service_point_id", "span_from"]
_QUADRANTS: Final = (Channel.REACTIVE_Q1, Channel.REACTIVE_Q2)
"""Reactive energy delivered, where a meter counts by quadrant."""


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


def apparent(active: pl.Expr, reactive: pl.Expr) -> pl.Expr:
    """`√(active² + reactive²)` rounded half up to a whole number, exactly."""
    wide = [part.cast(pl.Int128) for part in (active, reactive)]
    square = wide[0] * wide[0] + wide[1] * wide[1]
    # The square root of a float may be off by one in the last place: it is put right in whole numbers.
    near = (square.cast(pl.Float64).sqrt() + 0.5).floor().cast(pl.Int128)
    down = ((near > 0) & ((2 * near - 1) * (2 * near - 1) > 4 * square)).cast(pl.Int128)
    up = ((2 * near + 1) * (2 * near + 1) <= 4 * square).cast(pl.Int128)
    return (near - down + up).cast(pl.Int64)


def apparent_windows(found: Segments, windows: Windows) -> Windows:
    """Windows of apparent power of the delivered segments that have reactive ones beside them.

    The power of a window is √(P² + Q²) of the two means; it is usable where both are.
    """
    kept, members = _reactive_pairs(found)
    if not kept:
        empty = np.zeros(len(windows.segment), dtype=bool)
        return _picked(windows, empty)
    frame = pl.DataFrame(
        {
            "segment": windows.segment.astype(np.int64),
            "minute": windows.minute,
            "code": windows.code,
            "power": windows.power,
            "usable": windows.usable,
        }
    )
    reactive = (
        frame.join(members, on="segment", how="inner")
        .group_by("delivered", "minute")
        .agg(pl.col("power").sum(), pl.col("usable").all(), count=pl.len())
    )
    wanted = members.group_by("delivered").agg(parts=pl.len())
    joined = (
        frame.join(wanted, left_on="segment", right_on="delivered", how="inner", maintain_order="left")
        .join(
            reactive, left_on=["segment", "minute"], right_on=["delivered", "minute"], how="left",
            suffix="_reactive", maintain_order="left",
        )
    )  # fmt: skip
    whole = pl.col("usable") & pl.col("usable_reactive").fill_null(value=False) & (pl.col("count") == pl.col("parts"))
    done = joined.with_columns(
        power=apparent(pl.col("power"), pl.col("power_reactive").fill_null(0)), usable=whole.fill_null(value=False)
    )
    return Windows(
        done["segment"].to_numpy().astype(np.int32),
        done["minute"].to_numpy(),
        done["code"].to_numpy(),
        done["power"].to_numpy(),
        done["usable"].to_numpy(),
    )


def power_factor_lines(found: Segments, used: Usage) -> pl.DataFrame:
    """`power_factor` of each delivered segment that has reactive ones beside it; channel null, counts of all."""
    kept, members = _reactive_pairs(found)
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


def _reactive_pairs(found: Segments) -> tuple[list[int], pl.DataFrame]:
    # `segment` (reactive) beside `delivered` (segment of the same installation and span).
    rows = found.segments.select(*_SPAN, pl.col("channel").cast(pl.String), segment=pl.int_range(pl.len()))
    delivered = rows.filter(pl.col("channel") == Channel.ENERGY_DELIVERED).rename({"segment": "delivered"})
    direct = rows.filter(pl.col("channel") == Channel.REACTIVE_DELIVERED)
    quadrants = rows.filter(pl.col("channel").is_in(list(_QUADRANTS)))
    quadrants = quadrants.join(direct, on=_SPAN, how="anti", nulls_equal=True)
    pairs = pl.concat([direct, quadrants]).join(
        delivered.drop("channel"), on=_SPAN, how="inner", nulls_equal=True, maintain_order="left"
    )
    members = pairs.select("segment", "delivered").sort("delivered", "segment")
    return members["delivered"].unique(maintain_order=True).to_list(), members


def _as_ratio(lines: pl.DataFrame, millionths: list[int | None]) -> pl.DataFrame:
    scaled = pl.Series(millionths, dtype=pl.Int64).cast(pl.Decimal(38, PLACES)) / _ONE
    known = lines.with_columns(
        value_milli=pl.lit(None, dtype=pl.Int64),
        ratio=scaled.cast(pl.Decimal(18, PLACES)),
        uom=pl.lit(Uom.ONE.value, dtype=UOM),
        occurred_at=pl.lit(None, dtype=UTC_US),
    )
    return known.filter(pl.col("ratio").is_not_null())


def _picked(windows: Windows, mask: Mask) -> Windows:
    return Windows(
        windows.segment[mask], windows.minute[mask], windows.code[mask], windows.power[mask], windows.usable[mask]
    )
