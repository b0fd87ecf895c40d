"""One Kafka broker and one ClickHouse server on 127.0.0.1, without containers, for development and tests.

    python deploy/local/services.py up [--folder DIR] [--kafka-port N] [--clickhouse-port N]
    python deploy/local/services.py down [--folder DIR]

Needs Java 17 and Maven (the broker's jars, see pom.xml), and a `clickhouse-server` on the path. `up` prints the
addresses as `AMI_TEST_KAFKA=host:port` and `AMI_TEST_CLICKHOUSE=host:port`; data, logs and pids lie in the folder.
"""

import argparse
import base64
import fcntl
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from string import Template
from typing import Final

HERE: Final = Path(__file__).parent
HOST: Final = "127.0.0.1"
START_LIMIT_S: Final = 60.0
STOP_LIMIT_S: Final = 20.0
_SERVER_ALLOCATOR: Final = "oversize_threshold:0,muzzy_decay_ms:0,dirty_decay_ms:5000"
"""What current servers are built with (contrib/jemalloc-cmake of ClickHouse). Debian's has the library's own settings,
which give columns of 8 MiB and more back to the system at once, to be faulted in for the next insert."""
_SBIN: Final = ":/usr/local/sbin:/usr/sbin"  # where Debian puts clickhouse-server; not on every user's path


class ServiceError(Exception):
    """A service cannot run here; the message says what is missing."""


class Service:
    """One process, its folder and its port. It can be stopped, killed and started again on the same data."""

    def __init__(self, name: str, folder: Path, port: int) -> None:
        self.name = name
        self.folder = folder.resolve()  # the process stands in it
        self.port = port
        self._pid_file, self._port_file = self.folder / "pid", self.folder / "port"

    @property
    def address(self) -> str:
        """`host:port` of the service."""
        return f"{HOST}:{self.port}"

    def start(self, command: Sequence[str], env: dict[str, str] | None = None) -> None:
        """The process runs and its port answers when this returns; `command` names the folder."""
        if _answers(self.port):
            raise ServiceError(f"{self.name}: {self.address} is taken by another program: name another port")
        with (self.folder / "out.log").open("ab") as log:
            process = subprocess.Popen(
                command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=self.folder, start_new_session=True,
                env={**os.environ, **(env or {})},
            )  # fmt: skip
        self._pid_file.write_text(str(process.pid))
        self._port_file.write_text(str(self.port))
        limit = time.monotonic() + START_LIMIT_S
        while not _answers(self.port):
            if process.poll() is not None or time.monotonic() > limit:
                # It may listen elsewhere, or do so later: nothing of a start that failed stays behind.
                process.kill()
                process.wait()
                self._pid_file.unlink()
                raise ServiceError(f"{self.name} did not start: see {self.folder / 'out.log'}")
            time.sleep(0.05)
        if process.poll() is not None:
            raise ServiceError(f"{self.name} ended at once: see {self.folder / 'out.log'}")

    def pid(self) -> int | None:
        """Process id, or none where it does not run.

        A process that does not name the folder in its command is another that got the number since.
        """
        try:
            pid = int(self._pid_file.read_text())
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError, ValueError):
            return None
        return pid if os.fsencode(f"{self.folder}/") in command else None

    def runs_on(self) -> int | None:
        """The port of the running process, or none where it does not run."""
        if self.pid() is None:
            return None
        return int(self._port_file.read_text()) if self._port_file.exists() else self.port

    def wait(self) -> None:
        """The running process answers when this returns: a start that was cut short leaves one that does not yet."""
        limit = time.monotonic() + START_LIMIT_S
        while not _answers(self.port):
            if self.pid() is None or time.monotonic() > limit:
                raise ServiceError(
                    f"{self.name} does not answer on {self.address}: see {self.folder / 'out.log'}; `down` ends it"
                )
            time.sleep(0.05)

    def stop(self, *, kill: bool = False) -> None:
        """The process is gone when this returns: asked to end, or killed at once."""
        pid = self.pid()
        if pid is None:
            return
        os.kill(pid, signal.SIGKILL if kill else signal.SIGTERM)
        limit = time.monotonic() + STOP_LIMIT_S
        while _alive(pid):
            if time.monotonic() > limit:
                os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)
        self._pid_file.unlink(missing_ok=True)


