"""A line of a bill leads through ledger, finals and raw value to the bytes of the frame; a forged one leads nowhere."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.cli import main


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    pytest.importorskip("chdb", reason="the extra embedded is not installed")
    out = tmp_path_factory.mktemp("demo")
    assert main(["demo", "--meters", "12", "--days", "1", "--seed", "4", "--out", str(out), "--json"]) == 0
    yield out


def traced(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict]:
    capsys.readouterr()
    code = main(["bill", "trace", *arguments, "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_every_line_of_an_account_leads_back_to_the_bytes(demo: Path, capsys) -> None:
    file = demo / "billing" / "determinants.csv"
    account = next(csv.DictReader(file.read_text().splitlines()))["account_id"]
    code, answer = traced(capsys, str(file), "--account", account, "--store", str(demo))
    assert (code, answer["agrees"]) == (0, True)
    names = {line["file"]["determinant"] for line in answer["lines"]}
    assert {"energy_total", "energy_net", "demand_max", "load_factor", "register_start", "register_end"} <= names
    total = next(line for line in answer["lines"] if line["file"]["determinant"] == "energy_total")
    assert total["sums"]["sum_milli"] == total["file"]["value_milli"] == total["booked"][0]["value_milli"]
    frames = (demo / "frames.bin").read_bytes()
    for message in total["messages"]:
        assert bytes.fromhex(message["payload"]) in frames  # the bytes as the meter pushed them
    assert any("data" in one for message in total["messages"] for one in message["explained"])


def test_a_day_of_a_nem12_file_leads_back_too(demo: Path, capsys) -> None:
    (file,) = (demo / "billing").glob("NEM12*")
    lines = file.read_text().splitlines()
    number = next(place for place, line in enumerate(lines, 1) if line.startswith("300,") and not line.endswith(",N"))
    code, answer = traced(capsys, str(file), str(number), "--store", str(demo))
    assert (code, answer["lines"][0]["booked"] != []) == (0, True)


def test_a_forged_line_does_not_agree(demo: Path, tmp_path: Path, capsys) -> None:
    lines = (demo / "billing" / "determinants.csv").read_text().splitlines()
    number = next(place for place, line in enumerate(lines) if ",energy_total," in line)
    fields = lines[number].split(",")
    place = lines[0].split(",").index("value_milli")
    fields[place] = str(int(fields[place]) + 1)
    forged = tmp_path / "determinants.csv"
    forged.write_text("\r\n".join([*lines[:number], ",".join(fields), *lines[number + 1 :]]))
    code, answer = traced(capsys, str(forged), str(number + 1), "--store", str(demo))
    assert (code, answer["agrees"]) == (1, False)


@pytest.mark.parametrize("arguments", [["1"], ["99999"], [], ["2", "--account", "A"], ["--account", "nobody"]])
def test_what_cannot_be_traced_is_refused_by_name(demo: Path, arguments: list[str], capsys) -> None:
    assert main(["bill", "trace", str(demo / "billing" / "determinants.csv"), *arguments, "--store", str(demo)]) == 2
    assert capsys.readouterr().err.startswith("ami: ")
