"""Registry changes on their way to workers: `ami.meters.v1` is read whole at the start, then looked at now and then.

A message holds the whole state of one meter (its key): a row for each installation, METERS as JSON lines; a message
without a value takes the meter away. Meters that the topic does not name stay as the file has them.
"""

import logging
from collections.abc import Callable, Mapping
from concurrent.futures import Future, wait
from typing import Final, Generic, NamedTuple, Protocol, TypeVar

import polars as pl

from app.beside import beside
from app.inputs import with_profiles
from app.lane import Work
from app.meter_states import METERS_TOPIC, meters_of
from app.registry import refuse_overlaps
from app.telemetry import REGISTRY_CHANGES
from app.workers import Registry
from ingest.kafka.compacted import Newest
from ingest.kafka.source import Position
from schemas.errors import ContractError, TransientError

LOG = logging.getLogger("ami.registry")
LOOK_S: Final = 2.0
"""How long a batch waits for what brokers have to say of the registry, once that has been read whole."""

Prepared = TypeVar("Prepared")


class Changes(Protocol):
    """See `ingest.kafka.compacted.CompactedTopic`."""

    def changes(self) -> dict[bytes, Newest]: ...
    def version(self) -> int: ...


class Enrolled(Work[Prepared], Protocol[Prepared]):
    """A work that depends on the registry."""

    def enrol(self, registry: Registry) -> None:
        """From the next batch on this registry counts."""
        ...


class RegistryFeed:
    """The registry as the topic has it, looked at no more often than every `every_s` seconds.

    Args:
        topic: Registry changes, newest of each meter.
        base: Keys, types, and the meters of the file.
        every_s: Seconds between two looks.
        clock: Seconds of a monotonic clock.
    """

    def __init__(self, topic: Changes, base: Registry, every_s: float, clock: Callable[[], float]) -> None:
        self._topic, self._every_s, self._clock = topic, every_s, clock
        self.registry = base
        self._refused: dict[bytes, Newest] = {}
        self._due = clock()
        self._looking: Future[tuple[dict[bytes, Newest], int]] | None = None
        self._begun = False
        self.version = 0

    def look(self) -> bool:
        """Whether the registry is another one now.

        A change that cannot be taken (no row of METERS, an unknown meter type, a system title that another meter has)
        leaves that meter as it was, is counted and logged by its place, and is tried again with every later change.
        While the brokers are away the registry stays as it is. The first look goes on until the topic has been read or
        they are away; a later one for two seconds, and what comes after these is taken by the look after it.
        """
        if self._looking is None:
            if self._clock() < self._due:
                return False
            self._due = self._clock() + self._every_s
            self._looking = beside(lambda: (self._topic.changes(), self._topic.version()), "registry")
        wait([self._looking], LOOK_S if self._begun else None)
        if not self._looking.done():
            return False
        looked, self._looking, self._begun = self._looking, None, True
        try:
            changed, version = looked.result()
        except TransientError as error:
            LOG.warning("registry changes cannot be read", extra={"fields": {"why": str(error)}})
            return False
        if not changed:
            return False
        before = self.registry
        waiting, self._refused = self._refused | changed, {}
        self._take(waiting)
        self.version = version
        taken = len(waiting) - len(self._refused)
        REGISTRY_CHANGES.labels(outcome="taken").inc(taken)
        REGISTRY_CHANGES.labels(outcome="refused").inc(len(self._refused))
        places = [newest.place for newest in self._refused.values()]
        LOG.info("registry", extra={"fields": {"taken": taken, "refused": len(places), "places": places[:10]}})
        return self.registry is not before

    def _take(self, changes: Mapping[bytes, Newest]) -> None:
        """All of them at once, so that a title may pass from one meter to another; else as many as can be taken."""
        try:
            self.registry = with_changes(self.registry, changes)
        except ContractError:
            if len(changes) == 1:
                self._refused |= changes
                return
            keys = list(changes)
            for half in (keys[: len(keys) // 2], keys[len(keys) // 2 :]):
                self._take({key: changes[key] for key in half})


def with_changes(registry: Registry, changes: Mapping[bytes, Newest]) -> Registry:
    """The registry with the meters of those keys as the messages have them.

    Raises:
        ContractError: A value is not rows of METERS of the meter of its key, or the registry would contradict itself.
    """
    names = [key.decode("utf-8", "replace") for key in changes]
    values = [newest.value for newest in changes.values() if newest.value]
    rows = meters_of(values)
    refuse_overlaps(rows, METERS_TOPIC)
    if not set(rows["meter_id"]) <= set(names):
        raise ContractError(f"{METERS_TOPIC}: a message holds rows of a meter that is not its key")
    kept = registry.meters.filter(~pl.col("meter_id").is_in(names))
    meters = pl.concat([kept, with_profiles(rows, registry.types)]).sort("meter_id", "installed_at", nulls_last=False)
    return Registry.of(registry.keyring, meters, registry.types)


class _Batch(NamedTuple, Generic[Prepared]):
    """What a batch was prepared to, and by which state of the registry."""

    prepared: Prepared
    registry: int


class Following(Generic[Prepared]):
    """A work whose registry is looked up before each batch.

    The token of a batch names the state of the registry: rows decoded by another one are other rows, and the store
    skips a token that it knows.
    """

    def __init__(self, work: Enrolled[Prepared], feed: RegistryFeed) -> None:
        self._work, self._feed = work, feed

    def adopt(self, positions: tuple[Position, ...]) -> None:
        """See `Work.adopt`."""
        self._look()
        self._work.adopt(positions)

    def prepare(self, frames: pl.DataFrame) -> _Batch[Prepared]:
        """See `Work.prepare`."""
        self._look()
        return _Batch(self._work.prepare(frames), self._feed.version)

    def deliver(self, batch: _Batch[Prepared], token: str) -> None:
        """See `Work.deliver`."""
        self._work.deliver(batch.prepared, f"{token} registry {batch.registry}")

    def _look(self) -> None:
        if self._feed.look():
            self._work.enrol(self._feed.registry)
