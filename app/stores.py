"""Which store a configuration means, opened."""

from pathlib import Path

from app.config import ClickHouse, Config
from storage.clickhouse import ServerAddress, connect
from storage.embedded import EmbeddedEngine
from storage.store import Engine, SqlStore


def open_engine(config: Config) -> Engine:
    """The server of the configuration, or the engine in this process where it names none.

    Raises:
        TransientError: The server is away.
        ContractError: The embedded engine is not installed, or a secret cannot be read.
    """
    if config.clickhouse is None:
        return EmbeddedEngine(Path(config.embedded.path))
    return connect(_address(config.clickhouse))


def open_store(config: Config) -> SqlStore:
    """The store of the configuration, whose migrations `ami migrate` has applied."""
    return SqlStore(open_engine(config))


def _address(server: ClickHouse) -> ServerAddress:
    return ServerAddress(
        host=server.host,
        port=server.port,
        database=server.database,
        user=server.user,
        password_file=server.password_file,
        secure=server.secure,
        ca_file=server.ca_file,
        timeout_s=server.timeout_s,
    )
