"""How near a run came to the truth that the simulator wrote beside its frames."""

from typing import Any, Final

import polars as pl

_NO_TRUTH: Final = {"energy_error": 0.0, "energy_bias": 0.0}


def energy_error(finals: pl.DataFrame, truth: pl.DataFrame) -> dict[str, float]:
    """`energy_error`: sum of |final − truth| over the sum of the truth; `energy_bias`: sum of (final − truth) likewise.

    Args:
        finals: FINALS; a null value counts as nothing billed.
        truth: `meter_id`, `channel`, `interval_start`, `value_milli`; every interval that there truly was.
    """
    what = ["meter_id", "channel", "interval_start"]
    true = truth.select(*what, true=pl.col("value_milli")).with_columns(pl.col("channel").cast(pl.String))
    billed = finals.select(*what, final=pl.col("value_milli")).with_columns(pl.col("channel").cast(pl.String))
    pairs = true.join(billed, on=what, how="left").with_columns(off=pl.col("final").fill_null(0) - pl.col("true"))
    whole, off, bias = int(pairs["true"].sum()), int(pairs["off"].abs().sum()), int(pairs["off"].sum())
    return {"energy_error": off / whole, "energy_bias": bias / whole} if whole else _NO_TRUTH


def score_outages(found: pl.DataFrame, truth: pl.DataFrame) -> dict[str, Any]:
    """True sustained incidents, how many of them were found at their node, and how many reports were of nothing.

    Args:
        found: OUTAGES; the last step of an incident is its state. Merged and cancelled ones claim nothing.
        truth: `node_kind`, `node_id`, `started_at`, `restored_at`, `momentary`.

    Two incidents are the same if they name the same node and overlap in time; every other report is wrong.
    """
    last = found.sort("incident_id", "step").group_by("incident_id", maintain_order=True).last()
    claims = last.filter(~pl.col("state").cast(pl.String).is_in(["merged", "cancelled", "candidate"])).select(
        "incident_id", "node_id", "started_at", "restored_at"
    )
    true = truth.filter(~pl.col("momentary")).with_row_index("true_no")
    pairs = claims.join(true.select("true_no", "node_id", "started_at", "restored_at"), on="node_id", suffix="_true")
    met = pairs.filter(
        (pl.col("started_at") <= pl.col("restored_at_true").fill_null(pl.col("started_at")))
        & (pl.col("restored_at").is_null() | (pl.col("restored_at") >= pl.col("started_at_true")))
    )
    return {
        "true": true.height,
        "reported": claims.height,
        "found": met["true_no"].n_unique(),
        "wrong": claims.height - met["incident_id"].n_unique(),
    }
