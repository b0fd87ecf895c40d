"""Steps of incidents as letters, one a step, each under a key that its next version does not share."""

from collections.abc import Callable, Iterator, Mapping
from hashlib import sha256
from typing import Final
from uuid import UUID, uuid5

import polars as pl

from outage.letter import Letter
from outage.messages.cim_json import render_cim_json
from outage.messages.feedback import answer_ping
from outage.messages.iec61968 import Envelope, render_end_device_events
from outage.messages.multispeak import Account, Version, render_envelope, render_od_event_notification, soap_action
from outage.messages.multispeak_requests import Incoming
from outage.messages.notices import notices_of_outages
from outage.messages.odin import render_odin
from outage.messages.tables import CodeTable
from outage.messages.xml import parse_xml
from schemas.frames import OUTAGES, conform

LETTER_NAMESPACE: Final = UUID("c7a0f0de-6a37-5f0f-8d56-1f5b9a0f7e42")
JSON: Final = "application/json"
XML: Final = "text/xml; charset=utf-8"


def json_letters(outages: pl.DataFrame) -> Iterator[Letter]:
    """CIM-shaped JSON."""
    rows = conform(outages, OUTAGES)
    for (key, lane), body in zip(_keys(rows, "cim-json"), render_cim_json(rows), strict=True):
        yield Letter(key, lane, JSON, "", body)


def iec61968_letters(
    outages: pl.DataFrame, envelope: Envelope | None = None, table: CodeTable | None = None
) -> Iterator[Letter]:
    """IEC 61968-9 in its envelope; steps for which the counterparty has no code give none."""
    for key, lane, notice in _notices(outages, "iec61968"):
        for body in render_end_device_events(notice, envelope, table):
            yield Letter(key, lane, XML, "", body)


def multispeak_letters(outages: pl.DataFrame, version: Version) -> Iterator[Letter]:
    """MultiSpeak `ODEventNotification`, the body alone: `soap_dress` puts the envelope on when it is sent."""
    operation = soap_action(version, "ODEventNotification")
    for key, lane, notice in _notices(outages, version.name):
        yield Letter(key, lane, XML, operation, render_od_event_notification(notice, version))


def odin_letters(
    outages: pl.DataFrame, steps_of: Callable[[str], pl.DataFrame], place: tuple[Mapping[str, str], str | None]
) -> Iterator[Letter]:
    """DOE ODIN: a letter a step, which tells its incident whole.

    Args:
        outages: OUTAGES, the steps that are new.
        steps_of: OUTAGES of one incident, all steps until now.
        place: Community by node, and the utility's disclaimer.
    """
    rows = conform(outages, OUTAGES)
    for at, (key, lane) in enumerate(_keys(rows, "odin")):
        step = rows["step"][at]
        until = steps_of(lane).filter(pl.col("step") <= step)
        yield Letter(key, lane, XML, "", render_odin(until, *place, with_gone=True))


def ping_letter(request: str, asked: Incoming, answers: pl.DataFrame) -> Letter:
    """`ODEventNotification` that answers a request for power-status checks, in the version that it spoke.

    Args:
        request: Its name.
        asked: Version and transaction.
        answers: `PINGS`, one row a meter.
    """
    body = answer_ping(asked, answers)
    key = str(uuid5(LETTER_NAMESPACE, f"ping/{request}/{sha256(body).hexdigest()}"))
    return Letter(key, f"ping {request}", XML, soap_action(asked.version, "ODEventNotification"), body)


def soap_dress(account: Account) -> Callable[[Letter], bytes]:
    """What makes a SOAP message of a MultiSpeak letter: the account's password is never stored with it."""

    def dress(letter: Letter) -> bytes:
        if not letter.action:
            return letter.body
        body = parse_xml(letter.body)
        version = Version(body.tag[1:].rpartition("}")[0])
        return render_envelope(body, version, account, letter.key)

    return dress


def _keys(rows: pl.DataFrame, form: str) -> Iterator[tuple[str, str]]:
    for incident, step, version in rows.select("incident_id", "step", pl.col("updated_at").to_physical()).rows():
        yield str(uuid5(LETTER_NAMESPACE, f"{form}/{incident}/{step}/{version}")), incident


def _notices(outages: pl.DataFrame, form: str) -> Iterator[tuple[str, str, pl.DataFrame]]:
    rows = conform(outages, OUTAGES)
    notices = notices_of_outages(rows)
    for at, (key, lane) in enumerate(_keys(rows, form)):
        yield key, lane, notices[at]
