"""Refused parts of messages, told once a reason: a reject row carries the whole message.

A message of thousands of refused values would else be stored thousands of times, the square of its size.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from ingest.blocks import Refused
from ingest.spans import Places

_TOLD_BY = ("message", "reason", "detail")


class Told(NamedTuple):
    """What is said of parts of messages, by row, each message, reason and detail once."""

    message: Places
    reason: npt.NDArray[np.int64]
    at: Places  # the first of the bytes; 0 where the message as a whole is meant
    details: list[str]


def told_once(refused: Sequence[Refused]) -> Told:
    """A row for each message, reason and detail, in the order in which they came: their values together."""
    parts = pl.DataFrame(
        {
            "message": np.concatenate([part.message for part in refused] or [np.empty(0, np.int64)]),
            "reason": _repeated([part.reason for part in refused], refused),
            "at": _repeated([part.at for part in refused], refused),
            "values": np.concatenate([part.values for part in refused] or [np.empty(0, np.int64)]),
            "part": _repeated(list(range(len(refused))), refused),
        }
    )
    details = pl.DataFrame({"part": range(len(refused)), "detail": [part.detail for part in refused]}).cast(
        {"part": pl.Int64, "detail": pl.String}
    )
    once = (
        parts.join(details, on="part", how="left", maintain_order="left")
        .group_by(_TOLD_BY, maintain_order=True)
        .agg(pl.col("at").min(), pl.col("values").sum())
    )
    said = once.select(pl.format("{} values: {}", "values", "detail")).to_series()
    return Told(once["message"].to_numpy(), once["reason"].to_numpy(), once["at"].to_numpy(), said.to_list())


def _repeated(values: list[int], refused: Sequence[Refused]) -> npt.NDArray[np.int64]:
    return np.repeat(np.array(values, np.int64), [len(part.message) for part in refused])
