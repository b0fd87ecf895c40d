"""What the worker knows of all-time maxima: V9 asks for them where master data name no fuse."""

from datetime import UTC, datetime
from typing import Final

import polars as pl

from schemas.frames import FINAL_PEAKS
from storage.store import ReadingStore, Scope

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SERIES: Final = ["meter_id", "channel"]
_RATED: Final = ("fuse_a", "voltage_v", "phase")


class KnownPeaks:
    """Maxima by series, each up to an instant: what was asked for once is asked for from there on.

    The finals of a year are read at the first question about a meter. What is corrected in them afterwards is seen when
    the worker starts anew. Memory is a row for each series without a fuse.
    """

    def __init__(self) -> None:
        self._rows = FINAL_PEAKS.empty()
        self._until: dict[str, datetime] = {}

    def before(self, store: ReadingStore, meters: pl.DataFrame, until: datetime) -> pl.DataFrame:
        """FINAL_PEAKS of those of the METERS without a fuse, of the time before an instant."""
        unrated = meters.filter(pl.any_horizontal(pl.col(name).is_null() for name in _RATED))
        names = unrated["meter_id"].unique().sort().to_list()
        since: dict[datetime, list[str]] = {}
        for name in names:
            known = self._until.get(name, _EPOCH)
            since.setdefault(known if known <= until else _EPOCH, []).append(name)
        found = [FINAL_PEAKS.empty()]
        for instant, part in since.items():
            found.append(self._rows.filter(pl.col("meter_id").is_in(part)) if instant > _EPOCH else FINAL_PEAKS.empty())
            if instant < until:
                found.append(store.load_peaks(Scope(tuple(part), instant, until)))
        peaks = (
            pl.concat(found).group_by(_SERIES).agg(pl.col("highest_milli").max(), pl.col("days").sum().cast(pl.Int32))
        )
        self._keep(peaks, [name for name in names if self._until.get(name, _EPOCH) < until], until)
        return peaks

    def _keep(self, peaks: pl.DataFrame, names: list[str], until: datetime) -> None:
        if names:
            mine = pl.col("meter_id").is_in(names)
            self._rows = pl.concat([self._rows.filter(~mine), peaks.filter(mine)])
            self._until |= dict.fromkeys(names, until)
