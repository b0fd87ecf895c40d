"""A meter exchanged inside an interval, from files to the bill: `ami vee`, then `ami export`."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from app.cli import main

MONDAY = datetime(2025, 3, 3, tzinfo=UTC)
HOUR = timedelta(hours=1)
AT = MONDAY + timedelta(hours=12, minutes=7)
METERS = """meter_id,service_point_id,account_id,timezone,interval_s,channels,installed_at,removed_at
OLD,SP,AC,UTC,3600,energy_delivered,2025-01-01T00:00:00Z,2025-03-03T12:07:00Z
NEW,SP,AC,UTC,900,energy_delivered,2025-03-03T12:07:00Z,
"""


def _rows(meter: str, **columns: object) -> pl.DataFrame:
    return pl.DataFrame({"meter_id": meter, "channel": "energy_delivered", **columns}).with_columns(
        topic=pl.lit("t"), partition=pl.lit(0, pl.Int32), offset=pl.lit(0, pl.Int64), frame=pl.lit(0, pl.Int32),
        received_at=pl.lit(MONDAY + timedelta(days=1)), status=pl.lit(0, pl.UInt32),
    )  # fmt: skip


@pytest.fixture
def exchange(tmp_path: Path) -> Path:
    """12 hours of 1 kWh of OLD and 47 quarters of 0.25 kWh of NEW; the registers moved by 12 117 and by 11 883 Wh."""
    hours = {"interval_start": [MONDAY + k * HOUR for k in range(12)], "value_milli": [1_000_000] * 12}
    quarters = {"interval_start": [MONDAY + (12.25 + k / 4) * HOUR for k in range(47)], "value_milli": [250_000] * 47}
    step = pl.lit(3600, pl.Int32), pl.lit(900, pl.Int32)
    old, new = _rows("OLD", **hours).with_columns(interval_s=step[0]), _rows("NEW", **quarters)
    pl.concat([old, new.with_columns(interval_s=step[1])]).write_parquet(tmp_path / "intervals.parquet")
    registers = [
        _rows("OLD", read_at=[MONDAY, AT], value_milli=[5_422_000_000, 5_434_117_000]),
        _rows("NEW", read_at=[AT, MONDAY + timedelta(days=1)], value_milli=[0, 11_883_000]),
    ]
    pl.concat(registers).write_parquet(tmp_path / "reads.parquet")
    (tmp_path / "meters.csv").write_text(METERS)
    return tmp_path


def _judge(folder: Path, *more: str) -> pl.DataFrame:
    said = [
        "vee", str(folder / "intervals.parquet"), "--reads", str(folder / "reads.parquet"), "--meters",
        str(folder / "meters.csv"), "--from", "2025-03-03", "--to", "2025-03-04", "--judged-at", "2025-04-01",
        "--out", str(folder / "out"), "--json",
    ]  # fmt: skip
    assert main([*said, *more]) == 0
    return pl.read_parquet(folder / "out" / "finals.parquet")


def test_the_bill_of_the_day_is_what_both_registers_moved_by(
    exchange: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    finals = _judge(exchange)
    assert finals["value_milli"].sum() == 24_000_000
    assert main(
        ["export", str(exchange / "out" / "finals.parquet"), "--format", "determinants", "--meters",
         str(exchange / "meters.csv"), "--reads", str(exchange / "reads.parquet"), "--from", "2025-03-03", "--to",
         "2025-03-04", "--out", str(exchange / "bill"), "--json"]
    ) == 0  # fmt: skip
    (lines,) = (exchange / "bill").glob("*.parquet")
    billed = pl.read_parquet(lines).filter(pl.col("determinant") == "energy_total").sort("meter_id")
    assert billed.select("meter_id", "value_milli").rows() == [("NEW", 11_883_000), ("OLD", 12_117_000)]


def test_the_part_is_explained(exchange: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _judge(exchange, "--explain", "NEW", "2025-03-03")
    lines = json.loads(capsys.readouterr().out)["explain"]["lines"]
    assert len(lines) == 48
    assert "133000 (sent nothing): estimated" in lines[0]
    assert "133000 for 1 estimates, moved to 133000" in lines[0]
    assert "V20 partial" in lines[0]
