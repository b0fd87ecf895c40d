"""`ami gateway` as a process: it takes pushes, tells its health, and sends what it took before it ends."""

import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from fleet import fresh_topics, on_topics, patiently
from services import free_port

from ingest.dlms.framing import wrap_wpdu
from ingest.kafka.settings import KafkaSettings
from ingest.lanes import FRAMES_TOPIC, LAST_GASP_TOPIC

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


@pytest.mark.parametrize("text", ["[gateway]\nport = 'x'\n", "[gateway.limits]\nholds = 1\n"])
def test_a_wrong_setting_is_one_line_and_exit_2(tmp_path: Path, text: str) -> None:
    config = tmp_path / "ami.toml"
    config.write_text(text)
    ami = Path(sys.executable).with_name("ami")
    done = subprocess.run([str(ami), "gateway", "--config", str(config)], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert "gateway" in done.stderr
