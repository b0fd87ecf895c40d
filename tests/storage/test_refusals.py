"""What a server's refusal asks for: try again, take the rows apart, or stop."""

import pytest
from clickhouse_driver.errors import ServerException

from schemas.errors import ContractError, TerminalError, TransientError
from storage.clickhouse import typed_error

FULL = "filesystem error: in create_directories: No space left on device [/var/lib/clickhouse/tmp]"


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (1000, "Poco::Exception. Code: 1000, e.code() = 28, e.displayText() = No space left on device"),
        (1001, f"std::exception. Code: 1001, type: filesystem_error, e.what() = {'x' * 200} {FULL}"),
        (1001, "std::exception. Code: 1001, type: std::bad_alloc, e.what() = std::bad_alloc"),
        (1002, "Unknown exception: no space left on device"),
    ],
)
def test_a_machine_that_is_full_passes_in_whatever_words_its_server_says_so(code, message):
    assert isinstance(typed_error(ServerException(message, code)), TransientError)


@pytest.mark.parametrize("code", [254, 519, 695, 696, 722, 733, 735, 745, 749])
def test_a_server_that_is_overloaded_or_loads_its_tables_is_tried_again(code):
    assert isinstance(typed_error(ServerException("DB::Exception: not now", code)), TransientError)


def test_an_exception_of_a_library_that_is_not_the_machines_fault_stops():
    assert isinstance(typed_error(ServerException("std::exception: map::at", 1001)), TerminalError)


@pytest.mark.parametrize(("code", "kind"), [(241, TransientError), (27, ContractError), (497, TerminalError)])
@pytest.mark.parametrize("message", ["", "\n", ". Stack trace:\n\n0. frame"])
def test_a_refusal_without_a_word_is_typed_by_its_code(code, kind, message):
    error = typed_error(ServerException(message, code))
    assert isinstance(error, kind)
    assert f"clickhouse code {code}: " in str(error)


def test_a_refusal_is_told_by_its_sentence_without_the_stack_that_follows():
    message = "DB::Exception: Not enough privileges. Stack trace:\n\n0. DB::Exception::Exception() @ 0x1"
    assert str(typed_error(ServerException(message, 497))).endswith("Not enough privileges.")
    assert "Stack trace" not in str(typed_error(ServerException("DB::Exception: away. Stack trace:", 210)))
