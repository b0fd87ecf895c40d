"""Door: a ClickHouse server over its native protocol.

Columns go and come as they are, instants as microseconds since 1970: none is made a text or a `datetime` on the way.
"""

import logging
import socket
import ssl
import struct
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec
import polars as pl
from clickhouse_driver import Client, defines, errors
from clickhouse_driver.block import BlockInfo, ColumnOrientedBlock
from clickhouse_driver.columns.exceptions import ColumnException
from clickhouse_driver.columns.service import write_column
from clickhouse_driver.protocol import ClientPacketTypes
from clickhouse_driver.varint import write_varint
from clickhouse_driver.writer import write_binary_str, write_binary_uint8, write_binary_uint128

from schemas.errors import AmiError, ContractError, TerminalError, TransientError
from schemas.frames import UTC_US
from storage.native_columns import Piece, encode_column
from storage.queries import Query
from storage.refusals import MENDED_BY, OF_A_LIBRARY, OF_ROWS, OF_THE_MACHINE, TRANSIENT

logging.getLogger("clickhouse_driver").addHandler(logging.NullHandler())
"""Where nobody set logs up, the driver's would be a stack on standard error beside the one line of a verb."""

_BLOCK_ROWS: Final = 16_777_216
"""Rows a block, which are those of a part: the server would copy smaller ones together. It takes the columns as they
come, each while the next is made."""
_SETTINGS: Final[Mapping[str, tuple[tuple[int, int], int]]] = {
    # Setting -> first server that knows it, value. Older ones refuse a session that names it.
    "max_query_size": ((1, 1), 67_108_864),  # long lists of meters stand in the text of a query
    "max_bytes_before_external_sort": ((1, 1), 2_147_483_648),  # windows of a large fleet: slower, never refused
    # A batch becomes one part (a month): the default cuts it at 1,048,576 rows, and every part is merged later.
    "min_insert_block_size_rows": ((1, 1), _BLOCK_ROWS),
    "min_insert_block_size_bytes": ((1, 1), 1_073_741_824),
    "insert_distributed_sync": ((1, 1), 1),  # acknowledged means written, on every shard
    "max_partitions_per_insert_block": ((19, 1), 0),  # a clock set to 1970 must not make a batch fail
    "do_not_merge_across_partitions_select_final": ((20, 10), 1),  # a copy has the same month as its row
    "wait_for_async_insert": ((21, 11), 1),  # should a profile turn asynchronous inserts on: never answer early
}
_TOKEN_SINCE: Final = (22, 2)
_COMPRESSED_OCTETS: Final = 1 << 20
"""Octets compressed at once: what the processor's cache holds."""
_LONE_OCTETS: Final = 1 << 14
"""A piece of fewer is compressed together with its neighbours."""
_SIZES_OCTETS: Final = 9
"""Method and both sizes, which the first size counts too."""
_AS_IT_IS: Final = 0x02
"""Method of a frame that is not compressed; in one stream frames of several methods may follow each other."""
_WORTH_IT: Final = 0.85
"""What shrinks less is sent as it is."""


class ServerAddress(msgspec.Struct, frozen=True, kw_only=True):
    """Where the server is and how to talk to it. The password is read from a file, never from a setting."""

    host: str = "127.0.0.1"
    port: int = 9000
    database: str = "ami"
    user: str = "default"
    password_file: str | None = None
    secure: bool = False
    ca_file: str | None = None
    connect_timeout_s: int = 5
    timeout_s: int = 120
    """Silence after which the outcome of a statement counts as unknown."""
    most_seconds: int | None = None
    """After which the server gives a statement up, whatever progress it makes; None: as its profile says."""


class NativeClient(Protocol):
    """What this door uses of `clickhouse_driver.Client`."""

    def execute(self, query: str, params: Any = None, **options: Any) -> Any:
        """Carry a statement out and return its rows or columns."""
        ...

    def disconnect(self) -> None:
        """Close the connection; the next statement opens another."""
        ...


class ColumnClient(Client):  # type: ignore[misc]
    """The driver's client, with columns of an insert encoded whole instead of value by value."""

    def send_data(self, sample_block: Any, data: Any, types_check: bool = False, columnar: bool = False) -> int:
        """Blocks of the columns `data` (Series), in the types that the server said; the number of rows sent."""
        if not all(isinstance(column, pl.Series) for column in data):
            sent: int = super().send_data(sample_block, data, types_check, columnar)
            return sent
        for first in range(0, len(data[0]), _BLOCK_ROWS):
            block = [column.slice(first, _BLOCK_ROWS) for column in data]
            _send_block(self.connection, sample_block.columns_with_types, block)
            self.receive_profile_events()
        self.connection.send_data(ColumnOrientedBlock())
        self.receive_profile_events()
        return len(data[0])


