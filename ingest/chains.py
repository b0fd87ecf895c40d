"""Wrapper PDUs that stand end to end, as a column: the cheap way from a file or Kafka values to messages."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from ingest.dlms.blocks import DATABLOCK, TRANSFER_BLOCK
from ingest.dlms.resync import WPDU_HEAD_OCTETS

_TAG: Final = WPDU_HEAD_OCTETS


def pieces(data: bytes, edges: npt.NDArray[np.int64]) -> pl.Series:
    """The bytes from each edge to the next (Binary), where they are: nothing is copied."""
    buffers = [None, pa.py_buffer(edges), pa.py_buffer(data)]
    return pl.Series(pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(edges) - 1, buffers), dtype=pl.Binary)


def any_blocks(data: bytes, starts: Sequence[int] | npt.NDArray[np.int64]) -> bool:
    """Whether a WPDU that begins at one of these places holds a block of a larger APDU.

    Blocks of one APDU may stand in several WPDUs: those are joined, which takes the long way.
    """
    octets = np.frombuffer(data, np.uint8)
    places = np.asarray(starts, np.int64) + _TAG
    first, second = (octets[np.minimum(places + step, len(octets) - 1)] for step in (0, 1))
    return bool(((first == TRANSFER_BLOCK[0]) | (first == DATABLOCK[0]) & (second == DATABLOCK[1])).any())
