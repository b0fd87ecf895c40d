"""The billing window from outside: plan, run, answer, status, reconcile."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from billing_rows import build_finals, build_reads

from app.cli import main

START = datetime(2026, 7, 27, tzinfo=UTC)
DAYS = ["--from", "2026-07-27", "--to", "2026-07-28"]


def finals(folder: Path, value: int, version: int) -> Path:
    file = folder / f"finals{version}.parquet"
    build_finals(START, [value] * 96, version=version).write_parquet(file)
    return file


def registers(folder: Path, advance: int) -> Path:
    file = folder / "reads.parquet"
    build_reads({START: 5_000, START + timedelta(days=1): 5_000 + advance}).write_parquet(file)
    return file


@pytest.fixture
def meters(tmp_path: Path) -> str:
    file = tmp_path / "meters.csv"
    file.write_text("meter_id,service_point_id,account_id,nmi\nM1,SP1,A1,NEM1200001\n")
    return str(file)


def said(capsys: pytest.CaptureFixture[str]) -> dict:
    return json.loads(capsys.readouterr().out)


def run(tmp_path: Path, file: Path, meters: str, *more: str) -> int:
    folders = ["--ledger", str(tmp_path / "ledger"), "--out", str(tmp_path / "out")]
    return main(["bill", "run", str(file), "--meters", meters, *DAYS, *folders, "--cycle", "c/2026-07-27", "--json",
                 "--at", "2026-08-02", *more])  # fmt: skip


def test_a_run_bills_once_and_then_only_what_changed(tmp_path: Path, meters: str, capsys):
    assert run(tmp_path, finals(tmp_path, 1_000, 1), meters) == 0
    first = said(capsys)
    assert first["lines"]["new"] > 0
    assert first["lines"]["reversed"] == 0
    assert run(tmp_path, finals(tmp_path, 1_000, 1), meters) == 0
    assert said(capsys)["batch"] is None
    assert run(tmp_path, finals(tmp_path, 2_000, 2), meters) == 0
    second = said(capsys)
    assert second["lines"]["new"] == second["lines"]["reversed"] > 0
    ledger = pl.read_parquet(tmp_path / "ledger" / "ledger.parquet")
    total = ledger.filter(pl.col("determinant") == "energy_total")
    assert (total["value_milli"] * total["sign"]).sum() == 192_000
    for batch in (first["batch"], second["batch"]):
        assert (tmp_path / "out" / batch / "manifest.json").exists()


def test_an_answer_moves_the_batch_and_refused_lines_go_out_again(tmp_path: Path, meters: str, capsys):
    run(tmp_path, finals(tmp_path, 1_000, 1), meters)
    batch = said(capsys)["batch"]
    manifest = json.loads((tmp_path / "out" / batch / "manifest.json").read_text())
    sha = next(file["sha256"] for file in manifest["files"] if file["name"] == "determinants.csv")
    answer = tmp_path / "ack.csv"
    answer.write_text(f"batch_id,file,sha256,line_no,status,reason\n{batch},determinants.csv,{sha},1,rejected,closed\n")
    ledger = ["--ledger", str(tmp_path / "ledger")]
    assert main(["bill", "status", *ledger, "--now", "2026-08-10", "--json"]) == 1
    assert said(capsys)["silent"] == [batch]
    again = ["bill", "acknowledge", str(answer), *ledger, "--out", str(tmp_path / "answered"), "--json"]
    assert main([*again, "--at", "2026-08-03"]) == 0
    assert said(capsys)["state"] == "partly_rejected"
    refused = pl.read_parquet(tmp_path / "answered" / "refused.parquet")
    assert refused.select("line_no", "reason").rows() == [(1, "closed")]
    assert main([*again, "--at", "2026-08-04"]) == 0
    assert said(capsys)["state"] is None
    assert main(["bill", "status", *ledger, "--now", "2026-08-10", "--json"]) == 0
    assert said(capsys)["states"] == {"partly_rejected": 1}
    run(tmp_path, finals(tmp_path, 1_000, 1), meters)
    rebilled = said(capsys)
    assert (rebilled["reentered"], rebilled["batch"] != batch) == (1, True)
    sent = pl.read_parquet(tmp_path / "out" / rebilled["batch"] / "determinants.parquet")
    assert sent["supersedes"].to_list() == [f"{batch}/1"]


def test_a_batch_whose_target_is_away_stays_written_and_is_delivered_later(tmp_path: Path, meters: str, capsys):
    (tmp_path / "share").write_text("in the way")
    target = tmp_path / "target.toml"
    target.write_text(f'[target]\nkind = "folder"\nfolder = "{tmp_path / "share"}"\n')
    file = finals(tmp_path, 1_000, 1)
    assert run(tmp_path, file, meters, "--target", str(target)) == 1
    capsys.readouterr()
    folders = ["--ledger", str(tmp_path / "ledger"), "--out", str(tmp_path / "out"), "--target", str(target), "--json"]
    assert main(["bill", "status", "--ledger", str(tmp_path / "ledger"), "--json"]) == 0
    assert said(capsys)["states"] == {"written": 1}
    (tmp_path / "share").unlink()
    assert main(["bill", "deliver", *folders]) == 0
    ((batch, files),) = said(capsys)["batches"].items()
    assert files[-1] == "manifest.json"
    assert sorted(p.name for p in (tmp_path / "share" / batch).iterdir()) == sorted(files)
    assert main(["bill", "deliver", *folders]) == 0
    assert said(capsys)["batches"] == {}
    assert run(tmp_path, file, meters, "--target", str(target)) == 0
    assert said(capsys)["batch"] is None


def test_the_plan_shows_what_is_due_and_what_is_done(tmp_path: Path, meters: str, capsys):
    cycles = tmp_path / "cycles.toml"
    cycles.write_text('[[cycle]]\nname = "c"\nfirst_day = 27\n')
    ask = [
        "bill",
        "plan",
        "--cycles",
        str(cycles),
        "--ledger",
        str(tmp_path / "ledger"),
        "--today",
        "2026-08-30",
        "--json",
    ]
    assert main(ask) == 0
    assert said(capsys)["periods"]["c/2026-07-27"]["state"] == "due"
    run(tmp_path, finals(tmp_path, 1_000, 1), meters)
    capsys.readouterr()
    assert main(ask) == 0
    assert said(capsys)["periods"]["c/2026-07-27"]["state"] == "done"
    cycles.write_text('[[cycle]]\nname = "c"\nlast_day = 3\n')
    assert main(ask) == 2
    assert "last_day" in capsys.readouterr().err


@pytest.mark.parametrize(("advance", "code"), [(96_000, 0), (96_001, 1)])
def test_reconciliation_tells_a_milli_watt_hour(tmp_path: Path, meters: str, capsys, advance: int, code: int):
    file, reads = finals(tmp_path, 1_000, 1), registers(tmp_path, advance)
    run(tmp_path, file, meters, "--reads", str(reads))
    batch = said(capsys)["batch"]
    done = main(
        ["reconcile", str(file), "--meters", meters, "--reads", str(reads), *DAYS, "--ledger", str(tmp_path / "ledger"),
         "--delivery", str(tmp_path / "out" / batch), "--out", str(tmp_path / "reconciled"), "--json"]
    )  # fmt: skip
    assert done == code
    found = said(capsys)
    assert set(found["compared"]) == {"register", "ledger", "file"}
    assert list(found["reasons"]) == (["register sum_check", "stretch sum_check"] if code else [])
    rows = pl.read_parquet(tmp_path / "reconciled" / "reconciliation.parquet")
    assert rows.height == sum(found["compared"].values()) + code


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("chdb", reason="the extra embedded is not installed")
    out = tmp_path_factory.mktemp("demo")
    assert main(["demo", "--meters", "10", "--days", "3", "--out", str(out), "--json"]) == 0
    return out


def window(tmp_path: Path, demo: Path, today: str) -> list[str]:
    """The scheduled job on the demo's store."""
    (tmp_path / "ami.toml").write_text(f'[embedded]\npath = "{demo / "store"}"\n')
    # The period from 3 February to 3 March holds the first of the demo's days alone: the rest of it is missing.
    (tmp_path / "cycles.toml").write_text('[[cycle]]\nname = "m"\nfirst_day = 3\n')
    (tmp_path / "target.toml").write_text(f'[target]\nkind = "folder"\nfolder = "{tmp_path / "inbox"}"\n')
    return [
        "bill", "window", "--config", str(tmp_path / "ami.toml"), "--cycles", str(tmp_path / "cycles.toml"), "--ledger",
        str(tmp_path / "ledger"), "--out", str(tmp_path / "out"), "--tariffs", str(demo / "tariffs.toml"), "--target",
        str(tmp_path / "target.toml"), "--metrics", str(tmp_path / "metrics" / "billing.prom"), "--at", "2026-03-06",
        "--json", "--today", today,
    ]  # fmt: skip