class ClickHouseEngine:
    """`storage.store.Engine` over one native connection, which is opened again after it broke."""

    def __init__(self, client: NativeClient) -> None:
        self._client = client
        self._version: tuple[int, int] | None = None

    def execute(self, sql: str) -> None:
        """See `Engine.execute`."""
        self._ask(sql)

    def select(self, query: Query) -> pl.DataFrame:
        """See `Engine.select`."""
        columns = self._ask(_with_plain_instants(query), columnar=True, settings=self._settings())
        if not columns:
            return pl.DataFrame(schema={name: _read_type(dtype) for name, dtype in query.schema.items()})
        return pl.DataFrame([_read(name, dtype, columns[i]) for i, (name, dtype) in enumerate(query.schema.items())])

    def insert(self, table: str, rows: pl.DataFrame, token: str) -> None:
        """See `Engine.insert`. A repeated insert of a known token is skipped by servers that know tokens."""
        settings = dict(self._settings())
        if self.version() >= _TOKEN_SINCE:
            settings["insert_deduplication_token"] = token
        names = ", ".join(f"`{name}`" for name in rows.columns)
        self._ask(f"INSERT INTO {table} ({names}) VALUES", rows.get_columns(), columnar=True, settings=settings)

    def version(self) -> tuple[int, int]:
        """See `Engine.version`. Asked once: a server is not replaced by an older one under a running worker."""
        if self._version is None:
            ((text,),) = self._ask("SELECT version()")
            major, minor = text.decode().split(".")[:2]
            self._version = (int(major), int(minor))
        return self._version

    def close(self) -> None:
        """See `Engine.close`."""
        self._client.disconnect()

    def cut_off(self) -> None:
        """Called beside a thread that waits for an answer: it hears the end of the connection, and closes it itself."""
        waiting = getattr(getattr(self._client, "connection", None), "socket", None)
        if waiting is not None:
            with suppress(OSError):  # not connected yet, or closed meanwhile
                waiting.shutdown(socket.SHUT_RDWR)

    def _settings(self) -> Mapping[str, Any]:
        version = self.version()
        return {name: value for name, (since, value) in _SETTINGS.items() if version >= since}

    def _ask(self, sql: str, params: Any = None, **options: Any) -> Any:
        try:
            return self._client.execute(sql, params, **options)
        except (errors.Error, ColumnException, struct.error, EOFError, OSError) as error:
            # After any failure the connection may hold half an answer.
            self._client.disconnect()
            raise typed_error(error) from error


def connect(address: ServerAddress) -> ClickHouseEngine:
    """An engine for that server. Nothing is sent before the first statement.

    Raises:
        ContractError: The password file or the authority's certificate cannot be read.
    """
    if address.ca_file is not None:
        _readable(address.ca_file)
    bounds = {} if address.most_seconds is None else {"max_execution_time": address.most_seconds}
    return ClickHouseEngine(
        ColumnClient(
            address.host,
            port=address.port,
            database=address.database,
            user=address.user,
            password=_secret(address.password_file),
            secure=address.secure,
            ca_certs=address.ca_file,
            compression="lz4",
            connect_timeout=address.connect_timeout_s,
            send_receive_timeout=address.timeout_s,
            settings={"strings_as_bytes": True, **bounds},
        )
    )


def typed_error(error: Exception) -> AmiError:
    """What the failure asks for: try again, take the rows apart, or stop.

    Returns:
        `TransientError` where the server is away, busy, or its answer was lost; `ContractError` where the rows were
        refused; `TerminalError` for every refusal that is known to be neither (rights, missing tables, syntax).
    """
    if isinstance(error, (ColumnException, struct.error, errors.TypeMismatchError)):
        return ContractError(f"clickhouse: {type(error).__name__}")
    if isinstance(error, errors.ServerException):
        sentence = _sentence(str(error.message))
        text = f"clickhouse code {error.code}: {sentence[:200]}"
        if error.code in TRANSIENT or (error.code in OF_A_LIBRARY and OF_THE_MACHINE.search(sentence)):
            return TransientError(text)
        return ContractError(text) if error.code in OF_ROWS else TerminalError(MENDED_BY.get(error.code, "") + text)
    if isinstance(error, (EOFError, OSError, errors.NetworkError, errors.SocketTimeoutError)):
        text = " ".join(str(error).split())
        if "certificate verify failed" in text:
            what, setting = ("host", "host") if "mismatch" in text else ("authority", "ca_file")
            told = f"the certificate is not of a trusted {what}: see clickhouse.{setting}"
            return TransientError(f"clickhouse: {told}: {text}")
        return TransientError(f"clickhouse: {type(error).__name__}: {text}")
    return TransientError(f"clickhouse: {type(error).__name__}: the connection is out of step")


