"""What input topics promise when they are sought: tests of whatever `inputs` is given, in memory or in Kafka.

`inputs` reads two topics of two partitions: of `ONE` three messages stand in each, of `TWO` none.
"""

import uuid
from typing import Any

import pytest

from schemas.errors import TerminalError

ONE, TWO = (f"test.{uuid.uuid4().hex}" for _ in range(2))
MESSAGES = 3


def test_a_first_start_begins_at_the_start_or_at_the_end_as_asked(inputs: Any) -> None:
    assert inputs.seek({}, missing_from_start=True) == {ONE: {0: 0, 1: 0}, TWO: {0: 0, 1: 0}}
    assert inputs.seek({}, missing_from_start=False) == {ONE: {0: MESSAGES, 1: MESSAGES}, TWO: {0: 0, 1: 0}}


def test_a_first_start_that_was_not_asked_for_is_refused(inputs: Any) -> None:
    with pytest.raises(TerminalError, match=f"no position for {ONE}/0"):
        inputs.seek({}, missing_from_start=None)


@pytest.mark.parametrize("missing", [True, False, None])
def test_what_has_a_position_begins_there_and_what_came_later_at_its_start(inputs: Any, missing: bool | None) -> None:
    sought = inputs.seek({ONE: {1: 2}}, missing_from_start=missing)
    assert sought == {ONE: {0: 0, 1: 2}, TWO: {0: 0, 1: 0}}


def test_after_a_rest_it_begins_where_it_is_sought_again(inputs: Any) -> None:
    first = inputs.seek({}, missing_from_start=True)
    inputs.rest()
    assert inputs.seek(first | {ONE: {0: 1, 1: 3}}, missing_from_start=None) == {ONE: {0: 1, 1: 3}, TWO: {0: 0, 1: 0}}
