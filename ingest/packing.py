"""Messages of several senders in one Kafka message, so that they can be told apart again. Pure."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import polars as pl

from ingest.dlms.blocks import BLOCK_TOLD_BY_OCTETS, is_block
from ingest.dlms.framing import WPDU_HEAD_OCTETS
from ingest.dlms.tags import APDU_NAMES


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
    """Whether the message is one wrapper PDU of an APDU that has a name, and no block of a larger one: whoever cuts the
    value believes the length of such a one, and of those beside it.

    Behind one that it doubts it looks for a frame within, and what stands there is another sender's: a recorded message
    would be found on a partition where its window is empty.
    """
    length = int.from_bytes(message[6:8], "big") + WPDU_HEAD_OCTETS
    apdu = message[WPDU_HEAD_OCTETS : WPDU_HEAD_OCTETS + BLOCK_TOLD_BY_OCTETS]
    named = apdu[:1] != b"" and apdu[0] in APDU_NAMES and not is_block(apdu)
    return message.startswith(b"\x00\x01") and length == len(message) and named
