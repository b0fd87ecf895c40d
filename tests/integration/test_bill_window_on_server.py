"""The scheduled billing job on a ClickHouse server: from the store to files, ledger and batches, once."""

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from billing_rows import build_finals, build_reads
from found import Found
from old_clickhouse import connect_old

from app import stores
from app.billing_period import store_parts
from app.cli import main
from billing_export.pieces import ExportInputs, ExportParams
from billing_export.reentry import Books
from billing_export.run import bill_run
from billing_export.tariffs import TariffBook
from schemas.frames import BILLING_BATCHES, DETERMINANTS, METERS, conform
from schemas.timegrid import day_bounds
from storage.clickhouse import ClickHouseEngine
from storage.store import SqlStore

FIRST, AFTER = date(2026, 7, 1), date(2026, 8, 1)
START, END = day_bounds(FIRST, "UTC")[0], day_bounds(AFTER, "UTC")[0]
JUDGED = datetime(2026, 8, 1, 6, tzinfo=UTC)
POINTS = {"MTR1": "SP3", "MTR2": "SP1", "MTR3": "SP2", "MTR4": "SP1"}


def finals(version: int, value: int, meters: list[str]) -> pl.DataFrame:
    hours = int((END - START).total_seconds()) // 3600
    values = [value + hour % 24 for hour in range(hours)]
    made = {"version": version, "judged_at": JUDGED + timedelta(days=version - 1), "run_id": f"run-{version}"}
    return pl.concat(
        [
            build_finals(START, list(values), step=3600, meter=name, service_point_id=POINTS[name], **made)
            for name in meters
        ]
    )


def reads() -> pl.DataFrame:
    shown = [build_reads({START: 5_000, END: 900_000}, meter=name) for name in sorted(POINTS)]
    return pl.concat(shown).with_columns(offset=pl.int_range(pl.len(), dtype=pl.Int64))


@pytest.fixture
def filled(store: SqlStore) -> SqlStore:
    registry = pl.DataFrame({"meter_id": list(POINTS), "service_point_id": list(POINTS.values())})
    registry = registry.with_columns(
        timezone=pl.lit("UTC"), account_id=pl.col("service_point_id").str.replace("SP", "A")
    )
    store.append("meters", conform(registry, METERS), "meters")
    store.append("finals", finals(1, 1_000, list(POINTS)), "finals 1")
    store.append("reads", reads(), "reads")
    return store


@pytest.fixture
def job(
    clickhouse: Found, database: str, server: ClickHouseEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> list[str]:
    if server.version() < (20, 0):  # the verb's own connection too must rewrite statements for an old server
        monkeypatch.setattr(stores, "connect", lambda at: connect_old(at.host, at.port, at.database))
    (tmp_path / "ami.toml").write_text(
        f'[clickhouse]\nhost = "{clickhouse.host}"\nport = {clickhouse.port}\ndatabase = "{database}"\n'
    )
    (tmp_path / "cycles.toml").write_text('[[cycle]]\nname = "m"\n')
    return [
        "bill", "window", "--config", str(tmp_path / "ami.toml"), "--cycles", str(tmp_path / "cycles.toml"),
        "--ledger", str(tmp_path / "ledger"), "--out", str(tmp_path / "out"), "--format", "iec61968",
        "--today", "2026-08-04", "--at", "2026-08-04", "--json",
    ]  # fmt: skip


def test_the_window_bills_a_period_of_a_server_as_the_frames_themselves_are_billed(
    filled: SqlStore, job: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(job) == 0
    told = json.loads(capsys.readouterr().out)["billed"]["m/2026-07-01"]
    assert told["held"] == {"no_complete_window": len(POINTS)}  # hours tell no quarter-hour demand
    asked = ExportParams(("iec61968",), FIRST, AFTER, cycle="m/2026-07-01")
    inputs = ExportInputs(finals(1, 1_000, list(POINTS)), filled.load_current("meters"), reads(), TariffBook())
    empty = Books(DETERMINANTS.empty(), BILLING_BATCHES.empty())
    whole = bill_run(empty, inputs, asked, datetime(2026, 8, 4, tzinfo=UTC))
    assert whole.export is not None
    folder = tmp_path / "out" / told["batch"]
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        "manifest.json": whole.export.manifest, **{file.name: file.content for file in whole.export.files},
    }  # fmt: skip
    posted = filled.load_current("billing_ledger").filter(pl.col("batch_id") == told["batch"])
    assert posted.height == whole.lines.height > 0
    assert main(job) == 0
    assert json.loads(capsys.readouterr().out)["billed"] == {}
    assert [path.name for path in (tmp_path / "ledger").iterdir() if path.name.startswith(".")] == []


def test_what_is_judged_while_a_period_is_written_does_not_reach_its_files(filled: SqlStore, tmp_path: Path) -> None:
    asked = ExportParams(("iec61968",), FIRST, AFTER)
    parts = store_parts(filled, TariffBook(), asked, tmp_path, size=1)
    before = [part.finals for part in parts()]
    filled.append("finals", finals(2, 2_000, ["MTR1"]), "finals 2")
    assert len(before) == 3  # service points; two meters at one of them
    assert all(one.equals(other.finals) for one, other in zip(before, parts(), strict=True))
    (tmp_path / "later").mkdir()
    later = store_parts(filled, TariffBook(), asked, tmp_path / "later", size=1)
    assert max(part.finals["version"].max() for part in later()) == 2
