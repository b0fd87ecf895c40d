"""Door: the engine inside this process (chDB), for the demo, for file mode and for tests.

chDB keeps one engine in a process: all open stores share its path.
"""

import fcntl
import importlib
import io
import re
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, Final

import polars as pl

from schemas.errors import AmiError, ContractError, TerminalError, TransientError
from storage.migrations import apply_migrations
from storage.queries import Query, literal
from storage.refusals import MENDED_BY, OF_ROWS
from storage.store import SqlStore

_SETTINGS: Final = (
    # Long lists of meters stand in the text of a query.
    "max_query_size = 67108864",
    # A copy of a row has the same month as the row: nothing is lost by looking month by month.
    "do_not_merge_across_partitions_select_final = 1",
    # One clock set to 1970 must not make a batch of a hundred months fail.
    "max_partitions_per_insert_block = 0",
    "output_format_arrow_low_cardinality_as_dictionary = 0",
    # Bytes are bytes: payloads are not text. What is text is told by the frame.
    "output_format_arrow_string_as_string = 0",
)
_BUSY: Final = ("MEMORY_LIMIT_EXCEEDED", "TOO_MANY_PARTS", "TIMEOUT_EXCEEDED", "NOT_ENOUGH_SPACE")
_CODE: Final = re.compile(r"Code: (\d+)")


def open_embedded(path: Path | None = None) -> SqlStore:
    """A store in this process, its tables made, in the folder `path` or in memory.

    Raises:
        ContractError: The package `chdb` (extra `embedded`) is not installed.
    """
    engine = EmbeddedEngine(path)
    apply_migrations(engine)
    return SqlStore(engine)


class EmbeddedEngine:
    """`storage.store.Engine` over one chDB session. Rows travel as Arrow streams, never as text."""

    def __init__(self, path: Path | None = None) -> None:
        """The engine runs.

        Raises:
            ContractError: The package is not installed, or the folder cannot be made.
            TerminalError: The engine does not open the folder: another process has it, or what lies there is not its.
        """
        try:
            session_module: Any = importlib.import_module("chdb.session")
        except ModuleNotFoundError as error:
            raise ContractError("the embedded store needs the extra: pip install 'ami-headend[embedded]'") from error
        if path is not None:
            try:
                path.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise ContractError(f"embedded.path {path}: {error.strerror}") from error
        try:
            self._session: Any = session_module.Session(None if path is None else str(path))
        except RuntimeError as error:
            raise TerminalError(f"embedded.path {path}: {_why_not(path, error)}") from error
        self.execute("CREATE DATABASE IF NOT EXISTS ami")
        self.execute("USE ami")
        for setting in _SETTINGS:
            self.execute(f"SET {setting}")

    def execute(self, sql: str) -> None:
        """See `Engine.execute`."""
        self._ask(sql, "Null")

    def select(self, query: Query) -> pl.DataFrame:
        """See `Engine.select`."""
        answer = self._ask(query.text(), "ArrowStream")
        if not answer:
            return pl.DataFrame(schema=_text_for_enum(query.schema))
        rows = pl.read_ipc_stream(io.BytesIO(answer))
        return rows.with_columns(_as_told(rows.schema, query.schema))

    def insert(self, table: str, rows: pl.DataFrame, token: str) -> None:
        """See `Engine.insert`.

        The rows are read from a file by a statement: a streamed insert of chDB 26 that the engine refuses at its end
        is told as done, and nothing of it is stored.
        """
        rows = rows.with_columns(pl.col(name).cast(dtype) for name, dtype in _text_for_enum(rows.schema).items())
        names = ", ".join(f"`{name}`" for name in rows.columns)
        self.execute(f"SET insert_deduplication_token = {literal(token, 'String')}")
        try:
            with NamedTemporaryFile(suffix=".arrows") as file:
                rows.write_ipc_stream(file, compat_level=pl.CompatLevel.oldest())
                file.flush()
                source = f"file({literal(file.name, 'String')}, 'ArrowStream')"
                self.execute(f"INSERT INTO {table} ({names}) SELECT {names} FROM {source}")
        except OSError as error:
            raise TransientError(f"a file for rows on their way to the engine: {error.strerror}") from error
        finally:  # the session keeps it, and a statement that inserts by itself would pass for a copy of these rows
            self.execute("SET insert_deduplication_token = ''")

    def version(self) -> tuple[int, int]:
        """See `Engine.version`."""
        query = Query("SELECT version() AS version", {}, pl.Schema({"version": pl.String()}))
        major, minor = str(self.select(query)["version"][0]).split(".")[:2]
        return int(major), int(minor)

    def close(self) -> None:
        """See `Engine.close`."""
        self._session.close()

    def _ask(self, sql: str, fmt: str) -> bytes:
        try:
            answer: bytes = self._session.query(sql, fmt).bytes()
        except RuntimeError as error:
            raise _typed(error) from error
        return answer


def _why_not(path: Path | None, error: RuntimeError) -> str:
    """The engine tells the reason on standard error only: whether its folder is taken is asked of its lock."""
    if path is not None and (path / "status").exists():
        try:
            with (path / "status").open("rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return "the folder is in use by another process; one at a time can have it"
        except PermissionError:
            return "the folder is another user's"
    return " ".join(str(error).split())


def _typed(error: RuntimeError) -> AmiError:
    text = str(error)
    if any(code in text for code in _BUSY):
        return TransientError(text)
    told = _CODE.search(text)
    code = 0 if told is None else int(told[1])
    if code in MENDED_BY:
        return TerminalError(MENDED_BY[code] + " ".join(text.split()))
    return ContractError(text) if code in OF_ROWS else TerminalError(text)


def _as_told(have: pl.Schema, want: pl.Schema) -> list[pl.Expr]:
    """Text where the frame says text or enum; bytes stay bytes."""
    casts = []
    for name, dtype in want.items():
        if have[name] == pl.Binary() and dtype != pl.Binary():
            casts.append(pl.col(name).cast(pl.String))
        elif isinstance(dtype, pl.List) and isinstance(have[name], pl.List):
            text = pl.col(name).cast(pl.List(pl.String))
            casts.append(pl.when(text.list.len() > 0).then(text))
    return casts


def _text_for_enum(schema: pl.Schema) -> pl.Schema:
    return pl.Schema({name: pl.String() if isinstance(dtype, pl.Enum) else dtype for name, dtype in schema.items()})
