"""Rows are sent in the order of their table's key: by meter, channel and time."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from schemas.frames import CHANNEL
from storage.key_order import in_key_order
from storage.tables import table_of

START = datetime(2026, 3, 2, tzinfo=UTC)


def shuffled(rows: int, meters: int) -> pl.DataFrame:
    """Intervals whose meters come in runs, as pushes bring them, and come again later."""
    random = np.random.default_rng(rows)
    channels = random.permutation(CHANNEL.categories.to_list())
    return pl.DataFrame(
        {
            "meter_id": [f"M{meter}" for meter in np.repeat(random.integers(0, meters, rows), 3)[:rows].tolist()],
            "channel": pl.Series(random.choice(channels, rows), dtype=CHANNEL),
            "interval_start": [START + timedelta(seconds=int(at)) for at in random.integers(0, 9, rows)],
            "value_milli": range(rows),
        },
        schema_overrides={"interval_start": pl.Datetime("us", "UTC")},
    )


@pytest.mark.parametrize(("rows", "meters"), [(0, 1), (1, 1), (2, 2), (500, 1), (2000, 12)])
def test_rows_stand_by_meter_channel_and_time_and_else_as_they_came(rows: int, meters: int) -> None:
    came = shuffled(rows, meters)
    by_text = came.with_columns(pl.col("channel").cast(pl.String))
    wanted = by_text.sort("meter_id", "channel", "interval_start", maintain_order=True)["value_milli"]
    assert in_key_order(came, table_of("intervals"))["value_milli"].to_list() == wanted.to_list()


def test_rows_in_order_are_not_copied() -> None:
    ordered = in_key_order(shuffled(500, 12), table_of("intervals"))
    assert in_key_order(ordered, table_of("intervals")) is ordered


def test_rows_of_a_table_without_channels_stay_as_they_came() -> None:
    came = shuffled(100, 5)
    assert in_key_order(came, table_of("frames")).equals(came)


@pytest.mark.parametrize("rows", [0, 1, 50])
def test_columns_without_values_keep_their_place_and_type(rows: int) -> None:
    came = shuffled(rows, 5).with_columns(obis=pl.lit(None, pl.Binary), note=pl.lit(None, CHANNEL), last=pl.lit(1))
    ordered = in_key_order(came.select("obis", pl.exclude("obis")), table_of("intervals"))
    assert ordered.schema == came.select("obis", pl.exclude("obis")).schema
    assert ordered.drop("obis", "note", "last").equals(in_key_order(shuffled(rows, 5), table_of("intervals")))
    assert ordered["note"].null_count() == ordered["obis"].null_count() == rows
