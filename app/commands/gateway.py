"""`ami gateway`: meters push here over TCP and UDP; what they send goes to Kafka as it came."""

import asyncio
import logging
import resource
import signal
import time
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from app import telemetry
from app.config import Config, Listen, parse_config
from app.files import read_text
from app.serve import StatusServer
from ingest.gateway import Gateway
from ingest.gateway_limits import GatewayCounts, GatewayLimits
from ingest.kafka.publisher import KafkaPublisher
from ingest.lanes import FRAMES_TOPIC, LAST_GASP_TOPIC
from schemas.errors import ContractError, TransientError

LOG = logging.getLogger("ami.gateway")
HEARTBEAT_S = 1.0
OWN_DESCRIPTORS = 256
"""Of the listener, its producers, its health and its logs."""


def register(ami: typer.Typer) -> None:
    """Add the verb."""

    @ami.command()
    def gateway(config: Annotated[Path, typer.Option("--config", metavar="F", help="ami.toml.")]) -> None:
        """Listen for pushes on TCP and UDP until SIGTERM; meter keys are not needed here."""
        settings = parse_config(read_text(config), str(config))
        telemetry.configure_logging(settings.telemetry.level)
        health = telemetry.Health(heartbeat_limit_s=settings.ingest.poll_heartbeat_limit_s)
        status = StatusServer(health, settings.telemetry.bind, settings.telemetry.port)
        try:
            asyncio.run(serve(settings, health))
        finally:
            status.close()


async def serve(settings: Config, health: telemetry.Health) -> None:
    """Listen until a signal, or until Kafka refuses for good; then send what was taken, within the bound.

    Raises:
        TransientError: Kafka is away at the start, or still away at the end with messages held: how many bytes is said.
        TerminalError: Kafka refuses.
        ContractError: The address is not ours to listen on.
    """
    # One producer for each lane: a full frames lane must not hold up a last gasp.
    limits = within_descriptors(settings.gateway.limits)
    publishers = {topic: KafkaPublisher(settings.kafka, linger_ms=0) for topic in (FRAMES_TOPIC, LAST_GASP_TOPIC)}
    gateway = Gateway(publishers, limits)
    unsent = 0
    try:
        await listen(gateway, settings.gateway)
        try:
            await _until_told(gateway, health)
        finally:
            unsent = await gateway.stop()
    finally:
        for publisher in publishers.values():
            # What is unsent has had all of `shutdown_s`: nothing is waited for once more.
            publisher.close(0 if unsent else 5)
    if unsent:
        raise TransientError(f"gateway: {unsent} bytes were taken and could not be sent")


async def listen(gateway: Gateway, where: Listen) -> None:
    """Both protocols on the address that is set; one that is not ours to listen on is named."""
    try:
        await gateway.start(where.bind, where.port)
    except OSError as error:
        reason = error.strerror or error
        raise ContractError(f"gateway.bind {where.bind!r}, gateway.port {where.port}: {reason}") from error


def within_descriptors(limits: GatewayLimits) -> GatewayLimits:
    """The limits with as many connections as this process may hold open; the soft limit is raised as far as it goes.

    Some descriptors stay free whatever senders do: without one no broker is reached again.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = limits.connections + OWN_DESCRIPTORS
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    if most >= wanted:
        return limits
    connections = max(1, most - OWN_DESCRIPTORS)
    fields = {"wanted": limits.connections, "connections": connections, "descriptors": most}
    LOG.warning("fewer connections than asked for: the limit of open files is low", extra={"fields": fields})
    return msgspec.structs.replace(limits, connections=connections)


async def _until_told(gateway: Gateway, health: telemetry.Health) -> None:
    told = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, told.set)
    failure = asyncio.create_task(gateway.wait_failed())
    ends: set[asyncio.Task[object]] = {asyncio.create_task(told.wait()), failure}
    shown = GatewayCounts()
    lost_in_kernel = 0
    while not told.is_set() and not failure.done():
        health.beat(time.monotonic())
        health.assigned = True
        health.last_insert_good = gateway.room.is_free(FRAMES_TOPIC)
        lost_in_kernel = _show(gateway, shown, lost_in_kernel)
        await asyncio.wait(ends, timeout=HEARTBEAT_S, return_when=asyncio.FIRST_COMPLETED)
    if failure.done():
        failure.result()
    for end in ends:
        end.cancel()


def _show(gateway: Gateway, shown: GatewayCounts, lost_in_kernel: int) -> int:
    """Metrics grow by what happened since they were last shown."""
    counts = gateway.counts
    for topic, messages in counts.messages.items():
        telemetry.GATEWAY_MESSAGES.labels(topic=topic).inc(messages - shown.messages[topic])
        shown.messages[topic] = messages
    for outcome in ("connections", "refused", "gave_way", "cut_short"):
        grown = getattr(counts, outcome) - getattr(shown, outcome)
        telemetry.GATEWAY_CONNECTIONS.labels(outcome=outcome).inc(grown)
        setattr(shown, outcome, getattr(counts, outcome))
    telemetry.GATEWAY_LOST.labels(where="gateway").inc(counts.udp_lost - shown.udp_lost)
    shown.udp_lost = counts.udp_lost
    telemetry.GATEWAY_RETRIES.inc(counts.retries - shown.retries)
    shown.retries = counts.retries
    now_lost = gateway.kernel_lost()
    telemetry.GATEWAY_LOST.labels(where="kernel").inc(max(0, now_lost - lost_in_kernel))
    return now_lost
