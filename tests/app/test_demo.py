"""The main job: everything the contract promises lies in the folder, and the sums are right."""

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import polars as pl
import pytest

from app.cli import main


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    assert main(["demo", "--meters", "60", "--days", "2", "--seed", "5", "--out", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def summary(demo: Path) -> dict:
    return json.loads((demo / "summary.json").read_text())


def test_the_folder_holds_what_every_verb_writes(demo: Path):
    names = {path.name for path in demo.iterdir()}
    assert names >= {
        "frames.bin", "meters.csv", "keys.csv", "tariffs.toml", "truth_intervals.parquet", "truth_outages.parquet",
        "intervals.parquet", "reads.parquet", "events.parquet", "rejects.parquet", "finals.parquet",
        "exceptions.parquet", "outages.parquet", "summary.json", "day.svg", "billing",
    }  # fmt: skip
    billing = {path.name for path in (demo / "billing").iterdir()}
    assert "manifest.json" in billing
    assert any(name.startswith("NEM12") for name in billing)
    assert any(name.endswith(".parquet") for name in billing)


def test_every_frame_is_accounted_for(demo: Path, summary: dict):
    sums = summary["conservation"]
    assert sums["frames"] == sums["decoded"] + sums["rejected"] + sums["duplicates"]
    assert sums["frames"] == pl.read_parquet(demo / "frames.received.parquet").height
    assert sums["duplicates"] > 0


def test_every_expected_interval_has_one_final_near_the_truth(demo: Path, summary: dict):
    finals = pl.read_parquet(demo / "finals.parquet")
    truth = pl.read_parquet(demo / "truth_intervals.parquet")
    what = ["meter_id", "channel", "interval_start"]
    assert finals.select(what).is_unique().all()
    assert finals.height == truth.height
    assert 0 <= summary["energy_error"] < 0.05


def test_an_outage_of_the_run_is_found(summary: dict):
    assert summary["outages"]["true"] >= 1
    assert summary["outages"]["found"] >= 1


def test_the_picture_is_well_formed(demo: Path):
    root = ElementTree.parse(demo / "day.svg").getroot()
    assert root.tag.endswith("svg")
    assert len(list(root.iter())) > 96


def test_a_value_is_traced_to_its_bytes(demo: Path, capsys):
    intervals = pl.read_parquet(demo / "intervals.parquet")
    row = intervals.row(intervals.height // 2, named=True)
    capsys.readouterr()
    at = row["interval_start"].isoformat()
    assert main(["trace", row["meter_id"], at, "--store", str(demo / "store"), "--json"]) == 0
    traced = json.loads(capsys.readouterr().out)
    assert any(final["channel"] == row["channel"] for final in traced["finals"])
    assert any(raw["value_milli"] == row["value_milli"] for raw in traced["raw"])
    payloads = [message["payload"] for message in traced["messages"]]
    assert payloads
    assert all(payload in (demo / "frames.bin").read_bytes().hex() for payload in payloads)
    assert main(["trace", row["meter_id"], at, "--store", str(demo)]) == 0
    told = capsys.readouterr().out
    assert "byte" in told
    assert str(row["value_milli"]) in told
    assert traced["ledger"]
    explained = [message for stored in traced["messages"] for message in stored["explained"]]
    assert any(message["authenticated"] and message["values"] for message in explained)


def test_what_is_not_stored_is_said_in_one_line(demo: Path, capsys):
    capsys.readouterr()
    assert main(["trace", "NOBODY", "2026-03-02T00:00:00Z", "--store", str(demo / "store")]) == 2
    assert "NOBODY" in capsys.readouterr().err
