"""The allocators told to keep what a batch gave back: the next batch needs as much again.

Left alone, glibc returns the large columns of every batch to the system and faults each page in again for the next one:
about half of the time of decoding. What is kept is at most what the largest batch needed. The allocator that polars
brings gives pages back after half a second, less than a batch takes; it reads its settings as polars is loaded, so this
module is imported before it, and they are in place then.
"""

import ctypes
import os
import sys
from typing import Final

_POLARS_ALLOCATOR: Final = "_RJEM_MALLOC_CONF"
_KEPT_MS: Final = 10_000
_SETTINGS: Final = (
    "narenas:1",  # a batch is prepared and delivered in threads of its own: what one gave back the next one finds
    f"dirty_decay_ms:{_KEPT_MS}",
    f"muzzy_decay_ms:{_KEPT_MS}",
    "thp:always",  # pages of 2 MiB, where the system lets a process ask for them: one fault where 512 were
)
os.environ.setdefault(_POLARS_ALLOCATOR, ",".join(_SETTINGS))

_TRIM_THRESHOLD: Final = -1  # malloc.h of glibc: parameters of mallopt(3)
_TOP_PAD: Final = -2
_MMAP_THRESHOLD: Final = -3
_ARENA_MAX: Final = -8
_KEPT: Final = (
    (_ARENA_MAX, 1),  # that of a thread is of 64 MB pieces, which go back whole: batches are decoded beside the loop
    (_MMAP_THRESHOLD, 1 << 30),  # columns come from the heap, which keeps its pages
    (_TRIM_THRESHOLD, (1 << 31) - 1),
    (_TOP_PAD, 1 << 26),  # the heap grows by 64 MB at a time
)


def keep_freed_memory() -> bool:
    """Freed memory stays with the process; False where the C library has no such setting (nothing changes then)."""
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and all(mallopt(parameter, value) == 1 for parameter, value in _KEPT)
