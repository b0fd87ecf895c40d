"""The walls of the house hold: import contracts pass as they are, and each of them sees a planted violation."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("app", "billing_export", "ingest", "outage", "schemas", "simulator", "storage", "validation")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for room in ROOMS:
        shutil.copytree(ROOT / room, tmp_path / room, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def _lint(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_imports_go_down_only_and_through_doors_only(copy: Path):
    done = _lint(copy)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("file", "line", "contract"),
    [
        ("ingest/planted.py", "import validation", "Imports go down only"),
        ("outage/planted.py", "import storage.store", "Imports go down only"),
        ("schemas/planted.py", "import ingest", "Imports go down only"),
        ("simulator/planted.py", "import billing_export", "The simulator needs only"),
        ("storage/planted.py", "import clickhouse_driver", "Only doors touch"),
        ("validation/planted.py", "import socket", "Only doors touch"),
        ("ingest/planted.py", "import dlms_cosem", "Development oracles"),
    ],
)
def test_a_planted_violation_is_caught(copy: Path, file: str, line: str, contract: str):
    (copy / file).write_text(line + "\n")
    done = _lint(copy)
    assert done.returncode != 0
    broken = [row for row in done.stdout.splitlines() if "BROKEN" in row]
    assert any(contract in row for row in broken), done.stdout
