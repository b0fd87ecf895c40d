"""Which store a configuration means, opened."""

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import wait
from pathlib import Path
from typing import Final

import msgspec
import polars as pl

from app.beside import beside
from app.config import ClickHouse, Config
from schemas.errors import ContractError, TerminalError, TransientError
from schemas.frames import REPLAY_WINDOWS
from storage.clickhouse import ServerAddress, connect
from storage.embedded import EmbeddedEngine
from storage.store import Engine, SqlStore

LOG = logging.getLogger("ami.stores")
WINDOWS_LIMIT_S: Final = 10
"""How long a start of the last-gasp lane may be held up by a database that does not answer."""


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


def stored_windows(config: Config) -> Callable[[Sequence[tuple[str, int, int]]], pl.DataFrame]:
    """REPLAY_WINDOWS of partitions as of offsets, for a lane that waits for no database.

    None, and a warning, where the server is away, has not answered for all of them in ten seconds or refuses, or where
    its secret is not at hand; none where the configuration names no server. A server that is busy sends its progress
    all the time: what bounds the wait is the clock, not silence.
    """
    if config.clickhouse is None:
        return lambda _: REPLAY_WINDOWS.empty()
    server = config.clickhouse

    def load(positions: Sequence[tuple[str, int, int]]) -> pl.DataFrame:
        bounded = {"timeout_s": WINDOWS_LIMIT_S, "most_seconds": WINDOWS_LIMIT_S}
        try:
            engine = connect(msgspec.structs.replace(_address(server), **bounded))

            def ask() -> pl.DataFrame:
                try:
                    return SqlStore(engine).load_windows(positions)
                finally:
                    engine.close()

            answer = beside(ask, "windows")
            wait([answer], WINDOWS_LIMIT_S)
            if not answer.done():
                engine.cut_off()
                raise TransientError(f"clickhouse: no answer within {WINDOWS_LIMIT_S} s")
            return answer.result()
        except (TransientError, TerminalError, ContractError) as error:
            LOG.warning("replay windows of before the look-back are not known", extra={"fields": {"why": str(error)}})
            return REPLAY_WINDOWS.empty()

    return load


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