class Kafka(Service):
    """One KRaft node, broker and controller in one.

    Args:
        folder: Its data lie below.
        port: Of the plain listener.
        properties: Lines after those of server.properties, of which they override any.
        format_options: Words for the tool that makes its log, such as users for SCRAM.
    """

    def __init__(self, folder: Path, port: int, properties: str = "", format_options: Sequence[str] = ()) -> None:
        super().__init__("kafka", folder / "kafka", port)
        self._properties, self._format_options = properties, format_options

    def run(self) -> None:
        """The broker answers when this returns; the first time on an empty log."""
        java = _program("java", "a JDK of 17 or newer")
        self.folder.mkdir(parents=True, exist_ok=True)
        classpath = _classpath(self.folder.parent)
        properties, data = self.folder / "server.properties", self.folder / "data"
        template = Template((HERE / "server.properties").read_text("utf-8"))
        properties.write_text(
            template.substitute(port=self.port, controller_port=free_port(), data=data)
            + Template(self._properties).safe_substitute(port=self.port),
            "utf-8",
        )
        if not (data / "meta.properties").exists():  # written last: a formatting that was cut short is done again
            self._format(java, classpath, properties)
        options = ["-Xmx768m", "-XX:+UseSerialGC", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"]
        self.start([java, *options, "-cp", classpath, "kafka.Kafka", str(properties)])

    def _format(self, java: str, classpath: str, properties: Path) -> None:
        # One id in 64 would begin with a dash, which the tool takes for an option.
        cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").replace("-", "_")
        tool = [java, "-cp", classpath, "kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", str(properties)]
        done = subprocess.run([*tool, *self._format_options], capture_output=True, text=True, check=False)
        if done.returncode:
            raise ServiceError(f"kafka's log could not be made: {(done.stdout + done.stderr)[-500:]}")


class ClickHouse(Service):
    """One server without replication; any version that has the native protocol.

    Args:
        folder: Its data lie below.
        port: Of the native protocol, without TLS.
        settings: Elements beside those of clickhouse.xml.
    """

    def __init__(self, folder: Path, port: int, settings: str = "") -> None:
        super().__init__("clickhouse", folder / "clickhouse", port)
        self._settings = settings

    def run(self) -> None:
        """The server answers when this returns."""
        server = _program("clickhouse-server", "the Debian package clickhouse-server, or a current one")
        (self.folder / "data" / "tmp").mkdir(parents=True, exist_ok=True)
        for name in ("clickhouse.xml", "users.xml"):
            text = Template((HERE / name).read_text("utf-8")).substitute(
                port=self.port, folder=self.folder, settings=self._settings
            )
            (self.folder / name).write_text(text, "utf-8")
        allocator = os.environ.get("MALLOC_CONF", _SERVER_ALLOCATOR)
        config = self.folder / "clickhouse.xml"
        self.start([server, f"--config-file={config}"], {"TZ": "UTC", "MALLOC_CONF": allocator})


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
    return port


def default_folder() -> Path:
    """Where data lie when no folder is named: one for each user, under the temporary folder."""
    return Path(tempfile.gettempdir()) / f"ami-services-{os.getuid()}"


def _classpath(cache: Path) -> str:
    """Jars of pom.xml, resolved once per folder and content of the file."""
    pom = HERE / "pom.xml"
    kept = cache / f"classpath-{hashlib.sha256(pom.read_bytes()).hexdigest()[:12]}"
    if not kept.exists():
        maven = _program("mvn", "Maven 3.8 or newer")
        command = [maven, "-q", "-B", "-f", str(pom), "dependency:build-classpath", f"-Dmdep.outputFile={kept}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ServiceError(f"maven could not resolve the broker: {done.stdout[-500:]}")
    return kept.read_text("utf-8").strip()


def _program(name: str, wanted: str) -> str:
    found = shutil.which(name, path=os.environ.get("PATH", "") + _SBIN)
    if found is None:
        raise ServiceError(f"{name} is not on the path: install {wanted}")
    return found


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((HOST, port)) == 0


def _alive(pid: int) -> bool:
    try:
        if os.waitpid(pid, os.WNOHANG)[0]:
            return False
    except ChildProcessError:
        # Not our child: started by an earlier run of this program.
        return Path(f"/proc/{pid}").exists()
    return True


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Of runs at once on one folder the second waits: it finds what the first has started, or left."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _bring_up(service: Kafka | ClickHouse, asked: int | None) -> None:
    """It answers, on the port that is asked for if one is, and `address` is that on which it does."""
    port = service.runs_on()
    if port is None:
        service.run()
        return
    service.port = port
    if asked not in (None, port):
        raise ServiceError(f"{service.name} runs on {service.address}, not on port {asked}: `down` ends it")
    service.wait()


def main(arguments: Sequence[str] | None = None) -> int:
    """Start or stop both services; 0 when done, 1 with a line on standard error when something is missing."""
    parser = argparse.ArgumentParser(description="Kafka and ClickHouse on 127.0.0.1, without containers")
    parser.add_argument("action", choices=["up", "down"])
    parser.add_argument("--folder", type=Path, default=default_folder())
    parser.add_argument("--kafka-port", type=int, help="9092, or where it runs already")
    parser.add_argument("--clickhouse-port", type=int, help="9000, or where it runs already")
    given = parser.parse_args(arguments)
    kafka = Kafka(given.folder, given.kafka_port or 9092)
    clickhouse = ClickHouse(given.folder, given.clickhouse_port or 9000)
    with _alone(given.folder):
        if given.action == "down":
            kafka.stop()
            clickhouse.stop()
            return 0
        try:
            _bring_up(clickhouse, given.clickhouse_port)
            _bring_up(kafka, given.kafka_port)
        except ServiceError as error:
            print(error, file=sys.stderr)
            return 1
    print(f"AMI_TEST_KAFKA={kafka.address}\nAMI_TEST_CLICKHOUSE={clickhouse.address}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
