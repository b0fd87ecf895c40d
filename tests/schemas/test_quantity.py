"""A multiplier is applied by one function, exactly."""

import polars as pl
import pytest

from schemas.quantity import primary_milli


@pytest.mark.parametrize(
    ("sent", "multiplier", "primary"),
    [
        (5, 1000, 5),
        (5, None, 5),
        (None, 40_000, None),
        (1, 1500, 2),
        (-1, 1500, -2),
        (1, 1499, 1),
        (10**15, 4_000_000, 4 * 10**18),
    ],
)
def test_a_primary_quantity_is_the_product_rounded_half_away_from_zero(
    sent: int | None, multiplier: int | None, primary: int | None
) -> None:
    rows = pl.DataFrame({"v": [sent], "m": [multiplier]}, schema={"v": pl.Int64, "m": pl.Int64})
    assert rows.select(primary_milli(pl.col("v"), pl.col("m"))).item() == primary
