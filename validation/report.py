"""What a run says of itself: the rules that it could not judge."""

import numpy as np
import polars as pl

from schemas.frames import RULE
from validation.block import Bits
from validation.rules.catalogue import RULES


def unjudged_rules(unjudged: Bits) -> pl.DataFrame:
    """Rules that lacked an input, in the order of their bits.

    Returns:
        `rule`, `needs` (the input whose absence leaves the rule unjudged), `intervals` (finals left unjudged).
    """
    marks = pl.Series("marks", unjudged).value_counts()
    bits, count = marks["marks"].to_numpy(), marks["count"].to_numpy()
    lacking = [int(count[(bits & rule.bit) != 0].sum()) for rule in RULES]
    return pl.DataFrame(
        {
            "rule": pl.Series([rule.rule.value for rule in RULES], dtype=RULE),
            "needs": [", ".join(rule.needs) for rule in RULES],
            "intervals": np.array(lacking, dtype=np.int64),
        }
    ).filter(pl.col("intervals") > 0)
