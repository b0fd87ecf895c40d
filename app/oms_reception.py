"""What outage systems ask and tell us: checks to send, planned work and confirmations on their way to detection.

A request is acknowledged only when it stands: a check in the outbox and on its topic, a note on its topic. A copy of a
request names the same checks, so asking again does no harm.
"""

import hmac
import logging
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Final, NamedTuple
from urllib.parse import urlsplit
from uuid import NAMESPACE_OID, uuid5

import polars as pl

from app import telemetry
from app.messages import to_messages
from app.outage_messages import PING_REQUESTS_TOPIC
from app.outage_source import NOTES_TOPIC
from app.workers import Publisher
from outage.messages.feedback import answer_request, feedback_of, notes_of, refusals_of, refuse_request
from outage.messages.multispeak_in import MOST_METERS, parse_request
from outage.messages.multispeak_requests import Incoming, NodePingRequest, PingRequest, names_in
from outage.oms import Reply
from outage.oms_outbox import Check, Outbox
from schemas.codes import NodeKind
from schemas.frames import UTC_US

LOG = logging.getLogger("ami.oms")

EXPIRES_S: Final = 300.0
"""A check without an expiration of its own."""
LONGEST_S: Final = 86_400.0
"""No check waits longer, whatever the request says."""
_COLUMNS: Final = {
    "meter_id": NodeKind.METER,
    "service_point_id": NodeKind.SERVICE_POINT,
    "transformer_id": NodeKind.TRANSFORMER,
    "lateral_id": NodeKind.LATERAL,
    "feeder_id": NodeKind.FEEDER,
    "substation_id": NodeKind.SUBSTATION,
}


class Asker(NamedTuple):
    """A counterparty that may ask."""

    name: str
    outbox: Outbox
    url: str
    """Where its answers go."""
    account: tuple[str, str] | None
    """User and password that its requests must bear; None on this very machine alone."""


