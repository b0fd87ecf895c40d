"""`ami migrate`: what it would do, what it does, and that it does it once."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from app.cli import main
from storage.migrations import packaged_migrations, render_statements


def test_a_dry_run_shows_what_is_pending_and_makes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["migrate", "--dry-run"]) == 0
    shown = capsys.readouterr().out
    statements = [sql for one in packaged_migrations() for sql in render_statements(one)]
    assert shown == ";\n\n".join(statements) + ";\n"
    assert main(["migrate", "--dry-run", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["statements"] == statements
    assert list(tmp_path.iterdir()) == []

    def run(*words: str) -> dict[str, list[str]]:
        """In a process of its own: one holds one embedded engine."""
        ami = Path(sys.executable).with_name("ami")
        done = subprocess.run([str(ami), "migrate", "--json", *words], cwd=tmp_path, capture_output=True, check=True)
        return json.loads(done.stdout)

    assert run()["applied"] == told["would_apply"]
    assert run("--dry-run") == {"would_apply": [], "statements": []}
