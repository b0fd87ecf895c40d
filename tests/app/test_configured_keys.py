"""Workers read keys as they lie at rest: wrapped."""

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from app.config import Keys, parse_config
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


def test_an_empty_command_is_an_unusable_setting():
    with pytest.raises(ContractError, match=r"ami\.toml: keys\.kek_command: no command"):
        parse_config('[keys]\nfile = "book.csv"\nkek_command = []\n', "ami.toml")


def test_no_file_is_an_empty_ring():
    assert len(configured_keyring(Keys())) == 0


def test_public_keys_of_meters_that_sign_stand_beside_the_wrapped_book(book, tmp_path, monkeypatch):
    monkeypatch.setenv("AMI_KEK", KEK.hex())
    numbers = ec.derive_private_key(7, ec.SECP256R1()).public_key().public_numbers()
    public = numbers.x.to_bytes(32, "big") + numbers.y.to_bytes(32, "big")
    file = tmp_path / "public.csv"
    file.write_text(f"system_title,public_key\n{TITLE},{public.hex()}\n")
    ring = configured_keyring(Keys(file=str(book), kek_env="AMI_KEK", public_file=str(file)))
    assert ring.signers == {bytes.fromhex(TITLE): public} and ring.find(bytes.fromhex(TITLE)) is not None
    file.write_text(f"system_title,public_key\n{TITLE},00\n")
    with pytest.raises(ContractError, match=r"public\.csv.*line 2"):
        configured_keyring(Keys(file=str(book), kek_env="AMI_KEK", public_file=str(file)))
