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
