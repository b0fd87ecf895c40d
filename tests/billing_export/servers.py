"""Real servers on loopback for delivery tests: OpenSSH, S3-compatible storage, and a line that can be cut."""

import contextlib
import hashlib
import os
import select
import selectors
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

ACCESS_KEY, SECRET_KEY, REGION, BUCKET = "AMITESTACCESSKEY", "invented/secret+key", "eu-test-1", "billing"


class Sshd(NamedTuple):
    """An OpenSSH server that stops with the test."""

    port: int
    user: str
    key_file: Path
    host_key_file: Path
    other_host_key_file: Path
    root: Path


@contextlib.contextmanager
def sshd(folder: Path) -> Iterator[Sshd]:
    """OpenSSH's own server on a free port of loopback, with throw-away keys; one account: ours."""
    program = shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin:/usr/local/sbin")
    subsystem = next(
        (p for p in ("/usr/lib/openssh/sftp-server", "/usr/libexec/sftp-server") if Path(p).exists()), None
    )
    if program is None or subsystem is None or shutil.which("ssh-keygen") is None:
        pytest.skip("no OpenSSH server is installed (Debian: openssh-server)")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    for name in ("host", "other", "user"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(folder / name)]
        subprocess.run(command, check=True)
    shutil.copy(folder / "user.pub", folder / "authorized")
    port = free_port()
    settings = {
        "Port": port, "ListenAddress": "127.0.0.1", "HostKey": folder / "host", "PidFile": folder / "pid",
        "AuthorizedKeysFile": folder / "authorized", "StrictModes": "no", "UsePAM": "no",
        "PasswordAuthentication": "no", "PermitRootLogin": "yes", "Subsystem": f"sftp {subsystem}",
    }  # fmt: skip
    (folder / "sshd_config").write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
    log = (folder / "sshd.log").open("wb")
    process = subprocess.Popen([program, "-D", "-e", "-f", str(folder / "sshd_config")], stderr=log)
    try:
        wait_for(port)
        root = folder / "received"
        root.mkdir()
        user = subprocess.run(["id", "-un"], check=True, capture_output=True, text=True).stdout.strip()
        yield Sshd(port, user, folder / "user", folder / "host.pub", folder / "other.pub", root)
    finally:
        process.terminate()
        process.wait(10)
        log.close()


class Storage(NamedTuple):
    """S3-compatible storage that stops with the test."""

    endpoint: str
    port: int
    client: Any
    """boto3's, for what a receiver would see."""
    requests: list[str]


@contextlib.contextmanager
def storage() -> Iterator[Storage]:
    """moto's S3 behind a gate that computes every signature anew with botocore and refuses any that differs."""
    pytest.importorskip("moto", reason="the package moto (development group) is not installed")
    import boto3
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
    from moto.s3.models import s3_backends
    from werkzeug.serving import make_server

    seen: list[str] = []
    gate = SignatureGate(DomainDispatcherApplication(create_backend_app), seen)
    server = make_server("127.0.0.1", 0, gate, threaded=True, request_handler=MotoRequestHandler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    endpoint = f"http://127.0.0.1:{server.server_port}"
    client = boto3.client(
        "s3", endpoint_url=endpoint, region_name=REGION, aws_access_key_id=ACCESS_KEY, aws_secret_access_key=SECRET_KEY
    )
    client.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
    seen.clear()
    try:
        yield Storage(endpoint, server.server_port, client, seen)
    finally:
        server.shutdown()
        thread.join(10)
        server.server_close()
        s3_backends.reset()


class SignatureGate:
    """WSGI: requests whose signature or payload hash is not what botocore makes of them get 403, as S3 answers."""

    def __init__(self, behind: Any, seen: list[str]) -> None:
        self._behind, self._seen = behind, seen

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        import io

        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = io.BytesIO(body)
        target = environ.get("RAW_URI") or environ["PATH_INFO"]
        fault = self._fault(environ, target, body)
        if fault:
            start_response("403 Forbidden", [("Content-Type", "application/xml")])
            return [f"<Error><Code>SignatureDoesNotMatch</Code><Message>{fault}</Message></Error>".encode()]
        self._seen.append(f"{environ['REQUEST_METHOD']} {target}")
        return self._behind(environ, start_response)

    def _fault(self, environ: dict[str, Any], target: str, body: bytes) -> str | None:
        from botocore.auth import S3SigV4Auth
        from botocore.awsrequest import AWSRequest
        from botocore.credentials import Credentials

        if not environ.get("HTTP_AUTHORIZATION"):
            return "unsigned"
        said = dict(part.strip().split("=", 1) for part in environ["HTTP_AUTHORIZATION"].split(" ", 1)[1].split(","))
        names = said["SignedHeaders"].split(";")
        headers = {
            name: environ.get(f"HTTP_{name.upper().replace('-', '_')}") or environ[name.upper().replace("-", "_")]
            for name in names
        }
        stated = headers["x-amz-content-sha256"]
        if stated != hashlib.sha256(body).hexdigest() and not stated.startswith(("UNSIGNED", "STREAMING")):
            return "payload hash"
        request = AWSRequest(environ["REQUEST_METHOD"], f"http://{headers['host']}{target}", headers, body)
        request.context["timestamp"] = headers["x-amz-date"]
        auth = S3SigV4Auth(Credentials(ACCESS_KEY, SECRET_KEY), "s3", REGION)
        made = auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request)
        return None if made == said["Signature"] else "signature"


class Line:
    """A TCP line to a port that counts what goes up and breaks after so many bytes, whoever is on it."""

    def __init__(self, port: int, limit: int | None = None, on_limit: Callable[[], None] | None = None) -> None:
        self._to, self._limit, self._on_limit = port, limit, on_limit
        self.up = 0
        self._stop = threading.Event()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def __enter__(self) -> "Line":
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(10)
        self._socket.close()

    def _serve(self) -> None:
        self._socket.settimeout(0.05)
        while not self._stop.is_set():
            try:
                caller, _ = self._socket.accept()
            except TimeoutError:
                continue
            threading.Thread(target=self._carry, args=(caller,), daemon=True).start()

    def _carry(self, caller: socket.socket) -> None:
        # Not select(): a process that has had many engines open has descriptors beyond the 1,024 that it knows.
        with caller, socket.create_connection(("127.0.0.1", self._to)) as server, selectors.DefaultSelector() as ends:
            ends.register(caller, selectors.EVENT_READ)
            ends.register(server, selectors.EVENT_READ)
            while not self._stop.is_set():
                for ready in [key.fileobj for key, _ in ends.select(0.05)]:
                    data = ready.recv(1 << 16)
                    if not data:
                        return
                    if ready is server:
                        caller.sendall(data)
                        continue
                    self.up += len(data)
                    if self._limit is not None and self.up > self._limit:
                        if self._on_limit is not None:
                            self._on_limit()
                        return
                    server.sendall(data)


def kill(pid: int) -> None:
    """That process is gone at once, whatever it was doing."""
    os.kill(pid, signal.SIGKILL)


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def wait_for(port: int, limit_s: float = 10.0) -> None:
    """Somebody answers at that port of loopback."""
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        select.select([], [], [], 0.02)
    raise TimeoutError(f"nobody listens on port {port}")
