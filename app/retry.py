"""Trying again: transient failures wait and repeat the call; refused rows are parted until the poison stands alone."""

import random
import time
from collections.abc import Callable
from typing import Final, TypeVar

import polars as pl

from schemas.errors import ContractError, TransientError

T = TypeVar("T")

FIRST_WAIT_S: Final = 0.2
LONGEST_WAIT_S: Final = 15.0


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


def part_poison(rows: pl.DataFrame, insert: Callable[[pl.DataFrame], object]) -> pl.DataFrame:
    """Insert all rows that are accepted; the refused ones come back, in their order.

    Args:
        rows: A batch that was refused as a whole.
        insert: Stores rows; raises `ContractError` where one of them cannot be stored.

    Halves are tried until a single row is refused: a few poison rows cost a few dozen inserts, not the batch.
    """
    waiting, poison = [rows], []
    while waiting:
        part = waiting.pop()
        if part.is_empty():
            continue
        try:
            insert(part)
        except ContractError:
            if part.height == 1:
                poison.append(part)
                continue
            half = part.height // 2
            waiting += [part.slice(half), part.slice(0, half)]
    return pl.concat(poison) if poison else rows.clear()
