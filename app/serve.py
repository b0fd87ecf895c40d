"""Metrics and health over HTTP, in a thread of its own: `/metrics`, `/healthz/live`, `/healthz/ready`."""

import logging
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from app.telemetry import HEARTBEAT_AGE, REGISTRY, Health
from schemas.errors import ContractError

LOG = logging.getLogger("ami.status")


class StatusServer:
    """Answers until closed. Port 0 takes a free one; `port` is the one taken.

    Raises:
        ContractError: The address is not ours to listen on.
    """

    def __init__(self, health: Health, bind: str, port: int) -> None:
        try:
            self._server = ThreadingHTTPServer((bind, port), _handler(health))
        except OSError as error:
            raise ContractError(
                f"telemetry.bind {bind!r}, telemetry.port {port}: {error.strerror}; "
                "each worker of a machine has a port of its own, 0 takes a free one"
            ) from error
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])
        LOG.info("health and metrics", extra={"fields": {"bind": bind, "port": self.port}})
        self._thread = threading.Thread(target=self._server.serve_forever, name="status", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """The port is free again."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _handler(health: Health) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = 5

        def do_GET(self) -> None:
            now = time.monotonic()
            if self.path == "/metrics":
                HEARTBEAT_AGE.set(health.age(now))
                self._answer(200, generate_latest(REGISTRY), CONTENT_TYPE_LATEST)
            elif self.path == "/healthz/live":
                self._verdict(good=health.live(now))
            elif self.path == "/healthz/ready":
                self._verdict(good=health.ready(now))
            else:
                self._answer(404, b"not found\n", "text/plain")

        def _verdict(self, *, good: bool) -> None:
            self._answer(200 if good else 503, b"ok\n" if good else b"not ok\n", "text/plain")

        def _answer(self, code: int, body: bytes, kind: str) -> None:
            self.send_response(code)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """A probe every few seconds is not worth a line."""

    return Handler
