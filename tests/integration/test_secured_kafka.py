"""Kafka over TLS, with passwords and with client certificates, by configuration; what is wrong is refused in a line."""

import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import polars as pl
import pytest
from certificates import Authority
from fleet import Fleet, fresh_topics, in_one_pass, on_topics, patiently, push, simulate
from found import absent
from polars.testing import assert_frame_equal
from services import Kafka, ServiceError, free_port

from app.config import parse_config
from app.messages import from_messages
from ingest.kafka.publisher import KafkaPublisher
from ingest.kafka.ranges import read_range
from ingest.kafka.settings import KafkaSettings
from ingest.kafka.source import KafkaSource, Span, Subscription
from ingest.kafka.topics import TopicContract, apply_topics
from ingest.lanes import LAST_GASP_TOPIC, lane_of
from schemas.errors import ContractError, TransientError
from schemas.frames import EVENTS

AMI = str(Path(sys.executable).with_name("ami"))
LISTENERS = """
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:{controller},\
MUTUAL://127.0.0.1:{mutual},SASL://127.0.0.1:{sasl},OTHERNAME://127.0.0.1:{other}
advertised.listeners=PLAINTEXT://127.0.0.1:$port,MUTUAL://127.0.0.1:{mutual},SASL://127.0.0.1:{sasl},\
OTHERNAME://127.0.0.1:{other}
controller.quorum.voters=1@127.0.0.1:{controller}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,MUTUAL:SSL,SASL:SASL_SSL,OTHERNAME:SSL
inter.broker.listener.name=PLAINTEXT
ssl.keystore.type=PEM
ssl.keystore.location={good}
ssl.truststore.type=PEM
ssl.truststore.location={ca}
ssl.enabled.protocols=TLSv1.2,TLSv1.3
listener.name.mutual.ssl.client.auth=required
listener.name.othername.ssl.keystore.type=PEM
listener.name.othername.ssl.keystore.location={bad}
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512
listener.name.sasl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \
user_ami="{plain}";
listener.name.sasl.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.sasl.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
"""


class Secured(NamedTuple):
    """A broker with a listener for each road, and the files of its clients."""

    plain: KafkaSettings
    mutual: int
    sasl: int
    other_name: int
    folder: Path

    def settings(self, port: int, text: str, limit_ms: int = 20_000) -> str:
        """A [kafka] section; relative files are those of the folder."""
        ca = "" if "ca_file" in text or "PLAINTEXT" in text else f'ca_file = "{self.folder}/ca.pem"\n'
        return f'[kafka]\nbrokers = ["127.0.0.1:{port}"]\nrequest_timeout_ms = {limit_ms}\n{ca}{text}'.replace(
            "@", f"{self.folder}/"
        )


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    folder = tmp_path_factory.mktemp("secured")
    authority = Authority(folder, "ca")
    Authority(folder, "stranger")
    authority.issue("client", password="of the key")
    ports = {name: free_port() for name in ("controller", "mutual", "sasl", "other")}
    (folder / "password").write_text("correct horse\n")
    (folder / "wrong").write_text("battery staple\n")
    (folder / "key_password").write_text("of the key\n")
    stores = {"good": authority.keystore("broker", ("127.0.0.1", "localhost")),
              "bad": authority.keystore("elsewhere", ("broker.example",))}  # fmt: skip
    users = [word for kind in ("256", "512")
             for word in ("--add-scram", f"SCRAM-SHA-{kind}=[name=ami,password=correct horse]")]  # fmt: skip
    broker = Kafka(
        folder, free_port(), LISTENERS.format(**ports, **stores, ca=authority.file, plain="correct horse"), users
    )
    try:
        broker.run()
    except ServiceError as error:
        absent(str(error))
    yield Secured(KafkaSettings(brokers=(broker.address,)), ports["mutual"], ports["sasl"], ports["other"], folder)
    broker.stop(kill=True)


SCRAM = 'security = "SASL_SSL"\nsasl_mechanism = "SCRAM-SHA-512"\nsasl_user = "ami"\nsasl_password_file = "@password"\n'
PLAIN = SCRAM.replace("SCRAM-SHA-512", "PLAIN")
TLS = 'security = "SSL"\n'
MUTUAL = TLS + 'cert_file = "@client.crt.pem"\nkey_file = "@client.key.pem"\nkey_password_file = "@key_password"\n'


def kafka_of(config: str) -> KafkaSettings:
    return parse_config(config, "ami.toml").kafka


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    fleet = simulate(tmp_path_factory.mktemp("fleet"), 30, 1)
    return fleet._replace(
        payloads=[payload for payload in fleet.payloads if lane_of(payload, over_udp=False) == LAST_GASP_TOPIC]
    )


