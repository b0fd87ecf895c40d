"""The schema for a server of before 2019 (Debian packages 18.16), for local tests only.

Such a server knows no DateTime64, no Bool, no codecs and no 64-bit time functions. Instants become Int64 microseconds
and Booleans UInt8, which is what the native door sends and reads anyway; storage hints are left out. The product
knows nothing of this: it asks for ClickHouse 24.8 and refuses less.
"""

import re
from typing import Any, Final

from storage.clickhouse import ClickHouseEngine, ColumnClient, NativeClient
from storage.migrations import Migration, packaged_migrations

_REWRITES: Final = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"toYYYYMM\(((?:[^()]|\((?:[^()]|\([^()]*\))*\))*)\)", r"toYYYYMM(toDateTime(intDiv(\1, 1000000)))"),
        (r"toDateTime64\(0, 6, 'UTC'\)", "toInt64(0)"),
        (r"fromUnixTimestamp64Micro\((-?\d+), 'UTC'\)", r"\1"),
        (r"toUnixTimestamp64Micro\((`\w+`)\)", r"\1"),
        (r"DateTime64\(6, 'UTC'\)", "Int64"),
        (r"now64\(6\)", "(toInt64(now()) * 1000000)"),
        (r"\bBool\b", "UInt8"),
        # Its answers with a dictionary inside an array are not what the driver reads.
        (r"Array\(LowCardinality\(String\)\)", "Array(String)"),
        (r"^DROP VIEW\b", "DROP TABLE"),
        (r" IN \[\]", " IN (NULL)"),
        (r" IN \[((?:'(?:[^'\\]|\\.)*'|-?\d+|,)+)\]", r" IN (\1)"),
    )
)
# What ends a key says which rows are one: no hint.
_HINT: Final = re.compile(r"^ALTER TABLE(?!.*\b(?:MODIFY ORDER BY|MATERIALIZED)\b)", re.IGNORECASE | re.DOTALL)
_MINIMUM: Final = (18, 16)


def rewrite(sql: str) -> str:
    """The statement as the old server understands it."""
    for pattern, replacement in _REWRITES:
        sql = pattern.sub(replacement, sql)
    # With FINAL it computes the sort key itself, and takes the same expression in a query for a second column.
    defines = sql.startswith(("CREATE TABLE", "ALTER TABLE"))
    return sql if defines else sql.replace("ifNull(", "coalesce(")


def old_migrations() -> tuple[Migration, ...]:
    """The packaged migrations without storage hints, each saying that the old server will do."""
    return tuple(
        migration._replace(minimum=_MINIMUM)
        for migration in packaged_migrations()
        if not all(_HINT.match(statement) for statement in migration.statements)
    )


class RewritingClient:
    """A native client that rewrites what it is asked."""

    def __init__(self, client: NativeClient) -> None:
        self._client = client

    def execute(self, query: str, params: Any = None, **options: Any) -> Any:
        """See `NativeClient.execute`."""
        return self._client.execute(rewrite(query), params, **options)

    def disconnect(self) -> None:
        """See `NativeClient.disconnect`."""
        self._client.disconnect()


def connect_old(host: str, port: int, database: str) -> ClickHouseEngine:
    """An engine for the old server whose statements are rewritten on the way."""
    settings = {"strings_as_bytes": True}
    client = ColumnClient(
        host, port=port, database=database, compression="lz4", settings=settings, send_receive_timeout=30
    )
    return ClickHouseEngine(RewritingClient(client))
