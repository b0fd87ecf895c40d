"""Forward only, once, in order, and never over a half-done one."""

import polars as pl
import pytest
from storage_rows import intervals

from schemas.errors import ContractError, TerminalError
from storage.embedded import EmbeddedEngine
from storage.migrations import (
    apply_migrations,
    packaged_migrations,
    parse_migration,
    pending_migrations,
    plan_migrations,
    render_statements,
)
from storage.queries import Query
from storage.store import SqlStore

COUNT = pl.Schema({"n": pl.Int64()})
STATE = pl.Schema({"number": pl.Int32(), "checksum": pl.String(), "status": pl.String()})
FILE = """-- minimum server: 24.8
-- a; semicolon in a comment;
CREATE TABLE a /*on cluster*/ (x Int8)
ENGINE = /*replicated*/MergeTree ORDER BY x;
SELECT ';';
"""


def migrations(*numbers: int):
    return tuple(
        parse_migration(f"{number:03d}_m.sql", FILE.replace("TABLE a", f"TABLE a{number}")) for number in numbers
    )


def state(*rows: tuple) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=STATE, orient="row")


def done(*numbers: int) -> pl.DataFrame:
    return state(*((m.number, m.checksum, "done") for m in migrations(*numbers)))


def test_a_file_is_its_number_its_minimum_server_and_its_statements() -> None:
    (migration,) = migrations(7)
    assert (migration.number, migration.name, migration.minimum) == (7, "m", (24, 8))
    assert [statement.split()[0] for statement in migration.statements] == ["CREATE", "SELECT"]


def test_only_what_was_not_done_is_planned_in_order() -> None:
    assert [m.number for m in plan_migrations(migrations(3, 1, 2), done(1), (24, 8))] == [2, 3]


def test_a_half_done_migration_blocks_the_next() -> None:
    (first,) = migrations(1)
    with pytest.raises(TerminalError, match="001_m"):
        plan_migrations(migrations(1, 2), state((1, first.checksum, "started")), (24, 8))


def test_what_a_killed_run_left_is_told_with_the_statements_that_end_it() -> None:
    """As a person would go on after a kill in the middle of the last file: the two statements told are carried out."""
    engine = EmbeddedEngine()
    try:
        apply_migrations(engine)
        last = packaged_migrations()[-1]
        engine.execute(f"ALTER TABLE migrations DELETE WHERE number = {last.number} SETTINGS mutations_sync = 2")
        engine.execute(
            "INSERT INTO migrations (number, name, checksum, status)"
            f" SELECT {last.number}, '{last.name}', '{last.checksum}', 'started'"
        )
        engine.execute("CREATE TABLE migrations_running (at DateTime DEFAULT now()) ENGINE = TinyLog")
        for starts in ("DROP TABLE migrations_running", "INSERT INTO migrations "):
            with pytest.raises(TerminalError) as told:
                apply_migrations(engine)
            statement = str(told.value).rpartition(": ")[2]
            assert statement.startswith(starts)
            engine.execute(statement)
        assert apply_migrations(engine) == ()
    finally:
        engine.close()


def test_a_server_that_is_too_old_is_told_before_anything_is_asked_of_it() -> None:
    class Old:
        def version(self) -> tuple[int, int]:
            return 18, 16

        def execute(self, sql: str) -> None:
            raise TerminalError(f"Unknown data type family: {sql}")

        def select(self, query: Query) -> pl.DataFrame:
            raise TerminalError(query.text())

    with pytest.raises(ContractError, match=r"needs a server of \d+\.\d+, this is 18\.16"):
        apply_migrations(Old())


@pytest.mark.parametrize(
    ("wanted", "applied", "server", "message"),
    [
        (migrations(1), state((1, "another", "done")), (24, 8), "edited"),
        (migrations(1), done(1, 2), (24, 8), "newer release"),
        (migrations(1, 2), done(2), (24, 8), "already applied"),
        (migrations(1), done(), (24, 7), "needs a server of 24.8"),
        (migrations(1, 1), done(), (24, 8), "twice"),
    ],
)
def test_a_plan_that_would_rewrite_the_past_is_refused(wanted, applied, server, message: str) -> None:
    with pytest.raises(ContractError, match=message):
        plan_migrations(wanted, applied, server)


def test_the_same_file_serves_one_node_and_a_cluster() -> None:
    (migration,) = migrations(1)
    assert "/*" in render_statements(migration)[0]
    clustered = render_statements(migration, "c'1")[0]
    assert "TABLE a1 ON CLUSTER 'c\\'1' (x" in clustered
    assert "ENGINE = ReplicatedMergeTree" in clustered


def test_every_statement_for_a_cluster_is_one_that_a_current_engine_reads(engine: EmbeddedEngine) -> None:
    for migration in packaged_migrations():
        for statement in render_statements(migration, "c1"):
            assert statement.count("ON CLUSTER 'c1'") == 1, migration.name
            assert ("alter_sync = 2" in statement) == statement.startswith("ALTER")
            # The parser tells what it read: a replicated engine, and a cluster to run on.
            engine.execute(f"EXPLAIN AST {statement}")
    tables = [s for m in packaged_migrations() for s in render_statements(m, "c1") if s.startswith("CREATE TABLE")]
    assert all("ENGINE = Replicated" in statement for statement in tables)