class Reception:
    """Serves the requests of all counterparties, each under its own path.

    Args:
        askers: By name.
        meters: METERS, until `enrol` brings others.
        publisher: Of ping requests and notes; used by one request at a time.
        clock: Seconds since 1970.
    """

    def __init__(
        self,
        askers: Mapping[str, Asker],
        meters: pl.DataFrame,
        publisher: Publisher,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._askers, self._publisher, self._clock = askers, publisher, clock
        self.enrol(meters)
        self._one_at_a_time = threading.Lock()

    def enrol(self, meters: pl.DataFrame) -> None:
        """From the next request on these METERS count; one that is being answered goes on by those before."""
        self._meters = meters.select(*_COLUMNS, "removed_at")

    def answer(self, path: str, body: bytes) -> Reply:
        """The reply to one request.

        Raises:
            ProtocolError: It is no request that we serve.
            TransientError: The brokers are away; it may come again.
        """
        asker = self._askers.get(urlsplit(path).path.strip("/"))
        if asker is None:
            return Reply(404)
        incoming = parse_request(body)
        if not _is_account_of(asker, incoming):
            LOG.warning("a request with a wrong account", extra={"fields": {"counterparty": asker.name}})
            return Reply(401)
        elsewhere = _elsewhere(incoming, asker)
        if elsewhere is not None:
            reason = "answers go to the address that is configured, to no other"
            telemetry.OMS_REFUSED.labels(reason="elsewhere").inc()
            return Reply(200, refuse_request(incoming, elsewhere, reason))
        fleet = self._installed()
        kinds = _kinds(names_in(incoming.said), fleet)
        meters = {name for name, kind in kinds.items() if kind is NodeKind.METER}
        asked = _asked(incoming, meters, kinds, fleet)
        if len(asked) > MOST_METERS:
            telemetry.OMS_REFUSED.labels(reason="too_many").inc()
            return Reply(200, refuse_request(incoming, "", f"more than {MOST_METERS} meters below that object"))
        with self._one_at_a_time:
            self._ask(asker, incoming, asked, sha256(body).hexdigest())
            self._note(asker, incoming, kinds, fleet)
        refused = refusals_of(incoming, meters, kinds)
        for _, reason in refused:
            telemetry.OMS_REFUSED.labels(reason=reason.name.lower()).inc()
        return Reply(200, answer_request(incoming, refused))

    def _installed(self) -> pl.DataFrame:
        """METERS but for the installations that have ended: nobody answers there."""
        now = datetime.fromtimestamp(self._clock(), UTC)
        return self._meters.filter(pl.col("removed_at").is_null() | (pl.col("removed_at") > now))

    def _ask(self, asker: Asker, incoming: Incoming, meters: list[str], digest: str) -> None:
        said = incoming.said
        if not isinstance(said, PingRequest | NodePingRequest) or not meters:
            return
        lasts = EXPIRES_S if said.expires_min is None else min(max(60 * said.expires_min, 0.0), LONGEST_S)
        request = f"{asker.name}/{said.transaction_id or digest}"
        checks = [
            Check(
                request, meter, incoming.version.value, said.transaction_id,
                str(uuid5(NAMESPACE_OID, f"{request}/{meter}")), self._clock() + lasts,
            )
            for meter in meters
        ]  # fmt: skip
        asker.outbox.ask(checks)
        now = datetime.fromtimestamp(self._clock(), UTC)
        rows = pl.DataFrame({"request_id": [check.request_id for check in checks], "meter_id": meters}).with_columns(
            reason=pl.lit("operator"),
            incident_id=pl.lit(None, pl.String),
            requested_at=pl.lit(now).cast(UTC_US),
            expires_at=pl.lit(now + timedelta(seconds=lasts)).cast(UTC_US),
            requested_by=pl.lit(asker.name),
        )
        self._publisher.publish(PING_REQUESTS_TOPIC, to_messages(rows, rows["meter_id"]))
        self._publisher.flush()
        LOG.info("checks asked for", extra={"fields": {"counterparty": asker.name, "meters": len(meters)}})

    def _note(self, asker: Asker, incoming: Incoming, kinds: Mapping[str, NodeKind], fleet: pl.DataFrame) -> None:
        now = datetime.fromtimestamp(self._clock(), UTC)
        points = [name for name, kind in kinds.items() if kind is NodeKind.SERVICE_POINT]
        notes = notes_of(feedback_of(incoming, now, kinds, _meters_at(points, fleet)), asker.name, now)
        if notes.is_empty():
            return
        self._publisher.publish(NOTES_TOPIC, to_messages(notes, notes["node_id"]))
        self._publisher.flush()
        told = dict(notes["note"].cast(pl.String).value_counts().rows())
        LOG.info("told by an outage system", extra={"fields": {"counterparty": asker.name, **told}})


def _kinds(names: list[str], fleet: pl.DataFrame) -> dict[str, NodeKind]:
    """What each name is in METERS; of several kinds the highest."""
    found: dict[str, NodeKind] = {}
    for column, kind in _COLUMNS.items() if names else ():
        known = fleet[column].drop_nulls()
        found |= dict.fromkeys(known.filter(known.is_in(names)).unique().to_list(), kind)
    return found


def _meters_at(points: list[str], fleet: pl.DataFrame) -> dict[str, list[str]]:
    of = fleet.filter(pl.col("service_point_id").is_in(points)).select("service_point_id", "meter_id")
    return {name: part["meter_id"].unique().sort().to_list() for (name,), part in of.group_by("service_point_id")}


def _asked(incoming: Incoming, meters: set[str], kinds: Mapping[str, NodeKind], fleet: pl.DataFrame) -> list[str]:
    said = incoming.said
    if isinstance(said, PingRequest):
        return sorted(meters.intersection(said.meters))
    if not isinstance(said, NodePingRequest):
        return []
    below = pl.lit(value=False)
    for column, kind in _COLUMNS.items():
        names = [name for name in said.names if kinds.get(name) is kind]
        below = below | pl.col(column).is_in(names) if names else below
    return fleet.filter(below)["meter_id"].unique().sort().to_list()


def _is_account_of(asker: Asker, incoming: Incoming) -> bool:
    if asker.account is None:
        return True
    shown = (incoming.account.user, incoming.account.password)
    # As one text, in the same time whatever differs.
    return hmac.compare_digest("\0".join(shown).encode(), "\0".join(asker.account).encode())


def _elsewhere(incoming: Incoming, asker: Asker) -> str | None:
    """The transaction of a request whose answer was to go to another machine; None where it was not."""
    said = incoming.said
    if not isinstance(said, PingRequest | NodePingRequest) or said.response_url is None:
        return None
    here, there = urlsplit(asker.url), urlsplit(said.response_url)
    same = (here.scheme, here.hostname, here.port) == (there.scheme, there.hostname, there.port)
    return None if same else said.transaction_id or ""
