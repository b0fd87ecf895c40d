"""When the meters of a dark node came back: step by step, and which of them did not."""

from typing import Final, NamedTuple

import polars as pl

from outage.params import DetectParams
from outage.spans import NEVER

SILENCE_IS_DARK: Final = 0.05
"""A unit without life stays dark when so much silence would be this rare in a unit that had come back."""


class Restoration(NamedTuple):
    """Meters and nodes after restoration is judged."""

    meters: pl.DataFrame
    """The rows given, with `restored_at` (microseconds, null: still dark), `residual` and `lives` (Boolean)."""
    nodes: pl.DataFrame
    """`place`, `back_at`: when the node counts as restored (null: not yet), and `living`: meters with life."""


def judge_restoration(meters: pl.DataFrame, as_of: int, params: DetectParams) -> Restoration:
    """Date the return of every meter of every dark node, and find the units that stayed dark.

    Args:
        meters: One row per eligible meter of a dark node: `place` (node), `meter`, `unit` (its transformer, or itself),
            `heard` (it reported the onset), `up_at` (its power-up, null if none), `read_at` (its first read after
            the onset, null if none), `off` (when a ping last found it dark, -1 if never).
        as_of: Newest evidence, microseconds.
        params: `restored_tenths`, `settle_s`.

    A power-up is exact. A read only bounds from above: the neighbours' power-up tells when. A meter without any
    evidence is presumed back with its node. A unit whose meters came back later than the node, or which is silent
    beside living ones, is residual: it stays dark as an incident of its own.
    """
    dated = _date(meters.with_columns(_corner(meters)))
    nodes = _back(dated, params)
    settle = params.settle_s * 1_000_000
    judged = (
        dated.join(nodes, on="place", maintain_order="left")
        .with_columns(
            unit_lives=pl.col("life_at").is_not_null().any().over("corner"),
            unit_size=pl.len().over("corner"),
            share=pl.col("life_at").is_not_null().mean().over("place"),
        )
        .with_columns(
            told_later=(pl.col("exact_at") > pl.col("back_at") + settle).fill_null(value=False)
            | (
                (pl.col("off") > pl.col("back_at"))
                & (pl.col("life_at").is_null() | (pl.col("life_at") > pl.col("off")))
            ),
            stays_silent=pl.col("heard")
            & ~pl.col("unit_lives")
            & ((1 - pl.col("share")).pow(pl.col("unit_size")) < SILENCE_IS_DARK)
            & (pl.lit(as_of) > pl.col("back_at") + settle),
        )
        # A late power-up of a meter that was not heard may be of another outage, unless its neighbours were late too.
        .with_columns(late_unit=(pl.col("told_later") & pl.col("heard")).any().over("corner"))
        .with_columns(
            residual=((pl.col("told_later") & pl.col("late_unit")) | pl.col("stays_silent")).fill_null(value=False)
        )
        .with_columns(
            # A residual meter that was not heard came back by itself, unless its unit becomes an incident of its own.
            restored_at=pl.when("residual")
            .then(pl.when(~pl.col("heard")).then("life_at"))
            .when(pl.col("life_at") <= pl.col("back_at") + settle)
            .then("life_at")
            .otherwise(pl.coalesce("back_at", "life_at"))
        )
    )
    return Restoration(
        judged.select(*meters.columns, "restored_at", "residual", lives=pl.col("life_at").is_not_null()),
        nodes.select("place", "back_at", "living"),
    )


def _corner(meters: pl.DataFrame) -> pl.Series:
    """One number for each unit of each place: one key is grouped several times faster than two."""
    unit = meters["unit"]
    low, high = unit.min(), unit.max()
    if not isinstance(low, int) or not isinstance(high, int):
        return pl.Series("corner", [], dtype=pl.Int64)
    return (meters["place"].cast(pl.Int64) * (high - low + 1) + unit - low).alias("corner")


def _date(meters: pl.DataFrame) -> pl.DataFrame:
    """`exact_at`: a power-up, its own or its unit's; `life_at`: the best date there is for the meter's return."""
    units = (
        meters.group_by("corner")
        .agg(
            pl.col("place").first(),
            unit_up=pl.col("up_at").quantile(0.5, "higher").cast(pl.Int64),
            unit_read=pl.col("read_at").min(),
        )
        .sort("unit_read")
    )
    # A unit known by reads alone came back with the last neighbour that told a power-up before its first read.
    ups = meters.filter(pl.col("up_at").is_not_null()).select("place", around=pl.col("up_at")).sort("around")
    placed = units.filter(pl.col("unit_read").is_not_null()).join_asof(
        ups, left_on="unit_read", right_on="around", by="place", strategy="backward", check_sortedness=False
    )
    dates = units.join(placed.select("corner", "around"), on="corner", how="left")
    by_unit = (
        pl.when(pl.col("unit_up") <= pl.col("read_at")).then("unit_up").otherwise(pl.coalesce("around", "unit_read"))
    )
    return meters.join(dates.drop("place"), on="corner", how="left", maintain_order="left").with_columns(
        exact_at=pl.col("up_at"),
        life_at=pl.when(pl.col("up_at").is_not_null())
        .then("up_at")
        .when(pl.col("read_at").is_not_null())
        .then(by_unit),
    )


def _back(dated: pl.DataFrame, params: DetectParams) -> pl.DataFrame:
    """When r₂ of the node's meters had life, or all that had reported the onset, whichever was first."""
    needed = (pl.len() * params.restored_tenths + 9) // 10
    life = pl.col("life_at").sort(nulls_last=True)
    heard = pl.col("life_at").filter("heard")
    return (
        dated.group_by("place", maintain_order=True)
        .agg(
            living=pl.col("life_at").is_not_null().sum().cast(pl.Int32),
            share_at=life.get(needed - 1),
            heard_at=pl.when(heard.null_count() == 0).then(heard.max()),
        )
        .with_columns(back_at=pl.min_horizontal("share_at", "heard_at"))
    )


def number_blocks(meters: pl.DataFrame, params: DetectParams) -> pl.DataFrame:
    """The meters with `block` (0, 1 …, null: still dark) and `block_at`, the time at which their block came back.

    Args:
        meters: `incident`, `restored_at` (microseconds, null: still dark).
        params: Restorations of an incident that lie within `settle_s` of each other are one block; a block is dated
            by its median meter.
    """
    gap = params.settle_s * 1_000_000
    return (
        meters.sort("incident", "restored_at", nulls_last=True)
        .with_columns(
            step=(pl.col("restored_at") - pl.col("restored_at").shift(1).over("incident") > gap).fill_null(value=False)
        )
        .with_columns(
            block=pl.when(pl.col("restored_at").is_not_null()).then(pl.col("step").cum_sum().over("incident"))
        )
        .with_columns(
            block_at=pl.when(pl.col("block").is_not_null()).then(
                pl.col("restored_at").quantile(0.5, "higher").over("incident", "block").cast(pl.Int64)
            )
        )
        .drop("step")
    )


def optional(column: str) -> pl.Expr:
    """A time column in which `NEVER` means null."""
    return pl.when(pl.col(column) < NEVER).then(pl.col(column))
