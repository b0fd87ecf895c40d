"""Reading what stood on a topic before: a range of one partition, outside every group, committing nothing."""

from collections.abc import Iterator
from typing import Any, Final

import polars as pl
from kafka import KafkaConsumer, TopicPartition, errors

from ingest.kafka.opening import opening
from ingest.kafka.records import Records, frames_of_records
from ingest.kafka.settings import KafkaSettings, typed_error
from ingest.kafka.source import Span
from schemas.errors import TransientError

_POLL_MS: Final = 1_000
_SILENT_POLLS: Final = 30
"""Polls without a message, one second each, after which the brokers count as away."""


def read_range(settings: KafkaSettings, span: Span, messages_a_part: int = 5_000) -> Iterator[pl.DataFrame]:
    """RAW_FRAMES of all messages of [first, next) that the broker still keeps, ascending, in parts.

    Raises:
        TransientError: The brokers are away, or fell silent before the end of the range.
        TerminalError: They refuse.
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
        consumer.assign([place])
        at = max(span.first, consumer.beginning_offsets([place])[place])
        end = min(span.next, consumer.end_offsets([place])[place])
        consumer.seek(place, at)
        yield from _read(consumer, place, (at, end), messages_a_part)
    except errors.KafkaError as error:
        raise typed_error(error, retriable=True) from error
    finally:
        consumer.close(autocommit=False)


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