def told(tmp_path: Path) -> dict[str, float]:
    lines = (tmp_path / "metrics" / "billing.prom").read_text().splitlines()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if line.startswith("ami_"))}


def test_the_scheduled_job_bills_what_is_due_from_the_store_and_delivers_it_once(tmp_path: Path, demo: Path, capsys):
    capsys.readouterr()
    assert main(window(tmp_path, demo, "2026-03-04")) == 0
    assert said(capsys)["billed"]["m/2026-01-03"]["batch"] is None  # nothing was judged then
    assert main(window(tmp_path, demo, "2026-03-06")) == 0
    first = said(capsys)["billed"]["m/2026-02-03"]
    assert first["held"] and first["lines"]["new"] > 0  # registers alone: no stream is whole
    manifest = json.loads((tmp_path / "inbox" / first["batch"] / "manifest.json").read_text())
    assert dict(manifest["calendar_versions"])["home"] == "1"
    assert main(window(tmp_path, demo, "2026-03-06")) == 0
    assert "m/2026-02-03" not in said(capsys)["billed"]
    metrics = told(tmp_path)
    assert metrics['ami_export_files_total{format="determinants",state="delivered"}'] == 2  # Parquet and CSV
    counted = sum(total["count"] for total in manifest["exports"][0]["control_totals"])
    assert metrics['ami_export_control_total{format="determinants",state="delivered"}'] == counted > 0


