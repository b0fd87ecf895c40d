"""All-time maxima that lie before the history of a run (V9), by series."""

from typing import NamedTuple

import numpy as np
import polars as pl

from validation.block import ABSENT, Ints
from validation.fleet import Fleet
from validation.place import Layout


class Peaks(NamedTuple):
    """One element a series."""

    highest: Ints
    """ABSENT where nothing is known of the time before."""
    days: Ints


def peaks_of(rows: pl.DataFrame, fleet: Fleet, layout: Layout) -> Peaks:
    """FINAL_PEAKS by series. Each installation of a meter has the meter's: finals do not name installations."""
    highest, days = np.full(len(layout.base), ABSENT), np.zeros(len(layout.base), dtype=np.int64)
    names = fleet.installs.select("meter_id").with_row_index("install")
    told = rows.join(names, on="meter_id")
    if told.height:
        series = layout.of[told["install"].to_numpy(), told["channel"].to_physical().to_numpy()]
        mine = series >= 0
        highest[series[mine]] = told["highest_milli"].to_numpy()[mine]
        days[series[mine]] = told["days"].cast(pl.Int64).to_numpy()[mine]
    return Peaks(highest, days)
