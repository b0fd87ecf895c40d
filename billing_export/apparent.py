"""Apparent power of each window from its active and reactive power; rounded half up to a thousandth, in integers."""

from typing import Final

import numpy as np
import polars as pl

from billing_export.demand import Windows
from schemas.codes import Channel

_SPAN: Final = ["meter_id", "service_point_id", "span_from"]
_QUADRANTS: Final = (Channel.REACTIVE_Q1, Channel.REACTIVE_Q2)
"""Reactive energy delivered, where a meter counts by quadrant."""


def apparent(active: pl.Expr, reactive: pl.Expr) -> pl.Expr:
    """`√(active² + reactive²)` rounded half up to a whole number, exactly."""
    wide = [part.cast(pl.Int128) for part in (active, reactive)]
    square = wide[0] * wide[0] + wide[1] * wide[1]
    # The square root of a float may be off by one in the last place: it is put right in whole numbers.
    near = (square.cast(pl.Float64).sqrt() + 0.5).floor().cast(pl.Int128)
    down = ((near > 0) & ((2 * near - 1) * (2 * near - 1) > 4 * square)).cast(pl.Int128)
    up = ((2 * near + 1) * (2 * near + 1) <= 4 * square).cast(pl.Int128)
    return (near - down + up).cast(pl.Int64)


def apparent_windows(segments: pl.DataFrame, windows: Windows) -> Windows:
    """Windows of apparent power of the delivered segments that have reactive ones beside them.

    The power of a window is √(P² + Q²) of the two means; it is usable where both are.
    """
    kept, members = reactive_pairs(segments)
    if not kept:
        return windows.at(slice(0))
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


def reactive_pairs(segments: pl.DataFrame) -> tuple[list[int], pl.DataFrame]:
    """The delivered segments that have reactive ones beside them, and `segment` (reactive) beside `delivered`, both of
    one installation and span."""
    rows = segments.select(*_SPAN, pl.col("channel").cast(pl.String), segment=pl.int_range(pl.len()))
    delivered = rows.filter(pl.col("channel") == Channel.ENERGY_DELIVERED).rename({"segment": "delivered"})
    direct = rows.filter(pl.col("channel") == Channel.REACTIVE_DELIVERED)
    quadrants = rows.filter(pl.col("channel").is_in(list(_QUADRANTS)))
    quadrants = quadrants.join(direct, on=_SPAN, how="anti", nulls_equal=True)
    pairs = pl.concat([direct, quadrants]).join(
        delivered.drop("channel"), on=_SPAN, how="inner", nulls_equal=True, maintain_order="left"
    )
    members = pairs.select("segment", "delivered").sort("delivered", "segment")
    return members["delivered"].unique(maintain_order=True).to_list(), members