def ami(*arguments: str) -> dict:
    """A verb in a process of its own: the embedded engine holds its folder as long as the process lives."""
    done = subprocess.run([sys.executable, "-m", "app.cli", *arguments, "--json"], stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def test_a_job_that_is_killed_leaves_nothing_that_the_next_does_not_clear_and_finish(tmp_path: Path) -> None:
    pytest.importorskip("chdb", reason="the extra embedded is not installed")
    demo, ledger, whole = tmp_path / "demo", tmp_path / "ledger", tmp_path / "whole"
    ami("demo", "--meters", "6", "--days", "2", "--out", str(demo))
    job = window(tmp_path, demo, "2026-03-06")
    for _ in range(2):  # the second finds what the first left
        with subprocess.Popen([sys.executable, "-m", "app.cli", *job], stdout=subprocess.DEVNULL) as killed:
            deadline, seen = time.monotonic() + 60, set(ledger.glob(".period.*"))
            while not set(ledger.glob(".period.*")) - seen and killed.poll() is None and time.monotonic() < deadline:
                time.sleep(0.002)
            os.kill(killed.pid, signal.SIGKILL)
        assert killed.returncode == -signal.SIGKILL
        assert len(list(ledger.glob(".period.*"))) == 1
        assert not (tmp_path / "inbox").exists()
    (ledger / ".ledger.parquet.1.part").write_bytes(b"half")
    batch = ami(*job)["billed"]["m/2026-02-03"]["batch"]
    assert sorted(path.name for path in ledger.iterdir()) == ["batches.parquet", "ledger.lock", "ledger.parquet"]
    whole.mkdir()
    assert ami(*window(whole, demo, "2026-03-06"))["billed"]["m/2026-02-03"]["batch"] == batch
    for file in (whole / "inbox" / batch).iterdir():
        assert (tmp_path / "inbox" / batch / file.name).read_bytes() == file.read_bytes()


def test_two_runs_never_write_one_ledger(tmp_path: Path, meters: str, capsys) -> None:
    (tmp_path / "ledger").mkdir()
    file = finals(tmp_path, 1_000, 1)
    with (tmp_path / "ledger" / "ledger.lock").open("wb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert run(tmp_path, file, meters) == 1
        assert "another billing run" in capsys.readouterr().err
    assert run(tmp_path, file, meters, "--metrics", str(tmp_path / "metrics" / "billing.prom")) == 0
    assert told(tmp_path)['ami_export_files_total{format="determinants",state="written"}'] == 2
    assert run(tmp_path, file, meters, "--metrics", str(tmp_path / "meters.csv" / "x")) == 2
