"""The last-gasp lane starts though a database is busy, and says so all the time."""

import socket
import threading
from concurrent.futures import wait

import pytest

from app import stores
from app.beside import beside
from app.config import parse_config

HELLO = b"\x00\x04busy\x01\x01" + b"\xb8\x8e\x03"  # a server of 1.1, of a revision (51,000) that says no more
PROGRESS = b"\x03\x01\x01"


@pytest.fixture
def busy():
    """A server that greets, and then sends nothing but progress; its port, what it read, and whether it was left."""
    read, left, over = bytearray(), threading.Event(), threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            try:
                connection, _ = listening.accept()
                with connection:
                    read.extend(connection.recv(65_536))
                    connection.sendall(HELLO)
                    read.extend(connection.recv(65_536))
                    while not over.wait(0.1):
                        connection.sendall(PROGRESS)
            except OSError:
                left.set()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listening.getsockname()[1], read, left
        over.set()
        thread.join(10)


def test_windows_are_waited_for_by_the_clock_though_the_database_makes_progress(busy, monkeypatch, caplog):
    port, read, left = busy
    monkeypatch.setattr(stores, "WINDOWS_LIMIT_S", 1)
    load = stores.stored_windows(
        parse_config(f'[kafka]\nbrokers = ["127.0.0.1:1"]\n[clickhouse]\nport = {port}\n', "ami.toml")
    )
    windows = beside(lambda: load([("ami.lastgasp.v1", 0, 7)]), "windows")
    wait([windows], 15)
    assert windows.done(), "the start is held up as long as the database likes"
    assert windows.result().is_empty()
    assert "not known" in caplog.text
    assert left.wait(10), "the database goes on for nobody"
    assert b"max_execution_time" in read
