"""The tables and the frames are one contract."""

import re

import polars as pl
import pytest

from storage.embedded import EmbeddedEngine
from storage.queries import Query
from storage.tables import TABLES, Table

COLUMNS = pl.Schema({"name": pl.String(), "type": pl.String()})
PLAIN = {
    pl.String(): "String", pl.Binary(): "String", pl.Int8(): "Int8", pl.Int32(): "Int32", pl.Int64(): "Int64",
    pl.UInt8(): "UInt8", pl.UInt32(): "UInt32", pl.UInt64(): "UInt64", pl.Boolean(): "Bool", pl.Float64(): "Float64",
    pl.Datetime("us", "UTC"): "DateTime64(6, 'UTC')", pl.Decimal(18, 6): "Decimal(18, 6)",
}  # fmt: skip


@pytest.mark.parametrize("table", TABLES.values(), ids=list(TABLES))
def test_every_table_has_exactly_the_columns_of_its_frame_in_their_types(engine: EmbeddedEngine, table: Table) -> None:
    sql = (
        "SELECT name, type FROM system.columns WHERE table = {table:String} AND database = 'ami'"
        " AND default_kind != 'MATERIALIZED' ORDER BY position"
    )
    columns = engine.select(Query(sql, {"table": table.name}, COLUMNS))
    wanted = [(name, wanted_type(table, name, dtype)) for name, dtype in (table.frame.schema | table.extras).items()]
    assert [
        (name, re.sub(r"LowCardinality\(([\w()]+?)\)(?=\)|$)", r"\1", kind)) for name, kind in columns.rows()
    ] == wanted


@pytest.mark.parametrize("table", TABLES.values(), ids=list(TABLES))
def test_partitions_are_months_and_doubles_collapse(engine: EmbeddedEngine, table: Table) -> None:
    sql = "SELECT t.engine AS name, t.partition_key AS type FROM system.tables AS t WHERE t.name = {table:String}"
    kind, partition = engine.select(Query(sql, {"table": table.name}, COLUMNS)).row(0)
    assert kind == "ReplacingMergeTree"
    assert table.name == "meters" or partition.startswith("toYYYYMM(")


def test_raw_tables_sort_by_meter_channel_time_and_provenance_and_finals_by_version(engine: EmbeddedEngine) -> None:
    sql = "SELECT name, sorting_key AS type FROM system.tables WHERE database = 'ami'"
    keys = dict(engine.select(Query(sql, {}, COLUMNS)).rows())
    provenance = "received_at, topic, partition, offset, frame"
    assert keys["intervals"].startswith(f"meter_id, channel, interval_start, {provenance}")
    assert keys["reads"].startswith(f"meter_id, channel, read_at, {provenance}")
    assert keys["events"].startswith(f"meter_id, event, occurred_at, {provenance}")
    assert keys["finals"] == "meter_id, channel, interval_start, version, judged_us"


def wanted_type(table: Table, name: str, dtype: pl.DataType) -> str:
    if isinstance(dtype, pl.List):
        return "Array(String)"
    kind = "String" if isinstance(dtype, pl.Enum) else PLAIN[dtype]
    may_be_null = name in table.frame.nullable | table.frame.optional | set(table.extras)
    return f"Nullable({kind})" if may_be_null else kind
