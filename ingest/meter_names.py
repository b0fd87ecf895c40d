"""Names of the meters that sent a batch: those enrolled stay where they are, others stand behind them."""

from typing import NamedTuple

import numpy as np
import polars as pl

from ingest.columns import taken
from ingest.spans import Places


class MeterNames(NamedTuple):
    """METERS may name ten million: what is asked of them costs what is asked for, not what there is."""

    enrolled: pl.Series  # by line of METERS, in the order of `Enrolment`
    others: pl.Series  # one a message whose meter METERS lacks
    meters: int  # so many of `enrolled`, its first, are of a meter each; those behind are further lines of these

    def taken(self, places: Places) -> pl.Series:
        """Names by their places: first those of `enrolled`, then those of `others`."""
        if not len(self.others):
            return taken(self.enrolled, places)
        known = places < len(self.enrolled)
        rows = np.where(known, np.cumsum(known) - 1, places - len(self.enrolled) + known.sum())
        return taken(pl.concat([taken(self.enrolled, places[known]), self.others], rechunk=True), rows)
