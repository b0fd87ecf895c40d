"""Messages that stand in several files of one `ami decode`: a copy is a copy, whatever file it is in."""

import json
from pathlib import Path

import polars as pl
import pytest

from app.cli import main
from tests.ingest.fleet import KEYS, NAME, TITLE, interval_rows, notification, sealed, usual_rows

METERS = f"meter_id,system_title,interval_s,channels\n{NAME},{TITLE.hex()},900,energy_delivered;energy_received\n"
ROWS = 8
"""Of one push: four instants of two channels."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    push = sealed(notification(interval_rows(usual_rows())))
    (tmp_path / "a.bin").write_bytes(push)
    (tmp_path / "b.bin").write_bytes(push)
    (tmp_path / "c.hex").write_text(push.hex())
    (tmp_path / "keys.csv").write_text(KEYS)
    (tmp_path / "meters.csv").write_text(METERS)
    return tmp_path


def decoded(folder: Path, files: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[dict, pl.DataFrame]:
    """The summary and INTERVALS."""
    out, keys, meters = (str(folder / name) for name in ("out", "keys.csv", "meters.csv"))
    named = [str(folder / file) for file in files]
    assert main(["decode", *named, "--keys", keys, "--meters", meters, "--out", out, "--json"]) == 0
    return json.loads(capsys.readouterr().out), pl.read_parquet(folder / "out" / "intervals.parquet")


def received(folder: Path, stem: str, topic: str) -> None:
    """A sidecar that says in what lane the file's message came."""
    came = pl.Series(["2026-03-02T01:00:07+0000"]).str.to_datetime(time_unit="us", time_zone="UTC")
    pl.DataFrame({"topic": [topic], "received_at": came}).write_parquet(folder / f"{stem}.received.parquet")


@pytest.mark.parametrize("files", [["a.bin", "b.bin"], ["b.bin", "a.bin"], ["a.bin", "a.bin"], ["c.hex", "a.bin"]])
def test_a_copy_in_another_file_is_a_copy_in_either_order(folder: Path, files: list[str], capsys):
    summary, intervals = decoded(folder, files, capsys)
    assert (summary["decoded"], summary["duplicates"]) == (1, 1)
    assert intervals["topic"].to_list() == [files[0]] * ROWS


@pytest.mark.parametrize("files", [["a.bin", "b.bin"], ["b.bin", "a.bin"]])
def test_a_copy_of_a_message_whose_reception_is_known_is_one_too(folder: Path, files: list[str], capsys):
    received(folder, "a", "ami.lastgasp.v1")
    summary, intervals = decoded(folder, files, capsys)
    assert (summary["decoded"], summary["duplicates"]) == (1, 1)
    assert intervals.height == ROWS


def test_lanes_that_are_known_have_windows_of_their_own(folder: Path, capsys):
    received(folder, "a", "ami.frames.v1")
    received(folder, "b", "ami.lastgasp.v1")
    summary, _ = decoded(folder, ["a.bin", "b.bin"], capsys)
    assert (summary["decoded"], summary["duplicates"]) == (2, 0)


def test_other_bytes_under_a_counter_of_another_file_are_no_copy(folder: Path, capsys):
    other = sealed(notification(interval_rows(usual_rows(values=(200, 7)))))
    (folder / "b.bin").write_bytes(other)
    summary, intervals = decoded(folder, ["a.bin", "b.bin"], capsys)
    assert summary["rejects"] == {"nonce_reuse": 1} and intervals.height == ROWS
