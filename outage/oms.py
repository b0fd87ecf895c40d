"""Door to the outage system: incidents out over HTTP, pings and feedback in.

Detection never waits for it. `Outbox.put` writes letters down; `Delivery.pump` sends what is due and may fail, be late
or be killed at any moment; a letter is struck off only when it was answered, so each arrives at least once, in the
order of its incident, under a key by which a receiver tells copies.
"""

import http.client
import sqlite3
import ssl
import threading
from collections.abc import Callable, Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self
from urllib.parse import urlsplit

import msgspec

from outage.breaker import RetryParams
from outage.letter import Answer, Letter, Verdict, Waiting, answer_of, headers_of
from outage.messages.xml import LARGEST_BYTES
from schemas.errors import ContractError, ProtocolError, TransientError

LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")
LARGEST_ANSWER: Final = 1_000_000


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


_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS letters (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    key TEXT NOT NULL UNIQUE,
    lane TEXT NOT NULL,
    content_type TEXT NOT NULL,
    action TEXT NOT NULL,
    body BLOB NOT NULL,
    state TEXT NOT NULL DEFAULT 'waiting',
    attempts INTEGER NOT NULL DEFAULT 0,
    not_before REAL NOT NULL DEFAULT 0,
    last_error TEXT NOT NULL DEFAULT ''
);
CREATE INDEX IF NOT EXISTS waiting ON letters (lane, number) WHERE state = 'waiting';
"""


class OutboxCounts(NamedTuple):
    """Letters by state."""

    waiting: int
    sent: int
    refused: int


class Outbox:
    """The stored letters of one counterparty, in one SQLite file. Safe to use from several threads."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._store = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._store.execute("PRAGMA journal_mode=WAL")
        self._store.execute("PRAGMA synchronous=FULL")
        self._store.executescript(_SCHEMA)

    def put(self, letters: Iterable[Letter]) -> int:
        """All letters are on disk when this returns, or none; those already known by their key are left alone.

        Returns:
            How many are new. Never waits for the network.
        """
        rows = [tuple(letter) for letter in letters]
        with self._lock:
            self._store.execute("BEGIN IMMEDIATE")
            try:
                before = self._store.total_changes
                self._store.executemany(
                    "INSERT OR IGNORE INTO letters (key, lane, content_type, action, body) VALUES (?, ?, ?, ?, ?)", rows
                )
                new = int(self._store.total_changes - before)
            except BaseException:
                self._store.execute("ROLLBACK")
                raise
            self._store.execute("COMMIT")
        return new

    def due(self, now: float, most: int = 100) -> list[Waiting]:
        """The first waiting letter of every lane whose time has come, oldest first."""
        with self._lock:
            rows = self._store.execute(
                "SELECT number, attempts, key, lane, content_type, action, body FROM letters WHERE number IN"
                " (SELECT MIN(number) FROM letters WHERE state = 'waiting' GROUP BY lane)"
                " AND not_before <= ? ORDER BY number LIMIT ?",
                (now, most),
            ).fetchall()
        return [Waiting(row[0], row[1], Letter(*row[2:])) for row in rows]

    def settle(self, number: int) -> None:
        """The letter was accepted."""
        self._update("UPDATE letters SET state = 'sent', attempts = attempts + 1 WHERE number = ?", (number,))

    def refuse(self, number: int, reason: str) -> None:
        """The letter will never be accepted: it is set aside with its reason, and its lane goes on."""
        self._update(
            "UPDATE letters SET state = 'refused', attempts = attempts + 1, last_error = ? WHERE number = ?",
            (reason, number),
        )

    def postpone(self, number: int, not_before: float, reason: str) -> None:
        """The letter is tried again, not before that time; its lane waits for it."""
        self._update(
            "UPDATE letters SET not_before = ?, attempts = attempts + 1, last_error = ? WHERE number = ?",
            (not_before, reason, number),
        )

    def refused(self) -> list[tuple[Letter, str]]:
        """Letters set aside, with the reason of each."""
        with self._lock:
            rows = self._store.execute(
                "SELECT key, lane, content_type, action, body, last_error FROM letters WHERE state = 'refused'"
                " ORDER BY number"
            ).fetchall()
        return [(Letter(*row[:5]), row[5]) for row in rows]

    def counts(self) -> OutboxCounts:
        """How many letters are in which state."""
        with self._lock:
            found = dict(self._store.execute("SELECT state, COUNT(*) FROM letters GROUP BY state").fetchall())
        return OutboxCounts(found.get("waiting", 0), found.get("sent", 0), found.get("refused", 0))

    def forget_sent(self, keep: int = 10_000) -> None:
        """Drop delivered letters but the newest; their keys are then no longer known."""
        self._update(
            "DELETE FROM letters WHERE state = 'sent' AND number <= (SELECT MAX(number) FROM letters) - ?", (keep,)
        )

    def close(self) -> None:
        """The file is closed; what was put stays."""
        with self._lock:
            self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _update(self, statement: str, values: tuple[object, ...]) -> None:
        with self._lock:
            self._store.execute(statement, values)


