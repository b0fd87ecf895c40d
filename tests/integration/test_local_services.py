"""`make services`: what it says runs is what it started, and it ends nothing else."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest
import services
from found import fresh_topic
from kafka import KafkaAdminClient
from services import ClickHouse, Kafka, Service, ServiceError, free_port, main

from ingest.kafka.settings import KafkaSettings


def test_a_port_that_another_program_has_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert main(["up", "--folder", str(tmp_path), "--clickhouse-port", str(port)]) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert f"127.0.0.1:{port} is taken by another program" in told.err


def test_a_program_that_ends_at_once_did_not_start(tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match="did not start"):
        Service("none", tmp_path, free_port()).start([sys.executable, "-c", "raise SystemExit(1)"])


def test_a_program_that_answers_nowhere_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker that listened on another port stayed, and the next start met it."""
    monkeypatch.setattr("services.START_LIMIT_S", 0.5)
    service = Service("none", tmp_path, free_port())
    sleeping = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"
    with pytest.raises(ServiceError, match="did not start"):
        service.start([sys.executable, "-c", sleeping, f"{tmp_path}/"])
    assert service.pid() is None
    assert not Path(f"/proc/{(tmp_path / 'out.log').read_text().strip()}").exists()


def test_a_broker_whose_log_was_not_formatted_to_the_end_starts_and_its_port_may_change(tmp_path: Path) -> None:
    (tmp_path / "kafka").mkdir()
    (tmp_path / "kafka" / "server.properties").write_text("# as a killed `up` left it\n")
    first = Kafka(tmp_path, free_port())
    try:
        first.run()
        topic = fresh_topic(KafkaSettings(brokers=(first.address,)))
        first.stop()
        second = Kafka(tmp_path, free_port())
        second.run()
        admin = KafkaAdminClient(bootstrap_servers=second.address)
        assert topic in admin.list_topics()
        admin.close()
    finally:
        first.stop(kill=True)


def test_the_process_of_a_stale_pid_file_is_left_alone(tmp_path: Path) -> None:
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        for name in ("kafka", "clickhouse"):
            (tmp_path / name).mkdir()
            (tmp_path / name / "pid").write_text(str(other.pid))
        assert main(["down", "--folder", str(tmp_path)]) == 0
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_a_folder_named_from_here_is_the_same_when_the_service_stands_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    service = ClickHouse(Path("here"), free_port())
    service.run()
    try:
        assert ClickHouse(tmp_path / "here", service.port).pid() == service.pid() is not None
    finally:
        service.stop(kill=True)
    assert service.pid() is None


@pytest.mark.parametrize("ours", [None, "dirty_decay_ms:7"])
def test_a_server_has_the_allocator_of_current_ones_or_the_caller_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ours: str | None
) -> None:
    if ours is None:
        monkeypatch.delenv("MALLOC_CONF", raising=False)
    else:
        monkeypatch.setenv("MALLOC_CONF", ours)
    service = ClickHouse(tmp_path, free_port())
    service.run()
    try:
        environment = Path(f"/proc/{service.pid()}/environ").read_text().split("\0")
    finally:
        service.stop(kill=True)
    wanted = ours or "oversize_threshold:0,muzzy_decay_ms:0,dirty_decay_ms:5000"
    assert {f"MALLOC_CONF={wanted}", "TZ=UTC"} <= set(environment)


def test_what_runs_is_told_by_its_own_address_and_another_one_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It printed the address that was asked for, where nobody listened."""
    ports = [str(free_port()) for _ in range(4)]
    up = ["up", "--folder", str(tmp_path)]
    try:
        assert main([*up, "--kafka-port", ports[0], "--clickhouse-port", ports[1]]) == 0
        told = capsys.readouterr().out
        assert told == f"AMI_TEST_KAFKA=127.0.0.1:{ports[0]}\nAMI_TEST_CLICKHOUSE=127.0.0.1:{ports[1]}\n"
        assert main(up) == 0
        assert capsys.readouterr().out == told
        for words in (["--kafka-port", ports[2]], ["--clickhouse-port", ports[3]]):
            assert main([*up, *words]) == 1
            assert f", not on port {words[1]}" in capsys.readouterr().err
    finally:
        assert main(["down", "--folder", str(tmp_path)]) == 0
    assert Kafka(tmp_path, 1).runs_on() is None


def test_what_an_interrupted_start_left_is_waited_for_until_it_answers(tmp_path: Path) -> None:
    """It was said to run, and whoever went there was refused."""
    port = free_port()
    late = (
        "import socket, sys, time; time.sleep(2); one = socket.create_server(('127.0.0.1', int(sys.argv[2])));"
        " time.sleep(600)"
    )
    service = ClickHouse(tmp_path, port)
    service.folder.mkdir()
    process = subprocess.Popen([sys.executable, "-c", late, f"{service.folder}/", str(port)])
    try:
        (service.folder / "pid").write_text(str(process.pid))
        (service.folder / "port").write_text(str(port))
        services._bring_up(service, None)
        socket.create_connection(("127.0.0.1", port), 5).close()
    finally:
        service.stop(kill=True)  # whatever the folder says that runs
        process.kill()
        process.wait()
    with pytest.raises(ServiceError, match="does not answer on"):
        Service("none", tmp_path, free_port()).wait()


def test_of_two_that_start_at_once_both_tell_what_runs_and_all_of_it_is_ended(tmp_path: Path) -> None:
    """Both failed, and a broker stayed that no pid file named."""
    ports = ["--kafka-port", str(free_port()), "--clickhouse-port", str(free_port())]
    command = [sys.executable, services.__file__, "up", "--folder", str(tmp_path), *ports]
    starts = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    try:
        first, second = (start.communicate()[0] for start in starts)
        assert first == second != ""
        running = [int((tmp_path / name / "pid").read_text()) for name in ("kafka", "clickhouse")]
    finally:
        assert main(["down", "--folder", str(tmp_path)]) == 0
    assert not any(Path(f"/proc/{pid}").exists() for pid in running)
