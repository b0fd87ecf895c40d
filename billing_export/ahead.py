"""Parts worked on side by side, their results in order: reading, computing and writing overlap in bounded memory."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, TypeVar

T = TypeVar("T")
R = TypeVar("R")

WORKERS: Final = 2
"""Parts in work at once: columns are computed without the interpreter's lock. More would need more memory."""


def ahead(work: Callable[[T], R], parts: Iterable[T], workers: int = WORKERS) -> Iterator[R]:
    """What `work` makes of each part, in the order of the parts.

    While `workers` parts are in work the next one is fetched, in the caller's thread, and no other: never more than
    `workers` + 1 parts or results are held. A part that fails raises in its turn; parts after it are given up.
    """
    held: deque[Future[R]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="billing-part") as pool:
        try:
            for part in parts:
                held.append(pool.submit(work, part))
                del part  # it is its worker's alone
                if len(held) > workers:
                    yield held.popleft().result()
            while held:
                yield held.popleft().result()
        finally:
            for one in held:
                one.cancel()
