"""`ami finals`: what was known at an instant or as of a version, from the results of runs and from a store."""

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hourly_day import DAY, HOUR, MIDNIGHT, bill_of, sent

from app.cli import main
from schemas.frames import EDITS, FINALS
from storage.embedded import open_embedded

RUNS = [MIDNIGHT + k * DAY for k in (2, 10, 20, 40)]
"""When the course below was judged: without hour 5; it came; hour 7 set by a person; billed, then hour 9 moves."""


def an_edit(number: int, hour: int, value: int, made_at: datetime) -> dict[str, Any]:
    return {
        "edit_id": f"E{number}", "meter_id": "MTR1", "channel": "energy_delivered", "from": MIDNIGHT + hour * HOUR,
        "to": MIDNIGHT + (hour + 1) * HOUR, "action": "set", "value_milli": value, "reason": "read on site",
        "author": "ann", "approved_by": "bea", "made_at": made_at,
    }  # fmt: skip


@pytest.fixture
def course(tmp_path: Path) -> list[Path]:
    """Results of four runs over one day of 100 an hour, each judged with the finals of the one before."""
    whole = dict.fromkeys(range(24), 100)
    edits = [an_edit(1, 7, 777, RUNS[2]), an_edit(2, 9, 999, RUNS[3])]
    for name, values in {
        "short": {hour: value for hour, value in whole.items() if hour != 5},
        "full": whole | {5: 500},
    }.items():
        sent(values, 24, "MTR1").write_parquet(tmp_path / f"{name}.parquet")
    for count in (1, 2):
        pl.DataFrame(edits[:count], schema=EDITS.schema).write_parquet(tmp_path / f"edits{count}.parquet")
    bill_of("MTR1").write_parquet(tmp_path / "ledger.parquet")
    files = [tmp_path / f"run{k}" / "finals.parquet" for k in range(4)]
    more = [
        [],
        ["--finals", str(files[0])],
        ["--finals", str(files[1]), "--edits", str(tmp_path / "edits1.parquet")],
        ["--finals", str(files[2]), "--edits", str(tmp_path / "edits2.parquet"),
         "--ledger", str(tmp_path / "ledger.parquet")],
    ]  # fmt: skip
    for k, arguments in enumerate(more):
        rows = tmp_path / ("short.parquet" if k == 0 else "full.parquet")
        judged_at = ["--judged-at", RUNS[k].isoformat(), "--out", str(files[k].parent)]
        assert main(["vee", str(rows), *judged_at, *arguments]) == 0
    return files


@pytest.fixture(params=["files", "store", "config"])
def source(request: pytest.FixtureRequest, course: list[Path], tmp_path: Path) -> list[str]:
    """The same history as files, or in an embedded store that is named as a folder or by a configuration."""
    if request.param == "files":
        return [str(file) for file in course]
    pytest.importorskip("chdb", reason="the extra embedded is not installed")
    store = open_embedded(tmp_path / "store")
    for number, file in enumerate(course):
        store.append("finals", pl.read_parquet(file).cast(dict(FINALS.schema)), f"run {number}")
    store.close()
    settings = tmp_path / "ami.toml"
    settings.write_text(f'[embedded]\npath = "{tmp_path / "store"}"\n')
    named = ["--store", str(tmp_path / "store")] if request.param == "store" else ["--config", str(settings)]
    return [*named, "--from", MIDNIGHT.isoformat(), "--to", (MIDNIGHT + DAY).isoformat()]


@pytest.fixture
def ask(tmp_path: Path) -> Callable[..., pl.DataFrame]:
    def state(*arguments: str) -> pl.DataFrame:
        assert main(["finals", *arguments, "--out", str(tmp_path / "past"), "--json"]) == 0
        return pl.read_parquet(tmp_path / "past" / "finals.parquet").sort("interval_start")

    return state


def hours(state: pl.DataFrame) -> list[tuple[int, str, int]]:
    assert state["interval_start"].to_list() == [MIDNIGHT + hour * HOUR for hour in range(24)]
    rows = state.with_columns(pl.col("quality").cast(pl.String)).select("value_milli", "quality", "version").rows()
    return [rows[hour] for hour in (5, 7, 9)]


ESTIMATED, MEASURED = (100, "estimated", 1), (500, "valid", 2)
HOLED, PLAIN = (100, "valid", 1), (100, "valid", 2)
"""Beside a hole and without one: what could be judged is another, so the version is."""
SET, MOVED = (777, "edited", 3), (999, "edited", 3)


