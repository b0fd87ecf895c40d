"""Numbered, forward-only DDL: which files are pending, and their one application.

A file is `NNN_name.sql`. Its header says `-- minimum server: MAJOR.MINOR`; its statements end with a semicolon at the
end of a line. The comments `/*on cluster*/` and `/*replicated*/` mark where a cluster needs more words; without a
cluster a file runs as it stands, in any client.
"""

import hashlib
import re
from pathlib import Path
from typing import Final, NamedTuple, Protocol

import polars as pl

from schemas import errors
from schemas.errors import ContractError, TerminalError
from storage.queries import Query, literal

_FILE: Final = re.compile(r"(\d{3})_(\w+)\.sql")
_MINIMUM: Final = re.compile(r"^-- minimum server: (\d+)\.(\d+)$", re.MULTILINE)
_STATEMENT_END: Final = re.compile(r";[ \t]*\n")
_COMMENT_LINE: Final = re.compile(r"^\s*--.*\n?", re.MULTILINE)
_LOCK: Final = "migrations_running"
_IS_THERE: Final = re.compile(r"\bcode:? 57\b|already exists", re.IGNORECASE)
"""How an engine says that a table of a name is there: TABLE_ALREADY_EXISTS."""
_STATE: Final = pl.Schema({"number": pl.Int32(), "checksum": pl.String(), "status": pl.String()})


class Migration(NamedTuple):
    """One numbered file, parsed."""

    number: int
    name: str
    checksum: str
    minimum: tuple[int, int]
    statements: tuple[str, ...]


class Target(Protocol):
    """What can be migrated: the part of an engine that migrations use."""

    def execute(self, sql: str) -> None:
        """The statement has been carried out."""
        ...

    def select(self, query: Query) -> pl.DataFrame:
        """The query's rows."""
        ...

    def version(self) -> tuple[int, int]:
        """Major and minor version of the engine."""
        ...


def packaged_migrations() -> tuple[Migration, ...]:
    """The migrations of this release, ascending."""
    folder = Path(errors.__file__).with_name("clickhouse")
    return tuple(parse_migration(file.name, file.read_text("utf-8")) for file in sorted(folder.glob("*.sql")))


def parse_migration(file_name: str, text: str) -> Migration:
    """The file as a migration; the checksum covers every byte of it.

    Raises:
        ContractError: The name is not `NNN_name.sql`, or the header names no minimum server.
    """
    named, minimum = _FILE.fullmatch(file_name), _MINIMUM.search(text)
    if named is None:
        raise ContractError(f"migration {file_name}: not NNN_name.sql")
    if minimum is None:
        raise ContractError(f"migration {file_name}: no line '-- minimum server: MAJOR.MINOR'")
    parts = (_COMMENT_LINE.sub("", part).strip() for part in _STATEMENT_END.split(text + "\n"))
    return Migration(
        number=int(named.group(1)),
        name=named.group(2),
        checksum=hashlib.sha256(text.encode()).hexdigest(),
        minimum=(int(minimum.group(1)), int(minimum.group(2))),
        statements=tuple(part for part in parts if part),
    )


def plan_migrations(
    wanted: tuple[Migration, ...], applied: pl.DataFrame, server: tuple[int, int]
) -> tuple[Migration, ...]:
    """Migrations still to be run, ascending.

    Args:
        wanted: Every migration of the release.
        applied: `number`, `checksum`, `status` (started or done), the newest status of each number.
        server: Major and minor version of the engine.

    Raises:
        TerminalError: One was started and never finished; a person must look at it first.
        ContractError: An applied file was edited since, is no longer there, or comes before a gap; or a pending one
            needs a newer server.
    """
    known = {migration.number: migration for migration in wanted}
    if len(known) != len(wanted):
        raise ContractError("migrations: a number is given twice")
    done = _done(known, applied)
    pending = tuple(known[number] for number in sorted(known) if number not in done)
    if pending and done and pending[0].number < max(done):
        raise ContractError(f"migration {pending[0].number:03d}_{pending[0].name}: newer ones are already applied")
    for migration in pending:
        _check_server(migration, server)
    return pending


def pending_migrations(target: Target, wanted: tuple[Migration, ...] | None = None) -> tuple[Migration, ...]:
    """What `apply_migrations` would run now. Nothing is changed.

    Raises:
        TerminalError, ContractError: See `plan_migrations`.
    """
    known = "SELECT toInt64(count()) AS tables FROM system.tables WHERE database = currentDatabase()"
    asked = Query(f"{known} AND name = 'migrations'", {}, pl.Schema({"tables": pl.Int64()}))
    applied = _applied(target) if target.select(asked)["tables"].item() else pl.DataFrame(schema=_STATE)
    return plan_migrations(packaged_migrations() if wanted is None else wanted, applied, target.version())


