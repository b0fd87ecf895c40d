"""`ami gateway` as a process: it takes pushes, tells its health, and sends what it took before it ends."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from fleet import fresh_topics, on_topics, patiently
from found import Found
from services import free_port

from ingest.dlms.framing import wrap_wpdu
from ingest.kafka.settings import KafkaSettings
from ingest.lanes import FRAMES_TOPIC, LAST_GASP_TOPIC

GASP = wrap_wpdu(b"\xc2\x00")
PUSHES = [wrap_wpdu(b"\x0f" + bytes([i]) * 200) for i in range(50)]


def answer(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return response.status, response.read().decode()
    except OSError:
        return 0, ""


def test_pushes_reach_kafka_and_the_process_ends_well_when_told(kafka_settings: KafkaSettings, tmp_path: Path) -> None:
    fresh_topics(kafka_settings)
    port, status = free_port(), free_port()
    base = f"http://127.0.0.1:{status}"
    config = tmp_path / "ami.toml"
    config.write_text(
        f'[kafka]\nbrokers = ["{kafka_settings.brokers[0]}"]\n'
        f'[gateway]\nbind = "127.0.0.1"\nport = {port}\n[telemetry]\nport = {status}\n'
    )
    ami = Path(sys.executable).with_name("ami")
    gateway = subprocess.Popen([str(ami), "gateway", "--config", str(config)], stderr=subprocess.PIPE)
    try:
        patiently(lambda: answer(f"{base}/healthz/ready")[0] == 200)
        with socket.create_connection(("127.0.0.1", port), timeout=10) as meter:
            meter.sendall(b"".join(PUSHES))
            meter.shutdown(socket.SHUT_WR)
            assert meter.recv(1) == b""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as meter:
            meter.sendto(b"\xc2\x00", ("127.0.0.1", port))
        patiently(lambda: 'messages_total{topic="ami.lastgasp.v1"} 1.0' in answer(f"{base}/metrics")[1])
        gateway.send_signal(signal.SIGTERM)
        assert gateway.wait(30) == 0
    finally:
        gateway.kill()
    assert sorted(on_topics(kafka_settings, FRAMES_TOPIC)["payload"]) == sorted(PUSHES)
    assert on_topics(kafka_settings, LAST_GASP_TOPIC)["payload"].to_list() == [b"\xc2\x00"]


def test_with_a_silent_broker_the_process_ends_within_its_bound_and_says_what_is_unsent(
    our_kafka: Found, tmp_path: Path
) -> None:
    """The brokers hold their connections and answer nothing; closing waited 5 s more for each lane."""
    assert our_kafka.process is not None
    kafka_settings = KafkaSettings(brokers=(f"{our_kafka.host}:{our_kafka.port}",), request_timeout_ms=10_000)
    fresh_topics(kafka_settings)
    port, status = free_port(), free_port()
    config = tmp_path / "ami.toml"
    config.write_text(
        f'[kafka]\nbrokers = ["{kafka_settings.brokers[0]}"]\n[telemetry]\nport = {status}\n'
        f'[gateway]\nbind = "127.0.0.1"\nport = {port}\n[gateway.limits]\nshutdown_s = 2\n'
    )
    ami = Path(sys.executable).with_name("ami")
    broker = int((our_kafka.process.folder / "pid").read_text())
    gateway = subprocess.Popen([str(ami), "gateway", "--config", str(config)], stderr=subprocess.PIPE, text=True)
    try:
        patiently(lambda: answer(f"http://127.0.0.1:{status}/healthz/ready")[0] == 200)
        os.kill(broker, signal.SIGSTOP)
        with socket.create_connection(("127.0.0.1", port), timeout=10) as meter:
            meter.sendall(PUSHES[0] + GASP)
            for topic in (FRAMES_TOPIC, LAST_GASP_TOPIC):
                taken = f'messages_total{{topic="{topic}"}} 1.0'
                patiently(lambda taken=taken: taken in answer(f"http://127.0.0.1:{status}/metrics")[1])
            told = time.monotonic()
            gateway.send_signal(signal.SIGTERM)
            _, said = gateway.communicate(timeout=60)
        assert gateway.returncode == 1
        # A client that is left behind may still say something: the last line that is no log line counts.
        said_last = [line for line in said.splitlines() if not line.startswith("{")][-1]
        assert f"gateway: {len(PUSHES[0] + GASP)} bytes were taken and could not be sent" in said_last
        assert time.monotonic() - told < 9
    finally:
        os.kill(broker, signal.SIGCONT)
        gateway.kill()


@pytest.mark.parametrize("text", ["[gateway]\nport = 'x'\n", "[gateway.limits]\nholds = 1\n"])
def test_a_wrong_setting_is_one_line_and_exit_2(tmp_path: Path, text: str) -> None:
    config = tmp_path / "ami.toml"
    config.write_text(text)
    ami = Path(sys.executable).with_name("ami")
    done = subprocess.run([str(ami), "gateway", "--config", str(config)], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert "gateway" in done.stderr
