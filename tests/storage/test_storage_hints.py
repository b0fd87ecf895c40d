"""How much room an interval value takes after merging, history and provenance included."""

import numpy as np
import polars as pl
from storage_rows import T0, intervals

from schemas.frames import INTERVALS
from storage.embedded import EmbeddedEngine
from storage.queries import Query
from storage.store import ReadingStore

BYTES_PER_VALUE = 2.5
METERS, HOURS = 400, 24 * 14


def test_a_merged_interval_value_takes_no_more_than_its_target(store: ReadingStore, engine: EmbeddedEngine) -> None:
    rows = quarters()
    store.append("intervals", rows, "a")
    engine.execute("OPTIMIZE TABLE intervals FINAL")
    sql = "SELECT sum(data_compressed_bytes) AS size FROM system.parts WHERE table = 'intervals' AND active"
    size = engine.select(Query(sql, {}, pl.Schema({"size": pl.UInt64()}))).item()
    assert size / rows.height <= BYTES_PER_VALUE


def quarters() -> pl.DataFrame:
    """Two weeks of quarters in whole watt-hours, pushed hourly within ten minutes, one message a push."""
    rng = np.random.default_rng(1)
    meter, quarter = np.divmod(np.arange(METERS * HOURS * 4), HOURS * 4)
    hour = quarter // 4
    received_ms = (np.arange(1, HOURS + 1) * 3_600_000) + rng.integers(0, 600_000, (METERS, HOURS))
    order = received_ms.ravel().argsort().argsort().reshape(METERS, HOURS)
    load = np.exp(rng.normal(0, 0.5, METERS))[meter] * 60
    watt_hours = load * (1 + 0.8 * np.sin(quarter % 96 / 96 * 2 * np.pi) + rng.gamma(1.0, 0.5, quarter.size))
    start = int(T0.timestamp()) * 1_000_000
    one = intervals([0]).select(pl.all().first())
    columns = {
        "offset": pl.Series(order[meter, hour]),
        "received_at": pl.Series(start + received_ms[meter, hour] * 1000).cast(INTERVALS.schema["received_at"]),
        "meter_id": pl.Series(meter).cast(pl.String).str.zfill(16),
        "interval_start": pl.Series(start + quarter * 900_000_000).cast(INTERVALS.schema["interval_start"]),
        "value_milli": pl.Series(watt_hours.round().astype(np.int64) * 1000),
    }
    return pl.DataFrame({"meter": meter}).join(one, how="cross").drop("meter").with_columns(**columns)
