"""Master data of installations as vectors: limits of supply and fuse, wrap and resolution of registers."""

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from schemas.quantity import UNITY_MILLI, primary_milli
from validation.block import ABSENT, Ints, Mask, Master

THREE_PHASES: Final = 3
SQRT3_MILLI: Final = 1732
"""Square root of three, in thousandths: power of three phases from line voltage (V9)."""
BELIEF_PERCENT: Final = 125
"""What supply and fuse let through at most, by the margin of V9."""


class Facts(NamedTuple):
    """One element an installation; quantities primary, in thousandths."""

    multiplier: Ints
    resolution: Ints
    slack: Ints
    wrap: Ints
    """Value at which a register starts again; ABSENT where that is unknown, or beyond what is read of any register."""
    power_mw: Ints
    """Power that supply and fuse are rated for, in mW; ABSENT where one of them is unknown."""
    has_der: npt.NDArray[np.int8]
    inverter_mw: Ints
    """Power of the generator's inverter, in mW; ABSENT where it is unknown."""
    cumulative: Mask


def facts_of(installs: pl.DataFrame) -> Facts:
    """Master data of every installation; an unknown resolution is 1, the finest (CONTRACTS, Rules on holes)."""
    unity = pl.col("multiplier").fill_null(UNITY_MILLI)
    phases = pl.col("phase").str.len_chars()
    factor = pl.when(phases >= THREE_PHASES).then(SQRT3_MILLI).otherwise(1000)
    columns = installs.select(
        multiplier=unity,
        resolution=pl.max_horizontal(
            primary_milli(pl.col("register_resolution_milli").fill_null(1), pl.col("multiplier")), 1
        ),
        slack=pl.when(pl.col("register_resolution_milli") > 1)
        .then(primary_milli(pl.col("register_resolution_milli"), pl.col("multiplier")))
        .otherwise(0),
        wrap=pl.lit(10, pl.Int64).pow(pl.col("register_digits").clip(upper_bound=15)).cast(pl.Int128) * unity,
        power_mw=pl.col("voltage_v").cast(pl.Int64) * pl.col("fuse_a") * factor + 0 * phases,
        has_der=pl.col("has_der").cast(pl.Int8).fill_null(-1),
        # A size of 0 is the word of some registries for none.
        inverter_mw=pl.when(pl.col("inverter_w") > 0).then(pl.col("inverter_w").cast(pl.Int64) * 1000),
        cumulative=pl.col("profile").eq_missing("cumulative"),
    )
    return Facts(
        multiplier=columns["multiplier"].to_numpy(),
        resolution=columns["resolution"].cast(pl.Int64).to_numpy(),
        slack=columns["slack"].cast(pl.Int64).to_numpy(),
        wrap=columns["wrap"].cast(pl.Int64, strict=False).fill_null(ABSENT).to_numpy(),
        power_mw=columns["power_mw"].cast(pl.Int64).fill_null(ABSENT).to_numpy(),
        has_der=columns["has_der"].to_numpy(),
        inverter_mw=columns["inverter_mw"].fill_null(ABSENT).to_numpy(),
        cumulative=columns["cumulative"].to_numpy(),
    )


def master_of(facts: Facts, install: Ints, step_s: int) -> Master:
    """The same for the rows of a block, limits as energy of one interval."""
    limit, export = (
        np.where(power == ABSENT, ABSENT, power * step_s // 3600)
        for power in (facts.power_mw[install], facts.inverter_mw[install])
    )
    return Master(
        install=install,
        multiplier=facts.multiplier[install],
        resolution=facts.resolution[install],
        slack=facts.slack[install],
        wrap=facts.wrap[install],
        limit=limit,
        has_der=facts.has_der[install],
        export=export,
    )
