"""Invented rows of every table, valid by contract, with every nullable column null in one of them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import polars as pl

from schemas.frames import INTERVALS
from storage.tables import Table

T0 = datetime(2025, 3, 30, 0, 0, 0, 123456, tzinfo=UTC)


_SIMPLE: dict[Any, Callable[[int], Any]] = {
    pl.Binary(): lambda i: bytes([0x00, 0xFF, 0x80, 0x27, i % 256]),
    pl.Boolean(): lambda i: i % 2 == 1,
    pl.Float64(): lambda i: i / 8,
    pl.UInt64(): lambda i: 2**64 - 1 - i,
}


def value(name: str, dtype: pl.DataType, i: int) -> Any:
    """A value of that type, another one for each row."""
    if isinstance(dtype, pl.Enum):
        return dtype.categories[i % len(dtype.categories)]
    if isinstance(dtype, pl.Datetime):
        return T0 + timedelta(minutes=15 * i)
    if isinstance(dtype, pl.List):
        return ["energy_delivered", "energy_received"][: i % 2 + 1]
    if isinstance(dtype, pl.Decimal):
        return Decimal(i) / Decimal(8)
    if dtype == pl.Int64 and name == "value_milli":
        return 2**62 + i
    return _SIMPLE.get(dtype, lambda i: i % 100)(i) if dtype != pl.String else f"{name}'\\ ü{i}"


def rows_of(table: Table, count: int = 3) -> pl.DataFrame:
    """`count` rows of the table's frame; in the last one all that may be null is null."""
    schema = table.frame.schema
    rows = pl.DataFrame(
        {name: [value(name, dtype, i) for i in range(count)] for name, dtype in schema.items()}, schema=schema
    )
    last = pl.int_range(pl.len()) == count - 1
    return rows.with_columns(pl.when(~last).then(pl.col(name)).alias(name) for name in table.frame.nullable)


def intervals(values: list[int | None], **over: Any) -> pl.DataFrame:
    """Raw intervals of one meter, one a quarter, with ascending offsets."""
    columns: dict[str, Any] = {
        "topic": "ami.frames.v1", "partition": 0, "offset": list(range(len(values))), "frame": 0, "received_at": T0,
        "meter_id": "SIM00000001", "channel": "energy_delivered", "obis": None,
        "interval_start": [T0 + timedelta(minutes=15 * i) for i in range(len(values))], "interval_s": 900,
        "value_milli": values, "status": 0,
    }  # fmt: skip
    columns |= over
    full = {k: v if isinstance(v, list) else [v] * len(values) for k, v in columns.items()}
    return pl.DataFrame(full, schema=INTERVALS.schema)


@contextmanager
def refusing(store: Any, table: str, condition: str) -> Iterator[None]:
    """The engine refuses rows of the table for which that holds, on every version: of before constraints too."""
    column = f"UInt8 MATERIALIZED toUInt8(if({condition}, 'refused', '0'))"
    store.engine.execute(f"ALTER TABLE {table} ADD COLUMN picky {column}")
    try:
        yield
    finally:
        store.engine.execute(f"ALTER TABLE {table} DROP COLUMN picky")
