import pytest

from app.config import Config, masked, parse_config
from schemas.errors import ContractError


def test_an_empty_text_is_the_defaults():
    assert parse_config("", "ami.toml") == Config()


def test_settings_are_read():
    config = parse_config('[clickhouse]\nhost = "db"\nsecure = true\n[ingest]\nbatch_messages = 5\n', "ami.toml")
    assert config.clickhouse is not None
    assert config.clickhouse.host == "db"
    assert config.ingest.batch_messages == 5


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[kafka]\nbootstrap = 'x'\n", "bootstrap"),
        ("[ingest]\nbatch_messages = 'many'\n", r"\$.ingest.batch_messages"),
        ("kafka = \n", "ami.toml"),
        ("[kafka]\nsecurity = 'SSL'\n", "kafka.ca_file"),
        ("[kafka]\nsecurity = 'SASL_SSL'\nca_file = 'ca.pem'\n", "sasl_user"),
        ("[keys]\nkek_file = 'a'\nkek_env = 'B'\n", "one of kek_file"),
        ("[ingest]\nfuse_share = 0.0\n", "ingest.fuse_share"),
    ],
)
def test_an_unknown_or_wrong_setting_is_a_refusal_that_names_it(text, said):
    with pytest.raises(ContractError, match=said):
        parse_config(text, "ami.toml")


def test_the_effective_settings_show_the_name_of_a_secret_file_only(tmp_path):
    secret = tmp_path / "password"
    secret.write_text("hunter2")
    shown = masked(parse_config(f"[clickhouse]\npassword_file = '{secret}'\n", "ami.toml"))
    assert str(secret) in shown
    assert "hunter2" not in shown
