"""Settings of stores that cannot be used are named, and no secret is shown."""

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
