"""Metrics, logs and health: one catalogue, one line of JSON a batch, two questions that an orchestrator asks.

Labels come from enums only. No payload, key, address or name is ever a label or a field; the id of a meter is a field
where a line is all that is left of a row of it.
"""

import json
import logging
import sys
from collections.abc import Mapping
from typing import IO, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

REGISTRY: Final = CollectorRegistry(auto_describe=True)

MESSAGES: Final = Counter(
    "ami_messages", "Link-layer messages by what became of them", ["topic", "outcome"], registry=REGISTRY
)
DECODE_ERRORS: Final = Counter("ami_decode_errors", "Messages that could not be decoded", ["reason"], registry=REGISTRY)
REJECTS: Final = Counter("ami_rejects", "Rows of rejects written", ["topic", "reason"], registry=REGISTRY)
SECURITY_REJECTS: Final = Counter(
    "ami_security_rejects", "Rejects that concern security", ["reason"], registry=REGISTRY
)
REFUSED_ROWS: Final = Counter(
    "ami_refused_rows", "Rows that the store refuses for good, left out of their batch", ["table"], registry=REGISTRY
)
UNREADABLE: Final = Counter(
    "ami_unreadable_messages", "Messages of our own topics that are no rows of them", ["topic"], registry=REGISTRY
)
DEDUP_DROPPED: Final = Counter("ami_dedup_dropped", "Copies dropped", ["layer"], registry=REGISTRY)
VEE_INTERVALS: Final = Counter("ami_vee_intervals", "Finals written", ["quality", "method"], registry=REGISTRY)
VEE_UNJUDGED: Final = Counter(
    "ami_vee_unjudged",
    "Finals that a rule could not judge, by the rule that lacks an input",
    ["rule"],
    registry=REGISTRY,
)
VEE_DELTAS: Final = Counter(
    "ami_vee_billed_deltas", "New versions of finals that were billed, by why they moved", ["reason"], registry=REGISTRY
)
VEE_GUESSES: Final = Counter(
    "ami_vee_billed_estimates_kept",
    "Billed estimates that stay in a run, though another one without a register would take their place",
    registry=REGISTRY,
)
VEE_LEFT_OUT: Final = Counter(
    "ami_vee_left_out_meters", "Meters at which judging failed, left out of their batch", registry=REGISTRY
)
REGISTRY_CHANGES: Final = Counter(
    "ami_registry_changes", "Meters whose registry entry changed", ["outcome"], registry=REGISTRY
)
CONSUMER_LAG: Final = Gauge("ami_consumer_lag_records", "Records not yet committed", ["topic"], registry=REGISTRY)
INCIDENTS: Final = Gauge("ami_outage_incidents", "Incidents by state", ["scope", "state"], registry=REGISTRY)
HEARTBEAT_AGE: Final = Gauge("ami_poll_heartbeat_age_seconds", "Age of the poll loop's heartbeat", registry=REGISTRY)
CERTIFICATE_EXPIRY: Final = Gauge(
    "ami_certificate_expiry_seconds", "Time until the certificate ends", registry=REGISTRY
)
EVENT_AGE: Final = Histogram(
    "ami_event_age_seconds", "From occurred to visible", ["lane"], registry=REGISTRY,
    buckets=(0.1, 0.5, 1, 2, 5, 10, 30, 60, 300, 1800, 3600, 86400),
)  # fmt: skip
BATCH_ROWS: Final = Histogram(
    "ami_batch_rows", "Rows of a batch", ["table"], registry=REGISTRY,
    buckets=(1, 10, 100, 1_000, 10_000, 100_000, 1_000_000),
)  # fmt: skip
INSERT_DURATION: Final = Histogram(
    "ami_insert_duration_seconds", "Time until an insert was acknowledged", ["table", "outcome"], registry=REGISTRY,
    buckets=(0.01, 0.05, 0.1, 0.5, 1, 2, 5, 10, 30, 60),
)  # fmt: skip
LAST_GASP_TO_INCIDENT: Final = Histogram(
    "ami_last_gasp_to_incident_seconds", "From the deciding event to the published incident", ["scope"],
    registry=REGISTRY, buckets=(0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60),
)  # fmt: skip

