"""The configuration of workers: strict TOML, parsed once. An unknown setting is a refusal to start.

Secrets stand only in files, never in the text itself; `masked` prints what is in force without opening them.
"""

from typing import Literal

import msgspec

from ingest.gateway import DLMS_PORT, GatewayLimits
from ingest.kafka.settings import KafkaSettings
from schemas.errors import ContractError


class Group(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Membership of the consumer groups. `instance` names a static member: a restart keeps its partitions."""

    prefix: str = "ami"
    instance: str | None = None
    first_start: Literal["earliest", "latest"] | None = None
    """Where a group that never committed begins; without it a missing position stops the worker."""
    session_timeout_ms: int = 30_000
    max_poll_interval_ms: int = 300_000


class ClickHouse(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The server, native protocol. `cluster` turns engines into replicated ones, `ON CLUSTER`."""

    host: str = "127.0.0.1"
    port: int = 9000
    database: str = "ami"
    user: str = "default"
    password_file: str | None = None
    secure: bool = False
    ca_file: str | None = None
    timeout_s: int = 120
    cluster: str | None = None


class Embedded(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The store in this process, in a folder."""

    path: str = "store"


class Ingest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Batches by size or time, and the fuse on rejects."""

    batch_messages: int = 20_000
    batch_seconds: float = 1.0
    fuse_share: float = 0.05
    fuse_messages: int = 1_000
    poll_heartbeat_limit_s: float = 60.0
    shutdown_seconds: float = 20.0


class Vee(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Dirty days are collected for `debounce_seconds`; meters go through in buckets."""

    debounce_seconds: float = 30.0
    buckets: int = 256
    history_days: int = 28
    rules_file: str | None = None
    calendar_file: str | None = None


class Outage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Thresholds of outage detection, and the pace of its worker."""

    sustained_s: int = 300
    share_tenths: int = 3
    batch_seconds: float = 0.1
    tick_seconds: float = 5.0
    """In silence, holds are looked at this often."""
    snapshot_batches: int = 500
    """The journal gets a snapshot every so many batches."""


class Keys(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Meter keys: wrapped at rest; the key that wraps them comes from a file, the environment or a command."""

    file: str | None = None
    kek_file: str | None = None
    kek_env: str | None = None
    kek_command: list[str] | None = None


class Meters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The registry as files; the topic of registry changes (`ami meters publish`) refreshes it meter by meter."""

    file: str | None = None
    types_file: str | None = None
    refresh_seconds: float = 10.0
    """Between two looks at the topic; 0: it is not followed."""


class Telemetry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Metrics and health over HTTP on `bind`; logs as JSON lines on standard error."""

    bind: str = "127.0.0.1"
    port: int = 9464
    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"


class Listen(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the gateway listens, TCP and UDP, and its bounds."""

    bind: str = "0.0.0.0"
    port: int = DLMS_PORT
    limits: GatewayLimits = GatewayLimits()


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything that a worker may be told. Absent sections take the defaults above."""

    kafka: KafkaSettings = KafkaSettings()
    group: Group = Group()
    clickhouse: ClickHouse | None = None
    embedded: Embedded = Embedded()
    ingest: Ingest = Ingest()
    vee: Vee = Vee()
    outage: Outage = Outage()
    keys: Keys = Keys()
    meters: Meters = Meters()
    telemetry: Telemetry = Telemetry()
    gateway: Listen = Listen()


def parse_config(text: str, name: str) -> Config:
    """The configuration in that TOML text.

    Args:
        text: TOML; sections and settings as in `Config`.
        name: The file's name, for messages.

    Raises:
        ContractError: Not TOML, an unknown setting, a wrong type, or settings that contradict each other.
    """
    try:
        config = msgspec.toml.decode(text, type=Config)
    except msgspec.MsgspecError as error:
        raise ContractError(f"{name}: {error}") from error
    wants_ca = config.kafka.security.endswith("SSL") and config.kafka.ca_file is None
    named = config.kafka.sasl_mechanism and config.kafka.sasl_user and config.kafka.sasl_password_file
    wants_user = config.kafka.security.startswith("SASL") and not named
    if wants_ca:
        raise ContractError(f"{name}: kafka.ca_file is needed with kafka.security = {config.kafka.security!r}")
    if wants_user:
        raise ContractError(f"{name}: kafka: sasl_mechanism, sasl_user and sasl_password_file are needed with SASL")
    if sum(source is not None for source in (config.keys.kek_file, config.keys.kek_env, config.keys.kek_command)) > 1:
        raise ContractError(f"{name}: keys: one of kek_file, kek_env and kek_command, not several")
    if not 0 < config.ingest.fuse_share <= 1:
        raise ContractError(f"{name}: ingest.fuse_share: {config.ingest.fuse_share} is not a share above 0 and up to 1")
    return config


def masked(config: Config) -> str:
    """The settings in force as JSON; the names of secret files show, their contents never do."""
    return msgspec.json.format(msgspec.json.encode(config)).decode()
