"""What the repository promises about itself."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-dev.lock"])
def test_every_pin_has_a_hash_and_no_package_host_is_named(lock: str):
    text = (ROOT / lock).read_text()
    pins = re.findall(r"^([A-Za-z0-9._-]+)==", text, flags=re.MULTILINE)
    blocks = re.split(r"^(?=[A-Za-z0-9._-]+==)", text, flags=re.MULTILINE)[1:]
    assert len(pins) == len(blocks) > 20
    assert all("--hash=sha256:" in block for block in blocks)
    assert not re.search(r"https?://|--index|--extra-index|--find-links", text)


def test_oracles_stay_in_the_dev_group():
    runtime = (ROOT / "requirements.lock").read_text()
    assert not re.search(r"^(dlms-cosem|gurux-dlms|nemreader)==", runtime, flags=re.MULTILINE)


def test_ci_runs_the_same_command_as_people_do():
    assert "make test" in (ROOT / ".ci" / "run").read_text()
    assert subprocess.run(["bash", "-n", str(ROOT / ".ci" / "run")], check=False).returncode == 0


def test_readme_shows_the_two_commands():
    readme = (ROOT / "README.md").read_text()
    assert "make demo" in readme
    assert "make test" in readme
