"""A tree of ten by ten by ten by ten, and a storm in it with a known truth: who falls silent, who of them is heard."""

from datetime import UTC, datetime
from typing import NamedTuple

import numpy as np
import polars as pl

from schemas.frames import EVENTS, conform

METERS_A_TRANSFORMER, TRANSFORMERS_A_LATERAL, LATERALS_A_FEEDER, FEEDERS_A_SUBSTATION = 10, 10, 10, 10
HEARD_SHARE = 0.8


def fleet(count: int) -> pl.DataFrame:
    """METERS.csv of a tree of ten by ten by ten by ten."""
    number = pl.int_range(count, dtype=pl.Int64, eager=True)
    sizes = np.cumprod([METERS_A_TRANSFORMER, TRANSFORMERS_A_LATERAL, LATERALS_A_FEEDER, FEEDERS_A_SUBSTATION])
    levels = zip(("transformer", "lateral", "feeder", "substation"), "TLFS", sizes, strict=True)
    return pl.DataFrame({"n": number}).select(
        pl.format("M{}", "n").alias("meter_id"),
        pl.format("P{}", "n").alias("service_point_id"),
        *(pl.format(letter + "{}", pl.col("n") // int(size)).alias(f"{level}_id") for level, letter, size in levels),
    )


def gasps(meters: pl.DataFrame, at: datetime, spread_s: float) -> pl.DataFrame:
    """A last gasp of each meter, received now."""
    count = meters.height
    occurred = pl.Series([at] * count, dtype=pl.Datetime("us", "UTC")) + pl.Series(
        (np.arange(count) * spread_s * 1e6 / max(count, 1)).astype(np.int64)
    ).cast(pl.Duration("us"))
    rows = meters.select(
        topic=pl.lit("ami.lastgasp.v1"), partition=pl.lit(0), offset=pl.int_range(count), frame=pl.lit(0),
        received_at=occurred, meter_id="meter_id", event=pl.lit("last_gasp"), code=pl.lit(1), origin=pl.lit("meter"),
        occurred_at=occurred, sequence=pl.lit(None, pl.Int64), authenticated=pl.lit(value=True),
    )  # fmt: skip
    return conform(rows.with_columns(pl.col("partition", "frame", "code").cast(pl.Int32)), EVENTS)


def single_node(turn: int, meters: pl.DataFrame) -> int:
    """Number of the transformer that falls silent alone in that turn, in the last feeder of a substation."""
    return (turn * 37 % (meters.height // 10_000)) * 1000 + 990 + turn % 10


class Storm(NamedTuple):
    """What happens to the fleet, and what must be told of it."""

    gasps: pl.DataFrame
    """EVENTS in the order in which they arrive."""
    wanted: dict[str, int]
    """Per dark node: row of the gasp that decides it."""
    living: pl.Series
    """Meters with supply, in no order; none of the feeders that the storm leaves alone."""


def draw_storm(meters: pl.DataFrame, count: int, over_s: float) -> Storm:
    """A fifth of the gasps from whole feeders, a fifth from whole laterals, the rest from single transformers.

    One feeder of a substation, two laterals of a feeder, two transformers of a lateral: below the share at which the
    node above is dark, so that the truth needs no life of neighbours. A dark meter is heard with probability 0.8. The
    last feeder of each substation keeps its supply: there `single_node` has transformers of its own, which are dark
    already, and of which a storm might have nothing new to say.
    """
    rng = np.random.default_rng(1)
    row = np.arange(meters.height)
    transformer, lateral, feeder = (row // int(size) for size in np.cumprod([10, 10, 10]))
    dark = count / HEARD_SHARE
    feeders, laterals = round(0.2 * dark / 1000), round(0.2 * dark / 100)
    transformers = round((dark - 1000 * feeders - 100 * laterals) / 10)
    level = np.full(meters.height, -1)
    level[(feeder % 10 == 0) & (feeder // 10 < feeders)] = 2
    level[np.flatnonzero(np.isin(feeder % 10, (4, 5, 6)) & (lateral % 5 == 0))[: 100 * laterals]] = 1
    thin = np.isin(feeder % 10, (1, 2, 3, 7, 8)) & np.isin(transformer % 10, (3, 7))
    level[np.flatnonzero(thin)[: 10 * transformers]] = 0
    heard = np.flatnonzero((level >= 0) & (rng.random(meters.height) < HEARD_SHARE))
    heard = rng.permutation(heard)[:count]
    wanted: dict[str, int] = {}
    for of, number, letter in ((0, transformer, "T"), (1, lateral, "L"), (2, feeder, "F")):
        place = np.flatnonzero(level[heard] == of)
        size = 10 ** (of + 1)
        node = number[heard[place]]
        order = np.argsort(node, kind="stable")
        first = np.flatnonzero(np.r_[True, np.diff(node[order]) > 0]) if len(node) else np.empty(0, np.int64)
        deciding = first + max(2, -(-3 * size // 10)) - 1
        decided = deciding < np.r_[first[1:], len(order)]
        deciding = deciding[decided]
        wanted |= dict(
            zip((f"{letter}{n}" for n in node[order[deciding]]), place[order[deciding]].tolist(), strict=True)
        )
    rows = gasps(meters[heard], datetime.now(UTC), over_s)
    living = rng.permutation(np.flatnonzero((level < 0) & (feeder % 10 != 9)))
    return Storm(rows, wanted, meters["meter_id"].gather(living))