def test_a_state_is_read_as_of_any_time(source: list[str], ask: Callable[..., pl.DataFrame]) -> None:
    """Before and after a late read, an edit, and what changed under the bill; the instant of a run is after it."""
    just_before = timedelta(microseconds=1)
    for at, expected in (
        (RUNS[0], [ESTIMATED, HOLED, HOLED]),
        (RUNS[1] - just_before, [ESTIMATED, HOLED, HOLED]),
        (RUNS[1], [MEASURED, PLAIN, PLAIN]),
        (RUNS[2] - just_before, [MEASURED, PLAIN, PLAIN]),
        (RUNS[2], [MEASURED, SET, PLAIN]),
        (RUNS[3] - just_before, [MEASURED, SET, PLAIN]),
        (RUNS[3], [MEASURED, SET, MOVED]),
    ):
        assert hours(ask(*source, "--as-of", at.isoformat())) == expected, at
    assert hours(ask(*source)) == [MEASURED, SET, MOVED]


def test_a_state_is_read_as_of_a_version_and_of_some_meters(
    source: list[str], ask: Callable[..., pl.DataFrame]
) -> None:
    assert hours(ask(*source, "--version", "1")) == [ESTIMATED, HOLED, HOLED]
    assert hours(ask(*source, "--version", "2", "--meter", "MTR1")) == [MEASURED, PLAIN, PLAIN]
    assert hours(ask(*source, "--version", "3")) == [MEASURED, SET, MOVED]
    assert hours(ask(*source, "--version", "1", "--as-of", RUNS[3].isoformat())) == [ESTIMATED, HOLED, HOLED]


def test_the_summary_says_what_was_read(
    source: list[str], ask: Callable[..., pl.DataFrame], capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    ask(*source, "--as-of", RUNS[1].isoformat())
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (told["finals"], told["quality"], told["versions"]) == (24, {"valid": 24}, {"2": 24})
    assert told["judged_at"] == {"first": str(RUNS[1]), "last": str(RUNS[1])}


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--as-of", "yesterday"], "--as-of: 'yesterday' is not an ISO 8601 time"),
        (["--as-of", "2026-03-03"], "judged by 2026-03-03T00:00:00+00:00; ask for other meters, bounds or a later"),
        (["--version", "0"], "'--version': Input should be greater than or equal to 1"),
        (["--version", "4"], "has more than version 3"),
        (["--meter", "MTR9"], "nothing of MTR9"),
        (["--from", "2026-03-05", "--to", "2026-03-04"], "--from 2026-03-05 is not before --to 2026-03-04"),
    ],
)
def test_a_state_that_never_was_is_refused(
    source: list[str], tmp_path: Path, arguments: list[str], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["finals", *source, *arguments, "--out", str(tmp_path / "past")]) == 2
    assert why in capsys.readouterr().err
    assert not (tmp_path / "past" / "finals.parquet").exists()


def test_a_history_with_a_hole_or_of_two_minds_is_refused(
    course: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--out", str(tmp_path / "past")]
    assert main(["finals", str(course[1]), str(course[2]), "--as-of", RUNS[0].isoformat(), *out]) == 2
    told = capsys.readouterr().err
    assert f"{course[1]}: MTR1 energy_delivered 2026-03-02T00:00" in told
    assert "a version before 2 is in none of the files; give the finals of every run" in told
    assert main(["finals", str(course[1]), "--as-of", RUNS[0].isoformat(), "--meter", "MTR9", *out]) == 2
    assert "nothing of MTR9" in capsys.readouterr().err, "nobody asked for what is not whole"
    alone = ["--judged-at", RUNS[3].isoformat(), "--out", str(tmp_path / "alone")]
    assert main(["vee", str(tmp_path / "full.parquet"), *alone]) == 0
    capsys.readouterr()
    assert main(["finals", str(course[0]), str(tmp_path / "alone" / "finals.parquet"), *out]) == 2
    assert "version 1 is two different judgements" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ([], "one of the three"),
        (["--store", "somewhere", "--config", "ami.toml"], "one of the three"),
        (["--config", "ami.toml"], "say which with --from and --to"),
    ],
)
def test_where_from_is_said_once(
    tmp_path: Path, arguments: list[str], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["finals", *arguments, "--out", str(tmp_path)]) == 2
    assert why in capsys.readouterr().err
