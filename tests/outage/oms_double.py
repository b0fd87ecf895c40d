"""An outage system that checks what it gets, remembers keys, fails on purpose and asks back."""

import json
import ssl
import threading
from collections import deque
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple
from xml.etree import ElementTree

from outage.messages.multispeak import SOAP
from outage.messages.xml import local, parse_xml


class Got(NamedTuple):
    """A request that was accepted for the first time."""

    key: str
    action: str
    body: bytes


class OmsDouble:
    """Accepts what `check` finds nothing wrong with. `plan` holds what to do with the next requests: "ok", a status,
    "drop" (no answer), "hang" (answers when `release` is set), "errors" (a SOAP result with an error object)."""

    def __init__(self, tls: ssl.SSLContext | None = None, check: Callable[[bytes], list[str]] | None = None) -> None:
        self.got: list[Got] = []
        self.requests = 0
        self.wrong: list[str] = []
        self.plan: deque[str] = deque()
        self.asked, self.release = threading.Event(), threading.Event()
        self._keys: set[str] = set()
        self._check = check
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def close(self) -> None:
        self.release.set()
        self._server.shutdown()
        self._server.server_close()

    def incidents(self) -> list[tuple[str, int]]:
        """(incident, step) of the JSON messages, as they were accepted."""
        told = [json.loads(got.body) for got in self.got]
        return [(message["mRID"], message["step"]) for message in told]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        double = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status, answer = double.take(self.headers["Idempotency-Key"], self.headers.get("SOAPAction", ""), body)
                if status:
                    self.send_response(status)
                    self.send_header("Content-Length", str(len(answer)))
                    self.end_headers()
                    self.wfile.write(answer)
                else:
                    self.close_connection = True

            def log_message(self, format: str, *args: object) -> None: ...

        return Handler

    def take(self, key: str, action: str, body: bytes) -> tuple[int, bytes]:
        """Status and answer to one request; 0 for no answer at all."""
        self.requests += 1
        self.asked.set()
        step = self.plan.popleft() if self.plan else "ok"
        if step == "hang":
            self.release.wait(20)
            return 0, b""
        if step == "drop":
            return 0, b""
        if step == "errors":
            return (
                200,
                b'<R xmlns="http://www.multispeak.org/Version_3.0"><errorObject errorString="no such meter"/></R>',
            )
        if step.isdigit():
            return int(step), b""
        if key in self._keys:
            return 409, b""
        if self._check is not None:
            self.wrong += self._check(_inside(body) if SOAP.encode() in body else body)
        self._keys.add(key)
        self.got.append(Got(key, action, body))
        return 200, b""


def _inside(envelope: bytes) -> bytes:
    """The request inside a SOAP envelope."""
    body = next(child for child in parse_xml(envelope) if local(child.tag) == "Body")
    return ElementTree.tostring(body[0])