def test_in_a_cluster_the_lock_is_taken_on_every_node() -> None:
    class Cluster:
        def __init__(self) -> None:
            self.told: list[str] = []

        def execute(self, sql: str) -> None:
            self.told.append(sql)

        def select(self, query: object) -> pl.DataFrame:
            return done()

        def version(self) -> tuple[int, int]:
            return (25, 8)

    cluster = Cluster()
    apply_migrations(cluster, migrations(1), "c1")
    locks = [sql for sql in cluster.told if "migrations_running" in sql]
    assert locks[0].startswith("CREATE TABLE migrations_running ON CLUSTER 'c1' (")
    assert locks[-1] == "DROP TABLE IF EXISTS migrations_running ON CLUSTER 'c1'"


@pytest.mark.parametrize("name", ["1_a.sql", "001-a.sql", "001_a.txt"])
def test_a_file_of_another_name_or_without_a_minimum_server_is_refused(name: str) -> None:
    with pytest.raises(ContractError):
        parse_migration(name, FILE)
    with pytest.raises(ContractError, match="minimum server"):
        parse_migration("001_a.sql", "SELECT 1;")


def test_every_packaged_file_states_its_minimum_server_and_numbers_rise() -> None:
    numbers = [migration.number for migration in packaged_migrations()]
    assert numbers == sorted(set(numbers))


def test_what_is_pending_is_told_without_touching_the_database(engine: EmbeddedEngine) -> None:
    assert pending_migrations(engine) == ()
    engine.execute("CREATE DATABASE untouched")
    engine.execute("USE untouched")
    assert pending_migrations(engine) == packaged_migrations()
    there = Query("SELECT toInt64(count()) AS n FROM system.tables WHERE database = 'untouched'", {}, COUNT)
    assert engine.select(there)["n"].item() == 0
    engine.execute("USE ami")
    engine.execute("DROP DATABASE untouched")


def test_a_lock_that_cannot_be_taken_for_another_reason_is_not_called_another_run() -> None:
    class Refusing:
        def version(self) -> tuple[int, int]:
            return 24, 8

        def execute(self, sql: str) -> None:
            if "migrations_running" in sql:
                raise TerminalError("clickhouse code 497: not enough privileges")

    with pytest.raises(TerminalError, match="privileges") as told:
        apply_migrations(Refusing(), migrations(1))
    assert "another run" not in str(told.value)


def test_a_second_run_does_nothing_on_a_loaded_database(engine: EmbeddedEngine) -> None:
    assert apply_migrations(engine) == ()


def test_storage_hints_leave_the_rows_of_a_loaded_database_as_they_were(engine: EmbeddedEngine) -> None:
    engine.execute("CREATE DATABASE loaded")
    engine.execute("USE loaded")
    hints = next(i for i, m in enumerate(packaged_migrations()) if m.statements[0].startswith("ALTER"))
    apply_migrations(engine, packaged_migrations()[:hints])
    loaded = SqlStore(engine)
    loaded.append("intervals", intervals([1, None, 3]), "a")
    assert apply_migrations(engine) == packaged_migrations()[hints:]
    loaded.append("intervals", intervals([4], offset=[9]), "b")
    assert loaded.load_current("intervals")["value_milli"].to_list() == [4, None, 3]
    engine.execute("USE ami")
    engine.execute("DROP DATABASE loaded")


def test_two_runs_at_once_are_refused_and_the_lock_is_given_back(engine: EmbeddedEngine) -> None:
    engine.execute("CREATE TABLE migrations_running (at DateTime) ENGINE = TinyLog")
    with pytest.raises(TerminalError, match="another run"):
        apply_migrations(engine)
    engine.execute("DROP TABLE migrations_running")
    assert apply_migrations(engine) == ()


def test_a_migration_that_fails_halfway_blocks_every_later_run(engine: EmbeddedEngine) -> None:
    broken = parse_migration("900_broken.sql", "-- minimum server: 24.8\nSELECT 1;\nSELECT no_such_column;\n")
    wanted = (*packaged_migrations(), broken)
    with pytest.raises(TerminalError, match="no_such_column"):
        apply_migrations(engine, wanted)
    with pytest.raises(TerminalError, match="900_broken: started and never finished"):
        apply_migrations(engine, wanted)
    engine.execute("ALTER TABLE migrations DELETE WHERE number = 900 SETTINGS mutations_sync = 2")


def test_a_file_that_was_mended_after_it_failed_is_done_when_what_is_told_was_carried_out() -> None:
    """The next release brings the mended file; the row of the faulty one stays and must not be asked for again."""
    head = "-- minimum server: 24.8\nCREATE TABLE one (a Int32) ENGINE = Memory;\n"
    faulty = parse_migration("900_of_two.sql", head + "CREATE TABLE two (a Nonsense) ENGINE = Memory;\n")
    mended = parse_migration("900_of_two.sql", head + "CREATE TABLE two (a Int32) ENGINE = Memory;\n")
    engine = EmbeddedEngine()
    try:
        with pytest.raises(TerminalError, match="Nonsense"):
            apply_migrations(engine, (*packaged_migrations(), faulty))
        with pytest.raises(TerminalError, match="900_of_two: started and never finished") as told:
            apply_migrations(engine, (*packaged_migrations(), mended))
        engine.execute(mended.statements[1])
        engine.execute(str(told.value).rpartition(": ")[2])
        assert apply_migrations(engine, (*packaged_migrations(), mended)) == ()
        with pytest.raises(ContractError, match="edited"):
            apply_migrations(engine, (*packaged_migrations(), faulty))
    finally:
        engine.close()
