"""A verb whose service is away says so in one line, as a process of its own says it."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("verb", ["migrate", "topics", "trim"])
def test_a_service_that_is_away_is_one_line(tmp_path: Path, verb: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: whoever calls is refused
        port = taken.getsockname()[1]
        config = tmp_path / "ami.toml"
        config.write_text(
            f'[clickhouse]\nport = {port}\n[kafka]\nbrokers = ["127.0.0.1:{port}"]\nrequest_timeout_ms = 1000\n'
        )
        ami = Path(sys.executable).with_name("ami")
        done = subprocess.run([str(ami), verb, "--config", str(config)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("ami: TransientError: ")
    assert done.stderr.count("\n") == 1
