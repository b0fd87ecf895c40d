import polars as pl
import pytest

from app.retry import LONGEST_WAIT_S, MOST_INSERTS, Retry, StoppedError, part_poison
from schemas.errors import ContractError, TerminalError, TransientError


class Flaky:
    def __init__(self, failures: int) -> None:
        self.left = failures
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        if self.left:
            self.left -= 1
            raise TransientError("away")
        return "done"


def test_a_call_is_repeated_until_it_succeeds_with_growing_waits_of_random_length():
    waits: list[float] = []
    told: list[str] = []
    call = Flaky(12)
    retry = Retry(lambda: False, wait=waits.append, seed=1)
    assert retry(call, lambda error: told.append(str(error))) == "done"
    assert call.calls == 13
    assert told == ["away"] * 12
    assert len(waits) == 12
    assert all(0.1 <= wait <= LONGEST_WAIT_S for wait in waits)
    assert waits[-1] > 5 * waits[0]
    assert len(set(waits)) == 12


def test_a_worker_that_must_stop_gives_up_after_the_next_failure():
    retry = Retry(lambda: True, wait=lambda _: None)
    assert retry(Flaky(0)) == "done"
    with pytest.raises(StoppedError):
        retry(Flaky(1))


def test_what_cannot_pass_is_not_repeated():
    calls = []

    def refuse() -> None:
        calls.append(1)
        raise TerminalError("no")

    with pytest.raises(TerminalError):
        Retry(lambda: False, wait=lambda _: None)(refuse)
    assert calls == [1]


@pytest.mark.parametrize("poison", [{3}, {0}, {99}, {0, 99}, {10, 11, 50}, set(range(100))])
def test_poison_rows_are_parted_and_all_others_stored_once(poison):
    stored: list[int] = []

    def insert(rows: pl.DataFrame) -> None:
        if poison & set(rows["n"].to_list()):
            raise ContractError("a row is refused")
        stored.extend(rows["n"].to_list())

    rows = pl.DataFrame({"n": list(range(100))})
    parted = part_poison(rows, insert)
    assert set(parted.poison["n"].to_list()) == poison
    assert parted.beside.is_empty()
    assert sorted(stored) == sorted(set(range(100)) - poison)


def test_no_rows_are_no_poison():
    parted = part_poison(pl.DataFrame({"n": []}), lambda _: None)
    assert parted.poison.is_empty()
    assert parted.beside.is_empty()


@pytest.mark.parametrize("step", [1, 2, 3, 100, 500, 2_000])
def test_poison_is_looked_for_with_a_bounded_number_of_inserts_and_every_row_is_somewhere_once(step: int):
    stored: list[pl.DataFrame] = []
    inserts: list[int] = []

    def insert(part: pl.DataFrame) -> None:
        inserts.append(part.height)
        if (part["n"] % step == 0).any():
            raise ContractError("a row is refused")
        stored.append(part)

    rows = pl.DataFrame({"n": range(20_000)})
    parted = part_poison(rows, insert)
    assert len(inserts) <= MOST_INSERTS
    whole = pl.concat([rows.clear(), *stored, parted.poison, parted.beside])
    assert whole["n"].sort().equals(rows["n"])
    assert (parted.poison["n"] % step == 0).all()
    assert parted.beside["n"].is_sorted()
    if step >= 500:
        assert parted.beside.is_empty(), "forty poison rows are found one by one"
