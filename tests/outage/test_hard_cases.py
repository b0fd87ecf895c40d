"""The list of hard cases names tests that exist."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
LIST = ROOT / "docs" / "outage-cases.md"


def named() -> list[tuple[str, str]]:
    return re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", LIST.read_text())


def test_every_test_that_the_list_names_exists() -> None:
    lacking = [
        (file, name)
        for file, name in named()
        if not (ROOT / file).exists() or f"\ndef {name}(" not in (ROOT / file).read_text()
    ]
    assert lacking == []


def test_every_case_has_a_test_and_none_stands_there_twice() -> None:
    rows = [line for line in LIST.read_text().splitlines() if line.startswith("| ")][1:]
    assert len(rows) == len(named()) > 40
    assert len(set(named())) == len(rows)
