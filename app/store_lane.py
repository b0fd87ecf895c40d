"""The store worker: what other workers said goes into the database, a consumer of its own that no lane waits for."""

from typing import Final

import polars as pl

from app.messages import from_messages
from app.meter_states import METERS_TOPIC, states_of
from app.refused import rejects_of, store_all, store_rejects
from app.supply_days import SupplyDays
from app.unreadable import read, rejects_of_messages
from app.workers import (
    DIRTY_DAYS_TOPIC,
    EVENTS_TOPIC,
    OUTAGES_TOPIC,
    REJECTS_TOPIC,
    Publisher,
    Registry,
    place_of,
    publish,
)
from ingest.kafka.source import Position
from outage.stream_said import said_steps
from schemas.frames import EVENTS, REJECTS, Frame
from storage.store import ReadingStore

_OTHERS: Final = ("events", "outages", "meters")
"""Tables of what is no reject."""


class StoreWork:
    """Events, rejects, outages and meters into the database, as a consumer of its own: no lane waits for it.

    Once it is known there that a supply was off, its days are judged again: with true zeros, and with estimates where
    an outage turned out to be none. An event that the store refuses becomes a reject with the bytes of its frame, a
    message that is no rows of its topic one with its own; both are told on the topic of rejects too.
    """

    _TABLES: Final[dict[str, tuple[str, Frame]]] = {
        EVENTS_TOPIC: ("events", EVENTS),
        REJECTS_TOPIC: ("rejects", REJECTS),
    }

    def __init__(self, store: ReadingStore, publisher: Publisher, meters: pl.DataFrame) -> None:
        self._store, self._publisher, self._days = store, publisher, SupplyDays(meters)

    def adopt(self, positions: tuple[Position, ...]) -> None:
        """Nothing is carried from batch to batch."""

    def enrol(self, registry: Registry) -> None:
        """From the next batch on its meters are those whose days can become dirty."""
        self._days = SupplyDays(registry.meters)

    def prepare(self, messages: pl.DataFrame) -> dict[str, pl.DataFrame]:
        """Rows by table, and under `unreadable` REJECTS of messages that are no rows of their topic.

        With outages and meters VEE knows what it judges.

        Args:
            messages: `topic`, `partition`, `offset`, `at`, `value`.
        """
        rows, unreadable = read(messages, self._parse)
        return rows | {"unreadable": rejects_of_messages(unreadable, pl.col("at"))}

    def _parse(self, messages: pl.DataFrame) -> dict[str, pl.DataFrame]:
        values = {
            topic: rows["value"].to_list() for (topic,), rows in messages.partition_by("topic", as_dict=True).items()
        }
        rows = {table: from_messages(values.get(topic, []), frame) for topic, (table, frame) in self._TABLES.items()}
        rows["outages"] = said_steps(values.get(OUTAGES_TOPIC, []))
        meters = messages.filter(pl.col("topic") == METERS_TOPIC)
        return rows | ({"meters": states_of(meters)} if meters.height else {})

    def deliver(self, rows: dict[str, pl.DataFrame], token: str) -> None:
        """Inserted and acknowledged; then, never before, the days that follow are flushed."""
        refused = {
            table: store_all(self._store, table, part, token) for table, part in rows.items() if table in _OTHERS
        }
        news = pl.concat([rows["unreadable"], self._rejects_of(refused["events"])])
        store_rejects(self._store, pl.concat([rows["rejects"], news]), token)
        publish(self._publisher, REJECTS_TOPIC, news, place_of(news))
        dirty = self._days.of(rows["outages"], rows["events"])
        publish(self._publisher, DIRTY_DAYS_TOPIC, dirty, dirty["bucket"])
        self._publisher.flush()

    def _rejects_of(self, refused: pl.DataFrame) -> pl.DataFrame:
        if refused.is_empty():
            return REJECTS.empty()
        return rejects_of(refused, self._store.load_messages(refused))
