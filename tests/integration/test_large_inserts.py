"""A batch of several blocks reaches a server whole, over the native protocol, and lies there as one part."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from clickhouse_driver.compression.lz4 import Compressor

from schemas.frames import INTERVALS, METERS, RAW_FRAMES, UTC_US, conform
from storage.clickhouse import ClickHouseEngine
from storage.queries import Query
from storage.store import SqlStore

START = datetime(2026, 3, 2, tzinfo=UTC)


def intervals(rows: int) -> pl.DataFrame:
    """Values that do not repeat, every third of them and every seventh OBIS null, names of two lengths."""
    row = pl.int_range(rows)
    return conform(
        pl.select(
            topic=pl.lit("ami.frames.v1"), partition=pl.lit(0, pl.Int32), offset=row, frame=pl.lit(0, pl.Int32),
            received_at=pl.lit(START), meter_id=pl.format("meter-{}", row // 96),
            channel=pl.lit("energy_delivered"), obis=pl.when(row % 7 > 0).then(pl.lit("1-0:1.8.0")),
            interval_start=pl.lit(START) + pl.duration(minutes=15) * (row % 96), interval_s=pl.lit(900, pl.Int32),
            value_milli=pl.when(row % 3 > 0).then(row * 7_919), status=(row % 5).cast(pl.UInt32),
        ).with_columns(pl.col("channel").cast(INTERVALS.schema["channel"])),
        INTERVALS,
    )  # fmt: skip


def test_a_batch_of_more_rows_than_a_server_joins_by_default_is_stored_to_the_row_as_one_part(
    store: SqlStore, server: ClickHouseEngine
) -> None:
    rows = intervals(1_300_000)
    assert store.append("intervals", rows, "large") == rows.height
    schema = pl.Schema({name: INTERVALS.schema[name] for name in ("meter_id", "obis", "interval_start", "value_milli")})
    stored = server.select(Query(f"SELECT {', '.join(schema)} FROM intervals", {}, schema))
    key = ["meter_id", "interval_start"]
    assert stored.sort(key).equals(rows.select(schema.names()).sort(key))
    parts = Query(
        "SELECT toInt64(sum(rows)) AS held, toInt64(max(rows)) AS most FROM system.parts"
        " WHERE active AND database = currentDatabase() AND table = 'intervals'",
        {},
        pl.Schema({"held": pl.Int64(), "most": pl.Int64()}),
    )
    assert server.select(parts).row(0) == (rows.height, rows.height)


def test_messages_that_do_not_shrink_are_sent_as_they_are_and_stored_to_the_byte(
    store: SqlStore, server: ClickHouseEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ciphered messages of some MiB, and zeros behind them, between columns that shrink."""
    compressed: list[int] = []
    original = Compressor.compress_data

    def noted(compressor: Compressor, part: memoryview) -> bytes:
        compressed.append(len(part))
        return original(compressor, part)

    monkeypatch.setattr(Compressor, "compress_data", noted)
    rows = 10_000
    random = np.random.default_rng(7).bytes(400 * rows)
    payloads = [random[at : at + 400] for at in range(0, len(random), 400)]
    payloads[-2_000:] = [bytes(400)] * 2_000
    sent = conform(
        RAW_FRAMES.empty().clear(rows).with_columns(
            topic=pl.lit("ami.frames.v1"), partition=pl.lit(0, pl.Int32), offset=pl.int_range(rows),
            frame=pl.lit(0, pl.Int32), received_at=pl.lit(START).cast(UTC_US), payload=pl.Series(payloads),
        ),
        RAW_FRAMES,
    )  # fmt: skip
    assert store.append("frames", sent, "ciphered") == rows
    schema = pl.Schema({name: RAW_FRAMES.schema[name] for name in ("topic", "offset", "received_at", "payload")})
    stored = server.select(Query(f"SELECT {', '.join(schema)} FROM frames", {}, schema))
    assert stored.sort("offset").equals(sent.select(schema.names()))
    assert 0 < sum(compressed) < 2_000_000, "of the messages only the first MiB was tried"


def test_lists_beside_large_columns_are_sent_in_the_order_of_the_columns(store: SqlStore) -> None:
    meters = pl.DataFrame(
        {
            "meter_id": [f"meter-{number:06d}" for number in range(40_000)],
            "channels": [["energy_delivered", "voltage_l1"][: number % 3] or None for number in range(40_000)],
            "installed_at": [START + timedelta(seconds=number) for number in range(40_000)],
        }
    )
    rows = conform(
        METERS.empty().clear(40_000).with_columns(
            meters["meter_id"], meters["installed_at"].cast(METERS.schema["installed_at"]),
            meters["channels"].cast(METERS.schema["channels"]),
        ),
        METERS,
    )  # fmt: skip
    store.append("meters", rows.with_columns(recorded_at=pl.lit(START)), "lists")
    stored = store.load_current("meters").sort("meter_id")
    assert stored.select("meter_id", "installed_at", "channels").equals(
        rows.select("meter_id", "installed_at", "channels")
    )
