"""Which areas are silent now, as the store knows it: the VEE worker asks once an hour.

A bucket of meters does not see the fleet: how many devices were heard of in an hour is counted by the store, over all
meters. Fourteen days when the worker starts, then the newest hours, and now and then those that may still have filled.
"""

import logging
from datetime import datetime, timedelta
from typing import Final

import msgspec
import polars as pl

from schemas.frames import HEARD_PLACES
from storage.store import ReadingStore
from validation.params import Silence, SilenceLimits
from validation.silence import LOOK_BACK, REGISTERS, detect_silences, heard_by_area

LOG = logging.getLogger("ami.silences")

_HOUR: Final = timedelta(hours=1)
_LATE: Final = timedelta(hours=SilenceLimits().longest_h + 4)
"""Hours that are counted again now and then: as long as an area may be waited for, its hours fill late."""
_RECENT: Final = timedelta(hours=6)
"""Hours that are counted again each time, and how often those that fill late are: a fifth of the work of all of them
every hour. That an area speaks again is told by its newest hour."""


class Silences:
    """The silent areas of a fleet. Used by one thread, over the connection of whoever asks.

    Args:
        limits: When an area counts as silent.
    """

    def __init__(self, limits: SilenceLimits | None = None) -> None:
        self._limits = limits or SilenceLimits()
        self._heard = HEARD_PLACES.empty()
        self._asked_at: datetime | None = None
        self._asked_late_at: datetime | None = None
        self._found: tuple[Silence, ...] = ()

    def at(self, now: datetime, store: ReadingStore) -> tuple[Silence, ...]:
        """The areas that are silent at `now`; devices are counted again once an hour.

        Raises:
            TransientError: The store is away; the next call asks again.
        """
        if self._asked_at is None or now >= self._asked_at + _HOUR:
            self._ask(now, store)
        return tuple(msgspec.structs.replace(one, silent_to=now) for one in self._found)

    def _ask(self, now: datetime, store: ReadingStore) -> None:
        until = now.replace(minute=0, second=0, microsecond=0)
        first = until - LOOK_BACK - _HOUR
        since = first if self._asked_at is None else max(first, self._asked_at_hour() - self._again(now))
        kept = self._heard.filter(pl.col("hour") >= first, pl.col("hour") < since)
        self._heard = pl.concat([kept, store.load_heard(since, until, REGISTERS)])
        self._asked_at = now
        if self._again(now) == _LATE:
            self._asked_late_at = now
        before, self._found = self._found, detect_silences(heard_by_area(self._heard), now, self._limits)
        if _areas(before) != _areas(self._found):
            LOG.warning("areas are silent: estimation waits", extra={"fields": {"areas": _areas(self._found)}})

    def _again(self, now: datetime) -> timedelta:
        """How far before the last time it counts again."""
        late = self._asked_late_at is None or now >= self._asked_late_at + _RECENT
        return _LATE if late else _RECENT

    def _asked_at_hour(self) -> datetime:
        assert self._asked_at is not None
        return self._asked_at.replace(minute=0, second=0, microsecond=0)


def _areas(silences: tuple[Silence, ...]) -> list[str]:
    """What is silent and since when, in words."""
    return [
        f"{one.service} {one.node_kind or 'all'} {one.node_id or ''}".strip() + f" since {one.silent_from.isoformat()}"
        for one in silences
    ]
