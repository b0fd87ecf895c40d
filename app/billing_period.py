"""A billing period out of the store: copied to files by service points, and handed on part by part."""

from datetime import timedelta
from pathlib import Path
from typing import Final

import polars as pl

from billing_export.export import meter_groups
from billing_export.pieces import ExportInputs, ExportParams
from billing_export.stream import PART_METERS, Parts, parquet_parts
from billing_export.tariffs import TariffBook
from schemas.frames import FINALS, READS
from schemas.timegrid import day_bounds
from storage.store import ReadingStore, Scope

_ROW_GROUP: Final = 100_000
"""Rows that a filter by meter reads or skips together."""


def store_parts(
    store: ReadingStore, book: TariffBook, params: ExportParams, folder: Path, size: int = PART_METERS
) -> Parts:
    """Parts of the period, from a copy in the folder, which must live as long as they are walked over.

    The copy holds the service points in the order in which they are billed, `size` meters a query and a file: never
    more than those are in memory.

    Raises:
        TransientError: The store is away.
    """
    # A day more at each end: local days begin before or after those of UTC.
    start = day_bounds(params.date_from, "UTC")[0] - timedelta(days=1)
    end = day_bounds(params.date_to, "UTC")[0] + timedelta(days=1)
    meters = store.load_current("meters")
    known = meters.unique("meter_id", keep="last").select("meter_id", "service_point_id")
    finals, reads = folder / "finals", folder / "reads"
    for one, frame in ((finals, FINALS), (reads, READS)):
        one.mkdir()
        frame.empty().write_parquet(one / "000000.parquet")
    for number, names in enumerate(meter_groups(known, meters, size), 1):
        scope, file = Scope(tuple(names.to_list()), start, end), f"{number:06}.parquet"
        _keep(store.load_finals(scope), finals / file)
        _keep(store.load_current("reads", scope), reads / file)
    return parquet_parts(finals, ExportInputs(FINALS.empty(), meters, READS.empty(), book), size, reads)


def _keep(rows: pl.DataFrame, file: Path) -> None:
    rows.sort("meter_id", maintain_order=True).write_parquet(file, row_group_size=_ROW_GROUP)
