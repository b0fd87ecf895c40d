"""Messages of several senders in one Kafka message, so that they can be told apart again. Pure."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import polars as pl

from ingest.dlms.blocks import BLOCK_TOLD_BY_OCTETS, is_block
from ingest.dlms.framing import WPDU_HEAD_OCTETS


class Waiting(NamedTuple):
    """A message, the key of its sender, and when it was received."""

    message: bytes
    key: bytes
    received_ms: int


def packed_rows(waiting: Mapping[int, list[Waiting]], packed_octets: int) -> pl.DataFrame:
    """Messages of each partition end to end, in their order, in as few Kafka messages as the size allows.

    Args:
        waiting: For each partition its messages, in order of reception.
        packed_octets: Size that a packed message does not pass, unless one message alone does.

    Returns:
        `key` (null where a Kafka message holds several senders), `value`, `partition`, `timestamp_ms` (of the first).
    """
    rows = [
        (*_packed(run), partition, run[0].received_ms)
        for partition, items in waiting.items()
        for run in _runs(items, packed_octets)
    ]
    schema = {"key": pl.Binary, "value": pl.Binary, "partition": pl.Int32, "timestamp_ms": pl.Int64}
    return pl.DataFrame(rows, schema=schema, orient="row")


def _runs(items: list[Waiting], packed_octets: int) -> Iterator[list[Waiting]]:
    run: list[Waiting] = []
    size = 0
    for item in items:
        alone = not _carries_its_length(item.message)
        if run and (alone or size + len(item.message) > packed_octets):
            yield run
            run, size = [], 0
        run.append(item)
        size += packed_octets if alone else len(item.message)
    yield run


def _packed(run: list[Waiting]) -> tuple[bytes | None, bytes]:
    keys = {item.key for item in run}
    return (keys.pop() if len(keys) == 1 else None), b"".join(item.message for item in run)


def _carries_its_length(message: bytes) -> bool:
    """Whether the message is one wrapper PDU and no block of a larger APDU: others could not be told apart again."""
    length = int.from_bytes(message[6:8], "big") + WPDU_HEAD_OCTETS
    block = is_block(message[WPDU_HEAD_OCTETS : WPDU_HEAD_OCTETS + BLOCK_TOLD_BY_OCTETS])
    return message.startswith(b"\x00\x01") and length == len(message) and not block
