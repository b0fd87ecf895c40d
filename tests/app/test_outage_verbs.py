"""`ami outages --map` and `ami indices` from outside."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from xml.etree import ElementTree

import polars as pl
import pytest

from app.cli import main

T0 = datetime(2026, 1, 10, 10, tzinfo=UTC)


@pytest.fixture
def night(tmp_path: Path) -> Path:
    """Ten meters of one transformer dark for an hour, ten of another alive; a momentary beside."""
    names = [f"M{n:02d}" for n in range(20)]
    pl.DataFrame(
        {
            "meter_id": names,
            "service_point_id": [f"SP{n:02d}" for n in range(20)],
            "transformer_id": [f"T{n // 10}" for n in range(20)],
            "feeder_id": ["F0"] * 20,
            "timezone": ["UTC"] * 20,
        }
    ).write_csv(tmp_path / "meters.csv")
    said = [(name, "power_down", T0) for name in names[:10]]
    said += [(name, "power_up", T0 + timedelta(hours=1)) for name in names[:10]]
    said += [("M15", "power_down", T0), ("M15", "power_up", T0 + timedelta(minutes=1))]
    events = pl.DataFrame(said, schema=["meter_id", "event", "occurred_at"], orient="row").with_columns(
        origin=pl.lit("meter"), authenticated=pl.lit(value=True)
    )
    events.write_parquet(tmp_path / "events.parquet")
    lives = pl.DataFrame({"meter_id": names[10:], "read_at": [T0 + timedelta(minutes=20)] * 10}).with_columns(
        topic=pl.lit("t"), partition=pl.lit(0), offset=pl.lit(0), frame=pl.lit(0), received_at=pl.lit(T0),
        channel=pl.lit("energy_delivered"), value_milli=pl.lit(1), status=pl.lit(0),
    )  # fmt: skip
    lives.write_parquet(tmp_path / "reads.parquet")
    return tmp_path


def outages(night: Path, *more: str) -> int:
    where = [
        "--meters",
        str(night / "meters.csv"),
        "--reads",
        str(night / "reads.parquet"),
        "--out",
        str(night / "out"),
    ]
    return main(["outages", str(night / "events.parquet"), *where, *more])


def indices(night: Path, *more: str) -> int:
    where = ["--meters", str(night / "meters.csv"), "--out", str(night / "out")]
    return main(["indices", str(night / "out" / "outages.parquet"), *where, *more])


def test_events_without_provenance_are_taken_and_the_map_is_drawn(night: Path, capsys: pytest.CaptureFixture[str]):
    assert outages(night, "--map", "--json") == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["scope"], summary["state"], summary["momentary"]) == ({"street": 1}, {"restored": 1}, 1)
    root = ElementTree.fromstring((night / "out" / "map.svg").read_text())
    assert root.tag == "{http://www.w3.org/2000/svg}svg"


@pytest.mark.parametrize(("threshold", "sustained"), [((), 1), (("--sustained-s", "180"), 2)])
def test_what_is_sustained_is_a_question_of_the_country(
    night: Path, capsys: pytest.CaptureFixture[str], threshold: tuple[str, ...], sustained: int
) -> None:
    """A point beside the street is dark for four minutes: momentary by IEEE 1366, sustained in Great Britain."""
    events = pl.read_parquet(night / "events.parquet")
    four = events.filter(pl.col("meter_id") == "M15").with_columns(
        pl.when(pl.col("event") == "power_up").then(pl.lit(T0 + timedelta(minutes=4))).otherwise("occurred_at")
        .cast(events.schema["occurred_at"]).alias("occurred_at")
    )  # fmt: skip
    pl.concat([events.filter(pl.col("meter_id") != "M15"), four]).write_parquet(night / "events.parquet")
    assert outages(night, "--json", *threshold) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["incidents"], told["momentary"]) == (sustained, 2 - sustained)


def test_every_feed_is_written(night: Path):
    feeds = ["cim-json", "iec61968", "multispeak3", "multispeak41", "odin"]
    assert outages(night, *(word for feed in feeds for word in ("--format", feed))) == 0
    assert {path.suffix for path in (night / "out").iterdir()} == {".parquet", ".jsonl", ".xml"}


def test_indices_of_the_night(night: Path, capsys: pytest.CaptureFixture[str]):
    assert outages(night) == 0
    capsys.readouterr()
    told = ["--interruptions", str(night / "out" / "interruptions.parquet")]
    assert indices(night, "--from", "2026-01-10", "--to", "2026-01-12", *told, "--json") == 0
    total = json.loads(capsys.readouterr().out)["indices"]
    assert (total["saifi"], total["saidi_min"], total["caidi_min"]) == (0.5, 30.0, 60.0)
    assert total["maifi"] == 0.05
    rows = pl.read_parquet(night / "out" / "indices.parquet")
    assert rows.filter(pl.col("feeder_id") == "F0", pl.col("day") == T0.date())["saifi"].to_list() == [0.5]


def test_indices_from_steps_alone_say_that_momentaries_are_missing(night: Path, capsys: pytest.CaptureFixture[str]):
    assert outages(night) == 0
    capsys.readouterr()
    assert indices(night, "--from", "2026-01-10", "--to", "2026-01-12", "--json") == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["indices"]["saidi_min"] == 30.0
    assert "maifi" not in summary["indices"]
    assert summary["disabled"] == ["maifi: no interruptions were given"]


def test_a_major_event_day_is_taken_out_by_its_record(night: Path, capsys: pytest.CaptureFixture[str]):
    assert outages(night) == 0
    capsys.readouterr()
    first = T0.date() - timedelta(days=2000)
    calm = pl.DataFrame(
        {"day": [first + timedelta(days=n) for n in range(1900)], "saidi_min": [0.5 + n % 3 / 10 for n in range(1900)]}
    )
    calm.write_csv(night / "record.csv")
    asked = ["--from", "2026-01-10", "--to", "2026-01-12", "--record", str(night / "record.csv"), "--json"]
    assert indices(night, *asked) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["major_event_days"] == ["2026-01-10"]
    assert summary["without_major_event_days"]["saidi_min"] == 0.0
    assert not summary["short_record"]


@pytest.mark.parametrize(
    ("more", "named"),
    [
        (["--from", "2026-01-10", "--to", "2026-01-10"], "--to"),
        (["--from", "soon", "--to", "2026-01-10"], "--from"),
        (["--from", "2026-01-10", "--to", "2026-01-12", "--timezone", "Mars/Phobos"], "Mars/Phobos"),
        (["--from", "2026-01-10", "--to", "2026-01-12", "--record", "absent.csv"], "absent.csv"),
    ],
)
def test_unusable_arguments_are_one_clear_line(
    night: Path, more: list[str], named: str, capsys: pytest.CaptureFixture[str]
):
    assert outages(night) == 0
    capsys.readouterr()
    assert indices(night, *more) == 2
    said = capsys.readouterr().err
    assert named in said
    assert said.count("\n") == 1
