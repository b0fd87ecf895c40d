"""Settings of stores that cannot be used are named, and no secret is shown."""

import subprocess
import sys
from pathlib import Path

import pytest

from schemas.errors import ContractError
from storage.clickhouse import ServerAddress, connect
from storage.embedded import EmbeddedEngine


def test_a_password_file_that_is_no_text_is_named_and_not_shown(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_bytes(b"hunter2\xff\xfe")
    with pytest.raises(ContractError, match=r"clickhouse password file .*password: not UTF-8 text") as refused:
        connect(ServerAddress(host="127.0.0.1", port=1, password_file=str(secret)))
    assert refused.value.__cause__ is None


def test_a_folder_of_the_embedded_store_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/nope")):
        with pytest.raises(ContractError, match=f"embedded.path {path}: "):
            EmbeddedEngine(path)


HELD = """
import sys
from pathlib import Path
from storage.embedded import EmbeddedEngine
engine = EmbeddedEngine(Path(sys.argv[1]))
print("open", flush=True)
sys.stdin.read()
engine.close()
"""


def test_a_folder_of_the_embedded_store_that_another_process_has_is_named(tmp_path: Path) -> None:
    """As `ami migrate` twice at once: the second ended in a traceback that named no folder."""
    folder = tmp_path / "store"
    command = [sys.executable, "-c", HELD, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "open\n"
        second = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        holder.communicate("")
    assert f"TerminalError: embedded.path {folder}: the folder is in use by another process" in second.stderr
    assert subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode == 0
