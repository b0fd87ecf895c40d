"""Workers read keys as they lie at rest: wrapped."""

import pytest

from app.config import Keys
from app.inputs import configured_keyring
from ingest.key_files import parse_clear, render_wrapped
from schemas.errors import ContractError

EK, AK = "000102030405060708090A0B0C0D0E0F", "D0D1D2D3D4D5D6D7D8D9DADBDCDDDEDF"
TITLE = "4D4D4D0000BC614E"
CLEAR = f"system_title,ek,ak\n{TITLE},{EK},{AK}\n"
KEK = bytes(range(100, 116))


@pytest.fixture
def book(tmp_path):
    path = tmp_path / "keys.csv"
    path.write_text(render_wrapped(parse_clear(CLEAR), KEK))
    return path


def test_wrapped_keys_are_opened_by_the_key_of_a_file_or_the_environment(book, tmp_path, monkeypatch):
    (tmp_path / "kek").write_text(KEK.hex())
    monkeypatch.setenv("AMI_KEK", KEK.hex())
    assert EK.lower() not in book.read_text().lower()
    for keys in (
        Keys(file=str(book), kek_file=str(tmp_path / "kek")),
        Keys(file=str(book), kek_env="AMI_KEK"),
        Keys(file=str(book), kek_command=["printenv", "AMI_KEK"]),
    ):
        found = configured_keyring(keys).find(bytes.fromhex(TITLE))
        assert found is not None
        assert found.ek == bytes.fromhex(EK)


def test_another_key_opens_nothing_and_shows_nothing(book, monkeypatch):
    monkeypatch.setenv("AMI_KEK", bytes(16).hex())
    with pytest.raises(ContractError) as refused:
        configured_keyring(Keys(file=str(book), kek_env="AMI_KEK"))
    assert EK.lower() not in str(refused.value).lower()


def test_no_file_is_an_empty_ring():
    assert len(configured_keyring(Keys())) == 0