OMS_LETTERS: Final = Counter(
    "ami_oms_letters", "Letters to outage systems by what became of a try", ["outcome"], registry=REGISTRY
)
OMS_LETTERS_STORED: Final = Gauge("ami_oms_letters_stored", "Letters in outboxes", ["state"], registry=REGISTRY)
OMS_REFUSED: Final = Counter(
    "ami_oms_refused", "Statements and requests of outage systems that are not taken", ["reason"], registry=REGISTRY
)
OMS_CIRCUITS_OPEN: Final = Gauge("ami_oms_circuits_open", "Outage systems that are left alone", registry=REGISTRY)

GATEWAY_MESSAGES: Final = Counter("ami_gateway_messages", "Messages taken over, by lane", ["topic"], registry=REGISTRY)
GATEWAY_CONNECTIONS: Final = Counter(
    "ami_gateway_connections", "Connections taken, refused, and cut short", ["outcome"], registry=REGISTRY
)
GATEWAY_LOST: Final = Counter("ami_gateway_lost_datagrams", "Datagrams lost, and where", ["where"], registry=REGISTRY)
GATEWAY_RETRIES: Final = Counter("ami_gateway_retries", "Sends to Kafka that were tried again", registry=REGISTRY)


class ExportMetrics:
    """What a billing job tells, which ends before anyone could ask it: a registry of its own for every telling."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry(auto_describe=True)
        labels = ["format", "state"]
        self.files = Counter("ami_export_files", "Billing files by state reached", labels, registry=self.registry)
        self.control = Counter(
            "ami_export_control", "Lines and values that manifests count, by state reached", labels,
            registry=self.registry,
        )  # fmt: skip


class JsonLines(logging.Formatter):
    """One JSON object a record: time, level, logger, message, and the fields given as `extra={"fields": {...}}`."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line; an exception is told by its type and text, without a traceback's values."""
        line: dict[str, object] = {
            "at": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        fields = getattr(record, "fields", None)
        if isinstance(fields, Mapping):
            line.update(fields)
        if record.exc_info and record.exc_info[0] is not None:
            line["error"] = f"{record.exc_info[0].__name__}: {record.exc_info[1]}"
        return json.dumps(line, default=str)


def configure_logging(level: str = "INFO", stream: IO[str] | None = None) -> None:
    """Every logger of the process writes JSON lines to the stream (standard error by default)."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    # The client tells every connection and metadata refresh; we say one line a batch.
    for chatty in ("kafka", "clickhouse_driver"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


DELIVERY_LIMIT_S: Final = 15.0
"""A delivery that takes longer is not known to be good: a store that hangs refuses nothing for two minutes."""


class Health:
    """What a worker tells an orchestrator. Times are seconds of one monotonic clock, given by the caller."""

    def __init__(self, *, heartbeat_limit_s: float, delivery_limit_s: float = DELIVERY_LIMIT_S) -> None:
        self._limit_s, self._delivery_limit_s = heartbeat_limit_s, delivery_limit_s
        self._beat_at: float | None = None
        self.assigned = False
        self.last_insert_good = True
        self.delivering_since: float | None = None
        """When the try began that a delivery is in; None: nothing is on its way."""

    def beat(self, at: float) -> None:
        """The poll loop went round at that time."""
        self._beat_at = at

    def age(self, at: float) -> float:
        """Seconds since the poll loop last went round; endless before the first time."""
        return float("inf") if self._beat_at is None else at - self._beat_at

    def live(self, at: float) -> bool:
        """The poll loop still goes round. Never depends on the database: it may be away without a restart helping."""
        return self.age(at) <= self._limit_s

    def ready(self, at: float) -> bool:
        """Partitions are assigned, the last insert was good, and none hangs."""
        since = self.delivering_since
        hangs = since is not None and at - since > self._delivery_limit_s
        return self.live(at) and self.assigned and self.last_insert_good and not hangs
