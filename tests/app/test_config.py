import pytest

from app.config import Config, masked, parse_config
from schemas.errors import ContractError


def test_an_empty_text_is_the_defaults():
    assert parse_config("", "ami.toml") == Config()


def test_what_an_edit_may_change_alone_is_a_setting_of_vee():
    assert parse_config("[vee]\nfour_eyes_kwh = 12.5\n", "ami.toml").vee.four_eyes_kwh == 12.5
    for wrong in ("-1", "nan", "1e30"):
        with pytest.raises(ContractError, match="four_eyes_kwh"):
            parse_config(f"[vee]\nfour_eyes_kwh = {wrong}\n", "ami.toml")


def test_settings_are_read():
    config = parse_config('[clickhouse]\nhost = "db"\nsecure = true\n[ingest]\nbatch_messages = 5\n', "ami.toml")
    assert config.clickhouse is not None
    assert config.clickhouse.host == "db"
    assert config.ingest.batch_messages == 5


SASL = "sasl_mechanism = 'PLAIN'\nsasl_user = 'u'\nsasl_password_file = 'p'\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[kafka]\nbootstrap = 'x'\n", "bootstrap"),
        ("[ingest]\nbatch_messages = 'many'\n", r"\$.ingest.batch_messages"),
        ("kafka = \n", "ami.toml"),
        ("[kafka]\nsecurity = 'SSL'\n", "kafka.ca_file"),
        ("[kafka]\nsecurity = 'SASL_SSL'\nca_file = 'ca.pem'\n", "sasl_user"),
        ("[kafka]\nca_file = 'ca.pem'\n", "certificates and keys do nothing.*'PLAINTEXT'"),
        ("[kafka]\ncert_file = 'c'\nsecurity = 'SASL_PLAINTEXT'\n" + SASL, "certificates and keys do nothing"),
        ("[kafka]\nsasl_password_file = 'p'\n", "sasl settings do nothing"),
        ("[kafka]\nsecurity = 'SSL'\nca_file = 'ca.pem'\nsasl_user = 'u'\n", "sasl settings do nothing"),
        ("[kafka]\nbrokers = ['k.example:9092']\nsecurity = 'SASL_PLAINTEXT'\n" + SASL, "in clear to k.example:9092"),
        ("[clickhouse]\nca_file = 'ca.pem'\n", "clickhouse.secure = true"),
        ("[keys]\nkek_file = 'a'\nkek_env = 'B'\n", "one of kek_file"),
        ("[ingest]\nfuse_share = 0.0\n", "ingest.fuse_share"),
        ("[ingest]\nfuse_messages = 0\n", "ingest.fuse_messages"),
        ("[ingest]\nfuse_least = 0\n", "ingest.fuse_least"),
    ],
)
def test_an_unknown_or_wrong_setting_is_a_refusal_that_names_it(text, said):
    with pytest.raises(ContractError, match=said):
        parse_config(text, "ami.toml")


@pytest.mark.parametrize(
    "text",
    [
        "[kafka]\nsecurity = 'SASL_PLAINTEXT'\n" + SASL,
        "[kafka]\nbrokers = ['k:1']\nsecurity = 'SASL_PLAINTEXT'\n" + SASL.replace("PLAIN", "SCRAM-SHA-512"),
        "[kafka]\nbrokers = ['k:1']\nsecurity = 'SASL_SSL'\nca_file = 'ca.pem'\n" + SASL,
        "[clickhouse]\nca_file = 'ca.pem'\nsecure = true\n",
    ],
)
def test_settings_that_protect_what_is_secret_are_taken(text):
    assert parse_config(text, "ami.toml") != Config()


PARTY = "[[oms.counterparty]]\nname = 'one'\nformat = 'cim-json'\nurl = 'https://oms.example/'\n"
SOAP = PARTY.replace("cim-json", "multispeak41") + "company = 'u'\nuser = 'a'\npassword_file = 'p'\n"
OPEN = "[oms.listen]\nbind = '0.0.0.0'\ncertificate_file = 'c'\nkey_file = 'k'\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (PARTY + PARTY, "'one' stands there twice"),
        (PARTY.replace("https", "http"), "'one': oms.url: plain http is for this machine only"),
        (PARTY.replace("https", "ftp"), "not an http or https address"),
        (PARTY.replace("cim-json", "fax"), r"\$.oms.counterparty\[0\].format"),
        (PARTY.replace("'one'", "'../one'"), r"\$.oms.counterparty\[0\].name"),
        (PARTY + "urgency = 1\n", "urgency"),
        (PARTY + "code_table = 'none'\n", "code table 'none'"),
        (PARTY + "certificate_file = 'c'\n", "certificate_file and key_file belong together"),
        (PARTY.replace("cim-json", "multispeak3"), "company, user and password_file are needed"),
        (SOAP + "asks_user = 'o'\n", "asks_user and asks_password_file belong together"),
        (SOAP + "[oms.listen]\nbind = '0.0.0.0'\n", "beyond this machine a certificate_file is needed"),
        (SOAP + OPEN, "what it says suppresses outages"),
    ],
)
def test_an_outage_system_is_configured_strictly(text, said):
    with pytest.raises(ContractError, match=said):
        parse_config(text, "ami.toml")


def test_an_outage_system_that_may_ask_shows_who_it_is():
    config = parse_config(SOAP + "asks_user = 'o'\nasks_password_file = 'q'\n" + OPEN, "ami.toml")
    assert config.oms.listen is not None
    assert config.oms.counterparty[0].asks_user == "o"


def test_the_effective_settings_show_the_name_of_a_secret_file_only(tmp_path):
    secret = tmp_path / "password"
    secret.write_text("hunter2")
    shown = masked(parse_config(f"[clickhouse]\npassword_file = '{secret}'\n", "ami.toml"))
    assert str(secret) in shown
    assert "hunter2" not in shown
