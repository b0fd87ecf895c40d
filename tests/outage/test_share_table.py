"""The table of outage.md section 4, every cell simulated: how often a wholly dark node is called out."""

import numpy as np
import polars as pl
import pytest
from outage_logs import MINUTE, T0, last_steps, told

from outage.detect import detect_outages
from outage.params import DetectParams
from schemas.frames import HEARD, METERS, conform

NODES = {4: 2000, 8: 1500, 20: 600, 60: 200, 300: 60}
"""Transformers of each size in the simulation."""
TABLE = {
    (5, 0.9): (0.996, 1, 1, 1, 1),
    (5, 0.7): (0.916, 0.942, 0.983, 1, 1),
    (5, 0.5): (0.688, 0.637, 0.588, 0.551, 0.523),
    (5, 0.3): (0.348, 0.194, 0.048, 0.001, 0),
    (3, 0.9): (0.996, 1, 1, 1, 1),
    (3, 0.7): (0.916, 0.989, 1, 1, 1),
    (3, 0.5): (0.688, 0.855, 0.979, 0.999, 1),
    (3, 0.3): (0.348, 0.448, 0.584, 0.549, 0.522),
    (2, 0.5): (0.688, 0.965, 0.999, 1, 1),
    (2, 0.3): (0.348, 0.745, 0.893, 0.971, 1),
}
"""By r in tenths and p: the probability for each size, as the table prints it."""


ROUNDED = 0.0005


def fleet() -> pl.DataFrame:
    node = [f"T{size}-{number}" for size, count in NODES.items() for number in range(count) for _ in range(size)]
    return conform(pl.DataFrame({"meter_id": [f"M{i:06d}" for i in range(len(node))], "transformer_id": node}), METERS)


FLEET = fleet()


@pytest.mark.parametrize(("share_tenths", "p"), list(TABLE))
def test_a_wholly_dark_node_is_called_out_as_often_as_the_table_says(share_tenths: int, p: float) -> None:
    """Within four deviations of the binomial."""
    rng = np.random.default_rng(17)
    heard = FLEET["meter_id"].filter(pl.Series(rng.random(FLEET.height) < p)).to_list()
    params = DetectParams(share_tenths=share_tenths, until=T0 + MINUTE)
    found = detect_outages(told(heard, "last_gasp", T0), FLEET, HEARD.empty(), params)
    out = last_steps(found.outages).filter(pl.col("node_kind") == "transformer")["node_id"].unique()
    for (size, count), probability in zip(NODES.items(), TABLE[share_tenths, p], strict=True):
        share = out.str.starts_with(f"T{size}-").sum() / count
        # Three places: what the table calls 1 or 0 may be half a thousandth off.
        likely = min(max(probability, ROUNDED), 1 - ROUNDED)
        deviation = np.sqrt(likely * (1 - likely) / count)
        assert share == pytest.approx(probability, abs=4 * deviation + ROUNDED), (size, share)
