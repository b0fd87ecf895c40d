"""The C library's allocator told to keep what a batch gave back: the next batch needs as much again.

Left alone, glibc returns the large columns of every batch to the system and faults each page in again for the next one:
about half of the time of decoding. What is kept is at most what the largest batch needed.
"""

import ctypes
import sys
from typing import Final

_TRIM_THRESHOLD: Final = -1  # malloc.h of glibc: parameters of mallopt(3)
_TOP_PAD: Final = -2
_MMAP_THRESHOLD: Final = -3
_KEPT: Final = (
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
