"""Reading what stood on a topic before: a range of one partition, outside every group, committing nothing."""

import time
from collections.abc import Iterator
from typing import Any, Final

import polars as pl
from kafka import KafkaConsumer, TopicPartition, errors

from ingest.kafka.opening import opening
from ingest.kafka.records import Records, frames_of_records
from ingest.kafka.settings import KafkaSettings, typed_error
from ingest.kafka.source import Span
from schemas.errors import ContractError, TransientError

_POLL_MS: Final = 1_000
_ASKED: Final = 8
_BETWEEN_S: Final = 0.25
"""A topic made just now is not known to every broker at once."""
_SILENT_POLLS: Final = 30
"""Polls without a message, one second each, after which the brokers count as away."""


def read_range(settings: KafkaSettings, span: Span, messages_a_part: int = 5_000) -> Iterator[pl.DataFrame]:
    """RAW_FRAMES of all messages of [first, next) that the broker still keeps, ascending, in parts.

    Raises:
        TransientError: The brokers are away, or fell silent before the end of the range.
        TerminalError: They refuse.
        ContractError: There is no such topic, or no such partition of it.
    """
    place = TopicPartition(span.topic, span.partition)
    with opening(settings):
        consumer: Any = KafkaConsumer(
            **settings.client_options(),
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="none",
            allow_auto_create_topics=False,
        )
    try:
        _check_there(consumer, place)
        consumer.assign([place])
        at = max(span.first, consumer.beginning_offsets([place])[place])
        end = min(span.next, consumer.end_offsets([place])[place])
        consumer.seek(place, at)
        yield from _read(consumer, place, (at, end), messages_a_part)
    except errors.KafkaError as error:
        raise typed_error(error, retriable=True) from error
    finally:
        consumer.close(autocommit=False)


def _check_there(consumer: Any, place: TopicPartition) -> None:
    """Of a partition that is not there the bounds would be waited for in vain."""
    for _ in range(_ASKED):
        known = consumer.partitions_for_topic(place.topic)
        if known:
            break
        time.sleep(_BETWEEN_S)
    else:
        raise ContractError(f"kafka: topic {place.topic}: there is none, or it is not for us to read")
    if place.partition not in known:
        raise ContractError(f"kafka: topic {place.topic} has no partition {place.partition}: the last is {max(known)}")


def _read(consumer: Any, place: TopicPartition, bounds: tuple[int, int], size: int) -> Iterator[pl.DataFrame]:
    at, end = bounds
    silent = 0
    while at < end:
        records = consumer.poll(_POLL_MS, max_records=size).get(place, [])
        silent = 0 if records else silent + 1
        if silent > _SILENT_POLLS:
            raise TransientError(f"kafka: {place.topic}/{place.partition} fell silent at {at} of {end}")
        at = max(at, consumer.position(place))
        wanted = [record for record in records if record.offset < end]
        if wanted:
            yield frames_of_records(
                Records(
                    place.topic,
                    place.partition,
                    [record.offset for record in wanted],
                    [record.timestamp for record in wanted],
                    [record.value for record in wanted],
                )
            )