def _sentence(message: str) -> str:
    """The line that names the fault; what follows is a stack, and may quote rows. A server may say nothing at all."""
    lines = message.partition("Stack trace:")[0].split("\n")
    told = next((line.strip() for line in lines if line.strip(" .")), "without a word")
    return told.removeprefix("DB::Exception: ")


def _secret(file: str | None) -> str:
    if file is None:
        return ""
    try:
        return Path(file).read_text("utf-8").strip()
    except OSError as error:
        raise ContractError(f"clickhouse password file {file}: {error.strerror}") from error
    except UnicodeDecodeError:
        # Without its cause: that holds what the file holds.
        raise ContractError(f"clickhouse password file {file}: not UTF-8 text") from None


def _readable(ca_file: str) -> None:
    try:
        ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        raise ContractError(f"clickhouse.ca_file {ca_file}: {error.strerror or error}") from error


def _with_plain_instants(query: Query) -> str:
    columns = ", ".join(
        f"toUnixTimestamp64Micro(`{name}`) AS `{name}`" if dtype == UTC_US else f"`{name}`"
        for name, dtype in query.schema.items()
    )
    return f"SELECT {columns} FROM ({query.text()})"


def _send_block(connection: Any, columns_with_types: Sequence[tuple[str, str]], columns: list[pl.Series]) -> None:
    """One block of a DATA packet, as `BlockOutputStream.write` of the driver sends it."""
    revision = connection.server_info.used_revision
    write_varint(ClientPacketTypes.DATA, connection.fout)
    if revision >= defines.DBMS_MIN_REVISION_WITH_TEMPORARY_TABLES:
        write_binary_str("", connection.fout)
    stream = connection.block_out
    if revision >= defines.DBMS_MIN_REVISION_WITH_BLOCK_INFO:
        BlockInfo().write(stream.fout)
    write_varint(len(columns), stream.fout)
    write_varint(len(columns[0]), stream.fout)
    for (name, kind), column in zip(columns_with_types, columns, strict=True):
        write_binary_str(name, stream.fout)
        write_binary_str(kind, stream.fout)
        if revision >= defines.DBMS_MIN_REVISION_WITH_CUSTOM_SERIALIZATION:
            write_binary_uint8(0, stream.fout)
        pieces = encode_column(column, kind)
        if pieces is None:
            write_column(connection.context, name, kind, _values(column), stream.fout)
        for piece in pieces or ():
            _send_piece(stream, piece)
    _send_held(stream)
    stream.raw_fout.flush()


def _send_held(stream: Any) -> None:
    """What the stream holds, if anything: a server would read past the end of an empty frame."""
    stream.fout.flush()
    if stream.compressor.data.tell():
        stream.finalize()


def _send_piece(stream: Any, piece: Piece) -> None:
    """A piece of a block behind what the stream holds: compressed from where it lies, without the stream's copies."""
    if len(piece) < _LONE_OCTETS:
        stream.fout.write(bytes(piece))
        return
    _send_held(stream)
    method = stream.compressor.method_byte
    for first in range(0, len(piece), _COMPRESSED_OCTETS):
        part = piece[first : first + _COMPRESSED_OCTETS]
        packed = part if method == _AS_IT_IS else stream.compressor.compress_data(part)
        if len(packed) > len(part) * _WORTH_IT:  # ciphered messages, and so is the rest of the piece
            method, packed = _AS_IT_IS, part
        body = b"".join((struct.pack("<BII", method, len(packed) + _SIZES_OCTETS, len(part)), packed))
        write_binary_uint128(stream.get_compressed_hash(body), stream.raw_fout)
        stream.raw_fout.write(body)


def _values(column: pl.Series) -> list[Any]:
    """The values one by one, for the few types that are not encoded whole."""
    if column.dtype == pl.List(pl.String):
        return [[item.encode() for item in row] for row in column.to_list()]
    return column.to_list()


def _read(name: str, dtype: pl.DataType, values: Sequence[Any]) -> pl.Series:
    if isinstance(dtype, pl.List):
        texts = [[item.decode() for item in row] or None for row in values]
        return pl.Series(name, texts, dtype=pl.List(pl.String))
    if dtype == UTC_US:
        return pl.Series(name, values, dtype=pl.Int64).cast(UTC_US)
    if dtype == pl.Boolean():
        return pl.Series(name, values).cast(pl.Boolean)
    if isinstance(dtype, (pl.String, pl.Enum)):
        return pl.Series(name, values, dtype=pl.Binary).cast(pl.String)
    return pl.Series(name, values, dtype=dtype)


def _read_type(dtype: pl.DataType) -> pl.DataType:
    return pl.String() if isinstance(dtype, pl.Enum) else dtype
