"""The configuration of workers: strict TOML, parsed once. An unknown setting is a refusal to start.

Secrets stand only in files, never in the text itself; `masked` prints what is in force without opening them.
"""

import re
from typing import Annotated, Final, Literal

import msgspec

from ingest.gateway import DLMS_PORT
from ingest.gateway_limits import GatewayLimits
from ingest.kafka.settings import KafkaSettings
from outage.breaker import RetryParams
from outage.circumstances import Storm
from outage.messages.tables import DEFAULT_TABLE, code_table
from outage.oms import LOOPBACK, check_address
from schemas.bounds import Count, Hours, ListenPort, Milliseconds, Octets, Pause, Port, Wait
from schemas.errors import ContractError

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
    """Of the frames of a batch in memory: with what they become, two batches at a time, a worker takes a gigabyte."""
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


class Counterparty(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An outage system: what it takes, where it is, and how we introduce ourselves. Files are PEM, or hold one line."""

    name: Annotated[str, msgspec.Meta(pattern="^[a-z0-9][a-z0-9_-]*$")]
    """Of its outbox, and of the path under which it asks us."""
    format: Literal["cim-json", "iec61968", "multispeak3", "multispeak41", "odin"]
    url: str
    timeout_s: Pause = 10.0
    ca_file: str | None = None
    certificate_file: str | None = None
    key_file: str | None = None
    company: str = ""
    user: str = ""
    password_file: str | None = None
    """With company and user: the account in the MultiSpeak header of what we send."""
    asks_user: str | None = None
    asks_password_file: str | None = None
    """The account in the MultiSpeak header of what it asks us."""
    code_table: str = DEFAULT_TABLE
    code_tables_file: str | None = None
    """Tables of one's own; without it those of the package."""
    source: str = "HES"
    context: str = "PRODUCTION"
    communities: dict[str, str] = {}
    """ODIN: community (FIPS) by node."""
    disclaimer: str | None = None
    retry: RetryParams = RetryParams()


class OmsListen(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where outage systems ask us; `POST /<name of the counterparty>`. Beyond this machine over TLS only."""

    bind: str = "127.0.0.1"
    port: ListenPort = 8443
    certificate_file: str | None = None
    key_file: str | None = None
    client_ca_file: str | None = None
    """Only clients whose certificates it signed are served."""


class Oms(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Delivery to outage systems. The folder holds their outboxes: it must outlive the worker."""

    folder: str = "oms"
    counterparty: list[Counterparty] = []
    listen: OmsListen | None = None
    tick_seconds: Pause = 5.0
    """In silence, requests whose time is over are looked for this often."""


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
    try:
        _check_gateway(config.gateway.limits)
        _check_brokers(config.kafka.brokers)
        _check_kafka(config.kafka)
        _check_group(config.group)
        if config.clickhouse is not None and config.clickhouse.ca_file is not None and not config.clickhouse.secure:
            raise ContractError("clickhouse.ca_file does nothing without clickhouse.secure = true")
        _check_oms(config.oms)
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


def _check_oms(oms: Oms) -> None:
    names = [party.name for party in oms.counterparty]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ContractError(f"oms.counterparty: {twice!r} stands there twice")
    for party in oms.counterparty:
        _check_party(party)
    listen = oms.listen
    if listen is None:
        return
    if (listen.certificate_file is None) != (listen.key_file is None):
        raise ContractError("oms.listen: certificate_file and key_file belong together")
    if listen.bind in LOOPBACK:
        return
    if listen.certificate_file is None:
        raise ContractError(f"oms.listen.bind {listen.bind!r}: beyond this machine a certificate_file is needed")
    open_to_all = next((p.name for p in oms.counterparty if _asks(p) and p.asks_password_file is None), None)
    if open_to_all is not None:
        raise ContractError(
            f"oms.counterparty {open_to_all!r}: what it says suppresses outages: asks_user and asks_password_file are"
            " needed where others can reach the listener"
        )


def _asks(party: Counterparty) -> bool:
    """MultiSpeak alone has requests that we serve."""
    return party.format.startswith("multispeak")


def _check_party(party: Counterparty) -> None:
    where = f"oms.counterparty {party.name!r}"
    try:
        check_address(party.url)
    except ContractError as error:
        raise ContractError(f"{where}: {error}") from error
    if (party.certificate_file is None) != (party.key_file is None):
        raise ContractError(f"{where}: certificate_file and key_file belong together")
    if _asks(party) and not (party.company and party.user and party.password_file):
        raise ContractError(f"{where}: company, user and password_file are needed for {party.format}")
    if (party.asks_user is None) != (party.asks_password_file is None):
        raise ContractError(f"{where}: asks_user and asks_password_file belong together")
    if party.code_tables_file is None:
        code_table(party.code_table)


def masked(config: Config) -> str:
    """The settings in force as JSON; the names of secret files show, their contents never do."""
    return msgspec.json.format(msgspec.json.encode(config)).decode()