class OmsClient:
    """Sends letters to one outage system over TLS; plain HTTP only to this very machine.

    `dress` puts on at the last moment what must not lie on the disk: the envelope with the password.

    Raises:
        ContractError: The address is no HTTP address, or would send outages in clear over a network.
    """

    def __init__(self, params: OmsParams, dress: Callable[[Letter], bytes] = lambda letter: letter.body) -> None:
        parts = urlsplit(params.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ContractError(f"oms.url {params.url!r}: not an http or https address")
        if parts.scheme == "http" and parts.hostname not in LOOPBACK:
            raise ContractError("oms.url: plain http is for this machine only; use https")
        self._params, self._dress = params, dress
        self._host, self._port = parts.hostname, parts.port
        self._path = parts.path or "/"
        if parts.query:
            self._path += "?" + parts.query
        self._tls = _client_tls(params) if parts.scheme == "https" else None

    def send(self, letter: Letter) -> Answer:
        """The counterparty's answer; whatever hinders it is `later`, never an exception."""
        connection = self._connection()
        try:
            connection.request("POST", self._path, self._dress(letter), headers_of(letter))
            response = connection.getresponse()
            body = response.read(LARGEST_ANSWER)
            return answer_of(response.status, response.getheader("Retry-After"), body)
        except (OSError, http.client.HTTPException) as error:
            return Answer(Verdict.LATER, type(error).__name__)
        finally:
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        timeout = self._params.timeout_s
        if self._tls is None:
            return http.client.HTTPConnection(self._host, self._port, timeout=timeout)
        return http.client.HTTPSConnection(self._host, self._port, timeout=timeout, context=self._tls)


class OmsListener:
    """Serves what the outage system asks: each request's body goes to `answer`, whose bytes go back.

    TLS with the given context; without one it listens on this very machine only. A request that `answer` refuses
    with a `ProtocolError` gets status 400, one that must wait (`TransientError`) 503.

    Raises:
        ContractError: Plain HTTP was asked for on an address that others can reach.
    """

    def __init__(
        self, host: str, port: int, answer: Callable[[bytes], bytes], tls: ssl.SSLContext | None = None
    ) -> None:
        if tls is None and host not in LOOPBACK:
            raise ContractError("oms listener: plain http is for this machine only; give it a certificate")
        self._server = ThreadingHTTPServer((host, port), _handler(answer))
        self._server.daemon_threads = True
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
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


def _handler(answer: Callable[[bytes], bytes]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = 30  # a silent client holds its thread no longer
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            length = self.headers.get("Content-Length", "")
            if not length.isdigit() or int(length) > LARGEST_BYTES:
                self.close_connection = True
                self._reply(413 if length.isdigit() else 411, b"")
                return
            try:
                self._reply(200, answer(self.rfile.read(int(length))))
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


def _client_tls(params: OmsParams) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=None if params.ca_file is None else str(params.ca_file))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if params.certificate_file is not None:
        context.load_cert_chain(params.certificate_file, params.key_file)
    return context
