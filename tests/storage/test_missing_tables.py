"""A store whose tables are not made, or whose database is not, says what to do."""

import pytest
from clickhouse_driver.errors import ServerException

from schemas.errors import TerminalError
from storage.clickhouse import typed_error
from storage.embedded import EmbeddedEngine


def test_tables_that_are_not_made_ask_for_a_migration() -> None:
    engine = EmbeddedEngine()
    try:
        with pytest.raises(TerminalError, match="run `ami migrate`") as told:
            engine.execute("SELECT * FROM table_of_a_migration_that_was_not_run")
        assert "\n" not in str(told.value)
    finally:
        engine.close()


@pytest.mark.parametrize(
    ("code", "said"),
    [(60, "run `ami migrate`"), (81, "clickhouse.database: create it first"), (516, "code 516: refused")],
)
def test_a_server_without_tables_or_database_says_what_to_do(code: int, said: str) -> None:
    told = typed_error(ServerException("refused", code))
    assert isinstance(told, TerminalError)
    assert said in str(told)


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("DB::Exception: Database x does not exist. Stack trace:\n\n0. ./src/Common: f @ 0x1 in /usr/bin/c", "exist."),
        ("Database x does not exist", "code 81: Database x does not exist"),
        ("DB::Exception: no such database\nrow: a name. Stack trace:\n0. f", "no such database"),
        ("Stack trace:\n\n0. f", "code 81: without a word"),
        ("", "code 81: without a word"),
    ],
)
def test_the_stack_of_a_server_is_not_even_announced(message: str, said: str) -> None:
    told = str(typed_error(ServerException(message, 81)))
    assert told.endswith(said)
    assert told.startswith("there is no database of the name in clickhouse.database: create it first: clickhouse code")
