"""Door to the outage system: letters out over HTTP, pings and feedback in."""

import http.client
import logging
import ssl
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import SplitResult, urlsplit

import msgspec

from outage.breaker import RetryParams
from outage.letter import Answer, Letter, Verdict, answer_of, headers_of
from outage.messages.xml import LARGEST_BYTES
from schemas.errors import ContractError, ProtocolError, TransientError

LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")
LARGEST_ANSWER: Final = 1_000_000
SILENT_S: Final = 30
"""A silent client holds its thread no longer."""
LOG = logging.getLogger("ami.oms")


class OmsParams(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the outage system is, and whom we trust."""

    url: str
    timeout_s: float = 10.0
    ca_file: Path | None = None
    """Certificates to trust; the system's where None."""
    certificate_file: Path | None = None
    key_file: Path | None = None
    """Our own certificate and key, for mutual TLS."""
    retry: RetryParams = RetryParams()


class OmsClient:
    """Sends letters to one outage system over TLS; plain HTTP only to this very machine.

    `dress` puts on at the last moment what must not lie on the disk: the envelope with the password.

    Raises:
        ContractError: The address is no HTTP address, or would send outages in clear over a network.
    """

    def __init__(self, params: OmsParams, dress: Callable[[Letter], bytes] = lambda letter: letter.body) -> None:
        parts = check_address(params.url)
        self._params, self._dress = params, dress
        self._host, self._port = parts.hostname or "", parts.port
        self._path = parts.path or "/"
        if parts.query:
            self._path += "?" + parts.query
        self._tls = _client_tls(params) if parts.scheme == "https" else None
        self._kept: http.client.HTTPConnection | None = None

    def send(self, letter: Letter) -> Answer:
        """The counterparty's answer; whatever hinders it is `later`, never an exception. One letter at a time.

        The connection is kept for the next letter: in a storm a handshake each would be most of the time.
        """
        kept, self._kept = self._kept, None
        if kept is not None:
            try:
                return self._post(kept, letter)
            except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
                # It was closed meanwhile, as idle connections are. The key tells a copy, so the letter may go again.
                kept.close()
            except (OSError, http.client.HTTPException) as error:
                kept.close()
                return Answer(Verdict.LATER, type(error).__name__)
        connection = self._connection()
        try:
            return self._post(connection, letter)
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            return Answer(Verdict.LATER, type(error).__name__)

    def close(self) -> None:
        """The connection is given back."""
        if self._kept is not None:
            self._kept.close()

    def _post(self, connection: http.client.HTTPConnection, letter: Letter) -> Answer:
        connection.request("POST", self._path, self._dress(letter), headers_of(letter))
        response = connection.getresponse()
        body = response.read(LARGEST_ANSWER)
        if response.will_close or not response.isclosed():
            connection.close()
        else:
            self._kept = connection
        return answer_of(response.status, response.getheader("Retry-After"), body)

    def _connection(self) -> http.client.HTTPConnection:
        timeout = self._params.timeout_s
        if self._tls is None:
            return http.client.HTTPConnection(self._host, self._port, timeout=timeout)
        return http.client.HTTPSConnection(self._host, self._port, timeout=timeout, context=self._tls)


def check_address(url: str) -> SplitResult:
    """The parts of an address to which outages may be sent.

    Raises:
        ContractError: It is no HTTP address, or plain HTTP over a network.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ContractError(f"oms.url {url!r}: not an http or https address")
    if parts.scheme == "http" and parts.hostname not in LOOPBACK:
        raise ContractError("oms.url: plain http is for this machine only; use https")
    return parts


class Reply(NamedTuple):
    """What goes back for a request."""

    status: int
    body: bytes = b""


class OmsListener:
    """Serves what the outage system asks: path and body of each request go to `answer`, whose reply goes back.

    TLS with the given context; without one it listens on this very machine only. A request that `answer` refuses
    with a `ProtocolError` gets status 400, one that must wait (`TransientError`) 503.

    Raises:
        ContractError: Plain HTTP was asked for on an address that others can reach.
    """

    def __init__(
        self, host: str, port: int, answer: Callable[[str, bytes], Reply], tls: ssl.SSLContext | None = None
    ) -> None:
        if tls is None and host not in LOOPBACK:
            raise ContractError("oms listener: plain http is for this machine only; give it a certificate")
        self._server = _Server((host, port), _handler(answer), tls)
        self._thread = threading.Thread(target=self._server.serve_forever, name="oms-listener", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    def close(self) -> None:
        """Nothing is served any more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    """A thread a connection; the handshake is made there too, so that a silent client holds nobody else."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler], tls: ssl.SSLContext | None):
        super().__init__(address, handler)
        self._tls = tls

    def finish_request(self, request: Any, client_address: Any) -> None:
        request.settimeout(SILENT_S)
        if self._tls is None:
            super().finish_request(request, client_address)
            return
        try:
            wrapped = self._tls.wrap_socket(request, server_side=True)
        except (OSError, ValueError):
            return
        with wrapped:
            super().finish_request(wrapped, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002  see BaseServer
        """Silent: a traceback may show a request."""
        LOG.warning("a request to the listener broke off", extra={"fields": {"why": str(sys.exc_info()[0])}})


def _handler(answer: Callable[[str, bytes], Reply]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = SILENT_S
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            length = self.headers.get("Content-Length", "")
            if not length.isdigit() or int(length) > LARGEST_BYTES:
                self.close_connection = True
                self._reply(413 if length.isdigit() else 411, b"")
                return
            try:
                self._reply(*answer(self.path, self.rfile.read(int(length))))
            except ProtocolError:
                self._reply(400, b"")
            except TransientError:
                self._reply(503, b"")
            except (TimeoutError, ConnectionError):
                self.close_connection = True

        def _reply(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "text/xml; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Silent: a request line may hold a password."""

    return Handler


def listener_tls(certificate: Path, key: Path, client_ca: Path | None = None) -> ssl.SSLContext:
    """Our certificate for whoever asks; with `client_ca` only clients whose certificates it signed are served.

    Raises:
        ContractError: A file cannot be read, or is no certificate or key.
    """
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(certificate, key)
        if client_ca is not None:
            context.load_verify_locations(client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
    except (OSError, ssl.SSLError) as error:
        raise ContractError(f"oms.listen: certificate, key or client_ca: {error}") from error
    return context


def _client_tls(params: OmsParams) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=None if params.ca_file is None else str(params.ca_file))
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if params.certificate_file is not None:
            context.load_cert_chain(params.certificate_file, params.key_file)
    except (OSError, ssl.SSLError) as error:
        raise ContractError(f"oms: ca_file, certificate_file or key_file of {params.url}: {error}") from error
    return context
