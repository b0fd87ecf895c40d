"""ClickHouse over TLS by configuration; a certificate that is not trusted or of another host is refused in a line."""

import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from certificates import Authority
from found import absent
from services import ClickHouse, ServiceError, free_port

from app.config import parse_config
from app.stores import open_engine
from schemas.errors import AmiError, ContractError, TransientError

SETTINGS = """
  <tcp_port_secure>{port}</tcp_port_secure>
  <openSSL><server>
    <certificateFile>{certificate}</certificateFile>
    <privateKeyFile>{key}</privateKeyFile>
    <verificationMode>none</verificationMode>
    <loadDefaultCAFile>false</loadDefaultCAFile>
    <disableProtocols>sslv2,sslv3,tlsv1,tlsv1_1</disableProtocols>
  </server></openSSL>
"""


class Secured(NamedTuple):
    """A server with a listener for TLS."""

    port: int
    folder: Path

    def config(self, host: str, ca: str, password: str = "") -> str:
        secret = f'password_file = "{self.folder}/{password}"\n' if password else ""
        return (
            f'[clickhouse]\nhost = "{host}"\nport = {self.port}\ndatabase = "default"\nsecure = true\ntimeout_s = 10\n'
            f'ca_file = "{self.folder}/{ca}"\n{secret}'
        )


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    folder = tmp_path_factory.mktemp("secured")
    authority = Authority(folder, "ca")
    Authority(folder, "stranger")
    (folder / "wrong").write_text("battery staple\n")
    certificate, key = authority.issue("server", ("localhost",))
    port = free_port()
    server = ClickHouse(folder, free_port(), SETTINGS.format(port=port, certificate=certificate, key=key))
    try:
        server.run()
    except ServiceError as error:
        absent(str(error))
    listening(port)  # that for TLS is there a little after the plain one
    yield Secured(port, folder)
    server.stop(kill=True)


def listening(port: int) -> None:
    """Somebody takes connections there."""
    until = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("localhost", port), timeout=5).close()
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.1)
        else:
            return


def asked(text: str) -> tuple[int, int]:
    engine = open_engine(parse_config(text, "ami.toml"))
    try:
        return engine.version()
    finally:
        engine.close()


def test_a_server_whose_certificate_is_trusted_answers(secured: Secured) -> None:
    assert asked(secured.config("localhost", "ca.pem")) >= (18, 0)


@pytest.mark.parametrize(
    ("host", "ca", "password", "kind", "wanted"),
    [
        ("localhost", "stranger.pem", "", TransientError, "not of a trusted authority.*clickhouse.ca_file"),
        ("127.0.0.1", "ca.pem", "", TransientError, "not of a trusted host.*clickhouse.host"),
        ("localhost", "nothing.pem", "", ContractError, "clickhouse.ca_file .*nothing.pem: No such file"),
        ("localhost", "ca.pem", "wrong", AmiError, "code 193"),
        ("localhost", "ca.pem", "nothing", ContractError, "nothing: No such file"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(
    secured: Secured, host: str, ca: str, password: str, kind: type[AmiError], wanted: str
) -> None:
    with pytest.raises(kind, match=wanted) as told:
        asked(secured.config(host, ca, password))
    assert "\n" not in str(told.value)
    assert "battery staple" not in str(told.value)
