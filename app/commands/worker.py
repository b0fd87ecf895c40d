"""`ami worker`: one role of the head end, until it is told to stop."""

import signal
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from app import doors, store_lane, stores, vee_lane, workers
from app.calendar import load_calendar
from app.certificates import earliest_end
from app.commands.vee import load_rule_sets
from app.config import Config, Vee, parse_config
from app.estimation import load_estimation
from app.files import read_text
from app.following import Following, RegistryFeed
from app.fuse import Fuse
from app.inputs import configured_keyring, load_keyring, load_meters, load_types
from app.lane import Lane, LaneParams
from app.meter_states import METERS_TOPIC
from app.observe import Observed, Timed
from app.oms_doors import open_oms
from app.outage_doors import open_outage
from app.revisits import Revisits
from app.serve import StatusServer
from app.telemetry import CERTIFICATE_EXPIRY, CONSUMER_LAG, DELIVERY_LIMIT_S, Health, configure_logging
from ingest.kafka.compacted import CompactedTopic
from validation.params import VeeParams

LOOK_BACK_MESSAGES = 20_000
"""Messages of a partition that an events worker reads again to rebuild its windows: hours of a busy lane."""
LAG_EVERY_S = 5.0
JUDGING_LIMIT_S = 600.0
"""A delivery of VEE judges whole buckets of meters, with many inserts: such a one hangs no sooner than that."""
CLOCK_AHEAD_S = 180
"""V1: a value is received when its interval is over. The broker's clock is the reference, three minutes the limit."""


class Role(StrEnum):
    """What a worker does."""

    INGEST = "ingest"
    EVENTS = "events"
    OUTAGE = "outage"
    OMS = "oms"
    STORE = "store"
    VEE = "vee"


def register(ami: typer.Typer) -> None:
    """Add the verb."""

    @ami.command()
    def worker(
        role: Annotated[Role, typer.Argument(help="store: rows into the database; oms: outages to outage systems.")],
        config: Annotated[Path, typer.Option("--config", metavar="F", help="ami.toml.")],
    ) -> None:
        """Run one worker until SIGTERM: poll, pure stages, insert acknowledged, flush, commit."""
        settings = parse_config(read_text(config), str(config))
        configure_logging(settings.telemetry.level)
        run(role, settings)


def run(role: Role, settings: Config) -> None:
    """The role's lane, its health on a port, until a signal; then what is in flight within the bound."""
    limit_s = JUDGING_LIMIT_S if role is Role.VEE else DELIVERY_LIMIT_S
    health = Health(heartbeat_limit_s=settings.ingest.poll_heartbeat_limit_s, delivery_limit_s=limit_s)
    ends = earliest_end(settings)
    if ends is not None:
        CERTIFICATE_EXPIRY.set_function(lambda: (ends - datetime.now(UTC)).total_seconds())
    told = threading.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: told.set())
    status = StatusServer(health, settings.telemetry.bind, settings.telemetry.port)
    try:
        source, work, params = OPEN[role](settings)
        try:
            Lane(source, work, params, health).run(watched(told, source))
        finally:
            source.close()
    finally:
        status.close()


def watched(told: threading.Event, source: Any) -> Callable[[], bool]:
    """True once a signal came; on the way the lag is measured every few seconds."""
    next_at = time.monotonic()
    waiting: dict[str, int] = {}

    def stop() -> bool:
        nonlocal next_at
        if time.monotonic() >= next_at:
            next_at = time.monotonic() + LAG_EVERY_S
            waiting.update(dict.fromkeys(waiting, 0))  # of a topic of which nothing is ours any more nothing waits here
            for (topic, _), messages in source.lag().items():
                waiting[topic] = waiting.get(topic, 0) + messages
            for topic, messages in waiting.items():
                CONSUMER_LAG.labels(topic=topic).set(messages)
        return told.is_set()

    return stop


def _open_ingest(settings: Config) -> tuple[Any, Any, LaneParams]:
    ingest = settings.ingest
    fuse = Fuse(share=ingest.fuse_share, messages=ingest.fuse_messages, least=ingest.fuse_least)
    registry = registry_of(settings)
    work = workers.IngestWork(
        stores.open_store(settings),
        doors.open_publisher(settings),
        registry,
        workers.fuse_of(fuse, time.monotonic),
        frames_store=None if settings.clickhouse is None else stores.open_store(settings),
    )
    # Small pushes take the last-gasp lane too: their values are stored from there.
    source = doors.open_source(settings, "ingest", (doors.FRAMES_TOPIC, doors.LAST_GASP_TOPIC))
    return source, _following(settings, registry, Observed(work, workers.LANE)), _params(settings)


