"""Messages of our own topics that are no rows of them: told, rejected with their bytes, and others are read.

A message that one worker cannot read would stop it, and whoever is started in its place: the same message is the next.
"""

import logging
from collections.abc import Callable
from typing import Final, NamedTuple, TypeVar

import polars as pl

from app.retry import part_poison
from app.telemetry import UNREADABLE
from ingest.assembly import CODE_VERSION
from schemas.codes import RejectReason
from schemas.errors import ContractError
from schemas.frames import REJECTS, UTC_US

LOG = logging.getLogger("ami.unreadable")

T = TypeVar("T")

_ROW: Final = "_row"


class Sifted(NamedTuple):
    """Messages that can be read and those that cannot, each in their order."""

    readable: pl.DataFrame
    unreadable: pl.DataFrame


def sift(messages: pl.DataFrame, parse: Callable[[pl.DataFrame], object]) -> Sifted:
    """The messages apart, where `parse` does not take them all; those that it does not take are told and counted.

    Args:
        messages: `topic`, `partition`, `offset`, `value` and what else they have.
        parse: Pure; raises `ContractError` where it does not take a message.
    """
    numbered = messages.with_row_index(_ROW)
    every = 2 * messages.height  # nothing is asked of a store: as often as it takes
    bad = part_poison(numbered, lambda part: parse(part.drop(_ROW)), every).poison
    if bad.height:
        _tell(bad)
    return Sifted(numbered.join(bad, on=_ROW, how="anti", maintain_order="left").drop(_ROW), bad.drop(_ROW))


def read(messages: pl.DataFrame, parse: Callable[[pl.DataFrame], T]) -> tuple[T, pl.DataFrame]:
    """What the messages say that can be read, and those that cannot. See `sift`."""
    try:
        return parse(messages), messages.clear()
    except ContractError:
        sifted = sift(messages, parse)
    return parse(sifted.readable), sifted.unreadable


def rejects_of_messages(unreadable: pl.DataFrame, received: pl.Expr) -> pl.DataFrame:
    """REJECTS of messages, with their own place: not that of a frame.

    Args:
        unreadable: `topic`, `partition`, `offset`, `value`.
        received: When each was written.
    """
    if unreadable.is_empty():
        return REJECTS.empty()
    none = pl.lit(None, dtype=pl.String)
    return unreadable.select(
        "topic", "partition", "offset", frame=pl.lit(0, dtype=pl.Int32), received_at=received.cast(UTC_US),
        payload="value", reason=pl.lit(RejectReason.NO_ROWS.value).cast(REJECTS.schema["reason"]),
        detail=pl.lit("no rows of its topic"), at=pl.lit(0, dtype=pl.Int32), system_title=none, key_id=none,
        code_version=pl.lit(CODE_VERSION),
    )  # fmt: skip


def _tell(unreadable: pl.DataFrame) -> None:
    for topic, messages in unreadable.group_by("topic").len().rows():
        UNREADABLE.labels(topic=topic).inc(messages)
    places = unreadable.select(pl.format("{}/{}@{}", "topic", "partition", "offset")).to_series().to_list()
    LOG.error("messages are no rows of their topic", extra={"fields": {"messages": len(places), "places": places[:10]}})
