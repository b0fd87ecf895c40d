"""The configuration of workers: strict TOML, parsed once. An unknown setting is a refusal to start.

Secrets stand only in files, never in the text itself; `masked` prints what is in force without opening them.
"""

import re
from typing import Annotated, Final, Literal

import msgspec

from app.oms_config import Oms, check_oms
from ingest.gateway import DLMS_PORT
from ingest.gateway_limits import GatewayLimits
from ingest.kafka.settings import KafkaSettings
from outage.circumstances import Storm
from outage.oms import LOOPBACK
from schemas.bounds import Count, Hours, ListenPort, Milliseconds, Octets, Pause, Port, Wait
from schemas.errors import ContractError

ANSWER_S: Final = 10.0
"""So long the brokers may take over a commit or a committed position, whatever the settings: `ingest.kafka.source`."""
_HOST: Final = re.compile(r"[^\s:/\[\],]+|\[[0-9A-Fa-f:.]+\]")


class Group(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Membership of the consumer groups. `instance` names a static member: a restart keeps its partitions."""

    prefix: str = "ami"
    instance: str | None = None
    first_start: Literal["earliest", "latest"] | None = None
    """Where a group that never committed begins; without it a missing position stops the worker."""
    session_timeout_ms: Milliseconds = 30_000
    max_poll_interval_ms: Milliseconds = 300_000


class ClickHouse(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The server, native protocol. `cluster` turns engines into replicated ones, `ON CLUSTER`."""

    host: str = "127.0.0.1"
    port: Port = 9000
    database: str = "ami"
    user: str = "default"
    password_file: str | None = None
    secure: bool = False
    ca_file: str | None = None
    timeout_s: Annotated[int, msgspec.Meta(ge=1, le=86_400)] = 120
    cluster: str | None = None


class Embedded(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The store in this process, in a folder."""

    path: str = "store"


class Ingest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Batches by size or time, and the fuse on rejects."""

    batch_messages: Count = 20_000
    batch_octets: Octets = 33_554_432
    """Of the frames of a batch in memory: with what they become, two batches at a time, a worker takes 1.3 GB."""
    batch_seconds: Pause = 1.0
    fuse_share: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.05
    fuse_messages: Count = 1_000
    fuse_least: Count = 20
    """Rejects below which the fuse holds whatever their share: a quiet minute holds few messages."""
    poll_heartbeat_limit_s: Pause = 60.0
    shutdown_seconds: Wait = 20.0


class Vee(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Dirty days are collected for `debounce_seconds`; meters go through in the buckets of the contract."""

    debounce_seconds: Wait = 30.0
    history_days: Annotated[int, msgspec.Meta(ge=1, le=3_700)] = 28
    estimate_after_hours: Hours = 24.0
    """What has not come so long after it should have, though nothing later came either, is estimated. Less gives
    estimates sooner, and a version more of each interval that comes late."""
    final_after_days: Annotated[int, msgspec.Meta(ge=1, le=3_700)] | None = None
    """The market's deadline: so long after its interval an estimate is a final one (E14), which no later estimate
    replaces, and a measured value only by a person. None: estimates stay open."""
    revisit_hours: Hours = 6.0
    """So often the days are looked at again in which something awaited has become due."""
    billing_gate: Literal["month", "off"] = "month"
    """V36: a local calendar month is judged as a whole once its last interval is, and again when late data change it.
    With `off` billing alone holds a line, by its missing, estimated and suspect intervals."""
    four_eyes_kwh: Annotated[float, msgspec.Meta(ge=0, le=1_000_000_000)] = 100.0
    """What an edit, or an author's edits to a day of a series, may change without the approval of another person."""
    rules_file: str | None = None
    calendar_file: str | None = None
    estimation_file: str | None = None
    """Time-of-use calendar and class profiles (`app.estimation`)."""


class Outage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Thresholds of outage detection, and the pace of its worker."""

    sustained_s: Annotated[int, msgspec.Meta(ge=0, le=86_400)] = 300
    declaration_s: Annotated[int, msgspec.Meta(ge=0, le=86_400)] = 0
    """How long the fleet's meters wait before they speak; taken off `sustained_s`."""
    share_tenths: Annotated[int, msgspec.Meta(ge=1, le=10)] = 3
    storm: Storm = Storm.AUTO
    batch_seconds: Pause = 0.1
    tick_seconds: Pause = 1.0
    """In silence, the trees that have spoken are looked at, two at a time, this often: holds end in silence too."""
    snapshot_batches: Count = 500
    """The journal gets a snapshot every so many batches."""


class Keys(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Meter keys: wrapped at rest; the key that wraps them comes from a file, the environment or a command.

    `public_file`: public keys of meters that sign (`system_title,public_key`), which are no secret.
    """

    file: str | None = None
    public_file: str | None = None
    kek_file: str | None = None
    kek_env: str | None = None
    kek_command: list[str] | None = None


class Meters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The registry as files; the topic of registry changes (`ami meters publish`) refreshes it meter by meter."""

    file: str | None = None
    types_file: str | None = None
    refresh_seconds: Wait = 10.0
    """Between two looks at the topic; 0: it is not followed."""


class Telemetry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Metrics and health over HTTP on `bind`; logs as JSON lines on standard error."""

    bind: str = "127.0.0.1"
    port: ListenPort = 9464
    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"


class Listen(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the gateway listens, TCP and UDP, and its bounds."""

    bind: str = "0.0.0.0"
    port: ListenPort = DLMS_PORT
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
    oms: Oms = Oms()
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
    if sum(source is not None for source in (config.keys.kek_file, config.keys.kek_env, config.keys.kek_command)) > 1:
        raise ContractError(f"{name}: keys: one of kek_file, kek_env and kek_command, not several")
    if config.keys.kek_command == []:
        raise ContractError(f"{name}: keys.kek_command: no command")
    try:
        _check_gateway(config.gateway.limits)
        _check_brokers(config.kafka.brokers)
        _check_kafka(config.kafka)
        _check_group(config.group)
        _check_times(config)
        if config.clickhouse is not None and config.clickhouse.ca_file is not None and not config.clickhouse.secure:
            raise ContractError("clickhouse.ca_file does nothing without clickhouse.secure = true")
        check_oms(config.oms)
    except ContractError as error:
        raise ContractError(f"{name}: {error}") from error
    return config


def _check_gateway(limits: GatewayLimits) -> None:
    """What one message may hold finds room."""
    for setting in ("held_octets", "begun_octets"):
        if getattr(limits, setting) < limits.message_octets:
            raise ContractError(f"gateway.limits.{setting}: less than one message, message_octets")


def _check_brokers(brokers: tuple[str, ...]) -> None:
    """Each is `host:port`; an address of IPv6 stands in brackets."""
    for broker in brokers:
        host, _, port = broker.rpartition(":")
        if not _HOST.fullmatch(host) or not port.isdecimal() or not 0 < int(port) <= 65_535:
            raise ContractError(f"kafka.brokers: {broker!r} is not host:port")


def _check_group(group: Group) -> None:
    """A member is not put out for slow work before it is for silence."""
    if group.max_poll_interval_ms < group.session_timeout_ms:
        raise ContractError("group.max_poll_interval_ms: less than group.session_timeout_ms")


def _check_times(config: Config) -> None:
    """A worker is not ended for what its settings have it wait for, and what stands still is seen by somebody."""
    limit_s, put_out_s = config.ingest.poll_heartbeat_limit_s, config.group.max_poll_interval_ms / 1000
    answer_s = max(ANSWER_S, config.kafka.request_timeout_ms / 1000)
    if limit_s <= answer_s:
        raise ContractError(
            f"ingest.poll_heartbeat_limit_s: {limit_s:g} s, and one answer of the brokers may take {answer_s:g} s: the "
            f"worker would be ended while it waits for it: set more, or (down to {ANSWER_S:g} s) a shorter "
            "kafka.request_timeout_ms"
        )
    if limit_s > put_out_s:
        raise ContractError(
            f"ingest.poll_heartbeat_limit_s: {limit_s:g} s, and a loop that stands still is put out of its group after "
            f"{put_out_s:g} s and counts as live: set less, or a longer group.max_poll_interval_ms"
        )
    if config.ingest.batch_seconds > limit_s:
        raise ContractError(
            f"ingest.batch_seconds: {config.ingest.batch_seconds:g} s, longer than ingest.poll_heartbeat_limit_s "
            f"({limit_s:g} s): a worker that is ended again and again would never commit a batch: set less, or a "
            "longer limit"
        )
    if config.clickhouse is not None and config.clickhouse.timeout_s > put_out_s:
        raise ContractError(
            f"clickhouse.timeout_s: {config.clickhouse.timeout_s} s, longer than group.max_poll_interval_ms "
            f"({put_out_s:g} s): an insert to a server that says nothing would hold its batch, and nobody be told: set "
            "less, or a longer interval"
        )


def _check_kafka(kafka: KafkaSettings) -> None:
    """What is asked for is in force: who names a certificate or a user does not talk in clear, or as nobody."""
    tls, sasl = kafka.security.endswith("SSL"), kafka.security.startswith("SASL")
    if tls and kafka.ca_file is None:
        raise ContractError(f"kafka.ca_file is needed with kafka.security = {kafka.security!r}")
    named = (kafka.sasl_mechanism, kafka.sasl_user, kafka.sasl_password_file)
    if sasl and not all(named):
        raise ContractError("kafka: sasl_mechanism, sasl_user and sasl_password_file are needed with SASL")
    if not tls and (kafka.ca_file, kafka.cert_file, kafka.key_file, kafka.key_password_file) != (None,) * 4:
        raise ContractError(f"kafka: certificates and keys do nothing with kafka.security = {kafka.security!r}")
    if not sasl and named != (None,) * 3:
        raise ContractError(f"kafka: sasl settings do nothing with kafka.security = {kafka.security!r}")
    beyond = next((one for one in kafka.brokers if one.rpartition(":")[0].strip("[]") not in LOOPBACK), None)
    if sasl and not tls and kafka.sasl_mechanism == "PLAIN" and beyond is not None:
        raise ContractError(f"kafka: PLAIN would send the password in clear to {beyond}: SASL_SSL, or SCRAM")


def masked(config: Config) -> str:
    """The settings in force as JSON; the names of secret files show, their contents never do."""
    return msgspec.json.format(msgspec.json.encode(config)).decode()
