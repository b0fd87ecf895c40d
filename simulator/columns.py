"""The arrays that a fleet is made of, and the seeded streams of chance that fill them."""

from typing import Final, TypeAlias
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

I64: TypeAlias = NDArray[np.int64]
F64: TypeAlias = NDArray[np.float64]
U8: TypeAlias = NDArray[np.uint8]
Flags: TypeAlias = NDArray[np.bool_]

US: Final = 1_000_000
"""Microseconds of a second."""


def chance(seed: int, *path: str | int) -> np.random.Generator:
    """The stream of random numbers of that seed and purpose: the same for ever, whatever else was drawn."""
    key = tuple(part if isinstance(part, int) else crc32(part.encode()) for part in path)
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))
