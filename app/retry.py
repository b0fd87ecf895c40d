"""Trying again: transient failures wait and repeat the call; refused rows are parted until the poison stands alone."""

import random
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple, TypeVar

import polars as pl

from schemas.errors import ContractError, TransientError

T = TypeVar("T")

FIRST_WAIT_S: Final = 0.2
LONGEST_WAIT_S: Final = 15.0
MOST_INSERTS: Final = 1_000
"""That part a refused batch: seconds on a server. They find some fifty poison rows of 20,000 one by one."""


class StoppedError(TransientError):
    """The worker is told to stop while a call still fails: its batch is left undone and will be read again."""


class Retry:
    """Repeats a call until it succeeds, with growing waits of random length, or until the worker must stop.

    Args:
        stopping: True once the worker shall give up.
        wait: Sleeps for that many seconds, or less once the worker shall give up; a test passes its own.
        seed: Of the random part of the waits; None: of the system.
    """

    def __init__(
        self, stopping: Callable[[], bool], *, wait: Callable[[float], None] = time.sleep, seed: int | None = None
    ) -> None:
        self._stopping = stopping
        self._wait = wait
        self._random = random.Random(seed)

    def __call__(self, call: Callable[[], T], failed: Callable[[TransientError], None] | None = None) -> T:
        """The call's result.

        Args:
            call: Safe to repeat.
            failed: Told of each failure (a log line, a metric).

        Raises:
            StoppedError: The worker must stop and the call still fails.
        """
        wait_s = FIRST_WAIT_S
        while True:
            try:
                return call()
            except TransientError as error:
                if failed is not None:
                    failed(error)
                if self._stopping():
                    raise StoppedError(str(error)) from error
                why = error
            self._wait(self._random.uniform(wait_s / 2, wait_s))
            if self._stopping():
                raise StoppedError(str(why)) from why
            wait_s = min(wait_s * 2, LONGEST_WAIT_S)


class Parted(NamedTuple):
    """What was not stored of a batch that was refused as a whole, in its order."""

    poison: pl.DataFrame
    """Rows that were refused each for itself."""
    beside: pl.DataFrame
    """Rows of parts that were refused, not tried any further: poison is among them, and what stood beside it."""


def part_poison(rows: pl.DataFrame, insert: Callable[[pl.DataFrame], object], most: int = MOST_INSERTS) -> Parted:
    """Insert all rows that are accepted, the largest parts first, with no more than `most` inserts.

    Args:
        rows: A batch that was refused as a whole.
        insert: Stores rows; raises `ContractError` where one of them cannot be stored.
        most: Of inserts.

    Halves are tried until a single row is refused: a few poison rows cost a few dozen inserts, not the batch.
    """
    waiting, poison = deque([(0, rows.height)] if rows.height else []), []
    for _ in range(most):
        if not waiting:
            break
        first, height = waiting.popleft()
        try:
            insert(rows.slice(first, height))
        except ContractError:
            half = height // 2
            if half:
                waiting += [(first, half), (first + half, height - half)]
            else:
                poison.append((first, height))
    return Parted(_slices(rows, poison), _slices(rows, waiting))


def _slices(rows: pl.DataFrame, places: Iterable[tuple[int, int]]) -> pl.DataFrame:
    return pl.concat([rows.clear(), *(rows.slice(first, height) for first, height in sorted(places))])