def _open_events(settings: Config) -> tuple[Any, Any, LaneParams]:
    before, stored = doors.look_back(settings, LOOK_BACK_MESSAGES), stores.stored_windows(settings)
    registry = registry_of(settings)
    # Ingest reads and stores the same messages, and counts them.
    decoding = workers.EventsWork(doors.open_publisher(settings), registry, before, stored)
    work = Observed(decoding, "lastgasp", counts=False)
    params = _params(settings)._replace(batch_seconds=0.0, poll_seconds=0.05)
    source = doors.open_source(settings, "events", (doors.LAST_GASP_TOPIC,))
    return source, _following(settings, registry, work), params


def _open_outage(settings: Config) -> tuple[Any, Any, LaneParams]:
    registry = _keyless(settings)
    source, work, params = open_outage(settings, registry.meters)
    return source, _following(settings, registry, work), params


def _open_oms(settings: Config) -> tuple[Any, Any, LaneParams]:
    registry = _keyless(settings)
    source, work, params = open_oms(settings, registry.meters)
    return source, _following(settings, registry, work), params


def _open_store(settings: Config) -> tuple[Any, Any, LaneParams]:
    topics = (workers.EVENTS_TOPIC, workers.REJECTS_TOPIC, workers.OUTAGES_TOPIC, METERS_TOPIC)
    source = doors.open_source(settings, "store", topics)
    registry = _keyless(settings)
    work = store_lane.StoreWork(stores.open_store(settings), doors.open_publisher(settings), registry.meters)
    timed = Timed(work, "store", lambda rows: {table: part.height for table, part in rows.items()})
    return doors.ValueSource(source), _following(settings, registry, timed), _params(settings)


def judging(vee: Vee) -> VeeParams:
    """What the configuration says of how values are judged; run and time are each batch's own."""
    aids = load_estimation(_path(vee.estimation_file))
    return VeeParams(
        judged_at=datetime.now(UTC),
        run_id="",
        holidays=load_calendar(_path(vee.calendar_file)).holidays,
        context_days=vee.history_days,
        clock_ahead_s=CLOCK_AHEAD_S,
        estimate_after_s=round(vee.estimate_after_hours * 3600),
        rule_sets=load_rule_sets(_path(vee.rules_file)),
        gate_months=vee.billing_gate == "month",
        four_eyes_milli=round(vee.four_eyes_kwh * 1_000_000),
        tou=aids.tou,
        profiles=aids.profiles,
    )


def _open_vee(settings: Config) -> tuple[Any, Any, LaneParams]:
    vee = settings.vee
    params = judging(vee)
    registry = registry_of(settings)
    final_after = None if vee.final_after_days is None else timedelta(days=vee.final_after_days)
    work = vee_lane.VeeWork(
        stores.open_store(settings), registry.meters, params, lambda: datetime.now(UTC), final_after
    )
    values = doors.ValueSource(doors.open_source(settings, "vee", (workers.DIRTY_DAYS_TOPIC,)))
    publisher = doors.open_publisher(settings)
    looked_up = stores.open_store(settings)
    source = Revisits(values, publisher, lambda: work.due(looked_up), vee.revisit_hours * 3600, time.monotonic)
    lane = _params(settings)._replace(batch_seconds=vee.debounce_seconds, batch_messages=1_000_000)
    return source, _following(settings, registry, Timed(work, "vee")), lane


OPEN = {
    Role.INGEST: _open_ingest,
    Role.EVENTS: _open_events,
    Role.OUTAGE: _open_outage,
    Role.OMS: _open_oms,
    Role.STORE: _open_store,
    Role.VEE: _open_vee,
}
"""What each role is made of: source, work, and when a batch is full."""


def registry_of(settings: Config) -> workers.Registry:
    """Keys, meters and meter types of the configuration."""
    types = load_types(_path(settings.meters.types_file))
    return workers.Registry.of(
        configured_keyring(settings.keys), load_meters(_path(settings.meters.file), types), types
    )


def _keyless(settings: Config) -> workers.Registry:
    """Meters and meter types: who decodes nothing holds no key."""
    types = load_types(_path(settings.meters.types_file))
    return workers.Registry.of(load_keyring(None), load_meters(_path(settings.meters.file), types), types)


def _following(settings: Config, registry: workers.Registry, work: Any) -> Any:
    """The work with its registry kept fresh, where the topic is followed."""
    every_s = settings.meters.refresh_seconds
    if not every_s:
        return work
    topic = CompactedTopic(settings.kafka, METERS_TOPIC)
    return Following(work, RegistryFeed(topic, registry, every_s, time.monotonic))


def _params(settings: Config) -> LaneParams:
    ingest = settings.ingest
    return LaneParams(
        ingest.batch_messages, ingest.batch_seconds, ingest.shutdown_seconds, batch_octets=ingest.batch_octets
    )


def _path(name: str | None) -> Path | None:
    return None if name is None else Path(name)