def test_a_worker_reads_and_publishes_over_tls_with_a_password(secured: Secured, small: Fleet, tmp_path: Path) -> None:
    config = secured.settings(secured.sasl, SCRAM)
    settings = kafka_of(config)
    fresh_topics(settings)
    push(settings, small.payloads)
    file = tmp_path / "ami.toml"
    file.write_text(
        f'{config}\n[group]\nfirst_start = "earliest"\n[keys]\nfile = "{small.keys}"\n'
        f'[meters]\nfile = "{small.meters}"\n[telemetry]\nport = 0\n'
    )
    wanted = in_one_pass(on_topics(settings, LAST_GASP_TOPIC), small.registry()).events
    assert wanted.height > 0
    with (tmp_path / "log").open("wb") as log:
        worker = subprocess.Popen([AMI, "worker", "events", "--config", str(file)], stderr=log)
    try:
        patiently(lambda: worker.poll() is None and events_on(settings).unique().height >= wanted.unique().height)
    finally:
        worker.terminate()
    assert worker.wait(60) == 0
    assert_frame_equal(events_on(settings).unique(), wanted.unique(), check_row_order=False)
    assert b"correct horse" not in (tmp_path / "log").read_bytes()


def events_on(settings: KafkaSettings) -> pl.DataFrame:
    return from_messages(on_topics(settings, "ami.events.v1")["payload"].to_list(), EVENTS)


@pytest.mark.parametrize(
    ("port", "text"),
    [("sasl", PLAIN), ("sasl", SCRAM.replace("512", "256")), ("mutual", MUTUAL)],
    ids=["PLAIN", "SCRAM-SHA-256", "client certificate"],
)
def test_every_road_in_carries_messages_both_ways(secured: Secured, port: str, text: str) -> None:
    settings = kafka_of(secured.settings(getattr(secured, port), text))
    name = f"test.{uuid.uuid4().hex}"
    contract = TopicContract(
        name=name, key="", value="", partitions=1, cleanup="delete", retention_ms=-1, max_message_bytes=1_048_576
    )
    apply_topics(settings, (contract,), replication=1)
    publisher = KafkaPublisher(settings)
    publisher.publish(name, pl.DataFrame({"value": [b"one", b"two"]}))
    publisher.flush()
    publisher.close()
    assert [part["payload"].to_list() for part in read_range(settings, Span(name, 0, 0, 9, 0))] == [[b"one", b"two"]]


REFUSED = {
    "another authority": (
        "mutual",
        MUTUAL + 'ca_file = "@stranger.pem"\n',
        "not of a trusted authority.*kafka.ca_file",
    ),
    "another host": ("other_name", TLS, "not of a trusted host.*not valid for '127.0.0.1'.*kafka.brokers"),
    "no client certificate": ("mutual", TLS, "refuses our certificate.*kafka.cert_file"),
    "wrong password": ("sasl", SCRAM.replace("@password", "@wrong"), "refuses to authenticate us.*sasl_password_file"),
    "wrong password, PLAIN": ("sasl", PLAIN.replace("@password", "@wrong"), "refuses to authenticate us"),
    "no TLS": ("sasl", 'security = "PLAINTEXT"\n', "is kafka.security = 'PLAINTEXT' right"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_broker_that_is_not_ours_or_does_not_know_us_is_told_in_one_line(secured: Secured, case: str) -> None:
    port, text, wanted = REFUSED[case]
    settings = kafka_of(secured.settings(getattr(secured, port), text, limit_ms=4_000))
    for attempt in (
        lambda: apply_topics(settings, (), dry_run=True),
        lambda: KafkaSource(settings, Subscription(("t",), "g")),
    ):
        with pytest.raises(TransientError, match=wanted) as told:
            attempt()
        assert "\n" not in str(told.value)
        assert "battery staple" not in str(told.value)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (SCRAM.replace("@password", "@nothing"), "nothing: No such file"),
        (TLS + 'ca_file = "@nothing"\n', "kafka.ca_file .*nothing: No such file"),
        (TLS + 'ca_file = "@password"\n', "kafka.ca_file .*password: "),
        (MUTUAL.replace("@key_password", "@wrong"), "kafka.key_file .*wrong password"),
        (MUTUAL.replace('key_password_file = "@key_password"\n', ""), "kafka.key_file .*wrong password"),
        (MUTUAL.replace("@client.crt.pem", "@ca.pem"), "kafka.cert_file .*not a pair"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_before_anything_is_sent(secured: Secured, text: str, wanted: str) -> None:
    with pytest.raises(ContractError, match=wanted):
        kafka_of(secured.settings(secured.mutual, text)).client_options()


def test_the_command_says_it_in_one_line(secured: Secured, tmp_path: Path) -> None:
    file = tmp_path / "ami.toml"
    file.write_text(secured.settings(secured.sasl, SCRAM.replace("@password", "@wrong"), limit_ms=4_000))
    done = subprocess.run(
        [AMI, "worker", "events", "--config", str(file)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 1
    assert done.stderr.count("ami: ") == 1
    assert "Traceback" not in done.stderr
    assert "refuses to authenticate us" in done.stderr.splitlines()[-1]