def apply_migrations(
    target: Target, wanted: tuple[Migration, ...] | None = None, cluster: str | None = None
) -> tuple[Migration, ...]:
    """Every wanted migration is done when this returns; those that ran now are returned.

    `migrations` holds a row when one starts and one when it is done. A lock table keeps two runs apart: the engine
    makes one table of a name, whoever asks at once; in a cluster on every node, so that runs on two nodes meet.

    Raises:
        TerminalError: Another run holds the lock, or one was left half done.
        ContractError: See `plan_migrations`.
    """
    wanted = packaged_migrations() if wanted is None else wanted
    first = wanted[0]
    _check_server(first, target.version())
    for statement in render_statements(first, cluster):
        target.execute(statement)
    _lock(target, cluster)
    try:
        pending = plan_migrations(wanted, _applied(target), target.version())
        for migration in pending:
            _record(target, migration, "started")
            for statement in render_statements(migration, cluster):
                target.execute(statement)
            _record(target, migration, "done")
    finally:
        target.execute(f"DROP TABLE IF EXISTS {_LOCK}{_on(cluster)}")
    return pending


def render_statements(migration: Migration, cluster: str | None = None) -> tuple[str, ...]:
    """The statements as an engine gets them: as they stand, or for the replicas of a cluster.

    There an ALTER is done when every replica has done it: the next statement must not meet a replica that has not.
    """
    if cluster is None:
        return migration.statements
    return tuple(
        statement.replace(" /*on cluster*/", _on(cluster)).replace("/*replicated*/", "Replicated")
        + (" SETTINGS alter_sync = 2" if statement.startswith("ALTER") else "")
        for statement in migration.statements
    )


def _check_server(migration: Migration, server: tuple[int, int]) -> None:
    """Said before a statement is: of one that it does not know a server says something else."""
    if server < migration.minimum:
        needed, have = (".".join(map(str, version)) for version in (migration.minimum, server))
        name = f"{migration.number:03d}_{migration.name}"
        raise ContractError(f"migration {name}: needs a server of {needed}, this is {have}")


def _done(known: dict[int, Migration], applied: pl.DataFrame) -> set[int]:
    done: set[int] = set()
    for number, checksum, status in applied.select("number", "checksum", "status").rows():
        migration = known.get(number)
        if migration is None:
            raise ContractError(f"migration {number:03d}: applied by a newer release")
        name = f"{number:03d}_{migration.name}"
        if status != "done":
            raise TerminalError(
                f"migration {name}: started and never finished; carry out what is left of the file {name}.sql, then"
                f" record it as done: {_recording(migration, 'done')}"
            )
        if checksum != migration.checksum:
            raise ContractError(f"migration {name}: the file was edited after it was applied")
        done.add(number)
    return done


def _applied(target: Target) -> pl.DataFrame:
    # The newest row of a number counts, whatever file an earlier one was of: one that failed may be mended before it is
    # done. Of one file "started" comes first; both may carry one instant, and "done" < "started" as text.
    sql = (
        "SELECT number, checksum, status FROM"
        " (SELECT number, checksum, min(status) AS status, max(at) AS newest FROM migrations GROUP BY number, checksum)"
        " ORDER BY number, newest DESC LIMIT 1 BY number"
    )
    return target.select(Query(sql, {}, _STATE))


def _record(target: Target, migration: Migration, status: str) -> None:
    target.execute(_recording(migration, status))


def _recording(migration: Migration, status: str) -> str:
    values = ", ".join(literal(text, "String") for text in (migration.name, migration.checksum, status))
    # A SELECT, not VALUES: for those the native protocol waits for a block of data.
    return f"INSERT INTO migrations (number, name, checksum, status) SELECT {migration.number}, {values}"


def _on(cluster: str | None) -> str:
    return "" if cluster is None else f" ON CLUSTER {literal(cluster, 'String')}"


def _lock(target: Target, cluster: str | None) -> None:
    try:
        target.execute(f"CREATE TABLE {_LOCK}{_on(cluster)} (at DateTime DEFAULT now()) ENGINE = TinyLog")
    except TerminalError as error:
        if not _IS_THERE.search(str(error)):
            raise
        raise TerminalError(f"another run is migrating; if none is: DROP TABLE {_LOCK}{_on(cluster)}") from error
