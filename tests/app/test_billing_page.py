"""The traces that docs/billing.md shows are what the commands beside them print."""

import os
import re
from pathlib import Path

import pytest

from app.cli import main

PAGE = (Path(__file__).parents[2] / "docs" / "billing.md").read_text(encoding="utf-8")
FULL = os.environ.get("AMI_FULL") == "1"
_COMMANDS = re.compile(r"`ami (demo [^`]*)`,\s+then `ami (bill trace [^`]*)`(.*?)```\n(.*?)```", re.DOTALL)
SHOWN = [(one[1].split(), one[2].split(), one[4]) for one in _COMMANDS.finditer(PAGE)]


def bare(text: str) -> str:
    """Without blanks and line ends: the page folds what is long."""
    return re.sub(r"\s", "", text)


def test_the_page_shows_a_line_and_a_month() -> None:
    assert [demo[1:] for demo, _, _ in SHOWN] == [["--meters", "60", "--days", "3"], ["--meters", "10", "--days", "31"]]


@pytest.mark.parametrize(
    "place",
    [0, pytest.param(1, marks=pytest.mark.skipif(not FULL, reason="a demo of a month: AMI_FULL=1"))],
)
def test_the_bill_is_traced_as_the_page_says(
    place: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("chdb", reason="the extra embedded is not installed")
    monkeypatch.chdir(tmp_path)
    demo, trace, shown = SHOWN[place]
    assert main(demo) == 0
    capsys.readouterr()
    assert main(trace) == 0
    printed, at = bare(capsys.readouterr().out), 0
    for part in shown.split("…"):
        found = printed.find(bare(part), at)
        assert found >= 0, part
        at = found + 1
