import re

import msgspec
import pytest

from app.config import ANSWER_S, Config, masked, parse_config
from ingest.kafka import source
from ingest.kafka.settings import read_secret
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
        ("[vee]\nbuckets = 256\n", r"buckets.*\$.vee"),
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
        ("[ingest]\nfuse_share = nan\n", "ingest.fuse_share"),
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


@pytest.mark.parametrize(
    ("section", "line"),
    [
        ("telemetry", "port = 70000"),
        ("gateway", "port = 70000"),
        ("gateway", "port = -1"),
        ("clickhouse", "port = 0"),
        ("clickhouse", "timeout_s = 0"),
        ("ingest", "batch_messages = 0"),
        ("ingest", "batch_octets = 0"),
        ("ingest", "batch_seconds = -1"),
        ("ingest", "shutdown_seconds = -5"),
        ("ingest", "poll_heartbeat_limit_s = 0"),
        ("ingest", "poll_heartbeat_limit_s = inf"),
        ("kafka", "brokers = []"),
        ("kafka", "brokers = ['nohost']"),
        ("kafka", "brokers = ['a:b']"),
        ("kafka", "brokers = ['a:70000']"),
        ("kafka", "brokers = ['http://a:1']"),
        ("kafka", "request_timeout_ms = 0"),
        ("group", "session_timeout_ms = 1"),
        ("group", "max_poll_interval_ms = 1000"),
        ("vee", "history_days = -3"),
        ("vee", "debounce_seconds = nan"),
        ("vee", "estimate_after_hours = 0"),
        ("vee", "final_after_days = 0"),
        ("vee", "final_after_days = 4000"),
        ("meters", "refresh_seconds = -1"),
        ("outage", "share_tenths = 11"),
        ("outage", "snapshot_batches = 0"),
        ("gateway.limits", "held_octets = 0"),
        ("gateway.limits", "begun_octets = 1000"),
        ("gateway.limits", "linger_s = 5"),
        ("gateway.limits", "message_octets = 9000000"),
        ("gateway.limits", "packed_octets = 2000000"),
    ],
)
def test_a_number_that_no_worker_can_work_with_is_refused_by_its_name(section, line):
    with pytest.raises(ContractError, match=re.escape(section) + ".*" + line.partition(" ")[0]):
        parse_config(f"[{section}]\n{line}\n", "ami.toml")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[ingest]\npoll_heartbeat_limit_s = 30\n", "ingest.poll_heartbeat_limit_s: 30 s.*may take 30 s.*set more"),
        (
            "[ingest]\npoll_heartbeat_limit_s = 9\n[kafka]\nrequest_timeout_ms = 1000\n",
            "ingest.poll_heartbeat_limit_s: 9 s.*may take 10 s",
        ),
        ("[group]\nmax_poll_interval_ms = 59000\n", "limit_s: 60 s.*put out of its group after 59 s.*set less"),
        ("[ingest]\nbatch_seconds = 61\n", "ingest.batch_seconds: 61 s, longer than.*limit_s .60 s.*set less"),
        ("[clickhouse]\ntimeout_s = 301\n", "clickhouse.timeout_s: 301 s.*max_poll_interval_ms .300 s.*set less"),
    ],
)
def test_times_that_contradict_each_other_are_refused_with_both_settings_and_what_to_do(text, said):
    with pytest.raises(ContractError, match="^ami.toml: .*" + said):
        parse_config(text, "ami.toml")


@pytest.mark.parametrize(
    "text",
    [
        "[ingest]\npoll_heartbeat_limit_s = 30.1\n",
        "[ingest]\npoll_heartbeat_limit_s = 11\n[kafka]\nrequest_timeout_ms = 1000\n",
        "[group]\nmax_poll_interval_ms = 60000\n[ingest]\nbatch_seconds = 60\n",
        "[clickhouse]\ntimeout_s = 300\n",
        "[clickhouse]\ntimeout_s = 900\n[group]\nmax_poll_interval_ms = 900000\n",
        "[vee]\ndebounce_seconds = 600\n",
    ],
)
def test_times_at_their_limits_are_taken(text):
    assert parse_config(text, "ami.toml") != Config()


def test_the_bound_of_an_answer_is_that_of_the_source():
    assert source._ANSWER_MS == 1000 * ANSWER_S


def test_every_number_has_bounds():
    """Planted: a setting without them is found."""

    class Planted(msgspec.Struct):
        bare_s: float = 1.0

    assert unbounded(Planted) == ["Planted.bare_s"]
    assert unbounded(Config) == []


def unbounded(root: type) -> list[str]:
    """Numbers without a least and a most in that structure and those within."""
    found: list[str] = []
    waiting, seen = [msgspec.inspect.type_info(root)], set()
    while waiting:
        node = waiting.pop()
        if isinstance(node, msgspec.inspect.UnionType):
            waiting += node.types
        elif isinstance(node, msgspec.inspect.ListType):
            waiting.append(node.item_type)
        elif isinstance(node, msgspec.inspect.StructType) and node.cls not in seen:
            seen.add(node.cls)
            for field in node.fields:
                waiting.append(field.type)
                if isinstance(field.type, msgspec.inspect.IntType | msgspec.inspect.FloatType) and (
                    field.type.le is None or (field.type.ge is None and field.type.gt is None)
                ):
                    found.append(f"{node.cls.__name__}.{field.name}")
    return sorted(found)


def test_brokers_are_names_and_addresses_of_either_kind():
    for broker in ("kafka:9092", "k-1.example:1", "10.0.0.1:65535", "[::1]:9092"):
        assert parse_config(f"[kafka]\nbrokers = ['{broker}']\n", "ami.toml").kafka.brokers == (broker,)


def test_a_secret_that_is_no_text_is_named_and_not_shown(tmp_path):
    secret = tmp_path / "password"
    secret.write_bytes(b"hunter2\xff\xfe")
    with pytest.raises(ContractError, match="password: not UTF-8 text") as refused:
        read_secret(str(secret))
    assert refused.value.__cause__ is None
