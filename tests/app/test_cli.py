"""The command from outside: exit codes, one clear line, nothing half written."""

import json
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from app.cli import main
from app.commands import decode
from schemas.frames import EVENTS, FINALS, INTERVALS, READS


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fleet")
    assert main(["simulate", "--meters", "40", "--days", "2", "--seed", "7", "--out", str(folder), "--json"]) == 0
    return folder


@pytest.fixture(scope="module")
def decoded(fleet: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("decoded")
    done = main(
        ["decode", str(fleet / "frames.bin"), "--keys", str(fleet / "keys.csv"), "--meters", str(fleet / "meters.csv"),
         "--out", str(folder)]
    )  # fmt: skip
    assert done == 0
    return folder


def _line(capsys: pytest.CaptureFixture[str]) -> str:
    said = capsys.readouterr().err
    assert said.count("\n") == 1, said
    assert "Traceback" not in said
    return said


def test_simulate_leaves_the_files_of_the_contract(fleet: Path):
    names = {path.name for path in fleet.iterdir()}
    assert names >= {
        "frames.bin", "meters.csv", "keys.csv", "tariffs.toml", "truth_intervals.parquet", "truth_outages.parquet",
    }  # fmt: skip


def test_the_same_seed_gives_the_same_bytes(fleet: Path, tmp_path: Path):
    assert main(["simulate", "--meters", "40", "--days", "2", "--seed", "7", "--out", str(tmp_path)]) == 0
    for name in ("frames.bin", "meters.csv", "keys.csv", "tariffs.toml"):
        assert (tmp_path / name).read_bytes() == (fleet / name).read_bytes()


def test_the_verbs_carry_a_fleet_to_bills_through_files(fleet: Path, decoded: Path, tmp_path: Path, capsys):
    meters = str(fleet / "meters.csv")
    raw = str(decoded / "intervals.parquet")
    reads = str(decoded / "reads.parquet")
    events = str(decoded / "events.parquet")
    assert main(["outages", events, "--meters", meters, "--reads", reads, "--out", str(tmp_path)]) == 0
    judged = main(
        ["vee", raw, "--reads", reads, "--events", events, "--outages",
         str(tmp_path / "outages.parquet"), "--meters", meters, "--from", "2026-03-01T23:00:00Z", "--to",
         "2026-03-03T23:00:00Z", "--judged-at", "2026-03-05", "--out", str(tmp_path)]
    )  # fmt: skip
    assert judged == 0
    export = [
        "export", str(tmp_path / "finals.parquet"), "--format", "determinants", "--meters", meters, "--tariffs",
        str(fleet / "tariffs.toml"), "--reads", reads, "--from", "2026-03-02", "--to", "2026-03-04", "--json",
    ]  # fmt: skip
    capsys.readouterr()
    assert main([*export, "--out", str(tmp_path / "one")]) == 0
    assert json.loads(capsys.readouterr().out)["files"]
    assert main([*export, "--out", str(tmp_path / "two")]) == 0
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()

    truth = pl.read_parquet(fleet / "truth_intervals.parquet")
    finals = pl.read_parquet(tmp_path / "finals.parquet")
    what = ["meter_id", "channel", "interval_start"]
    text = pl.col("channel").cast(pl.String)
    pairs = truth.with_columns(text).join(finals.with_columns(text), on=what, how="left", suffix="_final")
    assert pairs["value_milli_final"].null_count() < 0.02 * pairs.height
    valid = pairs.filter(pl.col("quality") == "valid")
    assert (valid["value_milli"] == valid["value_milli_final"]).mean() > 0.99
    assert abs(pairs["value_milli_final"].sum() / pairs["value_milli"].sum() - 1) < 0.02


def test_shapes_are_cut_to_the_meters_and_days_asked_for(fleet: Path, tmp_path: Path):
    shapes = pl.read_parquet(fleet / "truth_intervals.parquet").filter(
        (pl.col("channel").cast(pl.String) == "energy_delivered") & (pl.col("interval_s") == 900)
    )
    shapes.write_parquet(tmp_path / "shapes.parquet")
    asked = ["--meters", "3", "--days", "1", "--seed", "1", "--shapes", str(tmp_path / "shapes.parquet")]
    done = main(["simulate", *asked, "--out", str(tmp_path)])
    assert done == 0
    truth = pl.read_parquet(tmp_path / "truth_intervals.parquet")
    assert truth["meter_id"].n_unique() == 3
    assert truth["interval_start"].max() - truth["interval_start"].min() < timedelta(days=1)


def test_a_summary_counts_every_frame_once(fleet: Path, tmp_path: Path, capsys):
    arguments = ["decode", str(fleet / "frames.bin"), "--keys", str(fleet / "keys.csv"), "--meters",
                 str(fleet / "meters.csv"), "--out", str(tmp_path), "--json"]  # fmt: skip
    assert main(arguments) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["frames"] == summary["decoded"] + summary["rejected"] + summary["duplicates"]
    assert summary["frames"] > 1000
    assert summary["values"] > summary["frames"]
    assert summary["seconds"] > 0


def test_a_value_that_was_sent_as_null_is_counted_among_the_values_and_by_itself(tmp_path: Path, capsys):
    delivered, received = bytes((1, 0, 1, 8, 0, 255)), bytes((1, 0, 2, 8, 0, 255))
    scaled = b"\x02\x02\x0f\x00\x16\x1e"
    rows = b"\x02\x03\x09\x06" + delivered + b"\x06\x00\x00\x00\x05" + scaled
    rows += b"\x02\x03\x09\x06" + received + b"\x00" + scaled
    clock = b"\x0c" + bytes.fromhex("07EA0302FF010000000000") + b"\x00"
    apdu = b"\x0f\x00\x00\x00\x01" + clock + b"\x01\x02" + rows
    pushes = tmp_path / "pushes.bin"
    pushes.write_bytes(2 * (bytes((0, 1, 0, 1, 0, 1, 0, len(apdu))) + apdu))
    assert main(["decode", str(pushes), "--out", str(tmp_path / "out"), "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["values"], summary["null_values"], summary["rejects"]) == (4, 2, {})
    assert pl.read_parquet(tmp_path / "out" / "reads.parquet")["value_milli"].to_list() == [5000, None] * 2


def test_a_file_decoded_in_many_batches_gives_the_rows_of_one(fleet: Path, tmp_path: Path, capsys, monkeypatch):
    """Frames twice over, so that copies meet their first in a batch before."""
    twice = tmp_path / "twice.bin"
    twice.write_bytes(2 * (fleet / "frames.bin").read_bytes())
    said = {}
    for name, messages in (("one", 10**9), ("many", 300)):
        monkeypatch.setattr(decode, "BATCH_MESSAGES", messages)
        keys, meters = str(fleet / "keys.csv"), str(fleet / "meters.csv")
        arguments = ["--keys", keys, "--meters", meters, "--out", str(tmp_path / name), "--json"]
        assert main(["decode", str(twice), *arguments]) == 0
        said[name] = json.loads(capsys.readouterr().out)
        assert {path.suffix for path in (tmp_path / name).iterdir()} == {".parquet"}
    assert said["one"]["duplicates"] > 1000
    for summary in said.values():
        del summary["seconds"]
    assert said["many"] == said["one"]
    for table in ("intervals", "reads", "events", "rejects"):
        one, many = (pl.read_parquet(tmp_path / name / f"{table}.parquet") for name in ("one", "many"))
        assert many.schema == one.schema
        assert many.sort("frame", maintain_order=True).equals(one.sort("frame", maintain_order=True))


def test_a_folder_that_cannot_be_written_has_no_table_in_part(fleet: Path, tmp_path: Path, capsys, monkeypatch):
    monkeypatch.setattr(decode, "BATCH_MESSAGES", 300)
    (tmp_path / "reads.parquet" / "taken").mkdir(parents=True)
    assert main(["decode", str(fleet / "frames.bin"), "--out", str(tmp_path)]) == 2
    assert str(tmp_path) in _line(capsys)
    assert not [path for path in tmp_path.iterdir() if path.name.endswith(".part")]


def test_without_keys_every_frame_is_a_reject_that_keeps_its_bytes(fleet: Path, tmp_path: Path):
    assert main(["decode", str(fleet / "frames.bin"), "--out", str(tmp_path)]) == 0
    rejects = pl.read_parquet(tmp_path / "rejects.parquet")
    assert set(rejects["reason"].cast(pl.String)) == {"key_unknown"}
    assert sum(map(len, rejects["payload"])) == (fleet / "frames.bin").stat().st_size
    assert pl.read_parquet(tmp_path / "intervals.parquet").is_empty()


def test_inspect_prints_message_objects_only(fleet: Path, capsys):
    capsys.readouterr()
    assert main(["inspect", str(fleet / "frames.bin"), "--keys", str(fleet / "keys.csv")]) == 0
    lines = capsys.readouterr().out.splitlines()
    messages = [json.loads(line) for line in lines]
    assert len(messages) > 1000
    wanted = {
        "file", "frame", "frames", "link", "apdu", "system_title", "invocation_counter", "security", "authenticated",
        "date_time", "clock_status", "quirks",
    }  # fmt: skip
    assert all(wanted <= set(message) for message in messages)
    assert all(("data" in message and "values" in message) or "error" in message for message in messages)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["decode", "nowhere.bin", "--out", "OUT"], "nowhere.bin"),
        (["decode", "FLEET/frames.bin", "--out", "OUT", "--key", "x"], "--key"),
        (["decode", "FLEET/frames.bin"], "--out"),
        (["decode", "FLEET/frames.bin", "--keys", "FLEET/meters.csv", "--out", "OUT"], "meters.csv"),
        (["decode", "FLEET/frames.bin", "--meters", "FLEET/keys.csv", "--out", "OUT"], "unknown column 'ek'"),
        (["decode", "FLEET/frames.bin", "--types", "TYPO", "--out", "OUT"], "typo"),
        (["inspect", "nowhere.hex"], "nowhere.hex"),
        (["simulate", "--meters", "0", "--days", "1", "--seed", "1", "--out", "OUT"], "--meters"),
        (["simulate", "--meters", "2", "--days", "1", "--seed", "1", "--config", "TYPO", "--out", "OUT"], "typo"),
        (["simulate", "--meters", "2", "--days", "1", "--seed", "1", "--shapes", "FLEET/truth_outages.parquet", "--out",
          "OUT"], "truth_outages.parquet"),
        (["vee", "FLEET/keys.csv", "--out", "OUT"], "not a Parquet file"),
        (["vee", "FLEET/truth_intervals.parquet", "--out", "OUT"], "INTERVALS.topic"),
        (["vee", "EMPTY", "--from", "yesterday", "--out", "OUT"], "--from"),
        (["vee", "EMPTY", "--calendar", "TYPO", "--out", "OUT"], "typo"),
        (["vee", "EMPTY", "--from", "2026-03-02", "--to", "2026-03-02", "--out", "OUT"], "--from"),
        (["vee", "SPOILT", "--out", "OUT"], "INTERVALS.interval_s"),
        (["outages", "FLEET/truth_outages.parquet", "--meters", "FLEET/meters.csv", "--out", "OUT"], "EVENTS.meter_id"),
        (["outages", "EVENTS", "--meters", "FLEET/meters.csv", "--format", "fax", "--out", "OUT"], "'fax'"),
        (["export", "FINALS", "--format", "fax", "--meters", "FLEET/meters.csv", "--from", "2026-03-02", "--to",
          "2026-03-03", "--out", "OUT"], "fax"),
        (["export", "FINALS", "--format", "determinants", "--meters", "FLEET/meters.csv", "--tariffs", "TYPO", "--from",
          "2026-03-02", "--to", "2026-03-03", "--out", "OUT"], "typo"),
        (["export", "FINALS", "--format", "determinants", "--meters", "FLEET/meters.csv", "--from", "2026-3-2", "--to",
          "2026-03-03", "--out", "OUT"], "--from"),
        (["trace", "M1", "2026-03-02", "--store", "OUT"], "--store"),
        (["trace", "M1", "now"], "INTERVAL_START"),
        (["nonsense"], "nonsense"),
    ],
)  # fmt: skip
def test_unusable_input_is_one_line_that_names_it_exit_2_and_nothing_written(
    arguments, said, fleet, decoded, tmp_path, capsys
):
    (tmp_path / "typo.toml").write_text("typo = 1\n")
    for name, frame in (("intervals", INTERVALS), ("events", EVENTS), ("finals", FINALS), ("reads", READS)):
        frame.empty().write_parquet(tmp_path / f"{name}.parquet")
    spoilt = pl.read_parquet(decoded / "intervals.parquet").head(2).with_columns(interval_s=pl.lit(0, pl.Int32))
    spoilt.write_parquet(tmp_path / "spoilt.parquet")
    words = {
        "SPOILT": str(tmp_path / "spoilt.parquet"),
        "OUT": str(tmp_path / "out"), "TYPO": str(tmp_path / "typo.toml"), "EMPTY": str(tmp_path / "intervals.parquet"),
        "EVENTS": str(tmp_path / "events.parquet"), "FINALS": str(tmp_path / "finals.parquet"),
    }  # fmt: skip
    capsys.readouterr()
    given = [words.get(word, word).replace("FLEET/", f"{fleet}/") for word in arguments]
    assert main(given) == 2
    assert said in _line(capsys)
    assert not (tmp_path / "out").exists()


def test_an_output_folder_that_is_a_file_is_named(fleet: Path, tmp_path: Path, capsys):
    (tmp_path / "out").write_text("taken")
    capsys.readouterr()
    assert main(["simulate", "--meters", "2", "--days", "1", "--seed", "1", "--out", str(tmp_path / "out")]) == 2
    assert "--out" in _line(capsys)
