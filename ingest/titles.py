"""System titles as columns: eight octets as one number inside, lower-case hexadecimal outside."""

from typing import Final, cast

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

TITLE_OCTETS: Final = 8
_HEX_DIGITS: Final = 2 * TITLE_OCTETS


def titles_to_hex(titles: npt.NDArray[np.uint64]) -> pl.Series:
    """Each title as 16 hexadecimal digits."""
    return octets_to_hex(titles.astype(">u8").view(np.uint8).reshape(-1, TITLE_OCTETS))


def octets_to_hex(octets: npt.NDArray[np.uint8]) -> pl.Series:
    """Each row of octets as hexadecimal digits."""
    rows, width = octets.shape
    digits = octets.tobytes().hex().encode("ascii")
    offsets = np.arange(rows + 1, dtype=np.int64) * 2 * width
    array = pa.LargeStringArray.from_buffers(rows, pa.py_buffer(offsets), pa.py_buffer(digits))
    return cast(pl.Series, pl.from_arrow(array))


def titles_from_hex(texts: pl.Series) -> npt.NDArray[np.uint64]:
    """Each title as a number; texts must have 16 hexadecimal digits."""
    joined = texts.str.join("").item() if len(texts) else ""
    return np.frombuffer(bytes.fromhex(joined), ">u8").astype(np.uint64)
