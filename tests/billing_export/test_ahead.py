"""Parts side by side: in order, never more than three of them held, and a fault in its turn."""

import threading
from collections.abc import Iterator

import pytest

from billing_export.ahead import WORKERS, ahead


def test_results_stand_in_the_order_of_the_parts_whichever_is_done_first() -> None:
    second_is_done = threading.Event()

    def work(part: int) -> int:
        if part == 0:
            assert second_is_done.wait(10)  # the first is done after the second
        if part == 1:
            second_is_done.set()
        return part * part

    assert list(ahead(work, range(7))) == [0, 1, 4, 9, 16, 25, 36]
    assert list(ahead(work, [])) == []


def test_no_more_than_one_part_is_fetched_beyond_those_in_work() -> None:
    fetched: list[int] = []

    def parts() -> Iterator[int]:
        for part in range(10):
            fetched.append(part)
            yield part

    held = []
    for taken, _ in enumerate(ahead(lambda part: part, parts()), 1):
        held.append(len(fetched) - taken)
    assert max(held) == WORKERS  # and the one just handed out


def test_a_part_that_fails_raises_in_its_turn_and_ends_the_walk() -> None:
    done: list[int] = []

    def work(part: int) -> int:
        if part == 2:
            raise ValueError("part 2")
        return part

    with pytest.raises(ValueError, match="part 2"):
        for result in ahead(work, range(100)):
            done.append(result)
    assert done == [0, 1]
