"""`ami replay`: decode again what was rejected, or a range of a topic, and store what comes of it."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated

import typer

from app import doors, stores
from app.commands.services import ConfigFile, settings_of
from app.commands.worker import registry_of
from app.config import Config
from app.options import Json
from app.replay import Asked, Policy, check_range, check_reasons, replay_open, replay_range
from app.summary import say
from app.workers import IngestWork, Registry
from ingest.kafka.ranges import read_range
from ingest.kafka.source import Position, Span
from schemas.errors import ContractError
from storage.store import ReadingStore


def register(ami: typer.Typer) -> None:
    """Add the verb with its two kinds."""
    replay = typer.Typer(no_args_is_help=True, help="Decode rejects or a range of a topic again.")
    ami.add_typer(replay, name="replay")

    @replay.command()
    def rejects(
        config: ConfigFile = None,
        policy: Annotated[Policy, typer.Option("--policy", help="For messages that still fail.")] = Policy.STOP,
        reason: Annotated[list[str] | None, typer.Option("--reason", help="Only these; may be repeated.")] = None,
        limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many rejects.")] = 10_000,
        json: Json = False,
    ) -> None:
        """Open rejects, after their cause was mended; exit 1 where the policy stopped at one."""
        reasons = check_reasons(tuple(reason or ()))
        settings = settings_of(config)
        store, registry = stores.open_store(settings), registry_of(settings)
        work = _work(settings, store, registry)
        done = replay_open(store, work, registry, Asked(reasons, limit), policy, datetime.now(UTC))
        say(done._asdict(), as_json=json)
        if done.stopped_at is not None:
            raise typer.Exit(1)

    @replay.command(name="range")
    def range_(
        topic: Annotated[str, typer.Option("--topic")],
        partition: Annotated[int, typer.Option("--partition", min=0)],
        first: Annotated[int, typer.Option("--first", min=0, help="Offset of the first message.")],
        after: Annotated[int, typer.Option("--after", min=0, help="Offset after the last message.")],
        config: ConfigFile = None,
        json: Json = False,
    ) -> None:
        """Messages [first, after) of a partition, as far as the broker keeps them; resolves rejects that it mends."""
        check_range(topic, first, after)
        settings = settings_of(config)
        store = stores.open_store(settings)
        work = _work(settings, store, registry_of(settings))
        work.adopt((Position(topic, partition, first),))
        parts = read_range(settings.kafka, Span(topic, partition, first, after, 0))
        counted = ("frames", "decoded", "rejected", "duplicates")
        totals = dict.fromkeys((*counted, "mended"), 0)
        found = False
        for decoded, mended in replay_range(store, work, parts, datetime.now(UTC)):
            found = True
            totals["mended"] += mended
            for name in counted:
                totals[name] += getattr(decoded.counts, name)
        if not found:
            raise ContractError(f"{topic}/{partition}: no message of offsets {first} up to {after} is there")
        say(totals, as_json=json)


def _work(settings: Config, store: ReadingStore, registry: Registry) -> IngestWork:
    """What comes of a message goes the same ways as in a worker; of last gasps too, which no worker reads again."""
    publisher = doors.open_publisher(settings)
    return IngestWork(store, publisher, registry, _no_fuse, told_elsewhere=frozenset())


def _no_fuse(messages: int, rejected: Mapping[str, int]) -> None:
    """A person asked for it: the share of rejects stops nothing."""
