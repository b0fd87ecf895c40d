"""The gateway's bounds, and what it counts."""

from dataclasses import dataclass, field
from typing import Annotated

import msgspec

from ingest.lanes import FRAMES_TOPIC, LAST_GASP_TOPIC
from schemas.bounds import Count, MessageOctets, Octets, Pause, Wait


class GatewayLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Bounds, each with what it guards against."""

    connections: Count = 20_000
    """Open at once. For one more the one that is silent for longest is closed, where that is longer than `message_s`,
    else the newcomer. File descriptors and memory."""
    message_octets: MessageOctets = 262_144
    """One message with all its blocks: 65,535 of a wrapper PDU, four of them."""
    held_octets: Octets = 268_435_456
    """Received and not yet acknowledged by Kafka, in all, in memory. Memory while the broker is away."""
    begun_octets: Octets = 67_108_864
    """Of messages that are not whole yet, of all connections. Slow senders in numbers: who exceeds it is cut short."""
    message_s: Pause = 15.0
    """From the first byte of a frame to its last, however they trickle: slow senders that hold a place are cut short.
    And from the first part of a transfer to its last: a late one goes on as far as it came."""
    idle_s: Pause = 600.0
    """Between messages."""
    linger_s: Annotated[float, msgspec.Meta(ge=0, le=0.1)] = 0.1
    """Longest wait for more frames of a partition. The last-gasp lane never waits."""
    packed_octets: MessageOctets = 262_144
    """Frames packed into one Kafka message; a topic takes 1 MiB."""
    shutdown_s: Wait = 10.0
    """Wait for Kafka when asked to stop."""


@dataclass
class GatewayCounts:
    """What happened since the start; read by telemetry."""

    connections: int = 0
    refused: int = 0
    gave_way: int = 0
    """Connections closed because they were silent when all places were taken."""
    messages: dict[str, int] = field(default_factory=lambda: {FRAMES_TOPIC: 0, LAST_GASP_TOPIC: 0})
    octets: int = 0
    acknowledged: int = 0
    packed: int = 0
    retries: int = 0
    cut_short: int = 0
    """Connections closed for bytes that cannot be cut, size, or time."""
    udp_lost: int = 0
    """Datagrams that found no room here."""
